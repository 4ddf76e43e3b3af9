"""Feeding: the records of a log onto topics of their own, each to the place that it says."""

from __future__ import annotations

from collections import deque
from typing import Any

from aiokafka import AIOKafkaProducer

from sensors.connection import connection
from sensors.errors import RunError
from sensors.record import Record
from streams import topics

_BATCH_BYTES = 500_000
_UNDER_WAY = 64  # batches sent and not yet acknowledged


class Feeder:
    """Writes records to the places that they say: ``async with Feeder(broker, prefix) as feeder``."""

    def __init__(self, broker: str, prefix: str) -> None:
        self._prefix, self._broker = prefix, broker
        self._filling: dict[tuple[str, int], tuple[Any, int]] = {}  # place: batch, offset of its first record
        self._under_way: deque[tuple[Any, str, int, int]] = deque()

    async def __aenter__(self) -> Feeder:
        self._producer = AIOKafkaProducer(
            **connection(self._broker),
            acks="all",
            max_batch_size=_BATCH_BYTES,
            max_request_size=topics.REPLAY_RECORD_BYTES,
        )
        await self._producer.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._producer.stop()

    async def feed(self, record: Record) -> None:
        """Takes a record; it goes out with its batch, at the latest with ``flush``."""
        place = record.topic, record.partition
        fields: dict[str, Any] = {"timestamp": record.timestamp, "key": record.key, "value": record.value}
        fields["headers"] = list(record.headers)
        batch, _ = self._filling.get(place, (None, 0))
        if batch is None or batch.append(**fields) is None:
            if batch is not None:
                await self._send(place)
            batch = self._producer.create_batch()
            self._filling[place] = batch, record.offset
            if batch.append(**fields) is None:
                raise RunError(f"a record of {record.topic} is too large: {len(record.value or b'')} bytes")

    async def flush(self) -> None:
        """Sends what was taken, and waits until the broker has it."""
        for place in list(self._filling):
            await self._send(place)
        while self._under_way:
            await self._acknowledge()

    async def _send(self, place: tuple[str, int]) -> None:
        batch, offset = self._filling.pop(place)
        batch.close()
        name, partition = place
        sent = await self._producer.send_batch(batch, self._prefix + name, partition=partition)
        self._under_way.append((sent, name, partition, offset))
        while len(self._under_way) > _UNDER_WAY:
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        sent, name, partition, offset = self._under_way.popleft()
        stored = await sent
        if stored.offset != offset:  # somebody else writes there, or a lost answer had it written twice
            raise RunError(
                f"{self._prefix}{name} partition {partition}: offset {stored.offset} where {offset} was due; "
                "something else writes to these topics, or a batch was stored twice: replay again"
            )
