"""Feeding while the broker is killed and restarted: each record once, at the offset that it says.

An idempotent producer would not do: after a restart a broker has forgotten the producers whose last record is more
than a day old by its timestamp, and a capture's are. So there is one request at a time, and where its answer is
lost the end of the log tells whether it was stored.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from sensors.errors import RunError
from sensors.record import Record

_BATCH_BYTES = 500_000
_ANSWER_MS = 30_000
_AGAIN_S = 0.05

Stored = Callable[[str, int, int], None]  # topic without prefix, partition, offset after the last record


class _Batch:
    """Records of one place: ``first`` is the offset of the first."""

    def __init__(self, first: int) -> None:
        self.first, self.count = first, 0
        self._builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, 0, _BATCH_BYTES)
        self.bytes = b""

    def append(self, record: Record) -> bool:
        """False when it is full; it takes at least one record."""
        taken = self._builder.append(self.count, record.timestamp, record.key, record.value, [])
        self.count += taken is not None
        return taken is not None

    def close(self) -> None:
        self.bytes = bytes(self._builder.build())

    @property
    def following(self) -> int:
        """The offset after its last record."""
        return self.first + self.count


class Feeding:
    """``async with Feeding(broker, prefix, stored) as feeding``, to one broker.

    ``stored`` is told what the broker has."""

    def __init__(self, broker: str, prefix: str, stored: Stored) -> None:
        self._prefix, self._stored = prefix, stored
        self._client = AIOKafkaClient(bootstrap_servers=broker, request_timeout_ms=_ANSWER_MS)
        self._ends = AIOKafkaConsumer(bootstrap_servers=broker, request_timeout_ms=_ANSWER_MS)
        self._filling: dict[tuple[str, int], _Batch] = {}

    async def __aenter__(self) -> Feeding:
        await self._client.bootstrap()
        await self._ends.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._ends.stop()
            await self._client.close()

    async def feed(self, record: Record) -> None:
        """Takes a record; it goes out with ``flush``, or when a batch is full."""
        place = record.topic, record.partition
        batch = self._filling.setdefault(place, _Batch(record.offset))
        if not batch.append(record):
            await self.flush()
            self._filling[place] = batch = _Batch(record.offset)
            batch.append(record)

    async def flush(self) -> None:
        """Returns when the broker has what was taken, however long it is away."""
        waiting, self._filling = self._filling, {}
        for batch in waiting.values():
            batch.close()
        while waiting:
            try:
                offsets = await self._send(waiting)
            except KafkaError:
                await asyncio.sleep(_AGAIN_S)
                offsets = await self._offsets_of(waiting)
            for place, offset in offsets.items():
                batch = waiting.pop(place)
                if offset != batch.first:
                    name, partition = place
                    what = f"{self._prefix}{name} partition {partition}: offset {offset} where {batch.first} was due"
                    raise RunError(f"{what}; something else writes to these topics")
                self._stored(*place, batch.following)

    async def _send(self, waiting: dict[tuple[str, int], _Batch]) -> dict[tuple[str, int], int]:
        """One request; the offsets that its batches got. KafkaError where any was refused, or no answer came."""
        topics: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for (name, partition), batch in waiting.items():
            topics[self._prefix + name].append((partition, batch.bytes))
        node = self._client.get_random_node()
        response = await self._client.send(node, ProduceRequest(None, -1, _ANSWER_MS, list(topics.items())))
        offsets = {}
        for name, partitions in response.topics:
            for partition, code, offset, *_ in partitions:
                if code:
                    raise for_code(code)()
                offsets[name.removeprefix(self._prefix), partition] = offset
        return offsets

    async def _offsets_of(self, waiting: dict[tuple[str, int], _Batch]) -> dict[tuple[str, int], int]:
        """The batches that are in the log, though no answer came: it ends behind them."""
        places = {TopicPartition(self._prefix + name, partition): (name, partition) for name, partition in waiting}
        while True:
            try:
                ends = await self._ends.end_offsets(list(places))
            except KafkaError:
                await asyncio.sleep(_AGAIN_S)
                continue
            there = {places[tp]: end for tp, end in ends.items() if end != waiting[places[tp]].first}
            return {place: end - waiting[place].count for place, end in there.items()}
