"""A record among the readings that is none: from here on, it says, other rules hold."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from sensors.record import Record
from sensors.senml import to_ms

RULES_NAME = "@rules"
RULES_KEY = RULES_NAME.encode()
_TEXT = re.compile(r"(\d{1,18})/([0-9a-f]{12})")


class _Entry(msgspec.Struct):
    n: str
    t: float
    vs: str


class Announcement(NamedTuple):
    """What a record says: from here on the rules of this generation hold. ``time_ms``: when it was written."""

    generation: int
    ruleset: str
    time_ms: int


def announcement(said: Announcement) -> bytes:
    """The pack of an announcement: ``[{"n":"@rules","t":1714800000,"vs":"<generation>/<ruleset>"}]``."""
    entry = {"n": RULES_NAME, "t": said.time_ms / 1000, "vs": f"{said.generation}/{said.ruleset}"}
    return msgspec.json.encode([entry])


def announced(record: Record) -> Announcement | None:
    """What a record announces; None where it is no announcement."""
    if record.key != RULES_KEY or record.value is None:
        return None
    try:
        (entry,) = msgspec.json.decode(record.value, type=tuple[_Entry])
    except msgspec.DecodeError:
        return None
    found = _TEXT.fullmatch(entry.vs)
    return Announcement(int(found[1]), found[2], to_ms(entry.t)) if found and entry.n == RULES_NAME else None
