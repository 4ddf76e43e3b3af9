"""The course that every contestant runs: a city's readings on one topic, and the alerts that they must give.

In each partition one gauge changes its level every minute, and it is the last that reports. Its alert of minute m
therefore says, for whoever wrote it, that the readings of that partition up to minute m are done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alerts.fold import Fold
from alerts.rulebook import Rulebook
from bench import data
from sensors import senml
from sensors.catalogue import SHIPPED, Catalogue
from sensors.clock import CLOCK_KEY
from sensors.record import Record, partition_of
from streams.feeder import Feeder

PARTITIONS = 4
MINUTE_MS = 60_000
TICK_EVERY = 10  # minutes: timers have something to do, and those that skip ticks have next to nothing to skip
CLOCKS = (data.TOPIC, "readings.rain")  # waterlogging risk needs both

Known = tuple[str, str, int, int]  # an alert: rule, site, at in ms, level


class Course(NamedTuple):
    """Gauges in zones, each of which reports once a minute for so many minutes, in packs of so many readings."""

    name: str
    pack: int
    minutes: int
    sensors: int = 10_000
    zones: int = 20
    partitions: int = PARTITIONS

    @property
    def prefix(self) -> str:
        """Of its topics."""
        return f"{self.name}."

    @property
    def source(self) -> str:
        """The topic with its readings."""
        return self.prefix + data.TOPIC

    @property
    def readings(self) -> int:
        return self.sensors * self.minutes

    def partition(self, sensor: int) -> int:
        """The partition that the readings of a gauge are in."""
        return partition_of(zone_key(sensor % self.zones), self.partitions)

    def members(self) -> np.ndarray:
        """(partitions,) how many gauges there are in each."""
        return np.bincount([self.partition(n) for n in range(self.sensors)], minlength=self.partitions)

    def marks(self) -> dict[str, int]:
        """The gauge of each partition that changes its level every minute → the partition."""
        last: dict[int, int] = {}
        for zone in range(self.zones):
            last[self.partition(zone)] = range(zone, self.sensors, self.zones)[-1]
        return {data.gauge(sensor): partition for partition, sensor in last.items()}


def zone_key(zone: int) -> bytes:
    return b"Z%04d" % zone


def records(course: Course, seed: int = 1) -> Iterator[Record]:
    """The course's log, the ticks of the rain topic included; offsets count per topic and partition."""
    values = data.depths(course.sensors, course.minutes, seed)
    for mark in course.marks():
        values[:, int(mark[1:])] = 0.5 * (np.arange(course.minutes) % 2)
    offsets = {(topic, p): 0 for topic in CLOCKS for p in range(course.partitions)}

    def record(topic: str, partition: int, time_ms: int, key: bytes, value: bytes) -> Record:
        offset = offsets[topic, partition]
        offsets[topic, partition] += 1
        return Record(topic, partition, offset, time_ms, key, value)

    keys = [zone_key(zone) for zone in range(course.zones)]
    members = [range(zone, course.sensors, course.zones) for zone in range(course.zones)]
    names = [data.gauge(n) for n in range(course.sensors)]
    for minute, depths in enumerate(values):
        time_ms, depths_of = data.START_MS + MINUTE_MS * minute, depths.tolist()
        if minute % TICK_EVERY == 0:
            tick = b'[{"n":"@clock","t":%d}]' % (time_ms // 1000)
            for topic, partition in offsets:
                yield record(topic, partition, time_ms, CLOCK_KEY, tick)
        for key, gauges in zip(keys, members, strict=True):
            partition = partition_of(key, course.partitions)
            for first in range(0, len(gauges), course.pack):
                some = gauges[first : first + course.pack]
                pack = senml.encode((names[n], "depth", time_ms, depths_of[n]) for n in some)
                yield record(data.TOPIC, partition, time_ms, key, pack)


def write_city(folder: Path, course: Course) -> tuple[Path, Path]:
    """The course's catalogue, its catchments with what waterlogging risk asks for, and the one rule: (sites, rules)."""
    sites, rules = data.write_city(folder, course.sensors, course.zones)
    shipped = json.loads(SHIPPED.read_bytes())["features"]
    catchment = next(f["properties"] for f in shipped if "hollow_ratio" in f["properties"])
    about = ("area_km2", "runoff", "interception_mm", "storage_mm", "drainage_mm_h", "hollow_ratio")
    city = json.loads(sites.read_bytes())
    for feature in city["features"]:
        if feature["properties"]["role"] == "place":
            feature["properties"] |= {field: catchment[field] for field in about}
    sites.write_text(json.dumps(city, ensure_ascii=False))
    return sites, rules


async def lay(broker: str, course: Course, sites: Path, rules: Path) -> tuple[set[Known], set[Known]]:
    """Feeds the course's log to its topics, and folds it: the alerts of the one rule, and those of all shipped ones."""
    catalogue = Catalogue.load(sites)
    books = Rulebook.load(rules), Rulebook.shipped()
    folds = [
        [Fold(catalogue, book, partition=p, partitions=course.partitions) for p in range(course.partitions)]
        for book in books
    ]
    expected: tuple[set[Known], set[Known]] = set(), set()
    async with Feeder(broker, course.prefix) as feeder:
        log = records(course)
        while some := list(islice(log, 40_000 if course.pack == 1 else 400)):
            runs: dict[tuple[str, int], list[Record]] = {}
            for record in some:
                await feeder.feed(record)
                runs.setdefault((record.topic, record.partition), []).append(record)
            for (topic, partition), run in runs.items():
                for known, of_book in zip(expected, folds, strict=True):
                    found = of_book[partition].apply(topic.removeprefix("readings."), run).alerts
                    known |= {(a.body["rule"], a.body["site"], a.at, a.level) for a in found}
    return expected
