"""What the folds have produced, on its way to the broker, in order and with every acknowledgement awaited."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition

from sensors.record import partition_of

_FULL = 20_000  # alerts not yet sent, above which the folds wait
# Bytes of rejections, above which the folds wait. That is some 100,000 of them; a record with a megabyte of bad
# readings can give five times as many.
_MOST_BYTES = 100_000_000
_TURN = 100  # records after which others have a turn

Headers = Sequence[tuple[str, bytes]]
Body = Callable[[], tuple[bytes, Headers]]  # value and headers, made when they are sent
Bulk = Iterable[tuple[int | None, bytes | None, bytes, Headers]]  # partition or None, key, value, headers


class _Letter(NamedTuple):
    source: int
    number: int
    key: bytes
    body: Body
    done: Callable[[], None] | None


class _Parcel:
    """Records that go together; ``number`` is that of the last, ``left`` how many are not acknowledged, ``size`` what
    they keep in memory, in bytes.
    """

    def __init__(self, source: int, number: int, topic: str, records: Bulk, count: int, size: int) -> None:
        self.source, self.number, self.topic, self.records = source, number, topic, records
        self.left, self.size = count, size


class Outbox:
    """Sends records with ``acks=all``, and knows for each source when all that it had given is acknowledged.

    A source is the partition whose fold produced the records. ``put`` does not wait, so a fold's step and the
    handing over of its output happen together, whatever is cancelled around them. What was ``put`` waits for
    nothing of what there is in bulk, however much that is. All goes out in batches: one by one a record takes five
    times as long.
    """

    def __init__(self, producer: AIOKafkaProducer, failed: Callable[[BaseException], None], partitions: int) -> None:
        """``partitions``: how many each topic has."""
        self._producer, self._failed, self._partitions = producer, failed, partitions
        self._letters: dict[TopicPartition, deque[_Letter]] = defaultdict(deque)
        self._sending: dict[TopicPartition, asyncio.Task[None]] = {}
        self._unsent = 0  # letters
        self._bytes = 0  # of parcels
        self._parcels: deque[_Parcel] = deque()
        # source: numbers, oldest first; an OrderedDict finds its first one at once, whatever was taken out before it
        self._pending: dict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
        self._number = 0
        self.acknowledged = 0
        self._running = False
        self._loaded, self._moved = asyncio.Event(), asyncio.Event()

    def put(self, source: int, topic: str, key: bytes, body: Body, done: Callable[[], None] | None = None) -> None:
        """Takes a record to be sent. ``done`` is called when it is acknowledged."""
        self._number += 1
        self._unsent += 1
        self._pending[source][self._number] = None
        place = TopicPartition(topic, partition_of(key, self._partitions))
        self._letters[place].append(_Letter(source, self._number, key, body, done))
        if self._running and place not in self._sending:
            self._sending[place] = asyncio.create_task(self._send_all(place, self._letters[place]))

    def put_bulk(self, source: int, topic: str, records: Bulk, count: int, size: int) -> None:
        """Takes ``count`` records to be sent in batches, in order; a key chooses the partition where none is given.

        ``size``: what they keep in memory until they are sent, in bytes.
        """
        self._number += count
        self._pending[source][self._number] = None
        self._bytes += size
        self._parcels.append(_Parcel(source, self._number, topic, records, count, size))
        self._loaded.set()

    async def run(self) -> None:
        """Sends until cancelled; an error that the producer could not get over goes to ``failed``."""
        self._running = True
        try:
            for place, letters in self._letters.items():
                self._sending[place] = asyncio.create_task(self._send_all(place, letters))
            await self._send_parcels()
        except Exception as error:
            self._failed(error)
        finally:
            self._running = False
            for task in self._sending.values():
                task.cancel()

    async def _send_all(self, place: TopicPartition, letters: deque[_Letter]) -> None:
        """Each partition of each topic has a batch under way; what comes meanwhile goes into its next one."""
        try:
            while letters:
                batch, sent = self._producer.create_batch(), list[_Letter]()
                while letters and len(sent) < _TURN:
                    value, headers = letters[0].body()
                    if batch.append(key=letters[0].key, value=value, timestamp=None, headers=list(headers)) is None:
                        break  # it is full
                    sent.append(letters.popleft())
                self._unsent -= len(sent)
                await self._send_batch(place, batch, partial(self._delivered, sent))
        except Exception as error:
            self._failed(error)
        finally:
            del self._sending[place]

    def _delivered(self, letters: list[_Letter]) -> None:
        for letter in letters:
            del self._pending[letter.source][letter.number]
            if letter.done is not None:
                letter.done()
        self.acknowledged += len(letters)

    async def _send_parcels(self) -> None:
        while True:
            await self._loaded.wait()
            self._loaded.clear()
            sent, batches = 0, dict[TopicPartition, tuple[Any, Counter[_Parcel]]]()
            while self._parcels:
                parcel = self._parcels.popleft()
                for partition, key, value, headers in parcel.records:
                    if partition is None:
                        partition = partition_of(key or b"", self._partitions)
                    place = TopicPartition(parcel.topic, partition)
                    if place not in batches:
                        batches[place] = self._producer.create_batch(), Counter()
                    batch, parcels = batches[place]
                    if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:  # it is full
                        await self._send_batch(place, batch, partial(self._unloaded, parcels))
                        batch, parcels = batches[place] = self._producer.create_batch(), Counter()
                        batch.append(key=key, value=value, timestamp=None, headers=headers)
                    parcels[parcel] += 1
                    sent += 1
                    if sent % _TURN == 0:
                        await asyncio.sleep(0)
            for place, (batch, parcels) in batches.items():
                await self._send_batch(place, batch, partial(self._unloaded, parcels))

    def _unloaded(self, parcels: Counter[_Parcel]) -> None:
        for parcel, count in parcels.items():
            self.acknowledged += count
            parcel.left -= count
            if not parcel.left:
                self._bytes -= parcel.size
                del self._pending[parcel.source][parcel.number]

    @property
    def waiting(self) -> int:
        """How many records the broker has not acknowledged yet."""
        return self._number - self.acknowledged

    async def room(self) -> None:
        """Waits while too much is under way."""
        while self._unsent > _FULL or self._bytes > _MOST_BYTES:
            self._moved.clear()
            await self._moved.wait()

    async def settled(self, source: int) -> None:
        """Waits until all that the source had given when this was called is acknowledged."""
        pending, mark = self._pending[source], self._number
        while pending and next(iter(pending)) <= mark:
            self._moved.clear()
            await self._moved.wait()

    async def _send_batch(self, place: TopicPartition, batch: Any, acknowledge: Callable[[], None]) -> None:
        batch.close()
        sent = await self._producer.send_batch(batch, place.topic, partition=place.partition)
        sent.add_done_callback(lambda future: self._sent(future, acknowledge))

    def _sent(self, future: asyncio.Future[object], acknowledge: Callable[[], None]) -> None:
        if future.cancelled():
            return
        if error := future.exception():
            self._failed(error)
            return
        acknowledge()
        self._moved.set()
