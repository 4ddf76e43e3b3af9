"""What the folds have produced, on its way to the broker, in order and with every acknowledgement awaited."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

_FULL = 20_000  # alerts not yet acknowledged, above which the folds wait
_MOST = 1_000_000  # records that can wait: one record with a megabyte of bad readings gives half of that
_TURN = 100  # records after which others have a turn

Headers = Sequence[tuple[str, bytes]]
Body = Callable[[], tuple[bytes, Headers]]  # value and headers, made when they are sent


class _Letter(NamedTuple):
    source: int
    number: int
    topic: str
    key: bytes | None
    body: Body
    partition: int | None
    done: Callable[[], None] | None


class Outbox:
    """Sends records with ``acks=all``, and knows for each source when all that it had given is acknowledged.

    A source is the partition whose fold produced the records. ``put`` does not wait, so a fold's step and the
    handing over of its output happen together, whatever is cancelled around them. Alerts go before what else
    there is, however much that is.
    """

    def __init__(self, producer: AIOKafkaProducer, failed: Callable[[BaseException], None]) -> None:
        self._producer, self._failed = producer, failed
        self._urgent: deque[_Letter] = deque()
        self._others: deque[_Letter] = deque()
        # source: numbers, oldest first; an OrderedDict finds its first one at once, whatever was taken out before it
        self._pending: dict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
        self._number = 0
        self.acknowledged = 0
        self._filled, self._moved = asyncio.Event(), asyncio.Event()

    def put(
        self,
        source: int,
        topic: str,
        key: bytes | None,
        body: Body,
        partition: int | None = None,
        urgent: bool = True,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Takes a record to be sent; the key chooses the partition unless one is given.

        ``done`` is called when it is acknowledged.
        """
        self._number += 1
        self._pending[source][self._number] = None
        lane = self._urgent if urgent else self._others
        lane.append(_Letter(source, self._number, topic, key, body, partition, done))
        self._filled.set()

    async def run(self) -> None:
        """Sends until cancelled; an error that the producer could not get over goes to ``failed``."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            sent = 0
            while self._urgent or self._others:
                try:
                    await self._send((self._urgent or self._others).popleft())
                except Exception as error:
                    self._failed(error)
                    return
                sent += 1
                if sent % _TURN == 0:
                    await asyncio.sleep(0)

    @property
    def waiting(self) -> int:
        """How many records the broker has not acknowledged yet."""
        return self._number - self.acknowledged

    async def room(self) -> None:
        """Waits while too much is under way."""
        while len(self._urgent) > _FULL or self.waiting > _MOST:
            self._moved.clear()
            await self._moved.wait()

    async def settled(self, source: int) -> None:
        """Waits until all that the source had given when this was called is acknowledged."""
        pending, mark = self._pending[source], self._number
        while pending and next(iter(pending)) <= mark:
            self._moved.clear()
            await self._moved.wait()

    async def _send(self, letter: _Letter) -> None:
        value, headers = letter.body()
        sent = await self._producer.send(letter.topic, value, letter.key, letter.partition, headers=list(headers))
        at = letter.source, letter.number, letter.done  # without its body, which may be large
        sent.add_done_callback(lambda future: self._acknowledge(future, *at))

    def _acknowledge(
        self, future: asyncio.Future[object], source: int, number: int, done: Callable[[], None] | None
    ) -> None:
        if future.cancelled():
            return
        if error := future.exception():
            self._failed(error)
            return
        del self._pending[source][number]
        self.acknowledged += 1
        if done is not None:
            done()
        self._moved.set()
