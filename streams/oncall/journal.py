"""The format of ``oncall.log``: what is in it, in whose name it was written, and what of it counts.

Cases have to do with each other across keys, so there is one order: partition 0 of this topic. One process at a time
copies there what it reads (the *intake*). Which one is in the log too: it begins with a claim, and each of its records
carries the claim's name. What another wrote after that claim does not count, for any reader, however late it came: a
process that was cut off and does not know it does no harm, on brokers without transactions too.

| key | value | |
|---|---|---|
| ``@intake`` | ``{"intake": …}`` | from here on only this intake's records count |
| ``@config`` | routes, duty and the generation of the rules | holds from here on |
| ``@begin`` | ``{"alerts": [offset, …], …}`` | where the very first intake began to read, by partition |
| ``@clock`` | a tick | header ``read``: up to where the intake had read, as in ``@begin`` |
| any other | as it came | headers ``topic``, ``partition``, ``offset``: what it is a copy of |

Ticks and copies have a header ``taken``: the newest tick (ms) that there was on the topics when they were written.
Where the intake was away it is much later than the ticks around it (docs/oncall.md). Older logs do not have it.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from alerts.alert import Source
from alerts.cases.entry import Entry, Kind
from sensors.clock import CLOCK_KEY, read_ticks
from sensors.errors import RunError
from sensors.record import Record
from streams.topics import ACTIONS, ALERTS, LAST, RECEIPTS

SOURCES = (ALERTS, ACTIONS, RECEIPTS)
TICKED = (ALERTS, ACTIONS)  # whose ticks are on-call's clock
KINDS: dict[str, Kind] = {ALERTS: "alert", LAST: "alert", ACTIONS: "action", RECEIPTS: "receipt"}
INTAKE_KEY, CONFIG_KEY, BEGIN_KEY = b"@intake", b"@config", b"@begin"
_VERSION = 1

Positions = dict[str, list[int]]  # topic → the next offset of each partition
Headers = list[tuple[str, bytes]]


class Config(msgspec.Struct, frozen=True):
    """What cases are decided by: ``routes`` as ``Routes.pack`` gives them, ``generation`` of the rules."""

    generation: int
    routes: msgspec.Raw

    def pack(self) -> bytes:
        return msgspec.json.encode({"generation": self.generation, "routes": self.routes})

    @classmethod
    def unpack(cls, value: bytes) -> Config:
        return msgspec.json.decode(value, type=cls)

    @property
    def digest(self) -> str:
        """Stands for the routes alone: the rules have a history of their own."""
        return hashlib.sha256(bytes(self.routes)).hexdigest()[:12]


class Copy(NamedTuple):
    """A record for the log."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def claim(intake: str) -> Copy:
    return Copy(INTAKE_KEY, msgspec.json.encode({"intake": intake}), [("intake", intake.encode())])


def config(intake: str, what: Config) -> Copy:
    return Copy(CONFIG_KEY, what.pack(), [("intake", intake.encode())])


def begin(intake: str, read: Positions) -> Copy:
    return Copy(BEGIN_KEY, msgspec.json.encode(read), [("intake", intake.encode())])


def clock(intake: str, value: bytes, read: Positions, taken: int) -> Copy:
    headers = [("intake", intake.encode()), ("read", msgspec.json.encode(read)), ("taken", b"%d" % taken)]
    return Copy(CLOCK_KEY, value, headers)


def copy(intake: str, topic: str, record: Record, taken: int | None) -> Copy:
    """``topic`` is without the prefix: a log is the same bytes under another one."""
    headers = [("intake", intake.encode()), ("topic", topic.encode())]
    headers += [("partition", b"%d" % record.partition), ("offset", b"%d" % record.offset)]
    if taken is not None:
        headers.append(("taken", b"%d" % taken))
    return Copy(record.key, record.value, headers)


class _Row(msgspec.Struct):
    version: int
    next: int
    intake: str | None
    read: Positions
    clock: int | None
    digests: list[str]


class Journal:
    """Reads the log, record by record; the same records give the same entries.

    ``next``: the offset after those read. ``intake``: whose records count. ``read``: up to where it was
    copied. ``clock``: the newest tick, ms. ``config``: what holds, and ``digests`` of all the routes that ever held.
    """

    def __init__(self) -> None:
        self.next = 0
        self.intake: str | None = None
        self.read: Positions = {}
        self.clock: int | None = None
        self.config: Config | None = None
        self.digests: list[str] = []

    def take(self, record: Record) -> Entry | Config | None:
        """What a record says to the fold of cases; None where that is nothing."""
        if record.offset < self.next:
            return None
        self.next = record.offset + 1
        headers = dict(record.headers)
        intake = headers.get("intake", b"").decode("ascii", "replace")
        if record.key == INTAKE_KEY:
            self.intake = intake
            return None
        if intake != self.intake or record.value is None:
            return None
        if record.key == CONFIG_KEY:
            self.config = Config.unpack(record.value)
            if self.config.digest in self.digests:
                self.digests.remove(self.config.digest)
            self.digests.append(self.config.digest)
            return self.config
        if record.key == BEGIN_KEY:
            self.read = msgspec.json.decode(record.value, type=Positions)
            return None
        if record.key == CLOCK_KEY and "read" in headers:
            return self._tick(record, headers)
        return self._copied(record, headers)

    def _tick(self, record: Record, headers: dict[str, bytes]) -> Entry | None:
        for topic, offsets in msgspec.json.decode(headers["read"], type=Positions).items():
            self.read[topic] = [max(pair) for pair in zip(offsets, self.read.get(topic, offsets), strict=True)]
        (time_ms, _), *_ = read_ticks(record.value)[0]
        if self.clock is not None and time_ms <= self.clock:
            return None
        self.clock = time_ms
        return Entry(record.offset, "tick", time_ms, taken=_taken(headers))

    def _copied(self, record: Record, headers: dict[str, bytes]) -> Entry | None:
        topic, partition, offset = headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])
        if topic in self.read:
            if offset < self.read[topic][partition]:  # a batch that was sent twice, since its answer got lost
                return None
            self.read[topic][partition] = offset + 1
        source = Source(topic, partition, offset)
        return Entry(record.offset, KINDS[topic], record.value or b"", source, _taken(headers))

    def checkpoint(self) -> bytes:
        """All but ``config``, which is large and rarely another."""
        row = _Row(_VERSION, self.next, self.intake, self.read, self.clock, self.digests)
        return msgspec.msgpack.encode(row)

    @classmethod
    def restore(cls, row: bytes, config: bytes | None) -> Journal:
        """From a checkpoint; RunError where it is not one that this version knows."""
        try:
            found = msgspec.msgpack.decode(row, type=_Row)
        except msgspec.DecodeError as error:
            raise RunError(
                f"the state of on-call cannot be read: {error}; is the prefix another pipeline's?"
            ) from error
        if found.version != _VERSION:
            raise RunError(f"the state of on-call has version {found.version}, this kapok reads {_VERSION}")
        journal = cls()
        journal.next, journal.intake, journal.read, journal.clock = found.next, found.intake, found.read, found.clock
        journal.config = None if config is None else Config.unpack(config)
        journal.digests = found.digests
        return journal


def _taken(headers: dict[str, bytes]) -> int | None:
    return int(headers["taken"]) if "taken" in headers else None
