"""Watching the alerts of a run as they come: whether every partition's canary is being heard."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import topics
from streams.chaos import load
from streams.chaos.timeline import Timeline
from streams.reading import consuming

_CALM_S = 1.0  # all is well when it has been well for so long
_LATE_S = 0.5  # a canary that was heard longer ago, or was so long in coming, is missed
_HEARD_S = 2.0


class Watch:
    """``watch.alerts`` counts them; ``calm`` waits until no partition is behind.

    It only paces the feeding and the faults: what the report says is read from the topics afterwards.
    """

    def __init__(self, partitions: int, when: Timeline) -> None:
        self.alerts = 0
        self._when = when
        # Of each partition's canary: the newest reading that was alerted, and when that was heard, also in time.
        self._offsets = dict.fromkeys(range(partitions), -1)
        self._expected: dict[int, deque[int]] = {partition: deque() for partition in range(partitions)}
        self._heard = dict.fromkeys(range(partitions), 0.0)
        self._in_time = dict.fromkeys(range(partitions), 0.0)

    def expect(self, partition: int, offset: int) -> None:
        """The reading of a canary is being fed; its alert is to be heard."""
        self._expected[partition].append(offset)

    def expect_no_more(self) -> None:
        """Waits no longer for the alerts of what was fed so far."""
        for offsets in self._expected.values():
            offsets.clear()

    def behind(self) -> float:
        """For how long the broker has had the reading of a canary that is still to be heard, in s."""
        now = time.time()
        return max(
            (now - self._when.stored(load.TOPIC, p, offsets[0]) for p, offsets in self._expected.items() if offsets),
            default=0.0,
        )

    def heard(self) -> bool:
        """Whether every partition's canary was heard lately, however late it was."""
        return time.monotonic() - min(self._heard.values()) < _HEARD_S

    async def calm(self) -> bool:
        """Waits a moment, and says whether the canaries were heard in time all the while."""
        until = time.monotonic() + _CALM_S
        while time.monotonic() < until:
            if time.monotonic() - min(self._in_time.values()) > _LATE_S:
                return False
            await asyncio.sleep(0.05)
        return True

    def told(self) -> str:
        """How long ago each partition's canary was heard, for the message of an error."""
        now = time.monotonic()
        return ", ".join(f"{partition}: {now - at:.0f} s" for partition, at in self._heard.items())

    async def run(self, consumer: AIOKafkaConsumer, prefix: str) -> None:
        """Counts until cancelled."""
        source = (prefix + load.TOPIC).encode()
        while True:
            fetched = await consumer.getmany(timeout_ms=100)
            for records in fetched.values():
                self.alerts += len(records)
                for record in records:
                    headers = dict(record.headers)
                    if headers.get("topic") == source and record.key.startswith(load.RULE.encode()):
                        self._hear(int(headers["partition"]), int(headers["offset"]))

    def _hear(self, partition: int, offset: int) -> None:
        if offset <= self._offsets[partition]:  # a repeat is no news
            return
        self._offsets[partition], self._heard[partition] = offset, time.monotonic()
        while (expected := self._expected[partition]) and expected[0] <= offset:
            expected.popleft()
        if time.time() - self._when.stored(load.TOPIC, partition, offset) < _LATE_S:
            self._in_time[partition] = time.monotonic()


@asynccontextmanager
async def watching(broker: str, prefix: str, partitions: int, when: Timeline) -> AsyncIterator[Watch]:
    """Watches the alerts from now on."""
    watch = Watch(partitions, when)
    async with consuming(broker, fetch_max_wait_ms=50) as consumer:
        consumer.assign([TopicPartition(prefix + topics.ALERTS, partition) for partition in range(partitions)])
        task = asyncio.create_task(watch.run(consumer, prefix))
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
