"""`kapok archive` with a real InfluxDB 2 and a real broker: what was published is in the database, once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from disks import fill
from pipelines import ended, read_all
from services import influxdb
from services.influxdb import BUCKET, ORG, TOKEN, InfluxDB
from test_archive_points import CASE, START_MS, edition, feature

from alerts.alert import iso
from bench.faulty_database import Fault, FaultyDatabase
from sensors import capture
from sensors.capture import Line
from sensors.clock import CLOCK_KEY, tick
from sensors.senml import encode
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.archive import shares
from streams.archive.copying import Archive as Copying
from streams.archive.database import Database
from streams.archive.history import record_history
from streams.child import Child, free_port
from streams.embedded_broker import EmbeddedBroker
from streams.replay import replay
from streams.state_log import reader

pytest_plugins = ["brokers", "disks"]

Message = tuple[str, bytes, bytes]  # topic, key, value
PLACES = {(name, number) for name in (*topics.READINGS, "alerts", "cases") for number in range(topics.PARTITIONS)}

SENSORS = [f"G{number:03d}" for number in range(100)]
CITY = edition(
    feature("P", "place", "flood"),
    *(feature(sensor, "sensor", "flood") for sensor in SENSORS),
    *(feature(f"H{n}", "place", "infrared", zone="C") for n in range(3)),
    *(feature(f"i{n}", "sensor", "infrared", zone="C", place=f"H{n}", room="bed") for n in range(3)),
    rules="""
[[rule]]
id = "deep"
kind = "flood"
type = "level"
quantity = "depth"
levels = {red = 0.9}
""",
)
READINGS, INFRARED, ALERTS = f"{BUCKET}-readings", f"{BUCKET}-infrared", f"{BUCKET}-alerts"
DAY_S = 86_400


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
    lines = [Line(topic, key.decode(), value) for topic, key, value in messages]
    return replay(lines, CITY.catalogue, CITY.rulebook).lines()


def publish(broker: str, messages: Iterable[Message]) -> None:
    async def send() -> None:
        await topics.ensure(broker, names=(*topics.ALL, topics.CASES))
        async with AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5) as producer:
            sent = [
                await producer.send(topic, value, key=key, partition=0 if topic == topics.RULES else None)
                for topic, key, value in messages
            ]
            await asyncio.gather(*sent)

    asyncio.run(send())


def archived(broker: str) -> int:
    """How many records the archive's group has committed."""

    async def ask() -> int:
        places = [TopicPartition(name, number) for name, number in PLACES]
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id="kapok-archive", enable_auto_commit=False)
        async with consumer:
            consumer.assign(places)
            return sum([await consumer.committed(place) or 0 for place in places])

    return asyncio.run(ask())


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
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
    yield from influxdb_in(server, folder)


def influxdb_in(server: Path, folder: Path) -> Iterator[InfluxDB]:
    """One whose bucket for readings keeps those of 2024."""
    database = InfluxDB(server, folder)
    database.start()
    try:
        database.set_up()
        database.add_bucket(READINGS, 0)
        yield database
    finally:
        database.stop()


@pytest.fixture
def broker() -> Iterator[str]:
    """One whose topics have the city's rules, as the first worker would have left them."""
    with EmbeddedBroker() as running:
        publish(running.address, [("rules", CITY.ruleset.encode(), CITY.pack())])
        yield running.address


class Archive:
    """The command, as a process."""

    def __init__(self, broker: str, url: str, folder: Path, *, token: str = TOKEN, name: str = "archive"):
        self._health = f"127.0.0.1:{free_port()}"
        where = ("--broker", broker, "--influx-url", url, "--org", ORG, "--bucket", BUCKET, "--health", self._health)
        command = [sys.executable, "-m", "streams", "archive", *where]
        self.process = Child(name, command, folder / f"{name}.log", {"INFLUX_TOKEN": token})

    def said(self) -> str:
        return self.process.log.read_text()

    def lag(self) -> dict[tuple[str, int], int]:
        """By topic and partition, as Prometheus sees it; none while it does not answer."""
        told = ""
        with suppress(OSError), urllib.request.urlopen(f"http://{self._health}/metrics", timeout=10) as answer:
            told = answer.read().decode()
        place = r'^kapok_archive_lag_records{partition="(\d+)",topic="(.+)"} (\d+)'
        return {(name, int(number)): int(lag) for number, name, lag in re.findall(place, told, re.M)}


