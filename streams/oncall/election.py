"""Which of the processes is the one that works: the one to which the group's coordinator gives partition 0."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from sensors.connection import connection
from streams import topics

SESSION_S, _USUAL_SESSION_S = 2.0, 6.0  # one that dies is missed after this; the broker has the last word
_STOP_S = 5.0


class Election(ConsumerRebalanceListener):
    """``elected`` is set while this process is the one. During a rebalance it stays as it was: what a process does
    that is no longer elected does not count, so there is no hurry, and a standby that joins stops nobody.
    """

    def __init__(self) -> None:
        self.elected, self.not_elected = asyncio.Event(), asyncio.Event()
        self.joined = False
        self._consumer: AIOKafkaConsumer | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        places = list(assigned)
        self.joined = True
        if self._consumer is not None and places:
            self._consumer.pause(*places)  # it is only about who has it
        mine = any(place.partition == 0 for place in places)
        (self.elected if mine else self.not_elected).set()
        (self.not_elected if mine else self.elected).clear()

    async def keep(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled shows the group that somebody is there."""
        while True:
            await consumer.getmany(timeout_ms=1000)


@contextlib.asynccontextmanager
async def standing(broker: str, prefix: str) -> AsyncIterator[Election]:
    """Stands for election until the end of the block."""
    session_ms = await topics.shortest_session_ms(broker, int(SESSION_S * 1000), int(_USUAL_SESSION_S * 1000))
    election = Election()
    consumer = election._consumer = AIOKafkaConsumer(
        **connection(broker),
        group_id=f"{prefix}kapok-oncall",
        # Partition 0 goes to the first by name: the one that was there first keeps it when another joins.
        client_id=f"{time.time_ns() // 1_000_000:014d}",
        partition_assignment_strategy=(RangePartitionAssignor,),
        enable_auto_commit=False,
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 10,
    )
    consumer.subscribe([prefix + topics.ONCALL_LOG], listener=election)
    try:
        await consumer.start()
        keeping = asyncio.create_task(election.keep(consumer))
        try:
            yield election
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        # On its own: without a broker it takes long, or ends as if it had been cancelled.
        await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=_STOP_S)
