"""What is fetched comes to the folds in order and without holes, however fetches and folds take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState
from aiokafka.errors import CorruptRecordException, GroupAuthorizationFailedError, OffsetOutOfRangeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from sensors.record import Record
from streams.consumer_thread import ConsumerThread
from streams.prefetch import Prefetched

PLACE = TopicPartition("readings.flood", 3)
PLAIN, GZIP = 0, 1


def batch(begin: int, count: int, codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    for number in range(count):
        builder.append(number, timestamp=begin + number, key=b"TH-03", value=b"%d" % (begin + number), headers=[])
    made = builder.build()
    made[:8] = begin.to_bytes(8, "big")  # as a broker does
    return bytes(made)


class Log:
    """A partition in batches of so many records, and where its reader stands."""

    def __init__(self, batches: Sequence[tuple[int, int]], begin: int = 0) -> None:
        edges = [0]
        for count, _ in batches:
            edges.append(edges[-1] + count)
        self.end = edges[-1]
        self.batches = [
            (a, b, batch(a, b - a, codec)) for (a, b), (_, codec) in zip(pairwise(edges), batches, strict=True)
        ]
        self.shown: list[Record] = []
        self.fetched = Prefetched(lambda place, records: self.shown.extend(records))
        self.assignment = Assignment({PLACE})
        self.state = self.assignment.state_value(PLACE)
        self.state.reset_to(begin)

    def fetch(self, most: int) -> None:
        """As aiokafka does: from the position on, unless something of the partition waits; ``most`` batches."""
        position = self.state.position
        found = b"".join([data for _, end, data in self.batches if end > position][:most])
        if PLACE not in self.fetched and found:
            records = fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(found), [], position, None, None, True, 0)
            self.fetched[PLACE] = fetcher.FetchResult(
                PLACE, assignment=self.assignment, partition_records=records, backoff=0
            )

    def take(self) -> list[int]:
        """As the worker does: what is there, and then what waited takes its place."""
        taken = [record.offset for record in self.fetched.take({PLACE}).get(PLACE, ())]
        self.fetched.refill()
        return taken

    def rest(self) -> list[int]:
        found: list[int] = []
        while taken := self.take():
            found += taken
        return found


@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([PLAIN, GZIP])), min_size=1, max_size=12),
    st.integers(0, 60),
    st.lists(st.integers(0, 4), max_size=30),
)
async def test_all_comes_once_and_in_order(batches: list[tuple[int, int]], begin: int, turns: list[int]) -> None:
    """0 takes what there is, any other number fetches so many batches; a fetch may begin within a batch."""
    log = Log(batches, begin := begin % sum(count for count, _ in batches))
    found: list[int] = []
    for turn in turns:
        if turn:
            log.fetch(turn)
        else:
            found += log.take()
    while log.state.position < log.end or PLACE in log.fetched:
        log.fetch(3)
        found += log.take()
    found += log.rest()
    assert found == list(range(begin, log.end))
    assert [(one.offset, one.key, one.value) for one in log.shown] == [(n, b"TH-03", b"%d" % n) for n in found]


async def test_two_fetches_are_ahead_and_no_third() -> None:
    log = Log([(10, PLAIN)] * 4)
    for expected in (10, 10, 10):  # the second waits behind the shelf, so its position is not passed yet
        log.fetch(1)
        assert log.state.position == expected
    assert log.take() == list(range(10))
    assert log.state.position == 20


async def test_what_was_fetched_before_a_seek_is_not_given() -> None:
    log = Log([(10, PLAIN)] * 3)
    log.fetch(1)
    log.fetch(1)
    log.fetched.hold(PLACE)
    assert log.take() == []
    log.fetch(1)
    assert log.take() == []
    log.fetched.release(PLACE)
    log.state.seek(5)
    assert log.take() == []
    log.fetch(1)
    assert log.take() == list(range(5, 10))


async def test_nothing_is_given_of_an_assignment_that_is_over() -> None:
    log = Log([(10, PLAIN)])
    log.fetch(1)
    log.assignment._unassign()
    assert log.take() == []


async def test_other_partitions_stay_where_they_are() -> None:
    log = Log([(10, PLAIN)])
    log.fetch(1)
    assert log.fetched.take({TopicPartition("readings.rain", 3)}) == {}
    assert log.take() == list(range(10))


async def test_a_wrong_checksum_is_told_after_what_came_before_it() -> None:
    log = Log([(3, GZIP), (3, PLAIN)])
    begin, end, data = log.batches[1]
    log.batches[1] = begin, end, data[:-1] + b"x"
    log.fetch(2)
    assert log.take() == [0, 1, 2]
    with pytest.raises(CorruptRecordException):
        log.take()


def failing() -> Log:
    """What the broker said of a partition waits to be raised."""
    log = Log([(3, PLAIN)])
    log.fetched[PLACE] = fetcher.FetchError(error=OffsetOutOfRangeError({PLACE: 9}), backoff=0)
    return log


async def test_what_went_wrong_is_raised_and_the_partition_is_fetched_again() -> None:
    log = failing()
    with pytest.raises(OffsetOutOfRangeError):
        log.take()
    log.fetched.refill()
    log.fetch(1)
    assert log.take() == [0, 1, 2]


async def test_what_went_wrong_with_a_partition_that_was_dropped_is_over() -> None:
    """Else a worker would end for what is another's, or was before it sought something else."""
    log = failing()
    log.fetched.clear()  # as aiokafka does when an assignment is over
    assert log.take() == []
    log = failing()
    log.fetched.hold(PLACE)
    log.fetched[PLACE] = fetcher.FetchError(error=OffsetOutOfRangeError({PLACE: 9}), backoff=0)  # was under way
    log.fetched.release(PLACE)
    assert log.take() == []


