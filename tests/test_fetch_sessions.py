"""A worker's fetches name what has changed since the last one, and bring the same records as without that."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import FetchSessionIdNotFound, InvalidFetchSessionEpoch, RequestTimedOutError, for_code
from aiokafka.protocol.fetch import FetchRequest

from streams import topics
from streams.fetch_sessions import fetch_in_sessions
from streams.reading import consuming

pytest_plugins = ["brokers"]

PARTITIONS = 12


class Fetches:
    """What a client asks its broker for, in sessions, and faults on the way."""

    def __init__(self, client: Any) -> None:
        self.named: list[int] = []  # partitions, fetch by fetch
        self.faults: list[str] = []  # for the next fetches that are of a session
        self.refused: Counter[type[Exception]] = Counter()
        self._send = client.send
        client.send = self.send
        fetch_in_sessions(client)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await self._send(node, request, **options)
        self.named.append(sum(len(partitions) for _, partitions in request.topics))
        session = cast(Any, request)._session
        fault = self.faults.pop() if self.faults and session.epoch else ""
        if fault in ("number", "epoch"):  # as it looks to a broker that has forgotten the session, or missed a fetch
            cast(Any, request)._session = session._replace(**{fault: getattr(session, fault) + 5})
        answer = await self._send(node, request, **options)
        if fault == "lost":
            raise RequestTimedOutError
        if answer.error_code:
            self.refused[for_code(answer.error_code)] += 1
        return answer


class Log:
    """Two topics, and a consumer of all their partitions."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, names: list[str]) -> None:
        self._producer, self.consumer, self.fetches = producer, consumer, Fetches(consumer._client)
        self.places = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
        self.sent: dict[TopicPartition, list[bytes]] = defaultdict(list)
        self.due = dict.fromkeys(self.places, 0)
        consumer.assign(self.places)
        for place in self.places:
            consumer.seek(place, 0)

    @classmethod
    @asynccontextmanager
    async def new(cls, broker: str, prefix: str) -> AsyncIterator[Log]:
        names = [prefix + "one", prefix + "two"]
        async with topics.admin(broker) as client:
            await client.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=0)
        async with producer, consuming(broker, fetch_max_wait_ms=20) as consumer:
            yield cls(producer, consumer, names)

    async def send(self, place: TopicPartition) -> None:
        value = b"%d" % len(self.sent[place])
        self.sent[place].append(value)
        await self._producer.send_and_wait(place.topic, value, partition=place.partition)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.consumer.seek(place, offset)
        self.due[place] = offset

    async def read(self) -> None:
        """All that was sent, each partition's in order and without holes from where it is due."""
        while any(self.due[place] < len(self.sent[place]) for place in self.places):
            for place, records in (await asyncio.wait_for(self.consumer.getmany(timeout_ms=60_000), 60)).items():
                for record in records:
                    assert (record.offset, record.value) == (self.due[place], self.sent[place][self.due[place]])
                    self.due[place] += 1


@pytest.mark.kafka
async def test_only_what_has_changed_is_named(apache_kafka: str, prefix: str) -> None:
    async with Log.new(apache_kafka, prefix) as log:
        for place in log.places:
            await log.send(place)
        await log.read()
        await asyncio.sleep(0.2)
        log.fetches.named.clear()
        for _ in range(20):
            await log.send(log.places[3])
            await log.read()
        assert max(log.fetches.named) == 1


@pytest.mark.kafka
async def test_all_is_read_once_and_in_order_whatever_is_sought_paused_or_forgotten(
    apache_kafka: str, prefix: str
) -> None:
    """The broker forgets sessions too, where it has too many and when it ends, and answers get lost."""
    rng = Random(5)
    async with Log.new(apache_kafka, prefix) as log:
        for turn in range(120):
            for place in rng.sample(log.places, rng.randrange(4)):
                await log.send(place)
            paused = rng.sample(log.places, rng.randrange(4))
            log.consumer.pause(*paused)
            back = rng.choice(log.places)
            log.seek(back, rng.randint(0, log.due[back]))
            if turn % 4 == 0:
                log.fetches.faults.append(rng.choice(("number", "epoch", "lost")))
            await asyncio.sleep(rng.choice((0, 0.01, 0.03)))
            log.consumer.resume(*paused)
            await log.read()
        assert len(log.fetches.faults) < 3
        assert log.fetches.refused.keys() == {FetchSessionIdNotFound, InvalidFetchSessionEpoch}


async def test_a_broker_that_keeps_no_sessions_is_asked_for_all(embedded_broker: str, prefix: str) -> None:
    async with Log.new(embedded_broker, prefix) as log:
        for _ in range(3):
            for place in log.places:
                await log.send(place)
            await log.read()
        log.fetches.named.clear()
        await asyncio.sleep(0.2)
        assert set(log.fetches.named) == {len(log.places)}
