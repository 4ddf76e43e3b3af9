"""What the fold of cases decides, on its way to the topics; and what a process before this one had put out already."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from alerts.cases.entry import Outcome
from streams.reading import read_between
from streams.takeover import mark
from streams.topics import CASES, CASES_LAST, DECISIONS, NOTIFICATIONS

TOPICS = (CASES, NOTIFICATIONS, DECISIONS)
Ends = dict[str, list[int]]  # topic → the offset after the last record, of each partition


class Outputs:
    """Sends what comes of an entry: each case change, notification and decision once.

    ``ends``: up to where the topics hold what was put out; what is put out later lies behind. ``before``: marks of what
    the last process put out after its last checkpoint; the fold comes to it once more, and it is not sent again.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        prefix: str,
        ends: Ends,
        before: set[bytes],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._producer, self._prefix, self._failed = producer, prefix, failed
        self.ends, self._before = ends, before
        self._waiting: deque[tuple[int, str, bytes, bytes]] = deque()
        self._pending: set[int] = set()  # numbers of what the broker does not have yet
        self._number = 0
        self._filled, self._moved = asyncio.Event(), asyncio.Event()
        self._lasts: dict[bytes, bytes] = {}

    def put(self, outcome: Outcome) -> None:
        """Takes all of it, notifications first. It does not wait: a step of the fold and this belong together."""
        for notification in outcome.notifications:
            self._put(NOTIFICATIONS, notification.key.encode(), notification.value)
        for case in outcome.cases:
            key, value = case.key.encode(), case.value
            if self._put(CASES, key, value):
                self._lasts.pop(key, None)
                self._put(CASES_LAST, key, value)
            else:
                self._lasts[key] = value
        for decision in outcome.decisions:
            self._put(DECISIONS, decision.action.key, decision.value)

    def caught_up(self) -> None:
        """The fold is where the last process was: nothing is there already from here on."""
        self._before.clear()
        for key, value in self._lasts.items():  # the last process may not have come to these; the newest will do
            self._put(CASES_LAST, key, value)
        self._lasts.clear()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                number, topic, key, value = self._waiting.popleft()
                sent = await self._producer.send(self._prefix + topic, value, key)
                sent.add_done_callback(partial(self._acknowledge, number, topic))

    async def settled(self) -> None:
        """Waits until the broker has all that was put out before this was called."""
        newest = self._number
        while self._pending and min(self._pending) <= newest:
            self._moved.clear()
            await self._moved.wait()

    def _put(self, topic: str, key: bytes, value: bytes) -> bool:
        if topic in TOPICS and self._before and (seen := mark(value)) in self._before:
            self._before.discard(seen)
            return False
        self._number += 1
        self._pending.add(self._number)
        self._waiting.append((self._number, topic, key, value))
        self._filled.set()
        return True

    def _acknowledge(self, number: int, topic: str, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        if error := future.exception():
            self._failed(error)
            return
        self._pending.discard(number)
        self._moved.set()
        if topic in self.ends:
            at = future.result()
            self.ends[topic][at.partition] = max(self.ends[topic][at.partition], at.offset + 1)


async def read_back(
    consumer: AIOKafkaConsumer, prefix: str, since: Mapping[str, list[int]], partitions: int
) -> tuple[Ends, set[bytes]]:
    """Where the topics end, and the marks of what lies there from ``since`` on (not given: all)."""
    places = [TopicPartition(prefix + topic, partition) for topic in TOPICS for partition in range(partitions)]
    found = await consumer.end_offsets(places)
    begins = await consumer.beginning_offsets(places)
    ends: Ends = {topic: [found[TopicPartition(prefix + topic, p)] for p in range(partitions)] for topic in TOPICS}
    marks: set[bytes] = set()
    starts = {
        place: max(begins[place], since.get(place.topic.removeprefix(prefix), [0] * partitions)[place.partition])
        for place in places
    }
    async for _, records in read_between(consumer, starts, found):
        marks |= {mark(record.value) for record in records if record.value is not None}
    return ends, marks
