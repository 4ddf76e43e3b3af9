"""Clock ticks, the only source of "now", and a capture laid out as the log that the topics would hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sensors import capture, senml
from sensors.capture import Line
from sensors.errors import InputError
from sensors.quantities import KINDS, topic
from sensors.record import Record, partition_of
from sensors.senml import CLOCK_NAME, Malformed, Reading, latest_time

CLOCK_KEY = CLOCK_NAME.encode()
MINUTE_MS = 60_000
_SKIPPED = ("readings.rejected", "alerts", "alerts.last", "actions", "state")


def tick(time_ms: int) -> bytes:
    """The pack of a clock tick."""
    seconds = f"{time_ms // 1000}" if time_ms % 1000 == 0 else f"{time_ms / 1000:.3f}"
    return b'[{"n":"@clock","t":' + seconds.encode() + b"}]"


def read_ticks(pack: bytes | None) -> tuple[list[tuple[int, Any]], bool]:
    """(time in ms, SenML record) of each tick in a record with the clock's key, and whether it holds anything else."""
    try:
        resolved = senml.resolve(senml.load(pack), clock=True)
    except Malformed:
        return [], True
    found = [(r.time_ms, entry) for entry, r in resolved if isinstance(r, Reading) and r.name == CLOCK_NAME]
    return found, len(found) < len(resolved)


class CaptureLog:
    """A capture as the log: iterating gives ``Record`` for each line and ``int`` (ms) for each tick it was given.

    A capture without ticks of its own gets one for every whole minute after the first line's time, to every
    partition of the four topics, before the first line whose time reaches that minute, and after the last line
    up to ``until_ms``. A line's time is its ``timestamp``, else the largest absolute time in its pack.

    A record's partition is that of its key; offsets count from 0 in each partition, ticks included, so they are
    the ones that the records get on fresh topics. ``own_ticks`` says whether the capture brings its ticks.
    """

    def __init__(
        self,
        source: str | Path | Iterable[Line],
        partitions: int,
        until_ms: int | None = None,
    ) -> None:
        self.partitions, self.until_ms = partitions, until_ms
        if isinstance(source, str | Path):
            self._lines: Iterable[Line] = capture.read(source)
            self.own_ticks = capture.contains(source, b'"@clock"') and _has_ticks(capture.read(source))
            self._file: str | Path | None = source
        else:
            lines = list(source)
            self._lines, self.own_ticks, self._file = lines, _has_ticks(lines), None
        self._topics = {topic(kind) for kind in KINDS}
        self._counters: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0])  # records so far, without ticks
        self._ticks = 0  # written so far to every partition
        self.latest_ms: int | None = None  # the capture's largest time so far

    def __iter__(self) -> Iterator[Record | int]:
        next_tick: int | None = None
        latest = self.latest_ms
        places: dict[tuple[str, str], tuple[bytes, int, list[int]]] = {}  # most keys come again and again
        for number, line in enumerate(self._lines, 1):
            name = line.topic
            if name not in self._topics:
                if name in _SKIPPED:
                    continue
                hint = f"replay takes {', '.join(sorted(self._topics))}"
                raise InputError(f"unknown topic {name!r}", file=self._file, line=number, hint=hint)
            value = bytes(line.value) or None if line.raw is None else line.payload()
            stamp = line.timestamp
            time = stamp if stamp is not None else latest_time(value, line.key == CLOCK_NAME)
            if time is not None:
                if not self.own_ticks:
                    if next_tick is None:
                        next_tick = (time // MINUTE_MS + 1) * MINUTE_MS
                    while next_tick <= time:
                        self._ticks += 1
                        yield next_tick
                        next_tick += MINUTE_MS
                if latest is None or time > latest:
                    self.latest_ms = latest = time
            if stamp is None:
                stamp = latest
            if line.key is None or line.key == CLOCK_NAME:
                yield from self._special(line, stamp, value)
                continue
            place = places.get((name, line.key))
            if place is None:
                key = line.key.encode()
                partition = partition_of(key, self.partitions)
                place = places[name, line.key] = key, partition, self._counters[name, partition]
            key, partition, counter = place
            yield Record(name, partition, counter[0] + self._ticks, stamp, key, value)
            counter[0] += 1
        if self.until_ms is not None and next_tick is not None:
            while next_tick <= self.until_ms:
                self._ticks += 1
                yield next_tick
                next_tick += MINUTE_MS

    def _special(self, line: Line, stamp: int | None, value: bytes | None) -> Iterator[Record]:
        """A record without a key, in the partition that it says; a tick, in that one or in all."""
        given = line.partition if line.partition is not None and 0 <= line.partition < self.partitions else None
        everywhere = line.key is not None and given is None
        for partition in range(self.partitions) if everywhere else (given or 0,):
            counter = self._counters[line.topic, partition]
            key = None if line.key is None else CLOCK_KEY
            yield Record(line.topic, partition, counter[0] + self._ticks, stamp, key, value)
            counter[0] += 1

    def ticks_to(self, time_ms: int) -> list[Record]:
        """The records of a tick that goes to every partition of the four topics."""
        before = self._ticks - 1
        return [
            Record(name, p, self._counters[name, p][0] + before, time_ms, CLOCK_KEY, tick(time_ms))
            for name in sorted(self._topics)
            for p in range(self.partitions)
        ]


def _has_ticks(lines: Iterable[Line]) -> bool:
    return any(line.key == CLOCK_NAME for line in lines)


def log(source: str | Path | Iterable[Line], partitions: int, until_ms: int | None = None) -> Iterator[Record]:
    """A capture as the records of all partitions, ticks included, in log order."""
    entries = CaptureLog(source, partitions, until_ms)
    for entry in entries:
        if isinstance(entry, int):
            yield from entries.ticks_to(entry)
        else:
            yield entry
