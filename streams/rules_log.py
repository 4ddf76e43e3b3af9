"""The editions of the rules that a pipeline has had: the ``rules`` topic, one after another.

The newest one holds, from the place on where it is announced in the reading topics (alerts/succession.py). An
edition's generation is its offset, so when two are published at once the broker says which is the later one; in a
replay it is the one that it had when it was recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from alerts.edition import Edition
from sensors.errors import RunError
from streams.failure import kafka_errors
from streams.reading import consuming
from streams.topics import REJECTED_RECORD_BYTES, RULES

_GENERATION = "generation"
_LOOK_MS = 1000


class RulesLog:
    """``editions``: by generation, all that have been read so far; the same again right after itself counts once.

    ``rulesets``: their hashes.
    """

    def __init__(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer | None, prefix: str) -> None:
        self._consumer, self._producer = consumer, producer
        self._place = TopicPartition(prefix + RULES, 0)
        self.editions: dict[int, Edition] = {}
        self.rulesets: dict[int, str] = {}

    @property
    def first(self) -> int:
        return min(self.editions)

    @property
    def newest(self) -> int:
        return max(self.editions)

    @property
    def ruleset(self) -> str | None:
        """The hash of the newest edition; None where there is none yet."""
        return self.rulesets[self.newest] if self.editions else None

    async def catch_up(self) -> None:
        """Reads up to where the topic ends now."""
        end = (await self._consumer.end_offsets([self._place]))[self._place]
        while await self._consumer.position(self._place) < end:
            await self._read(100)

    async def follow(self, new: Callable[[], None]) -> None:
        """Reads what comes, until cancelled; calls ``new`` after each edition."""
        while True:
            try:
                if await self._read(_LOOK_MS):
                    new()
            except KafkaError:  # the broker is away, and with it whoever could publish
                await asyncio.sleep(_LOOK_MS / 1000)

    async def publish(self, edition: Edition, generation: int | None = None) -> None:
        """Makes it the newest; returns when it has been read back."""
        headers = [] if generation is None else [(_GENERATION, b"%d" % generation)]
        assert self._producer is not None, "this log is only read"
        value = edition.pack()
        if len(value) > REJECTED_RECORD_BYTES:
            raise RunError(f"rules and catalogue are too large to be published: {len(value) >> 20} MB compressed")
        name, partition = self._place
        await self._producer.send_and_wait(name, value, edition.ruleset.encode(), partition, headers=headers)
        await self.catch_up()

    async def _read(self, timeout_ms: int) -> bool:
        before = len(self.editions)
        for records in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for record in records:
                if record.key is not None and record.value and record.key.decode() != self.ruleset:
                    generation = int(dict(record.headers).get(_GENERATION, record.offset))
                    self.editions[generation] = Edition.unpack(record.value)
                    self.rulesets[generation] = record.key.decode()
        return len(self.editions) > before


@asynccontextmanager
async def rules_log(broker: str, producer: AIOKafkaProducer | None, prefix: str) -> AsyncIterator[RulesLog]:
    """The editions of a pipeline, read up to now."""
    async with AsyncExitStack() as stack:
        with kafka_errors(f"the rules could not be read from {prefix}{RULES} at {broker}"):
            consumer = await stack.enter_async_context(
                consuming(broker, max_partition_fetch_bytes=REJECTED_RECORD_BYTES)
            )
            log = RulesLog(consumer, producer, prefix)
            consumer.assign([log._place])
            await consumer.seek_to_beginning()
            await log.catch_up()
        yield log
