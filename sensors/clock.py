"""Clock ticks, the only source of "now", and a capture laid out as the log that the topics would hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sensors import capture, senml
from sensors.announcement import RULES_KEY, RULES_NAME, announced
from sensors.capture import Line
from sensors.errors import InputError
from sensors.quantities import KINDS, topic
from sensors.record import Integers, Record, Records, partition_of
from sensors.senml import CLOCK_NAME, Malformed, Reading, latest_time

try:
    from sensors._packs import capture_lines
except ImportError:

    def capture_lines(text: bytes, start: int, topics: tuple[bytes, ...], partitions: int) -> tuple[int, bytes]:
        """Without it, lines are read one by one."""
        return start, b""


CLOCK_KEY = CLOCK_NAME.encode()
MINUTE_MS = 60_000
_ONCALL = ("oncall.log", "oncall.state", "cases", "cases.last", "notifications", "receipts")
_ARCHIVE = ("archive.state", "archive.rejected")
_SKIPPED = ("readings.rejected", "alerts", "alerts.last", "actions", "state", "rules", *_ONCALL, *_ARCHIVE)


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


class Piece:
    """A part of the log: records in order, and ``ticks``, each the number of records before it and the times of the
    ticks there, in ms. A tick goes to every partition of the four topics.
    """

    def __init__(self, records: Sequence[Record], ticks: list[tuple[int, range]]) -> None:
        self.records, self.ticks = records, ticks

    def of(self, name: str) -> Sequence[Record]:
        """The records of one topic, and the ticks among them as partition 0 has them.

        Of ticks with no record of the topic between them there are the first and the last: those between make
        nothing due that the last does not, at the same times.
        """
        records = self.records
        if isinstance(records, Records):
            rows = np.flatnonzero(records.topic == records.topics.index(name))
        else:
            rows = np.array([row for row, record in enumerate(records) if record.topic == name], np.intp)
        found: dict[int, list[int]] = {}  # number of the topic's records before: times
        for before, times in self.ticks:
            here = found.setdefault(int(np.searchsorted(rows, before)), [times[0]])
            here[1:] = [times[-1]] if times[-1] > here[0] else []
        ticks = [(at, time) for at, times in found.items() for time in times]
        if isinstance(records, Records):
            text, spans = self._tick_texts
            columns = [time for _, time in ticks], [spans[time] for _, time in ticks]
            return records.take(rows).insert([at for at, _ in ticks], text, *columns)
        merged: list[Record] = []
        start = 0
        for at, time in ticks:
            merged += [records[row] for row in rows[start:at].tolist()]
            merged.append(Record(name, 0, -1, time, CLOCK_KEY, tick(time)))
            start = at
        return merged + [records[row] for row in rows[start:].tolist()]

    @cached_property
    def _tick_texts(self) -> tuple[bytes, dict[int, list[int]]]:
        """The records' text with the keys and packs of ticks after it, and where those of each time are."""
        assert isinstance(self.records, Records)
        parts, at = [self.records.text, CLOCK_KEY], len(self.records.text)
        spans, end = {}, at + len(CLOCK_KEY)
        for time in {time for _, times in self.ticks for time in (times[0], times[-1])}:
            parts.append(tick(time))
            spans[time] = [at, len(CLOCK_KEY), end, len(parts[-1])]
            end += len(parts[-1])
        return b"".join(parts), spans


