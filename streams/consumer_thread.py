"""Faust's thread around the aiokafka consumer, without its waits, and fetching ahead."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final, cast

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from mode.threads import WorkerThread

from streams.prefetch import Prefetched
from streams.reading import FETCH_MAX_WAIT_MS, wait_for_drain
from streams.tenure import Tenure

log = logging.getLogger(__name__)

_DRAIN_S: Final = 0.005  # most are drained by then, and come along in the next fetch; not where the queue is full


class _DaemonThread(WorkerThread):
    """A thread that does not keep a process alive that wants to end."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True


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
        positions = cast(Any, self.app).positions
        consumer._fetcher._records = self._fetched = Prefetched(positions.look_ahead)

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> dict[TP, Any]:
        """What has been fetched of these partitions by now; where that is nothing, what comes first."""
        fetching, deadline = consumer._fetcher, time.monotonic() + (timeout or 0)
        with fetching._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if consumer._closed or fetching._closed:
                    raise ConsumerStoppedError
                if fetching._subscriptions.reassignment_in_progress:
                    await fetching._subscriptions.wait_for_assignment()
                taken = self._fetched.take(active_partitions)
                fetching._notify(fetching._wait_consume_future)
                if taken or (left := deadline - time.monotonic()) <= 0:
                    return taken
                waiter = fetching._create_fetch_waiter()
                await asyncio.wait([waiter], timeout=left)
                if waiter.done():
                    waiter.result()  # may say that something is not allowed
                else:
                    waiter.cancel()
        return {}

    async def seek_all(self, offsets: Mapping[TP, int]) -> None:
        """Seeks in the consumer's own thread; partitions no longer assigned are passed over."""
        await self.call_thread(self._seek_all, dict(offsets))

    async def _seek_all(self, offsets: dict[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in offsets.items():
            if tp in assigned:
                self._fetched.forget(tp)
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
