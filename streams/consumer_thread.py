"""Faust's thread around the aiokafka consumer, without its waits, and with records that cost less."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from mode.threads import WorkerThread

from sensors.record import Record

log = logging.getLogger(__name__)

FETCH_MAX_WAIT_MS: Final = 20  # Faust: 1500; the embedded broker does not wake a waiting fetch
_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long


class _DaemonThread(WorkerThread):
    """A thread that does not keep a process alive that wants to end."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True


class _Records(fetcher.PartitionRecords):
    """A fetched partition, unpacked into light records: aiokafka takes twice as long over each of its own."""

    next_fetch_offset: int

    def __iter__(self) -> Any:
        return self._records_iterator

    def _unpack_records(self) -> Iterator[Record]:
        topic, partition = self._tp
        while self._records.has_next():
            batch = self._records.next_batch()
            if not batch.validate_crc():
                raise CorruptRecordException(f"{topic} partition {partition}: a batch with a wrong checksum")
            if not batch.is_control_batch:
                for one in batch:
                    offset = one.offset
                    if offset >= self.next_fetch_offset:  # a batch comes as a whole, wherever it is sought
                        self.next_fetch_offset = offset + 1
                        fields = topic, partition, offset, one.timestamp, one.key, one.value, tuple(one.headers)
                        yield _new(Record, fields)
            self.next_fetch_offset = batch.next_offset


class _Fetched(OrderedDict[TopicPartition, Any]):
    """aiokafka's fetched partitions, which become ``_Records`` as they come in."""

    def __setitem__(self, place: TopicPartition, result: Any) -> None:
        if isinstance(result, fetcher.FetchResult):
            records = result._partition_records
            records.__class__ = _Records
            records._records_iterator = records._unpack_records()
        super().__setitem__(place, result)


class ConsumerThread(stock.AIOKafkaConsumerThread):
    """Faust's thread around the aiokafka consumer, without its waits."""

    Worker = _DaemonThread

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        # Partition p of every topic to the same worker. Without tables Faust takes round robin, which
        # does not; Kafka's range assignment does for topics with the same number of partitions.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        # A fetched partition that nobody drains for a moment (paused, queue full) would hold up all
        # others by 0.1 s.
        fetching = self._ensure_consumer()._fetcher
        fetching._prefetch_backoff = 0.0
        fetching._records = _Fetched()

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
