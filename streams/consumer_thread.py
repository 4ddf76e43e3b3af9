"""Faust's thread around the aiokafka consumer, without its waits, and with records that cost less."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from mode.threads import WorkerThread

from sensors.record import Integers, Record, Records
from streams.reading import FETCH_MAX_WAIT_MS, wait_for_drain
from streams.tenure import Tenure

try:
    from sensors._packs import kafka_records
except ImportError:

    def kafka_records(text: bytes, start: int, stop: int, offset: int) -> bytes | None:
        """Without it, records are unpacked one by one."""
        return None


log = logging.getLogger(__name__)

_PIECE: Final = 5000  # records
_DRAIN_S: Final = 0.005  # most are drained by then, and come along in the next fetch; not where the queue is full
_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long


class _DaemonThread(WorkerThread):
    """A thread that does not keep a process alive that wants to end."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True


class _Memory:
    """What was fetched of a partition: aiokafka's batches, and the bytes that they are made from."""

    def __init__(self, data: bytes) -> None:
        self.data, self._batches = data, MemoryRecords(data)
        self.has_next, self.next_batch = self._batches.has_next, self._batches.next_batch
        self.size_in_bytes = self._batches.size_in_bytes


fetcher.MemoryRecords = _Memory


class _Records(fetcher.PartitionRecords):
    """A fetched partition, unpacked as columns where its batches are plain, else into light records: aiokafka takes
    twice as long over each of its own.
    """

    next_fetch_offset: int
    _records: _Memory

    def start(self) -> None:
        self._pieces = self._unpack_pieces()
        self._left: Sequence[Record] = ()
        self._following = self.next_fetch_offset  # the offset after what was unpacked

    def take(self, most: int | None) -> Sequence[Record]:
        """The next records; fewer than asked for, or none, does not say that there are no more."""
        if not self._left:
            self._left = next(self._pieces, ())
        taken, self._left = self._left[:most], self._left[len(self._left) if most is None else most :]
        self.next_fetch_offset = taken[-1].offset + 1 if self._left else self._following
        return taken

    @property
    def more(self) -> bool:
        return bool(self._left) or self._records.has_next()

    def _unpack_pieces(self) -> Iterator[Sequence[Record]]:
        """Neighbouring batches that are plain together, and the others together up to the size of a run."""
        data, end = self._records.data, 0
        while self._records.has_next():
            begin, plain, batches = end, _plain(data, end), []
            records: list[Record] = []
            while self._records.has_next() and _plain(data, end) == plain and len(records) < _PIECE:
                batch = self._records.next_batch()
                if not batch.validate_crc():
                    raise CorruptRecordException(f"{self._tp.topic} partition {self._tp.partition}: a wrong checksum")
                end += 12 + int.from_bytes(data[end + 8 : end + 12], "big")
                batches.append(batch)
                if not plain and not batch.is_control_batch:
                    records += self._unpacked(batch)
            self._following = batches[-1].next_offset
            columns = kafka_records(data, begin, end, self.next_fetch_offset) if plain else b""
            if columns:
                yield self._as_columns(np.frombuffer(columns, np.int64).reshape(-1, 6))
            elif columns is None:
                yield [record for batch in batches for record in self._unpacked(batch)]
            else:
                yield records

    def _as_columns(self, rows: Integers) -> Records:
        same = np.zeros(len(rows), np.int64)
        return Records(
            (self._tp.topic,),
            self._records.data,
            same,
            same + self._tp.partition,
            rows[:, 0],
            rows[:, 1],
            rows[:, 2:],
            framed=True,
        )

    def _unpacked(self, batch: Any) -> Iterator[Record]:
        topic, partition = self._tp
        for one in batch:
            if one.offset >= self.next_fetch_offset:  # a batch comes as a whole, wherever it is sought
                fields = topic, partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers)
                yield _new(Record, fields)


def _plain(data: bytes, at: int) -> bool:
    """Whether the batch there is of magic 2, not compressed, and not a transaction's marker."""
    return data[at + 16] == 2 and not data[at + 22] & 0b100111


def _getall(result: Any, max_records: int | None = None) -> Sequence[Record]:
    """FetchResult.getall, but by pieces."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    records: _Records = result._partition_records
    taken = records.take(max_records)
    result._update_position()
    if not records.more:
        result._partition_records = None
    return taken


class _Fetched(OrderedDict[TopicPartition, Any]):
    """aiokafka's fetched partitions, which become ``_Records`` as they come in."""

    def __setitem__(self, place: TopicPartition, result: Any) -> None:
        if isinstance(result, fetcher.FetchResult):
            result._partition_records.__class__ = _Records
            result._partition_records.start()
            result.getall = partial(_getall, result)
        super().__setitem__(place, result)


class ConsumerThread(stock.AIOKafkaConsumerThread):
    """Faust's thread around the aiokafka consumer, without its waits."""

    Worker = _DaemonThread

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # Faust: 1500
        # Partition p of every topic to the same worker. Without tables Faust takes round robin, which
        # does not; Kafka's range assignment does for topics with the same number of partitions.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        wait_for_drain(consumer, _DRAIN_S)
        consumer._fetcher._records = _Fetched()

    async def seek_all(self, offsets: Mapping[TP, int]) -> None:
        """Seeks in the consumer's own thread; partitions no longer assigned are passed over."""
        await self.call_thread(self._seek_all, dict(offsets))

    async def _seek_all(self, offsets: dict[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in offsets.items():
            if tp in assigned:
                consumer.seek(tp, offset)

    def positions(self) -> dict[TP, int]:
        """The offsets that will be fetched next."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription else None
        if assignment is None:
            return {}
        states = {TP(tp.topic, tp.partition): assignment.state_value(tp) for tp in assignment.tps}
        return {tp: state.position for tp, state in states.items() if state.has_valid_position}

    def tenure(self) -> Tenure:
        """The member's name and the generation, as the group's coordinator last told them."""
        coordinator = self._ensure_consumer()._coordinator
        return Tenure(coordinator.member_id, coordinator.generation)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Committed offsets are for those who watch the lag: failing to write them is no reason to stop.
        tps = {stock.ensure_aiokafka_TP(tp): offset for tp, offset in offsets.items() if tp in self.assignment()}
        try:
            await self._ensure_consumer().commit(tps)
        except Exception as error:
            log.info("offsets were not committed: %r", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's own stall detection knows nothing of runs; the worker has a watchdog."""
