"""What the folds have produced, on its way to the broker, in order and with every acknowledgement awaited."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

_FULL = 20_000  # records not yet acknowledged, above which the folds wait

Headers = Sequence[tuple[str, bytes]]


class Outbox:
    """Sends records with ``acks=all``, and knows for each source when all that it had given is acknowledged.

    A source is the partition whose fold produced the records. ``put`` does not wait, so a fold's step and the
    handing over of its output happen together, whatever is cancelled around them.
    """

    def __init__(self, producer: AIOKafkaProducer, failed: Callable[[BaseException], None]) -> None:
        self._producer, self._failed = producer, failed
        self._waiting: deque[tuple[int, int, str, bytes | None, bytes, int | None, Headers]] = deque()
        self._pending: dict[int, dict[int, None]] = defaultdict(dict)  # source: numbers, oldest first
        self._number = 0
        self._open = 0
        self._filled, self._moved = asyncio.Event(), asyncio.Event()

    def put(
        self,
        source: int,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Takes a record to be sent; the key chooses the partition unless one is given."""
        self._number += 1
        self._open += 1
        self._pending[source][self._number] = None
        self._waiting.append((source, self._number, topic, key, value, partition, headers))
        self._filled.set()

    async def run(self) -> None:
        """Sends until cancelled; an error that the producer could not get over goes to ``failed``."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                source, number, topic, key, value, partition, headers = self._waiting.popleft()
                try:
                    sent = await self._producer.send(topic, value, key, partition, headers=list(headers))
                except Exception as error:
                    self._failed(error)
                    return
                sent.add_done_callback(lambda future, at=(source, number): self._acknowledged(future, *at))

    async def room(self) -> None:
        """Waits while too much is under way."""
        while self._open > _FULL:
            self._moved.clear()
            await self._moved.wait()

    async def settled(self, source: int) -> None:
        """Waits until all that the source had given when this was called is acknowledged."""
        pending, mark = self._pending[source], self._number
        while pending and next(iter(pending)) <= mark:
            self._moved.clear()
            await self._moved.wait()

    def _acknowledged(self, future: asyncio.Future[object], source: int, number: int) -> None:
        if future.cancelled():
            return
        if error := future.exception():
            self._failed(error)
            return
        del self._pending[source][number]
        self._open -= 1
        self._moved.set()
