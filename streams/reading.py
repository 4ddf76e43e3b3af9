"""Reading partitions that one names, in no consumer group: all of them, or from given offsets to given ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sensors.connection import connection
from streams.failure import kafka_errors
from streams.patience import patient
from streams.topics import REPLAY_RECORD_BYTES

FETCH_MAX_WAIT_MS = 20  # partitions that are added wait for the fetch under way
_POLL_MS = 100
_STOP_S = 5.0


@asynccontextmanager
async def consuming(broker: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer for partitions that it is told; KafkaError where it cannot be started.

    ``options`` are aiokafka's, where another is wanted.
    """
    consumer = AIOKafkaConsumer(
        **connection(broker), **{"enable_auto_commit": False, "auto_offset_reset": "earliest", **options}
    )
    patient(consumer._client)
    try:
        await consumer.start()
        yield consumer
    finally:
        # On its own: without a broker it takes long, or ends as if it had been cancelled.
        await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=_STOP_S)


@asynccontextmanager
async def following(broker: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer as ``consuming``'s, to go on with for long: it has what comes in a partition at once."""
    async with consuming(
        broker, fetch_max_wait_ms=FETCH_MAX_WAIT_MS, max_partition_fetch_bytes=REPLAY_RECORD_BYTES
    ) as consumer:
        wait_for_drain(consumer, 0.0)
        yield consumer


def wait_for_drain(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """How long a fetch is put off for partitions whose last one nobody has drained yet; aiokafka's own 0.1 s hold up
    all the others. Then it goes out without them, and they wait until it has come back.
    """
    consumer._fetcher._prefetch_backoff = seconds


async def learn(consumer: AIOKafkaConsumer, names: Iterable[str]) -> None:
    """Lets a consumer know where the partitions of these topics are, before it is asked anything about them.

    By itself it learns of one topic after the other as it comes to them, and waits 0.1 s each time.
    """
    await consumer._client.set_topics(set(names))


async def read_between(
    consumer: AIOKafkaConsumer,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    max_records: int | None = None,
) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
    """The records of each partition of ``starts`` from that offset to its end, a run at a time, each in order.

    What came after the end may be among them. The consumer is given these partitions, and is free again afterwards.
    """
    left = [place for place in starts if starts[place] < ends[place]]
    if left:
        consumer.assign(left)
        for place in left:
            consumer.seek(place, starts[place])
    while left:
        for run in (await consumer.getmany(timeout_ms=_POLL_MS, max_records=max_records)).items():
            yield run
        left = [place for place in left if await consumer.position(place) < ends[place]]


async def read_all(
    consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]
) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
    """All that is in these partitions now, as ``read_between``."""
    starts = await consumer.beginning_offsets(list(places))
    async for run in read_between(consumer, starts, await consumer.end_offsets(list(starts))):
        yield run


async def all_records(broker: str, names: Iterable[str], partitions: int) -> AsyncIterator[ConsumerRecord]:
    """The records of topics, up to where they end now; RunError where they cannot be read."""
    places = [TopicPartition(name, partition) for name in names for partition in range(partitions)]
    with kafka_errors(f"the Kafka at {broker} failed"):
        async with consuming(broker) as consumer:
            async for _, records in read_all(consumer, places):
                for record in records:
                    yield record
