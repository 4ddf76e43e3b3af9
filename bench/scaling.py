"""How the cost grows with the work: sensors, partitions, readings a pack, rules; state, memory and start-up; replay.

Readings a second are of CPU and of the fold alone, decoding included, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from alerts.fold import Fold
from alerts.rulebook import Rulebook
from bench import contest as contests
from bench import course as courses
from bench import data
from bench.contest import KAPOK, Seen
from bench.course import Course
from bench.long import write_city
from bench.processes import memory_mb, start_worker
from sensors import senml
from sensors.catalogue import Catalogue
from sensors.record import Record
from sensors.simulators import simulate
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.child import Child
from streams.feeder import Feeder
from streams.replay import replay as replay_capture

_ZONE = 500  # gauges in a zone
_CITY_SENSORS, _DAY = 30_000, 43_000_000  # sensors of such a city; readings of its day
_HOURS = (2, 8, 14, 20)  # of the day, from which on its readings are replayed
_RUN = 25_000  # readings a call of the fold, as a fetch brings them

Said = Callable[[str], None]


class Sizes(NamedTuple):
    """What is tried of each, and how many readings each of them gets at least."""

    sensors: tuple[int, ...]
    partitions: tuple[int, ...]
    pack: tuple[int, ...]
    rules: tuple[int, ...]
    readings: int
    through_kafka: int
    hours: float  # of the replay


FULL = Sizes(
    (1_000, 10_000, 100_000, 1_000_000),
    (1, 4, 8, 32),
    (1, 10, 100, 500, 2_000),
    (1, 5, 10, 50),
    2_000_000,
    24_000_000,
    2,
)
QUICK = Sizes((1_000, 10_000), (1, 4), (1, 500), (1, 10), 100_000, 1_000_000, 0.05)


def scaling(sizes: Sizes, rounds: int, said: Said = lambda text: None) -> dict[str, dict[str, float]]:
    """Readings a second by how many there are of something."""
    found: dict[str, dict[str, float]] = {"sensors": {}, "partitions": {}, "pack": {}, "rules": {}}

    def add(what: str, number: int, rate: float) -> None:
        found[what][str(number)] = rate
        said(f"{number:,} {what}: {rate:,.0f} readings/s")

    for count in sizes.sensors:
        city = Course("fold", _ZONE, max(1, sizes.readings // count), count, max(1, count // _ZONE), 1)
        add("sensors", count, fold_rate(city, data.RULES, rounds))
    for pack in sizes.pack:
        city = Course("fold", pack, max(1, sizes.readings // 20_000), 20_000, 20_000 // max(sizes.pack), 1)
        add("pack", pack, fold_rate(city, data.RULES, rounds))
    for count in sizes.rules:
        city = Course("fold", _ZONE, max(1, sizes.readings // 10_000), 10_000, 20, 1)
        add("rules", count, fold_rate(city, "".join(_rule(number) for number in range(count)), rounds))
    through = [
        Course(f"partitions-{count}", _ZONE, max(1, sizes.through_kafka // 32_000), 32_000, 64, count)
        for count in sizes.partitions
    ]
    done = asyncio.run(contests.contest(through, rounds, only=[KAPOK], said=said)).rounds
    for count, city in zip(sizes.partitions, through, strict=True):
        add("partitions", count, statistics.median(one.rate for one in done if one.course == city.name))
    return found


def _rule(number: int) -> str:
    """The one rule once more, with an id and thresholds of its own."""
    again = data.RULES.replace('"depth"\nkind', f'"depth-{number}"\nkind')
    for threshold in ("0.10", "0.20", "0.27"):
        again = again.replace(threshold, f"{float(threshold) + number / 1000:.3f}")
    return again


def fold_rate(city: Course, rules: str, rounds: int) -> float:
    """Readings a second of CPU through one fold: the median of the rounds, after one that is not counted. Each has
    one minute more before them, in which every sensor's state is made.
    """
    city = city._replace(minutes=city.minutes + 1)
    catalogue, rulebook = _city(city, rules)
    first, *runs = _runs(city)
    times = []
    for _ in range(rounds + 1):
        fold = Fold(catalogue, rulebook)
        fold.apply("flood", first)
        began = time.process_time()
        for run in runs:
            fold.apply("flood", run)
        times.append(time.process_time() - began)
    return (city.readings - city.sensors) / statistics.median(times[1:])


def memory(sizes: Sizes, said: Said = lambda text: None) -> dict[str, float]:
    """Bytes of state a sensor; a worker's MB and seconds until its first alert, started on the state of so many."""
    found: dict[str, float] = {}
    city = Course("fold", _ZONE, 60, 10_000, 20, 1)
    for name, rules in (("one_rule", data.RULES), ("all_rules", None)):
        fold = Fold(*_city(city, rules))
        for run in _runs(city):
            fold.apply("flood", run)
        found[f"state_bytes_per_sensor_{name}"] = sum(map(len, fold.checkpoint().values())) / city.sensors
    found["state_bytes_per_rain_station"] = _rain_station()
    for count in (min(sizes.sensors), max(sizes.sensors)):
        said(f"start-up with the state of {count:,} sensors")
        for name, value in asyncio.run(_started(count)).items():
            found[f"{name}_{count}_sensors"] = value
    return found