async def test_what_went_wrong_with_a_partition_waits_until_it_is_wanted() -> None:
    log = failing()
    assert log.fetched.take({TopicPartition("readings.rain", 3)}) == {}
    with pytest.raises(OffsetOutOfRangeError):
        log.take()


async def test_what_is_no_partitions_alone_is_raised_whatever_was_dropped() -> None:
    log = failing()
    log.fetched.fail(GroupAuthorizationFailedError("workers"))
    log.fetched.clear()
    log.fetched.hold(PLACE)
    with pytest.raises(GroupAuthorizationFailedError):
        log.take()


class Reader(ConsumerThread):
    """What a worker's main loop has of the consumer's thread, over a log, in one loop."""

    def __init__(self, log: Log) -> None:
        self.parent_loop = self.thread_loop = asyncio.get_running_loop()
        self._fetched, self._arrival, self.consumer = log.fetched, None, SimpleNamespace(flow_active=True)
        fetching = SimpleNamespace(_closed=False, _notify=lambda _: None, _wait_consume_future=None)
        self._aiokafka = SimpleNamespace(_closed=False, _fetcher=fetching, _subscription=SubscriptionState())

    def _ensure_consumer(self) -> Any:
        return self._aiokafka


async def test_a_wait_is_not_ended_by_word_of_what_was_taken_before() -> None:
    """Else it would look as if nothing more came, and what is still to be folded as if it were lost."""
    log = Log([(10, PLAIN)] * 2)
    reader = Reader(log)
    waits = asyncio.create_task(reader.fetched(lambda: {PLACE}, 60))
    for _ in range(3):
        await asyncio.sleep(0)
        reader._tell()
    assert not waits.done()
    log.fetch(1)
    reader._tell()
    assert [record.offset for record in (await waits)[PLACE]] == list(range(10))
    assert await reader.fetched(lambda: {PLACE}, 0.001) == {}


async def test_what_waits_is_not_left_waiting_where_the_shelf_was_emptied_as_it_came() -> None:
    log = Log([(10, PLAIN)] * 2)
    reader = Reader(log)
    log.fetch(1)
    log.fetch(1)
    log.fetched.take({PLACE})
    assert [record.offset for record in (await reader.fetched(lambda: {PLACE}, 60))[PLACE]] == list(range(10, 20))


async def test_what_nobody_reads_keeps_nobody_awake() -> None:
    """A partition that is paused has something on the shelf, and more that waits behind it."""
    log = Log([(10, PLAIN)] * 2)
    reader, told = Reader(log), []
    reader._arrived = lambda: told.append(1)  # type: ignore[method-assign]
    log.fetch(1)
    log.fetch(1)
    waits = asyncio.create_task(reader.fetched(lambda: {TopicPartition("readings.rain", 3)}, 60))
    for _ in range(20):
        await asyncio.sleep(0)
    waits.cancel()
    assert not told
