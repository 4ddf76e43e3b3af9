"""Clock ticks, the only source of "now", and a capture laid out as the log that the topics would hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from sensors import capture
from sensors.capture import Line
from sensors.errors import InputError
from sensors.quantities import KINDS, topic
from sensors.record import Record, partition_of
from sensors.senml import latest_time

CLOCK_KEY = b"@clock"
MINUTE_MS = 60_000
_SKIPPED = ("readings.rejected", "alerts", "alerts.last", "actions", "state")


def tick(time_ms: int) -> bytes:
    """The pack of a clock tick."""
    seconds = f"{time_ms // 1000}" if time_ms % 1000 == 0 else f"{time_ms / 1000:.3f}"
    return b'[{"n":"@clock","t":' + seconds.encode() + b"}]"


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
            self.own_ticks = capture.contains(source, b'"@clock"')
            self._file: str | Path | None = source
        else:
            lines = list(source)
            self._lines, self.own_ticks, self._file = lines, any(n.key == "@clock" for n in lines), None
        self._kinds = {topic(kind): kind for kind in KINDS}
        self._next_offset: dict[tuple[str, int], int] = defaultdict(int)
        self._ticks = 0  # written so far to every partition
        self.latest_ms: int | None = None  # the capture's largest time so far

    def __iter__(self) -> Iterator[Record | int]:
        next_tick: int | None = None
        for number, line in enumerate(self._lines, 1):
            if line.topic not in self._kinds:
                if line.topic in _SKIPPED:
                    continue
                hint = f"replay takes {', '.join(self._kinds)}"
                raise InputError(f"unknown topic {line.topic!r}", file=self._file, line=number, hint=hint)
            value = line.payload()
            time = line.timestamp if line.timestamp is not None else latest_time(value)
            if time is not None:
                if not self.own_ticks:
                    if next_tick is None:
                        next_tick = (time // MINUTE_MS + 1) * MINUTE_MS
                    while next_tick <= time:
                        yield self._tick(next_tick)
                        next_tick += MINUTE_MS
                self.latest_ms = time if self.latest_ms is None else max(self.latest_ms, time)
            timestamp = line.timestamp if line.timestamp is not None else self.latest_ms
            key = None if line.key is None else line.key.encode()
            for partition in self._partitions_of(line, key):
                yield Record(
                    line.topic, partition, self._offset(line.topic, partition), timestamp, key, value
                )
        if self.until_ms is not None and next_tick is not None:
            while next_tick <= self.until_ms:
                yield self._tick(next_tick)
                next_tick += MINUTE_MS

    def ticks_to(self, time_ms: int) -> list[Record]:
        """The records of a tick that goes to every partition of the four topics."""
        offset = self._ticks - 1
        return [
            Record(name, p, self._next_offset[name, p] + offset, time_ms, CLOCK_KEY, tick(time_ms))
            for name in self._kinds
            for p in range(self.partitions)
        ]

    def _tick(self, time_ms: int) -> int:
        self._ticks += 1
        return time_ms

    def _offset(self, name: str, partition: int) -> int:
        offset = self._next_offset[name, partition]
        self._next_offset[name, partition] = offset + 1
        return offset + self._ticks

    def _partitions_of(self, line: Line, key: bytes | None) -> Iterable[int]:
        given = (
            line.partition if line.partition is not None and 0 <= line.partition < self.partitions else None
        )
        if key == CLOCK_KEY:
            return range(self.partitions) if given is None else (given,)
        return (given or 0,) if key is None else (partition_of(key, self.partitions),)


def log(
    source: str | Path | Iterable[Line], partitions: int, until_ms: int | None = None
) -> Iterator[Record]:
    """A capture as the records of all partitions, ticks included, in log order."""
    entries = CaptureLog(source, partitions, until_ms)
    for entry in entries:
        if isinstance(entry, int):
            yield from entries.ticks_to(entry)
        else:
            yield entry
