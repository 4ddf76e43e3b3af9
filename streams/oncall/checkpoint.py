"""Checkpoints of on-call: what the fold of cases knows, written behind to ``oncall.state``, and read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from sensors.errors import RunError
from streams.oncall.outputs import Ends
from streams.state_log import PARTITION_ROW, Rows, Snapshot

_VERSION = 1
_PIECE = 1 << 18  # bytes of the desk in one row: a record may not be much larger than Kafka's usual 1 MB


class Checkpoint(NamedTuple):
    """``offset``: the log is in up to before this one. ``ends``: outputs that are not in lie behind these."""

    offset: int
    journal: bytes
    config: bytes | None
    desk: bytes | None
    ends: Ends


class _Place(msgspec.Struct):
    version: int
    offset: int
    ends: Ends


def offset_of(row: bytes) -> int:
    """How far a checkpoint is, by its ``@partition`` row."""
    return _place(row).offset


def to_rows(checkpoint: Checkpoint, before: Mapping[bytes, bytes]) -> tuple[Rows, dict[bytes, bytes | None]]:
    """A checkpoint as rows, and what of them is not as in the rows ``before`` (None: no longer there)."""
    rows: Rows = {b"journal": checkpoint.journal}
    if checkpoint.config is not None:
        rows[b"config"] = checkpoint.config
    for number, start in enumerate(range(0, len(checkpoint.desk or b""), _PIECE)):
        rows[b"desk/%06d" % number] = (checkpoint.desk or b"")[start : start + _PIECE]
    rows[PARTITION_ROW] = msgspec.msgpack.encode(_Place(_VERSION, checkpoint.offset, checkpoint.ends))
    changed: dict[bytes, bytes | None] = {key: row for key, row in rows.items() if before.get(key) != row}
    return rows, changed | dict.fromkeys(before.keys() - rows.keys())


def from_snapshot(found: Snapshot) -> Checkpoint | None:
    """The checkpoint that was found; None where there is none."""
    rows = found.rows
    if PARTITION_ROW not in rows:
        return None
    place = _place(rows[PARTITION_ROW])
    desk = b"".join(rows[key] for key in sorted(rows) if key.startswith(b"desk/"))
    return Checkpoint(place.offset, rows[b"journal"], rows.get(b"config"), desk or None, place.ends)


def _place(row: bytes) -> _Place:
    try:
        place = msgspec.msgpack.decode(row, type=_Place)
    except msgspec.DecodeError as error:
        raise RunError(f"the state of on-call cannot be read: {error}; is the prefix another pipeline's?") from error
    if place.version != _VERSION:
        raise RunError(f"the state of on-call has version {place.version}, this kapok reads {_VERSION}")
    return place