@pytest.fixture
def archive(broker: str, database: InfluxDB, tmp_path: Path) -> Iterator[Callable[..., Archive]]:
    started: list[Archive] = []

    def start(url: str = database.url, **options: str) -> Archive:
        started.append(Archive(broker, url, tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.stop()


@pytest.mark.influxdb
def test_readings_alerts_and_cases_are_written(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    readings = minutes(0, 30)
    alerts = alerts_of(readings)
    assert len(alerts) > 100
    now = int(time.time() * 1000)
    rest = [("alerts", CLOCK_KEY, tick(START_MS)), ("readings.flood", CLOCK_KEY, tick(START_MS))]
    rest += [("readings.flood", b"Z", b"garbage"), ("alerts", b"x", b"garbage")]
    rest += [("readings.infrared", b"C", encode([(f"i{n}", "motion", now, True) for n in range(3)]))]
    case = json.dumps(CASE).encode()
    publish(broker, rest + readings + [("alerts", b"k", body) for body in alerts] + [("cases", b"r/s", case)])
    running = archive()
    wait_for(lambda: database.counts(READINGS) == {"readings.value": 3000})
    wait_for(lambda: database.counts(INFRARED) == {"readings.value": 3})
    wait_for(lambda: database.counts(ALERTS).get("alerts.body") == len(alerts))
    wait_for(lambda: database.counts(ALERTS).get("cases.body") == 1)
    assert running.process.stop() == 0
    assert f"{3000 + 3 + len(alerts) + 1} points written" in running.said()
    assert "1 rejected skipped" in running.said()
    assert "1 malformed alerts skipped" in running.said()

    bodies = database.query(
        f'from(bucket: "{ALERTS}") |> range(start: 0) |> filter(fn: (r) => r._measurement == "alerts" and r._field == "body")'
    )
    assert sorted(row["_value"].encode() for row in bodies) == sorted(alerts)  # byte for byte
    one = database.query(
        f'from(bucket: "{READINGS}") |> range(start: 0) |> filter(fn: (r) => r.sensor == "G042") |> first()'
    )
    tags = {"district": "天河 a", "kind": "flood", "place": "P", "quality": "good", "quantity": "depth", "zone": "Z"}
    assert [row["_value"] for row in one] == [0.42]
    assert tags.items() <= one[0].items()
    assert one[0]["_time"].timestamp() * 1000 == START_MS


@pytest.mark.influxdb
def test_buckets_and_tasks_are_made_once_and_infrared_is_never_kept_longer(
    archive: Callable[..., Archive], database: InfluxDB
) -> None:
    database.add_bucket(INFRARED, 0)
    database.add_bucket(f"{BUCKET}-1h", 40 * DAY_S)
    for _ in range(2):
        running = archive()
        wait_for(lambda: "archiving partitions" in running.said())
        kept = database.retention()
        assert {name: days for name, days in kept.items() if name.startswith(f"{BUCKET}-")} == {
            READINGS: 0,  # what somebody has chosen stays as it is
            INFRARED: 7 * DAY_S,
            ALERTS: 0,
            f"{BUCKET}-5m": 730 * DAY_S,
            f"{BUCKET}-1h": 40 * DAY_S,
        }
        assert sorted(database.tasks()) == [f"{BUCKET}-1h", f"{BUCKET}-5m"]
        assert running.process.stop() == 0
        running.process.log.unlink()


@pytest.mark.influxdb
def test_the_tasks_make_means_sums_and_counts(archive: Callable[..., Archive], broker: str, database: InfluxDB) -> None:
    now = int(time.time() * 1000)
    start = now // 300_000 * 300_000 - 300_000  # of the last five minutes that are over
    flood = encode([("G000", "depth", start + n * 60_000, depth) for n, depth in enumerate((0.1, 0.2, 0.6))])
    moves = [("i0", "motion", start, True), ("i1", "motion", start, True), ("i2", "motion", start, False)]
    moves += [("i0", "motion", start + 60_000, True), ("i2", "button", start, True)]
    publish(broker, [("readings.flood", b"Z", flood), ("readings.infrared", b"C", encode(moves))])
    archive()
    wait_for(lambda: database.counts(INFRARED) == {"readings.value": 5})
    wait_for(lambda: database.counts(READINGS) == {"readings.value": 3})
    for _ in range(2):  # once more changes nothing
        database.run_task(f"{BUCKET}-5m")
        rows = database.query(f'from(bucket: "{BUCKET}-5m") |> range(start: 0)')
        found = {(row["_measurement"], row["_field"], row.get("sensor") or row["zone"]): row for row in rows}
        assert len(found) == len(rows)
        assert {key: round(row["_value"], 6) for key, row in found.items()} == {
            ("readings", "mean", "G000"): 0.3,
            ("readings", "max", "G000"): 0.6,
            ("care", "homes", "C"): 3,
            ("care", "active", "C"): 2,
            ("care", "presses", "C"): 1,
        }
        assert {row["_time"].timestamp() * 1000 for row in rows} == {start}
        care = [row for key, row in found.items() if key[0] == "care"]
        assert not any({"sensor", "place", "room"} & row.keys() for row in care)  # of a home there is nothing


@pytest.mark.influxdb
def test_killed_in_the_middle_it_loses_nothing_and_judges_as_before(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    publish(broker, minutes(0, 300))
    first, second = archive(), archive()  # they share the partitions
    wait_for(lambda: database.counts(READINGS).get("readings.value", 0) > 0)
    first.process.kill()
    publish(broker, minutes(250, 400))  # 50 packs are there already: late but for the last, which is a duplicate
    wait_for(lambda: database.counts(READINGS).get("readings.value", 0) >= 44_900)
    second.process.kill()
    archive()
    publish(broker, minutes(399, 400))
    publish(broker, minutes(400, 401))
    wait_for(lambda: database.counts(READINGS).get("readings.value", 0) >= 45_000)
    assert database.counts(READINGS) == {"readings.value": 45_000, "readings.lateness": 4900}


@pytest.mark.influxdb
@pytest.mark.kafka
@pytest.mark.usefixtures("java")
def test_the_lag_is_that_of_the_partitions_it_has(database: InfluxDB, tmp_path: Path) -> None:
    """Also of one that was another's for a while, and nothing came since."""
    with ApacheKafka(tmp_path / "kafka") as kafka, ended() as running:
        publish(kafka.address, [("rules", CITY.ruleset.encode(), CITY.pack())])
        look_at_lags(kafka.address, database, tmp_path, running)


def look_at_lags(broker: str, database: InfluxDB, folder: Path, running: list[Child]) -> None:
    def archive(name: str) -> Archive:
        started = Archive(broker, database.url, folder, name=name)
        running.append(started.process)
        return started

    everywhere = [(name, f"k{n}".encode(), b"[]") for n in range(100) for name in ("readings.flood", "alerts")]
    publish(broker, everywhere)
    first = archive("first")
    wait_for(lambda: "archiving partitions" in first.said())
    wait_for(lambda: first.lag() == dict.fromkeys(PLACES, 0) and archived(broker) == 200)
    second = archive("second")
    wait_for(lambda: second.said().count("archiving partitions") > 0 and 0 < len(second.lag()) < len(PLACES))
    wait_for(lambda: first.lag().keys() == PLACES - second.lag().keys())
    publish(broker, everywhere)
    wait_for(lambda: archived(broker) == 400)
    assert second.process.stop() == 0
    wait_for(lambda: first.lag().keys() == PLACES)
    assert set(first.lag().values()) == {0}
    database.kill()
    publish(broker, [("cases", b"r/s", json.dumps(CASE).encode())])
    wait_for(lambda: sum(first.lag().values()) == 1)
    third = archive("third")
    assert first.process.stop() == 0
    database.start()
    wait_for(lambda: third.lag() == dict.fromkeys(PLACES, 0) and database.counts(ALERTS).get("cases.body") == 1)


@pytest.mark.influxdb
async def test_nothing_is_passed_over_while_partitions_are_taken_over(
    broker: str, database: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of the state takes its time to end; the readings are being fetched meanwhile."""

    @asynccontextmanager
    async def slow(*args: Any) -> AsyncIterator[Any]:
        async with reader(*args) as states:
            yield states
        await asyncio.sleep(3)

    monkeypatch.setattr(shares, "reader", slow)
    await asyncio.to_thread(publish, broker, minutes(0, 50))
    stop = asyncio.Event()
    copying = asyncio.create_task(Copying(broker, Database(database.url, TOKEN, ORG, BUCKET)).run(stop))
    stored = {"readings.value": 5000}
    await asyncio.to_thread(wait_for, lambda: copying.done() or database.counts(READINGS) == stored)
    stop.set()
    await copying


@pytest.mark.influxdb
def test_the_database_away_for_a_while_costs_nothing(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    publish(broker, minutes(0, 50))
    running = archive()
    wait_for(lambda: database.counts(READINGS) == {"readings.value": 5000})
    database.kill()
    publish(broker, minutes(50, 150))
    wait_for(lambda: "InfluxDB did not take" in running.said())
    assert running.process.stop() == 0  # it does not wait for it
    running = archive()
    wait_for(lambda: running.said().count("InfluxDB did not take") > 1)
    database.start()
    wait_for(lambda: database.counts(READINGS) == {"readings.value": 15_000})
    assert running.process.stop() == 0


@pytest.mark.influxdb
async def test_a_database_that_is_full_refuses_or_is_slow_costs_nothing(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    async with FaultyDatabase(free_port(), database.url) as proxy:
        running = archive(proxy.url)
        for number, fault in enumerate((Fault.full, Fault.refusing, Fault.slow)):
            proxy.fault = fault
            before = proxy.befallen
            await asyncio.to_thread(publish, broker, minutes(50 * number, 50 * number + 50))
            await asyncio.to_thread(wait_for, lambda before=before: proxy.befallen > before)
            proxy.fault = Fault.none
            stored = {"readings.value": 5000 * (number + 1)}
            await asyncio.to_thread(wait_for, lambda stored=stored: database.counts(READINGS) == stored)
        assert await asyncio.to_thread(running.process.stop) == 0
    assert "no space left on device" in running.said()


@pytest.fixture
def small_database(server: Path, disk: Path) -> Iterator[InfluxDB]:
    yield from influxdb_in(server, disk)


@pytest.mark.influxdb
def test_after_its_disk_was_full_the_database_has_everything(
    small_database: InfluxDB, disk: Path, broker: str, tmp_path: Path
) -> None:
    publish(broker, minutes(0, 50))
    copying = Archive(broker, small_database.url, tmp_path)
    with ended(copying.process):
        wait_for(lambda: small_database.counts(READINGS) == {"readings.value": 5000})
        other = fill(disk)
        publish(broker, minutes(50, 150))
        wait_for(lambda: "no space left on device" in copying.said())
        other.unlink()
        small_database.stop()  # what it could not open it does not open again by itself
        small_database.start()
        wait_for(lambda: small_database.counts(READINGS) == {"readings.value": 15_000})
        assert copying.process.stop() == 0


@pytest.mark.influxdb
def test_a_point_that_the_database_refuses_goes_to_a_topic_and_costs_no_other(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    """In the week of START_MS `value` is an integer already, so no float may come there."""
    database.write(READINGS, f"readings,sensor=x value=1i {START_MS}")
    week = 7 * DAY_S * 1000
    pack = encode([("G000", "depth", START_MS, 1.0), *((s, "depth", START_MS + week, 0.5) for s in SENSORS[1:])])
    publish(broker, [("readings.flood", b"Z", pack)])
    running = archive()
    later = f'from(bucket: "{READINGS}") |> range(start: {START_MS // 1000 + DAY_S}) |> last()'
    wait_for(lambda: len(database.query(later)) == 99)
    assert running.process.stop() == 0
    assert "1 refused by InfluxDB" in running.said()
    (rejected,) = asyncio.run(read_all(broker, ["archive.rejected"]))
    told = json.loads(rejected.value)
    assert told["bucket"] == READINGS
    assert told["point"].endswith(f"sensor=G000,zone=Z value=1.0 {START_MS}")
    assert "field type conflict" in told["reason"]


@pytest.mark.influxdb
def test_what_the_bucket_no_longer_keeps_is_left_out(
    archive: Callable[..., Archive], broker: str, database: InfluxDB
) -> None:
    now = int(time.time() * 1000)
    moves = [("i0", "motion", START_MS, True), *(("i0", "motion", now + n, True) for n in range(300))]
    publish(broker, [("readings.infrared", b"C", encode(moves))])
    running = archive()
    wait_for(lambda: database.counts(INFRARED) == {"readings.value": 300})
    assert running.process.stop() == 0
    assert "1 older than their bucket keeps any" in running.said()
    assert asyncio.run(read_all(broker, ["archive.rejected"])) == []


@pytest.mark.influxdb
def test_a_capture_from_the_archive_is_in_the_order_of_events_and_replays(
    archive: Callable[..., Archive], broker: str, database: InfluxDB, tmp_path: Path
) -> None:
    packs = minutes(0, 40)
    mixed = [*packs[5:], *packs[:5], *packs[10:12]]  # five come late, two of them twice
    now = int(time.time() * 1000)
    moves = encode([("i0", "motion", now, True), ("i0", "button", now, False)])
    publish(broker, [*mixed, ("readings.infrared", b"C", moves)])
    running = archive()
    wait_for(lambda: database.counts(INFRARED) == {"readings.value": 2})
    wait_for(lambda: database.counts(READINGS).get("readings.value") == 4200)
    assert running.process.stop() == 0

    def record(name: str, start_ms: int, end_ms: int, **some: list[str]) -> list[Line]:
        record_history(Database(database.url, TOKEN, ORG, BUCKET), tmp_path / name, start_ms, end_ms, **some)
        return list(capture.read(tmp_path / name))

    times = [iso(START_MS + n * 60_000).removesuffix("Z") for n in (0, 40)]
    where = ("--from-archive", database.url, "--org", ORG, "--from", times[0], "--until", times[1])
    command = [sys.executable, "-m", "streams", "record", "--out", str(tmp_path / "storm.jsonl"), *where]
    subprocess.run(command, check=True, env=os.environ | {"INFLUX_TOKEN": TOKEN}, capture_output=True)
    storm = list(capture.read(tmp_path / "storm.jsonl"))
    assert [(line.topic, line.key, json.loads(line.payload() or b"")) for line in storm] == [
        (topic, key.decode(), json.loads(value)) for topic, key, value in packs
    ]
    assert replay(storm, CITY.catalogue, CITY.rulebook).lines() == alerts_of(packs)
    assert len(record("part.jsonl", START_MS, START_MS + 90_000)) == 2
    assert record("none.jsonl", START_MS, START_MS + 90_000, zones=["Y"]) == []
    assert record("rain.jsonl", START_MS, START_MS + 90_000, kinds=["rain"]) == []
    (home,) = record("home.jsonl.zst", now, now + 1, kinds=["infrared"])
    assert (home.key, home.timestamp, home.payload()) == ("C", now, moves)


def test_a_token_is_no_argument_which_ps_would_show(tmp_path: Path) -> None:
    where = ("--influx-url", "http://127.0.0.1:1", "--org", ORG)
    command = [sys.executable, "-m", "streams", "archive", *where]
    (tmp_path / "empty").write_text("\n")
    tried = {
        ("--token", TOKEN): "No such option: --token",
        ("--token-file", str(tmp_path / "none")): "none: --token-file cannot be read: No such file or directory",
        ("--token-file", str(tmp_path / "empty")): "empty: no token for InfluxDB (--token-file FILE, or INFLUX_TOKEN)",
        (): "no token for InfluxDB (--token-file FILE, or INFLUX_TOKEN)",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFLUX_")}
    for options, said in tried.items():
        done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.influxdb
@pytest.mark.parametrize("wrong", [{"token": "nonsense"}])
def test_no_access_ends_it_at_once(wrong: dict[str, str], archive: Callable[..., Archive]) -> None:
    running = archive(**wrong)
    wait_for(lambda: running.process.exit_code is not None)
    assert running.process.exit_code == 3
    assert "turns us away: 40" in running.said()
    assert "are the token, --org and --bucket right?" in running.said()
    assert "Traceback" not in running.said()
