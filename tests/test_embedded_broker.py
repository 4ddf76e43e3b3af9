"""The embedded broker to Kafka's clients: what it keeps, when it answers, and how a group shares out its partitions."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams import topics

pytest_plugins = ["brokers"]

FOR_LONG_MS = 10 * 60_000  # a test that waits for it has failed


@pytest.fixture
async def topic(embedded_broker: str, prefix: str) -> str:
    """One of three partitions."""
    return await made(embedded_broker, prefix + "one")


async def made(broker: str, name: str, **settings: str) -> str:
    async with topics.admin(broker) as client:
        await client.create_topics([NewTopic(name, 3, 1, topic_configs=settings)])
    return name


@asynccontextmanager
async def consuming(broker: str, *names: str, **options: Any) -> Any:
    consumer = AIOKafkaConsumer(*names, bootstrap_servers=broker, **{"auto_offset_reset": "earliest", **options})
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def batch(values: list[bytes], producer: int = -1, sequence: int = -1) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, False, producer, 0 if producer >= 0 else -1, sequence, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, 1000 + number, None, value, [])
    return bytes(builder.build())


async def test_a_fetch_that_waits_is_answered_when_a_record_comes(embedded_broker: str, topic: str) -> None:
    async with (
        consuming(
            embedded_broker, topic, fetch_max_wait_ms=FOR_LONG_MS, request_timeout_ms=2 * FOR_LONG_MS
        ) as consumer,
        AIOKafkaProducer(bootstrap_servers=embedded_broker) as producer,
    ):
        for number in range(5):
            next_one = asyncio.ensure_future(consumer.getone())
            await asyncio.sleep(0.2)  # it waits by now
            await producer.send_and_wait(topic, b"%d" % number, partition=number % 3)
            assert (await next_one).value == b"%d" % number


async def test_records_come_back_as_they_were_in_pieces_of_any_size(embedded_broker: str, topic: str) -> None:
    values = [b"%d" % number * (number % 50 * 100) for number in range(500)]
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker, compression_type="gzip") as producer:
        for value in values:
            await producer.send(topic, value, value[:10], partition=1, timestamp_ms=7, headers=[("a", b"b")])
    async with consuming(embedded_broker, topic, max_partition_fetch_bytes=1) as consumer:  # a batch each time
        records = [await consumer.getone() for _ in values]
    assert [one.value for one in records] == values
    assert [one.offset for one in records] == list(range(len(values)))
    assert {(one.partition, one.timestamp, one.headers) for one in records} == {(1, 7, (("a", b"b"),))}


async def test_offsets_by_time_are_those_of_records_inside_batches(embedded_broker: str, topic: str) -> None:
    place = TopicPartition(topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker, linger_ms=1000) as producer:
        for times in ([100, 300, 200], [250, 400]):
            for at in times:
                await producer.send(topic, b"", partition=0, timestamp_ms=at)
            await producer.flush()
    async with consuming(embedded_broker) as consumer:

        async def first_since(at: int) -> tuple[int, int] | None:
            found = (await consumer.offsets_for_times({place: at}))[place]
            return found and (found.offset, found.timestamp)

        assert await first_since(0) == (0, 100)
        assert await first_since(101) == await first_since(300) == (1, 300)
        assert await first_since(301) == (4, 400)
        assert await first_since(401) is None
        assert await consumer.beginning_offsets([place]) == {place: 0}
        assert await consumer.end_offsets([place]) == {place: 5}


async def test_records_get_the_brokers_time_where_the_topic_says_so(embedded_broker: str, prefix: str) -> None:
    name = await made(embedded_broker, prefix + "stamped", **{"message.timestamp.type": "LogAppendTime"})
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker) as producer:
        await producer.send_and_wait(name, b"a", partition=0, timestamp_ms=1)
    async with consuming(embedded_broker, name, check_crcs=True) as consumer:
        record = await consumer.getone()
    assert record.timestamp_type == 1
    assert record.timestamp > 1_700_000_000_000


async def test_what_is_sent_twice_is_stored_once(embedded_broker: str, topic: str) -> None:
    """As an idempotent producer does that has not heard of its first try."""
    async with topics.admin(embedded_broker) as admin:
        node = admin._client.get_random_node()
        producer = (await admin._client.send(node, InitProducerIdRequest(None, 1000))).producer_id

        async def send(data: bytes) -> tuple[int, int]:
            """The error and the offset."""
            answer = await admin._client.send(node, ProduceRequest(None, -1, 1000, [(topic, [(0, data)])]))
            _, error, offset, *_ = answer.topics[0][1][0]
            return error, offset

        first, second, fourth = (batch([b"a", b"b"], producer, at) for at in (0, 2, 6))
        assert [await send(one) for one in (first, second, first, second)] == [(0, 0), (0, 2), (0, 0), (0, 2)]
        assert (await send(fourth))[0] == 45  # OUT_OF_ORDER_SEQUENCE_NUMBER
        assert await send(batch([b"c"])) == (0, 4)
        assert (await send(batch([b"d"])[:-1]))[0] == 2  # CORRUPT_MESSAGE
    async with consuming(embedded_broker, topic) as consumer:
        assert [(await consumer.getone()).value for _ in range(5)] == [b"a", b"b", b"a", b"b", b"c"]


async def test_a_group_shares_out_its_partitions_and_goes_on_where_it_was(embedded_broker: str, topic: str) -> None:
    options = {"group_id": topic, "enable_auto_commit": False, "heartbeat_interval_ms": 100, "session_timeout_ms": 2000}
    places = {TopicPartition(topic, number) for number in range(3)}
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker) as producer:
        for place in places:
            for value in (b"0", b"1"):
                await producer.send_and_wait(topic, value, partition=place.partition)
    async with consuming(embedded_broker, topic, **options) as one:
        await until(lambda: one.assignment() == places)
        for place in places:
            assert (await one.getone(place)).offset == 0
        await one.commit(dict.fromkeys(places, 1))
        async with consuming(embedded_broker, topic, **options) as other:
            await until(lambda: one.assignment() and other.assignment())
            await until(lambda: one.assignment() | other.assignment() == places)
            assert not one.assignment() & other.assignment()
        await until(lambda: one.assignment() == places)
        silent = AIOKafkaConsumer(topic, bootstrap_servers=embedded_broker, **options)
        await silent.start()
        await until(lambda: silent.assignment() and one.assignment() | silent.assignment() == places)
        silent._coordinator._coordination_task.cancel()  # it dies without a word: no heartbeat comes
        silent._coordinator._heartbeat_task.cancel()
        await until(lambda: one.assignment() == places)
        await silent._client.close()
    async with consuming(embedded_broker, topic, **options) as later:
        await until(lambda: later.assignment() == places)
        for place in places:
            assert (await later.getone(place)).offset == 1


async def until(holds: Any) -> None:
    while not holds():
        await asyncio.sleep(0.05)


async def test_what_is_not_there_is_said_to_be_so(embedded_broker: str, topic: str, prefix: str) -> None:
    place = TopicPartition(topic, 0)
    async with consuming(embedded_broker, auto_offset_reset="none") as consumer:
        consumer.assign([place])
        consumer.seek(place, 10)
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.getone()
    async with topics.admin(embedded_broker) as client:
        codes = [(await client.create_topics([NewTopic(name, 1, 1)])).topic_errors[0][1] for name in (topic, "a b")]
        assert codes == [36, 17]  # TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION
        assert [one["error_code"] for one in await client.describe_topics([prefix + "none"])] == [3]
        assert prefix + "none" not in await client.list_topics()
        await client.delete_topics([topic])
        assert topic not in await client.list_topics()


async def test_a_client_of_tomorrow_is_told_what_may_be_asked(embedded_broker: str) -> None:
    host, _, port = embedded_broker.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = struct.pack(">hhih", 18, 99, 5, -1)  # ApiVersions in a version that there is not
    writer.write(struct.pack(">i", len(asked)) + asked)
    size, number, error, count = struct.unpack(">iihi", await reader.readexactly(14))
    writer.close()
    assert (number, error) == (5, 35)  # UNSUPPORTED_VERSION, with the list in the answer's oldest form
    assert size == 4 + 2 + 4 + count * 6
    assert count > 10
