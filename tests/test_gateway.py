"""The publisher on a real broker: what it sends is what the topics hold, and what it refuses it says why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer

from sensors import senml
from sensors.catalogue import Catalogue
from sensors.errors import InputError, RunError
from sensors.gateway import Gateway
from sensors.record import partition_of
from sensors.simulators import simulate
from streams import topics
from streams.embedded_broker import EmbeddedBroker

NOON = datetime(2026, 5, 1, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.shipped()


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with EmbeddedBroker() as embedded:
        yield embedded.address


async def published(broker: str, prefix: str, kind: str, count: int) -> list[tuple[int, str, list[tuple]]]:
    """The first records of a topic, of all partitions: (partition, key, readings)."""
    name = f"{prefix}readings.{kind}"
    consumer = AIOKafkaConsumer(name, bootstrap_servers=broker, auto_offset_reset="earliest")
    await consumer.start()
    try:
        records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [(r.partition, r.key.decode(), readings_of(r.value)) for r in records]


def readings_of(pack: bytes) -> list[tuple]:
    return [(reading.name, reading.time_ms, reading.value) for _, reading in senml.resolve(senml.load(pack))]


async def test_readings_close_together_go_out_as_a_pack_per_zone(broker: str, catalogue: Catalogue) -> None:
    await topics.ensure(broker, "pack.")
    by_zone = defaultdict(list)
    for sensor in catalogue.sensors.values():
        if sensor.kind == "flood":
            by_zone[sensor.zone].append(sensor.id)
    one, other = list(by_zone)[:2]
    async with Gateway(broker, catalogue, "pack.") as gateway:
        for sensor in by_zone[one] + by_zone[other]:
            await gateway.publish(sensor, depth=0.23, at=NOON)
        await gateway.flush()
    got = await published(broker, "pack.", "flood", 2)
    time_ms = round(NOON.timestamp() * 1000)
    assert {key: readings for _, key, readings in got} == {
        zone: [(f"{sensor}/depth", time_ms, 0.23) for sensor in by_zone[zone]] for zone in (one, other)
    }
    assert all(partition == partition_of(key.encode(), 8) for partition, key, _ in got)


async def test_a_full_pack_and_a_waiting_one_leave_by_themselves(broker: str, catalogue: Catalogue) -> None:
    await topics.ensure(broker, "size.")
    sensor = next(s for s in catalogue.sensors.values() if s.kind == "crowd")
    async with Gateway(broker, catalogue, "size.", pack_size=4) as gateway:
        for second in range(5):
            await gateway.publish(sensor.id, at=NOON.timestamp() + second, **{"in": second, "out": 0})
        got = await published(broker, "size.", "crowd", 3)
    assert [len(readings) for _, _, readings in got] == [4, 4, 2]
    values = [value for _, _, readings in got for name, _, value in readings if name == f"{sensor.id}/in"]
    assert values == [0, 1, 2, 3, 4]


async def test_without_a_time_it_is_now(broker: str, catalogue: Catalogue) -> None:
    await topics.ensure(broker, "now.")
    call = next(s for s in catalogue.sensors.values() if s.room == "call")
    before = datetime.now(UTC).timestamp() * 1000 - 1
    async with Gateway(broker, catalogue, "now.") as gateway:
        await gateway.publish(call.id, button=True)
    ((_, key, ((name, time_ms, value),)),) = await published(broker, "now.", "infrared", 1)
    assert (key, name, value) == (call.zone, f"{call.id}/button", True)
    assert before <= time_ms <= datetime.now(UTC).timestamp() * 1000 + 1


async def test_what_a_simulator_makes_can_be_sent(broker: str, catalogue: Catalogue) -> None:
    await topics.ensure(broker, "sim.")
    packs = [p for p in simulate("storm", catalogue, hours=0.05).packs() if p.kind == "rain"]
    async with Gateway(broker, catalogue, "sim.") as gateway:
        for pack in packs:
            await gateway.send(pack.kind, pack.zone, pack.value, pack.time_ms)
    got = await published(broker, "sim.", "rain", len(packs))
    by_zone = defaultdict(list)
    for pack in packs:
        by_zone[pack.zone].append(readings_of(pack.value))
    assert {zone: [r for _, key, r in got if key == zone] for zone in by_zone} == by_zone


@pytest.mark.parametrize(
    ("sensor", "quantities", "message"),
    [
        ("GZ-XX-0001", {"depth": 0.1}, "no sensor 'GZ-XX-0001'"),
        ("TH-01", {"depth": 0.1}, "it is a place"),
        ("GZ-TH-0001", {"rain": 0.1}, "has no 'rain'"),
        ("GZ-TH-0001", {"depth": float("nan")}, "depth of GZ-TH-0001 is nan"),
        ("GZ-TH-0001", {"depth": "0.1"}, "depth of GZ-TH-0001 is '0.1'"),
        ("GZ-TH-0001", {"depth": True}, "depth of GZ-TH-0001 is True"),
        ("GZ-TH-0001", {}, "nothing to publish"),
        ("GZ-TH-0001", {"depth": 0.1, "at": datetime(2026, 5, 1)}, "no time zone"),
    ],
)
async def test_what_the_catalogue_does_not_know_is_refused(
    broker: str, catalogue: Catalogue, sensor: str, quantities: dict, message: str
) -> None:
    await topics.ensure(broker, "bad.")
    async with Gateway(broker, catalogue, "bad.") as gateway:
        with pytest.raises(InputError, match=message):
            await gateway.publish(sensor, **quantities)


async def test_topics_that_are_not_there_are_not_made_in_passing(broker: str, catalogue: Catalogue) -> None:
    for _ in range(2):
        with pytest.raises(RunError, match=r"has no topic none\.readings\.crowd"):
            await Gateway(broker, catalogue, "none.").__aenter__()


async def test_no_broker_is_said_so(catalogue: Catalogue) -> None:
    with EmbeddedBroker() as gone:
        address = gone.address
    with pytest.raises(RunError, match=f"no Kafka at {address}"):
        await Gateway(address, catalogue).__aenter__()


async def test_what_could_not_be_sent_is_an_error_of_what_comes_next(broker: str, catalogue: Catalogue) -> None:
    await topics.ensure(broker, "big.")
    with pytest.raises(RunError, match="could not be sent"):
        async with Gateway(broker, catalogue, "big.") as gateway:
            await gateway.send("flood", "TH-01", b"[" + b" " * 2_000_000 + b"]")