def _rain_station(stations: int = 100, hours: int = 13) -> float:
    """Bytes of state of a rain station that has reported each minute for longer than the longest window."""
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
        sites, _ = data.write_city(Path(name), stations, 1, "rain")
        fold = Fold(Catalogue.load(sites), Rulebook.shipped())
    rng = Random(1)
    for minute in range(hours * 60):
        time_ms = data.START_MS + courses.MINUTE_MS * minute
        pack = senml.encode((data.gauge(n), "rain", time_ms, rng.randrange(8) / 10) for n in range(stations))
        fold.apply("rain", [Record("readings.rain", 0, minute, time_ms, courses.zone_key(0), pack)])
    return sum(map(len, fold.checkpoint().values())) / stations


async def _started(sensors: int) -> dict[str, float]:
    course = Course("start", _ZONE, 2, sensors, max(4 * courses.PARTITIONS, sensors // _ZONE))
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name, ApacheKafka(Path(name, "kafka")) as kafka:
        folder, broker = Path(name), kafka.address
        sites, rules = data.write_city(folder, course.sensors, course.zones)
        await topics.ensure(broker, course.prefix, course.partitions, live=False)
        next_offset = dict.fromkeys(range(course.partitions), 0)
        async with Feeder(broker, course.prefix) as feeder:
            for record in courses.records(course):
                await feeder.feed(record)
                if record.topic == data.TOPIC:
                    next_offset[record.partition] = record.offset + 1
        worker = start_worker(broker, folder, sites, "--rules", rules, "--prefix", course.prefix)
        try:
            await _alerts(broker, course, worker, Seen(course))
        finally:
            worker.stop()
        async with Feeder(broker, course.prefix) as feeder:
            for mark, partition in course.marks().items():
                await feeder.feed(_dry(mark, course, partition, next_offset[partition]))
        began = time.perf_counter()
        worker = start_worker(broker, folder, sites, "--rules", rules, "--prefix", course.prefix)
        try:
            await _alerts(broker, course, worker, Seen(course._replace(minutes=3)))
            seconds = time.perf_counter() - began
            return {"start_s": seconds, "worker_mb": memory_mb(worker.pid)}
        finally:
            worker.stop()


def _dry(mark: str, course: Course, partition: int, offset: int) -> Record:
    """The mark's next reading, with which its level falls."""
    time_ms = data.START_MS + courses.MINUTE_MS * course.minutes
    pack = b'[{"n":"%s/depth","bt":%d,"v":0}]' % (mark.encode(), time_ms // 1000)
    return Record(data.TOPIC, partition, offset, time_ms, courses.zone_key(int(mark[1:]) % course.zones), pack)


async def _alerts(broker: str, course: Course, worker: Child, seen: Seen) -> None:
    """Waits until the marks say that all is done."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(course.prefix + topics.ALERTS, p) for p in range(course.partitions)])
        while not seen.complete:
            worker.check()
            for records in (await consumer.getmany(timeout_ms=20)).values():
                for record in records:
                    seen.take(contests.known(record.value), record.timestamp)
    finally:
        await consumer.stop()


def replay(hours: float, rounds: int) -> dict[str, float]:
    """A storm's day in a city with 43 million readings a day, so many hours of it: a quarter each at night, in the
    morning, in the afternoon of the storm and in the evening. Through all shipped rules without a broker, from the
    captures' files on, wall time; and how long a day of it takes.
    """
    readings, seconds = 0, 0.0
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
        catalogue, rulebook = Catalogue.load(write_city(Path(name), _CITY_SENSORS)), Rulebook.shipped()
        midnight, path = simulate("day", catalogue).setting.start_ms, Path(name, "hours.jsonl.zst")
        for hour in _HOURS:
            start_ms = midnight + hour * 3_600_000
            readings += simulate("day", catalogue, seed=1, start_ms=start_ms, hours=hours / len(_HOURS)).write(path)
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                replay_capture(path, catalogue, rulebook)
                times.append(time.perf_counter() - began)
            seconds += statistics.median(times)
    return {"readings": readings, "readings_per_s": readings / seconds, "day_of_city_s": seconds * _DAY / readings}


def _city(city: Course, rules: str | None) -> tuple[Catalogue, Rulebook]:
    """``rules``: the text; None for the shipped ones."""
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
        sites, file = data.write_city(Path(name), city.sensors, city.zones)
        if rules is None:
            return Catalogue.load(sites), Rulebook.shipped()
        file.write_text(rules)
        return Catalogue.load(sites), Rulebook.load(file)


def _runs(city: Course) -> list[list[Record]]:
    """The first minute's records, and the others as a fetch brings them."""
    log = [record for record in courses.records(city) if record.topic == data.TOPIC]
    minute, size = len(log) // city.minutes, max(1, _RUN // city.pack)
    return [log[:minute], *(log[first : first + size] for first in range(minute, len(log), size))]
