"""`kapok archive` with a real InfluxDB 2 and a real broker: what was published is in the database, once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from services import influxdb
from services.influxdb import BUCKET, ORG, TOKEN, InfluxDB

from alerts.rulebook import Rulebook
from sensors.capture import Line
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from sensors.record import Record
from sensors.senml import encode
from streams import topics
from streams.child import Child
from streams.embedded_broker import EmbeddedBroker
from streams.points import Points
from streams.replay import replay

START_MS = 1714800000000
Message = tuple[str, bytes, bytes]  # topic, key, value


# -- what a record becomes --------


def lines(topic: str, key: bytes | None, value: bytes | None) -> tuple[list[str], dict[str, int]]:
    points = Points("p.")
    found = list(points.lines("p." + topic, [Record("p." + topic, 0, 0, START_MS, key, value)]))
    return found, dict(points.skipped)


@pytest.mark.parametrize(
    ("topic", "entries", "points"),
    [
        ("flood", '{"n":"g1/depth","t":1714800000,"v":0.23}', ["flood,sensor=g1,zone=Z depth=0.23"]),
        ("flood", '{"n":"g1/depth","u":"m","t":1714800000,"v":1}', ["flood,sensor=g1,zone=Z depth=1.0"]),
        ("rain", '{"n":"r/rain","t":1714800000,"v":1e-3}', ["rain,sensor=r,zone=Z rain=0.001"]),
        ("infrared", '{"n":"i/motion","t":1714800000,"vb":true}', ["infrared,sensor=i,zone=Z motion=1.0"]),
        (
            "infrared",
            '{"n":"i/button","u":"x","t":1714800000,"v":0}',
            ["infrared,sensor=i,zone=Z button=0.0"],
        ),
        (
            "crowd",
            '{"bn":"c/","bt":1714800000,"n":"in","v":5},{"n":"out","v":2},{"bver":5},{"n":"count","v":40}',
            [f"crowd,sensor=c,zone=Z {field}" for field in ("in=5.0", "out=2.0", "count=40.0")],
        ),
    ],
)
def test_readings_become_points(topic: str, entries: str, points: list[str]) -> None:
    found, _ = lines(f"readings.{topic}", b"Z", f"[{entries}]".encode())
    assert found == [f"{point} {START_MS}" for point in points]


NOBODY = "readings of no such sensor, zone or quantity"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"Z", b"not json", "malformed records"),
        (b"Z", b"\xff", "malformed records"),
        (b"Z", None, "malformed records"),
        (b"Z", b'[{"n":"g/depth","v":1}]', "malformed readings"),
        (b"Z", b'[{"n":"g/depth","t":1714800000,"vs":"wet"}]', "malformed readings"),
        (b"Z", b'[{"n":"g/depth","u":"cm","t":1714800000,"v":1}]', "readings in another unit"),
        (b"Z", b'[{"n":"g/rain","t":1714800000,"v":1}]', NOBODY),
        (b"Z", b'[{"n":"a b,c=d\\n/depth","t":1714800000,"v":1}]', NOBODY),
        (b"a,b", b'[{"n":"g/depth","t":1714800000,"v":1}]', NOBODY),
        (None, b'[{"n":"g/depth","t":1714800000,"v":1}]', NOBODY),
        (b"Z", b'[{"n":"g/depth","t":1714800000,"v":1e999}]', "readings that no point can hold"),
        (b"Z", b'[{"n":"g/depth","t":99999999999,"v":1}]', "readings that no point can hold"),
    ],
)
def test_what_is_no_point_is_counted(key: bytes | None, value: bytes | None, reason: str) -> None:
    assert lines("readings.flood", key, value) == ([], {reason: 1})


def test_a_bad_reading_costs_no_other() -> None:
    entries = [{"n": f"g{i}/depth", "t": START_MS // 1000, "v": i} for i in range(4)]
    packs: list[object] = [
        entries[:1],
        [entries[1], {"n": "h/depth", "t": "x"}, 7, entries[2]],
        {},
        entries[3:],
    ]
    records = [Record("readings.flood", 0, i, 0, b"Z", json.dumps(p).encode()) for i, p in enumerate(packs)]
    points = Points()
    found = list(points.lines("readings.flood", records))
    assert [line.split()[1] for line in found] == ["depth=0.0", "depth=1.0", "depth=2.0", "depth=3.0"]
    assert points.skipped == {"malformed readings": 2, "malformed records": 1}


def test_ticks_are_no_points() -> None:
    for name in ("readings.flood", "alerts"):
        assert lines(name, CLOCK_KEY, tick(START_MS)) == ([], {})


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"\xff", b'{"kind":"flood","rule":"a b","seq":0}', None])
def test_a_malformed_alert_is_counted(value: bytes | None) -> None:
    assert lines("alerts", b"r/s", value) == ([], {"malformed alerts": 1})


# -- with the real ones --------

SENSORS = [f"G{number:03d}" for number in range(100)]
CATALOGUE = {
    "features": [
        {
            "id": i,
            "properties": {"role": r, "kind": "flood", "zone": "Z", "name": i, "district": "d", "place": "Z"},
        }
        for i, r in [("Z", "place"), *((sensor, "sensor") for sensor in SENSORS)]
    ]
}
RULES = '[[rule]]\nid = "deep"\nkind = "flood"\ntype = "level"\nquantity = "depth"\nlevels = {red = 0.9}\n'


def minutes(first: int, last: int) -> list[Message]:
    """A pack of 100 gauges for each of these minutes after the start."""
    packs = []
    for minute in range(first, last):
        readings = [
            (s, "depth", START_MS + minute * 60_000, (minute * 7 + i) % 100 / 100) for i, s in enumerate(SENSORS)
        ]
        packs.append(("readings.flood", b"Z", encode(readings)))
    return packs


def alerts_of(messages: Iterable[Message]) -> list[bytes]:
    catalogue = Catalogue.parse(json.dumps(CATALOGUE).encode())
    capture = [Line(topic, key.decode(), value) for topic, key, value in messages]
    return replay(capture, catalogue, Rulebook.parse(RULES)).lines()


def publish(broker: str, messages: Iterable[Message]) -> None:
    async def send() -> None:
        await topics.ensure(broker)
        async with AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5) as producer:
            sent = [await producer.send(topic, value, key=key) for topic, key, value in messages]
            await asyncio.gather(*sent)

    asyncio.run(send())


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline, "it did not come about in two minutes"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server() -> Path:
    found = influxdb.influxd()
    if found is None and os.environ.get("KAPOK_CI") == "1":
        pytest.fail("influxd must be there in CI: tests/services/install-influxd.sh")
    if found is None:
        pytest.skip("no influxd: tests/services/install-influxd.sh builds one")
    return found


@pytest.fixture
def database(server: Path, tmp_path: Path) -> Iterator[InfluxDB]:
    folder = tmp_path / "influxdb"
    folder.mkdir()
    database = InfluxDB(server, folder)
    database.start()
    try:
        database.set_up()
        yield database
    finally:
        database.stop()


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as running:
        yield running.address


class Archive:
    """The command, as a process."""

    def __init__(self, broker: str, database: InfluxDB, folder: Path, *, bucket: str = BUCKET, token: str = TOKEN):
        where = ("--broker", broker, "--influx-url", database.url, "--org", ORG, "--bucket", bucket)
        command = [sys.executable, "-m", "streams", "archive", *where]
        self.process = Child("archive", command, folder / "archive.log", {"INFLUX_TOKEN": token})

    def said(self) -> str:
        return self.process.log.read_text()


@pytest.fixture
def archive(broker: str, database: InfluxDB, tmp_path: Path) -> Iterator[Callable[..., Archive]]:
    started: list[Archive] = []

    def start(**options: str) -> Archive:
        started.append(Archive(broker, database, tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.stop()


@pytest.mark.influxdb
def test_readings_and_alerts_are_written(archive: Callable[..., Archive], broker: str, database: InfluxDB) -> None:
    readings = minutes(0, 30)
    alerts = alerts_of(readings)
    assert len(alerts) > 100
    rest = [("alerts", CLOCK_KEY, tick(START_MS)), ("readings.flood", CLOCK_KEY, tick(START_MS))]
    rest += [("readings.flood", b"Z", b"garbage"), ("alerts", b"x", b"garbage")]
    rest += [("readings.infrared", b"C", encode([("i", "motion", START_MS, True)]))]
    rest += [("readings.crowd", b"V", encode([("c", "in", START_MS, 5), ("c", "out", START_MS, 2)]))]
    publish(broker, rest + readings + [("alerts", b"k", body) for body in alerts])
    running = archive()
    expected = {"flood.depth": 3000, "infrared.motion": 1, "crowd.in": 1, "crowd.out": 1}
    expected |= dict.fromkeys([f"alerts.{f}" for f in ("level", "value", "body", "id")], len(alerts))
    wait_for(lambda: expected.items() <= database.counts().items())
    assert running.process.stop() == 0
    assert f"{3000 + 3 + len(alerts)} points written" in running.said()
    assert "1 malformed records skipped" in running.said()
    assert "1 malformed alerts skipped" in running.said()

    source = f'from(bucket: "{BUCKET}") |> range(start: 0)'
    bodies = database.query(f'{source} |> filter(fn: (r) => r._measurement == "alerts" and r._field == "body")')
    assert sorted(row["_value"].encode() for row in bodies) == sorted(alerts)  # byte for byte
    one = database.query(f'{source} |> filter(fn: (r) => r.sensor == "G042") |> first()')
    assert [(row["_value"], row["zone"], row["_time"].timestamp() * 1000) for row in one] == [(0.42, "Z", START_MS)]


@pytest.mark.influxdb
def test_killed_in_the_middle_it_loses_nothing(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    publish(broker, minutes(0, 300))
    first = archive()
    wait_for(lambda: database.counts().get("flood.depth", 0) > 0)
    first.process.kill()
    publish(broker, minutes(300, 400))
    archive()
    wait_for(lambda: database.counts() == {"flood.depth": 40_000})


@pytest.mark.influxdb
def test_the_database_away_for_a_while_costs_nothing(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    publish(broker, minutes(0, 50))
    running = archive()
    wait_for(lambda: database.counts() == {"flood.depth": 5000})
    database.kill()
    publish(broker, minutes(50, 150))
    wait_for(lambda: "InfluxDB did not take" in running.said())
    database.start()
    wait_for(lambda: database.counts() == {"flood.depth": 15_000})
    assert running.process.stop() == 0


@pytest.mark.influxdb
def test_stopped_while_the_database_is_away_it_goes_on_later(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    database.kill()
    publish(broker, minutes(0, 50))
    running = archive()
    wait_for(lambda: "InfluxDB did not take" in running.said())
    assert running.process.stop() == 0
    database.start()
    archive()
    wait_for(lambda: database.counts() == {"flood.depth": 5000})


@pytest.mark.influxdb
def test_what_the_database_refuses_costs_nothing_else(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    """A bucket that keeps an hour refuses what is older; the rest of the batch is written."""
    database.add_bucket("hour", 3600)
    now = int(time.time() * 1000)
    pack = encode([("old", "depth", START_MS, 1.0), *((f"G{i}", "depth", now, 0.5) for i in range(500))])
    publish(broker, [("readings.flood", b"Z", pack)])
    running = archive(bucket="hour")
    wait_for(lambda: database.counts("hour") == {"flood.depth": 500})
    assert running.process.stop() == 0
    assert "1 refused by InfluxDB" in running.said()


@pytest.mark.influxdb
@pytest.mark.parametrize("wrong", [{"token": "nonsense"}, {"bucket": "nowhere"}])
def test_no_access_ends_it_at_once(wrong: dict[str, str], archive: Callable[..., Archive]) -> None:
    running = archive(**wrong)
    wait_for(lambda: running.process.exit_code is not None)
    assert running.process.exit_code == 3
    assert "turns us away: 40" in running.said()
    assert "are --token, --org and --bucket right?" in running.said()
    assert "Traceback" not in running.said()
