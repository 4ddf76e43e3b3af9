"""The order of on-call: whoever writes the log, each record counts once; and no tick overtakes what lies before it."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from alerts.cases.entry import Entry
from sensors.clock import CLOCK_KEY, tick
from sensors.errors import RunError
from sensors.record import Record
from streams.oncall import journal
from streams.oncall.intake import LEFT_OUT_MS, Clock
from streams.oncall.journal import Config, Copy, Journal, Positions

START_MS = 1_714_800_000_000
CONFIG = Config(0, msgspec.Raw(b'{"routes":{}}'))


class Log:
    """A partition that anybody writes to, with offsets that have holes as those of transactions have."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, copies: list[Copy]) -> None:
        for key, value, headers in copies:
            self.records.append(Record("oncall.log", 0, len(self.records) * 2, 0, key, value, tuple(headers)))

    def read(self, reading: Journal) -> list[Entry]:
        found = [reading.take(record) for record in self.records]
        return [entry for entry in found if isinstance(entry, Entry)]


class Writer:
    """An intake over sources in memory; ``lost`` answers have it write a batch twice."""

    def __init__(self, name: str, log: Log, sources: dict[str, list[list[Record]]]) -> None:
        self.name, self._log, self._sources = name, log, sources
        log.append([journal.claim(name)])
        known = Journal()
        log.read(known)
        self.read: Positions = {t: list(known.read.get(t, [0] * len(of))) for t, of in sources.items()}
        if known.config is None:
            log.append([journal.config(name, CONFIG), journal.begin(name, self.read)])

    def write(self, rng: Random) -> None:
        topic = rng.choice(sorted(self._sources))
        partition = rng.randrange(len(self._sources[topic]))
        at = self.read[topic][partition]
        batch = self._sources[topic][partition][at : at + rng.randint(1, 4)]
        copies = [journal.copy(self.name, topic, record, START_MS) for record in batch]
        self.read[topic][partition] += len(batch)
        if rng.random() < 0.2:
            now = START_MS + rng.randrange(10_000)
            copies.append(journal.clock(self.name, tick(now), self.read, now))
        for _ in range(rng.choice([1, 1, 2])):
            self._log.append(copies)


def sources(partitions: int, each: int) -> dict[str, list[list[Record]]]:
    return {
        topic: [
            [Record(topic, p, offset, 0, b"k", f"{topic}/{p}/{offset}".encode()) for offset in range(each)]
            for p in range(partitions)
        ]
        for topic in journal.SOURCES
    }


@given(st.integers(0, 10**9))
def test_each_record_counts_once_whoever_writes(seed: int) -> None:
    """Intakes take turns, without knowing that they have been replaced, and batches come twice."""
    rng, log, made = Random(seed), Log(), sources(partitions=2, each=6)
    writers = [Writer("0", log, made)]
    for number in range(rng.randint(20, 60)):
        if rng.random() < 0.1:
            writers.append(Writer(f"w{number}", log, made))
        rng.choice(writers[-3:]).write(rng)  # some of them were cut off long ago
    while any(at < 6 for of in writers[-1].read.values() for at in of):
        writers[-1].write(rng)
    whole = log.read(Journal())
    found = [entry.source for entry in whole if entry.source is not None]
    assert len(found) == len(set(found)) == 3 * 2 * 6
    for topic in journal.SOURCES:
        for partition in range(2):
            offsets = [s.offset for s in found if (s.topic, s.partition) == (topic, partition)]
            assert offsets == list(range(6))
    ticks = [entry.value for entry in whole if entry.kind == "tick"]
    assert ticks == sorted(set(ticks))

    # Read in two halves, with a checkpoint between them, it is the same.
    middle, first = rng.randrange(len(log.records)), Journal()
    before = [first.take(record) for record in log.records[:middle]]
    config = None if first.config is None else first.config.pack()
    second = Journal.restore(first.checkpoint(), config)
    after = log.read(second)
    assert [entry for entry in before if isinstance(entry, Entry)] + after == whole


def test_state_of_another_version_is_refused() -> None:
    with pytest.raises(RunError, match="version 2"):
        Journal.restore(Journal().checkpoint().replace(b"\xa7version\x01", b"\xa7version\x02"), None)
    with pytest.raises(RunError, match="cannot be read"):
        Journal.restore(b"{}", None)


def test_what_others_write_there_does_not_count() -> None:
    log = Log()
    writer = Writer("me", log, sources(1, 1))
    log.append([Copy(b"k", b"v", []), Copy(CLOCK_KEY, tick(1000), []), Copy(b"k", None, [("intake", b"me")])])
    writer.write(Random(1))
    assert {entry.kind for entry in log.read(Journal())} <= {"alert", "action", "receipt", "tick"}
    assert len([entry for entry in log.read(Journal()) if entry.source]) == 1


A, B = TopicPartition("alerts", 0), TopicPartition("actions", 1)


def test_the_clock_is_that_of_the_slowest_partition() -> None:
    clock = Clock([A, B], None)
    assert clock.advance(lambda _: True) is None
    clock.heard(A, 1000)
    assert clock.advance(lambda _: True) == 1000
    clock.heard(A, 3000)
    assert clock.advance(lambda _: True) is None  # an answer before 3000 may lie in B
    clock.heard(B, 2000)
    assert clock.advance(lambda _: True) == 2000
    clock.heard(A, 2500)
    assert clock.advance(lambda _: True) is None


def test_a_partition_that_stands_still_stops_no_escalation_but_one_that_is_behind_is_waited_for() -> None:
    clock = Clock([A, B], 1000)
    clock.heard(A, 1000 + LEFT_OUT_MS)
    assert clock.advance(lambda _: True) is None
    clock.heard(A, 1001 + LEFT_OUT_MS)
    assert clock.advance(lambda place: place == A) is None  # B has more to read: an answer may be in it
    assert clock.advance(lambda _: True) == 1001 + LEFT_OUT_MS
    clock.heard(B, 5000)
    assert clock.advance(lambda _: True) is None
