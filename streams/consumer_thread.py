"""Faust's thread around the aiokafka consumer, without its waits, and fetching ahead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from mode.threads import WorkerThread

from sensors.record import Record
from streams.fetch_sessions import fetch_in_sessions
from streams.pacing import paced
from streams.patience import patient
from streams.prefetch import Prefetched
from streams.reading import FETCH_MAX_WAIT_MS, wait_for_drain
from streams.tenure import Tenure

log = logging.getLogger(__name__)

_STOP_S: Final = 1.0
_DRAIN_S: Final = 0.005  # most are drained by then, and come along in the next fetch; not where the queue is full


class DaemonThread(WorkerThread):
    """A thread that does not keep a process alive that wants to end."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True

    def stop(self) -> None:
        """Waits a moment. Faust would wait without end, in the very loop that the thread waits for in a rebalance; the
        consumer has left its group by then.
        """
        self.is_stopped.wait(_STOP_S)


class ConsumerThread(stock.AIOKafkaConsumerThread):
    """Faust's thread around the aiokafka consumer, without its waits."""

    Worker = DaemonThread

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
        patient(consumer._client)
        fetch_in_sessions(consumer._client)
        wait_for_drain(consumer, _DRAIN_S)
        positions = cast(Any, self.app).positions
        consumer._fetcher._records = self._fetched = Prefetched(positions.look_ahead)
        paced(consumer._fetcher, lambda: self._fetched.came)
        self._arrival: asyncio.Future[None] | None = None  # in the main loop, where somebody waits
        self._listen()

    def _listen(self) -> None:
        """aiokafka tells those who wait after each answer that brought something, and what it cannot get over."""
        self._ensure_consumer()._fetcher._create_fetch_waiter().add_done_callback(self._heard)

    def _heard(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.cancelled() and (error := waiter.exception()):
            self._fetched.fail(cast(Exception, error))
        self._listen()
        self._tell()

    def _tell(self) -> None:
        if self._arrival is not None:
            self.parent_loop.call_soon_threadsafe(self._arrived)

    def _arrived(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _refill(self) -> None:
        fetching = self._ensure_consumer()._fetcher
        if self._fetched.refill():
            fetching._notify(fetching._wait_consume_future)
            self._tell()

    def look_again(self) -> None:
        """In the main loop: what is wanted may have changed."""
        self._arrived()

    async def fetched(self, wanted: Callable[[], Collection[TP]], timeout: float) -> dict[TP, Sequence[Record]]:
        """In the main loop: what has been fetched by now of the partitions that are wanted, or what comes first within
        ``timeout`` seconds.
        """
        consumer = self._ensure_consumer()
        if consumer._closed or consumer._fetcher._closed:
            raise ConsumerStoppedError
        loop, deadline = self.parent_loop, self.parent_loop.time() + timeout
        with consumer._subscription.fetch_context():
            while True:  # what tells of arrivals may come late, after they were taken
                self._arrival = arrival = loop.create_future()  # before it is looked for, lest none be told of it
                try:
                    taken = self._fetched.take(wanted())
                    if self._fetched.waiting:
                        self.thread_loop.call_soon_threadsafe(self._refill)
                    if taken or loop.time() >= deadline or not self.consumer.flow_active or consumer._fetcher._closed:
                        return taken
                    late = loop.call_at(deadline, self._arrived)
                    try:
                        await arrival
                    finally:
                        late.cancel()
                finally:
                    self._arrival = None

    async def seek_all(self, offsets: Mapping[TP, int]) -> None:
        """Seeks in the consumer's own thread; nothing that was fetched before is given any more. Partitions no longer
        assigned are passed over.
        """
        for tp in offsets:
            self._fetched.hold(tp)
        await self.call_thread(self._seek_all, dict(offsets))

    async def _seek_all(self, offsets: dict[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in offsets.items():
            self._fetched.release(tp)
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
