"""State of partitions: whole moments only, and a writer that was cut off spoils nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from sensors.errors import RunError
from streams import state_log, topics
from streams.state_log import PARTITION_ROW, Rows, Snapshot, StateWriter

pytest_plugins = ["brokers"]

NOTHING = Snapshot({}, [])


@pytest.fixture
async def topic(broker: str, prefix: str) -> str:
    await topics.ensure(broker, prefix, 2)
    return prefix + topics.STATE


@pytest.fixture
async def producer(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = state_log.state_producer(broker)
    await producer.start()
    yield producer
    await producer.stop()


async def found(broker: str, topic: str, partition: int = 1) -> Snapshot:
    async with state_log.reader(broker, topic, [0, 1]) as reader:
        await reader.catch_up()
        return reader.snapshot(partition, advance=int)


def rows(moment: int, **zones: str) -> Rows:
    return {PARTITION_ROW: b"%d" % moment} | {zone.encode(): text.encode() for zone, text in zones.items()}


async def test_what_is_written_is_read_back(broker: str, topic: str, producer: AIOKafkaProducer) -> None:
    assert (await found(broker, topic)).rows == {}
    writer = StateWriter(producer, topic, 1, NOTHING)
    await writer.write(rows(1, a="a1", b="b1"))
    await writer.write(rows(2, b="b2"))
    assert (await found(broker, topic)).rows == rows(2, a="a1", b="b2")
    await writer.write(rows(3) | {b"a": None})
    assert (await found(broker, topic)).rows == rows(3, b="b2")
    assert (await found(broker, topic, partition=0)).rows == {}


async def test_a_successor_takes_over_and_deletes_what_was_there(
    broker: str, topic: str, producer: AIOKafkaProducer
) -> None:
    await StateWriter(producer, topic, 1, NOTHING).write(rows(1, a="a1", b="b1"))
    snapshot = await found(broker, topic)
    await StateWriter(producer, topic, 1, snapshot).write(rows(2, b="b2"))
    after = await found(broker, topic)
    assert after.rows == rows(2, a="a1", b="b2")
    assert not set(after.keys) & set(snapshot.keys)


async def test_one_that_was_cut_off_spoils_nothing(broker: str, topic: str, producer: AIOKafkaProducer) -> None:
    cut_off = StateWriter(producer, topic, 1, NOTHING)
    await cut_off.write(rows(1, a="a1", b="b1", c="c1"))
    successor = StateWriter(producer, topic, 1, await found(broker, topic))
    await successor.write(rows(2, a="a2"))
    await cut_off.write(rows(9, c="c9"))  # further on, but its a and b are deleted
    await successor.write(rows(3, b="b3"))
    assert (await found(broker, topic)).rows == rows(3, a="a2", b="b3", c="c1")
    await cut_off.write(rows(10, a="a10", b="b10", c="c10"))  # whole again: the state of a moment, as good as any
    assert (await found(broker, topic)).rows == rows(10, a="a10", b="b10", c="c10")


async def test_state_beyond_one_batch_is_there_as_a_whole_or_not_at_all(
    broker: str, topic: str, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StateWriter(producer, topic, 1, NOTHING)
    await writer.write(rows(1, small="x"))
    large = {zone: letter * 1_500_000 for zone, letter in zip("abcdefgh", "ABCDEFGH", strict=True)}
    append, appended = StateWriter._append, 0

    async def cut_short(self: StateWriter, batch: object) -> None:
        nonlocal appended
        appended += 1
        if appended == 3:
            raise ConnectionError
        await append(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(StateWriter, "_append", cut_short)
        with pytest.raises(ConnectionError):
            await StateWriter(producer, topic, 1, await found(broker, topic)).write(rows(2, **large))
    assert (await found(broker, topic)).rows == rows(1, small="x")
    await writer.write(rows(3, **large))
    assert (await found(broker, topic)).rows == rows(3, small="x", **large)
    await writer.write(rows(4, b="b"))
    assert (await found(broker, topic)).rows == rows(4, small="x", **{**large, "b": "b"})


async def test_an_unknown_format_is_refused(
    broker: str, topic: str, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(state_log, "FORMAT", b"2")
        await StateWriter(producer, topic, 1, NOTHING).write(rows(1, a="a1"))
    with pytest.raises(RunError, match=rf"{topic} partition 1 is in format b'2'.*another --prefix"):
        await found(broker, topic)