class CaptureLog:
    """A capture as the log, in pieces.

    A capture without ticks of its own gets one for every whole minute after the first line's time, to every
    partition of the four topics, before the first line whose time reaches that minute, and after the last line
    up to ``until_ms``. A line's time is its ``timestamp``, else the largest absolute time in its pack.

    A record's partition is that of its key; offsets count from 0 in each partition, ticks included, so they are
    the ones that the records get on fresh topics. ``own_ticks`` says whether the capture brings its ticks.
    ``changes``: whether announcements of new rules are part of the log; else they are left out.
    """

    def __init__(
        self,
        source: str | Path | Iterable[Line],
        partitions: int,
        until_ms: int | None = None,
        changes: bool = False,
    ) -> None:
        self.partitions, self.until_ms, self._changes = partitions, until_ms, changes
        self._file = source if isinstance(source, str | Path) else None
        if isinstance(source, str | Path):
            self.own_ticks = brings_ticks(source)
        else:
            self._lines = list(source)
            self.own_ticks = _has_ticks(self._lines)
        self._topics = tuple(topic(kind) for kind in KINDS)
        self._number = {name: number for number, name in enumerate(self._topics)}
        # records so far in each partition of each topic, without ticks
        self._counts = np.zeros(len(self._topics) * partitions, np.int64)
        self._ticks = 0  # written so far to every partition
        self._next_tick: int | None = None
        self.latest_ms: int | None = None  # the capture's largest time so far

    def pieces(self) -> Iterator[Piece]:
        """The log, piece by piece; InputError where a line is broken or of an unknown topic."""
        if self._file is None:
            yield self._of_lines(enumerate(self._lines, 1))
        else:
            for first, text in capture.blocks(self._file):
                yield from self._of_block(first, text, self._file)
        if self.until_ms is not None and self._next_tick is not None:
            yield Piece([], self._ticks_to(0, self.until_ms))

    def records(self) -> Iterator[Record]:
        """The records of all partitions, ticks included, in log order."""
        following = dict.fromkeys(((name, p) for name in sorted(self._topics) for p in range(self.partitions)), 0)
        for piece in self.pieces():
            ticks = iter([*piece.ticks, (len(piece.records), range(0))])
            before, times = next(ticks)
            for number, record in enumerate([*piece.records, None]):
                while number == before:
                    for time in times:
                        for (name, p), offset in following.items():
                            yield Record(name, p, offset, time, CLOCK_KEY, tick(time))
                            following[name, p] += 1
                    before, times = next(ticks, (-1, range(0)))
                if record is not None:
                    yield record
                    following[record.topic, record.partition] = record.offset + 1

    def _of_block(self, first: int, text: bytes, file: str | Path) -> Iterator[Piece]:
        """The pieces of a block of whole lines: those of usual lines, and in between the others, one by one."""
        topics = tuple(name.encode() for name in self._topics)
        at, slow = 0, 1
        while at < len(text):
            begin, columns = capture_lines(text, at, topics, self.partitions)
            if columns:
                first += len(columns) // 64
                slow = 1
                yield self._of_columns(text, np.frombuffer(columns, np.int64).reshape(-1, 8))
            end = begin
            for _ in range(slow):
                end = text.find(b"\n", end) + 1 or len(text)
            if end > begin:
                yield self._of_lines(capture.lines(text[begin:end], first, file))
            first += slow
            at, slow = end, min(2 * slow, 1024)

    def _of_columns(self, text: bytes, columns: Integers) -> Piece:
        """The records of lines that were read as columns, see ``capture_lines``."""
        number, partition, stamp, time = columns[:, :4].T
        latest = np.maximum.accumulate(time)
        if self.latest_ms is not None:
            latest = np.maximum(latest, self.latest_ms)
        place = number * self.partitions + partition
        order = np.argsort(place, kind="stable")
        sizes = np.bincount(place, minlength=len(self._counts))
        offset = np.empty_like(place)
        offset[order] = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes - self._counts, sizes)
        self._counts += sizes
        ticks: list[tuple[int, range]] = []
        offset += self._ticks
        timed = np.flatnonzero(latest >= 0)
        while len(timed) and not self.own_ticks:
            before = int(timed[0]) if self._next_tick is None else int(np.searchsorted(latest, self._next_tick))
            if before == len(latest):
                break
            ticks += (added := self._ticks_to(before, int(latest[before])))
            offset[before:] += sum(len(times) for _, times in added)
        if len(timed):
            self.latest_ms = int(latest[-1])
        return Piece(
            Records(self._topics, text, number, partition, offset, np.where(stamp < 0, latest, stamp), columns[:, 4:]),
            ticks,
        )

    def _of_lines(self, lines: Iterable[tuple[int, Line]]) -> Piece:
        """The records of lines, one by one."""
        records: list[Record] = []
        ticks: list[tuple[int, range]] = []
        for number, line in lines:
            if line.topic not in self._number:
                if line.topic in _SKIPPED:
                    continue
                hint = f"replay takes {', '.join(sorted(self._topics))}"
                raise InputError(f"unknown topic {line.topic!r}", file=self._file, line=number, hint=hint)
            value = line.payload()
            time = line.timestamp if line.timestamp is not None else latest_time(value, line.key == CLOCK_NAME)
            if time is not None:
                ticks += self._ticks_to(len(records), time)
                self.latest_ms = time if self.latest_ms is None else max(self.latest_ms, time)
            stamp = self.latest_ms if line.timestamp is None else line.timestamp
            for partition in self._partitions_of(line, value):
                place = self._number[line.topic] * self.partitions + partition
                offset = int(self._counts[place]) + self._ticks
                key = None if line.key is None else line.key.encode()
                records.append(Record(line.topic, partition, offset, stamp, key, value, line.record_headers()))
                self._counts[place] += 1
        return Piece(records, ticks)

    def _ticks_to(self, before: int, time: int) -> list[tuple[int, range]]:
        """The ticks that are due before a line of this time, the first of which comes after the first line's."""
        if self.own_ticks:
            return []
        if self._next_tick is None:
            self._next_tick = (time // MINUTE_MS + 1) * MINUTE_MS
        times = range(self._next_tick, time + 1, MINUTE_MS)
        self._next_tick += len(times) * MINUTE_MS
        self._ticks += len(times)
        return [(before, times)] if times else []

    def _partitions_of(self, line: Line, value: bytes | None) -> Iterable[int]:
        """That of its key; without a key the one that it says; of a tick or an announcement that one or all."""
        given = line.partition if line.partition is not None and 0 <= line.partition < self.partitions else None
        if line.key is None:
            return (given or 0,)
        told = line.key == CLOCK_NAME
        if line.key == RULES_NAME and announced(Record(line.topic, 0, 0, None, RULES_KEY, value)):
            if not self._changes:
                return ()
            told = True
        if told:
            return range(self.partitions) if given is None else (given,)
        return (partition_of(line.key.encode(), self.partitions),)


def brings_ticks(file: str | Path) -> bool:
    """Whether a capture has ticks of its own."""
    return capture.contains(file, b'"@clock"') and _has_ticks(capture.read(file))


def _has_ticks(lines: Iterable[Line]) -> bool:
    return any(line.key == CLOCK_NAME for line in lines)


def log(
    source: str | Path | Iterable[Line], partitions: int, until_ms: int | None = None, changes: bool = False
) -> Iterator[Record]:
    """A capture as the records of all partitions, ticks included, in log order."""
    return CaptureLog(source, partitions, until_ms, changes).records()
