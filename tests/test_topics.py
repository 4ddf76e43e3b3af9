"""Topics are made as they are meant to be, and checked."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from sensors.errors import InputError, RunError
from streams import topics

pytest_plugins = ["brokers"]


async def test_they_are_made_once_with_one_number_of_partitions(broker: str, prefix: str) -> None:
    assert await topics.ensure(broker, prefix, 3) == 3
    assert await topics.ensure(broker, prefix) == 3
    with pytest.raises(RunError, match=rf"{prefix}readings\.flood has 3 partitions, but 8 are wanted"):
        await topics.ensure(broker, prefix, 8)
    async with topics.admin(broker) as client:
        assert await topics.counts(client, prefix) == dict.fromkeys(topics.ALL, 3)
    await topics.delete(broker, prefix)
    async with topics.admin(broker) as client:
        assert await topics.counts(client, prefix) == {}


async def test_those_that_are_there_say_how_many_the_others_get(broker: str, prefix: str) -> None:
    async with topics.admin(broker) as client:
        await client.create_topics([topics.NewTopic(prefix + "alerts", 5, 1)])
        while not await topics.counts(client, prefix):
            await asyncio.sleep(0.05)
    assert await topics.ensure(broker, prefix) == 5


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("live", "name", "expected"),
    [
        (True, "readings.flood", {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}),
        (False, "readings.flood", {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}),
        (True, "readings.infrared", {"retention.ms": "518400000", "segment.ms": "43200000"}),  # 6 d + 12 h < 7 d
        (True, "readings.rejected", {"retention.ms": "518400000", "segment.ms": "43200000"}),
        (True, "alerts", {"cleanup.policy": "delete", "retention.ms": "-1"}),
        (True, "alerts.last", {"cleanup.policy": "compact"}),
        (True, "state", {"cleanup.policy": "compact"}),
    ],
)
async def test_they_keep_what_they_should(
    apache_kafka: str, prefix: str, live: bool, name: str, expected: dict[str, str]
) -> None:
    await topics.ensure(apache_kafka, prefix, 1, live=live)
    async with topics.admin(apache_kafka) as client:
        response = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, prefix + name)])
    found = {option: value for option, value, *_ in response[0].resources[0][4]}
    assert {option: found[option] for option in expected} == expected


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", ":9092", "127.0.0.1:x", "a:1,b"])
async def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        await topics.ensure(address)


async def test_a_prefix_that_cannot_be_one(embedded_broker: str) -> None:
    with pytest.raises(InputError, match="prefix"):
        await topics.ensure(embedded_broker, "a/b")


async def test_no_broker() -> None:
    with pytest.raises(RunError, match=r"no Kafka .* at 127\.0\.0\.1:1: "):
        await topics.ensure("127.0.0.1:1")
