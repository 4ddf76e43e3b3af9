"""Recording: a capture of what was on the topics, in the order of its timestamps, that replays to the same alerts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from pipelines import Files, Replaying, drawn, ended, start_worker, write

from alerts.rulebook import Rulebook
from sensors import capture
from sensors.capture import Line
from sensors.catalogue import Catalogue
from sensors.errors import InputError
from streams import topics
from streams.record import record
from streams.replay import replay

pytest_plugins = ["brokers"]

FLOOD, RAIN = "readings.flood", "readings.rain"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write(tmp_path_factory.mktemp("record"), drawn(10, ticks="none"))


async def put(broker: str, prefix: str, *records: tuple[str, int, bytes | None, bytes | None, int]) -> None:
    """Puts (topic, partition, key, value, timestamp) onto replay topics, whose timestamps are the producer's."""
    await topics.ensure(broker, prefix, 2, live=False)
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for name, partition, key, value, stamp in records:
        await producer.send_and_wait(prefix + name, value, key, partition, stamp, [("from", b"a test")])
    await producer.stop()


async def recorded(path: Path, broker: str, prefix: str, **options: object) -> list[Line]:
    count = await record(broker, path, prefix=prefix, **options)  # type: ignore[arg-type]
    lines = list(capture.read(path))
    assert len(lines) == count
    return lines


def test_a_recording_replays_to_the_same_alerts(broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    replaying = Replaying(files, broker, prefix, None)
    with ended(start_worker(files, broker, prefix, tmp_path / "worker.log", "--no-clock")) as workers:
        replaying.result(workers)
    path = tmp_path / "recorded.jsonl.zst"
    assert asyncio.run(record(broker, path, prefix=prefix)) > 1000
    again = replay(path, Catalogue.load(files.sites), Rulebook.load(files.rules))
    assert again.lines() == files.direct.lines()
    assert sorted(again.rejected) == sorted(files.direct.rejected)
    stamps = [line.timestamp for line in capture.read(path) if line.key == "@clock"]
    assert stamps == sorted(stamps, key=lambda stamp: stamp or 0)


async def test_everything_about_a_record_is_kept(broker: str, prefix: str, tmp_path: Path) -> None:
    await put(
        broker,
        prefix,
        (FLOOD, 0, b"z", b'[{"n":"a/depth","v":1.50}]', 1000),
        (FLOOD, 1, None, b"\xff", 999),
        (RAIN, 1, b"z", None, 1001),
    )
    first, second, third = await recorded(tmp_path / "a.jsonl", broker, prefix)
    assert (first.topic, first.key, first.payload(), first.timestamp) == (FLOOD, None, b"\xff", 999)
    assert (second.key, bytes(second.value)) == ("z", b'[{"n":"a/depth","v":1.50}]')
    assert (second.partition, second.offset, second.headers) == (0, 0, {"from": "a test"})
    assert (third.topic, third.partition, third.payload()) == (RAIN, 1, None)


async def test_partitions_are_merged_by_timestamp_and_keep_their_own_order(
    broker: str, prefix: str, tmp_path: Path
) -> None:
    await put(
        broker,
        prefix,
        *((FLOOD, 0, b"%d" % n, b"[]", stamp) for n, stamp in enumerate([10, 30, 20, 60])),
        *((FLOOD, 1, b"%d" % n, b"[]", stamp) for n, stamp in enumerate([5, 25, 50])),
    )
    lines = await recorded(tmp_path / "a.jsonl", broker, prefix)
    assert [line.timestamp for line in lines] == [5, 10, 25, 30, 20, 50, 60]


async def test_a_span_of_time(broker: str, prefix: str, tmp_path: Path) -> None:
    stamps = range(100, 200, 10)
    await put(broker, prefix, *((FLOOD, n % 2, b"z", b"[]", stamp) for n, stamp in enumerate(stamps)))
    lines = await recorded(tmp_path / "a.jsonl", broker, prefix, from_ms=130, until_ms=160)
    assert [line.timestamp for line in lines] == [130, 140, 150]
    assert await recorded(tmp_path / "b.jsonl", broker, prefix, from_ms=1000) == []


async def test_following(broker: str, prefix: str, tmp_path: Path) -> None:
    await put(broker, prefix, (FLOOD, 0, b"z", b"[]", 1))
    path, stop = tmp_path / "a.jsonl", asyncio.Event()
    task = asyncio.create_task(record(broker, path, prefix=prefix, follow=True, stop=stop))
    await asyncio.sleep(0.5)
    await put(broker, prefix, (FLOOD, 0, b"z", b"[]", 2), (RAIN, 1, b"z", b"[]", 3))
    await asyncio.sleep(3)
    stop.set()
    assert await task == 3
    bounded = record(broker, path, prefix=prefix, follow=True, until_ms=3)
    stopped = asyncio.create_task(bounded)
    await asyncio.sleep(0.5)
    await put(broker, prefix, *((name, p, b"z", b"[]", 10) for name in topics.READINGS for p in (0, 1)))
    assert await stopped == 2


async def test_topics_that_are_not_there(embedded_broker: str, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"no topic {prefix}readings\.flood"):
        await record(embedded_broker, tmp_path / "a.jsonl", prefix=prefix)
    assert not (tmp_path / "a.jsonl").exists()
