"""Points a second from Apache Kafka through ``kapok archive`` into a real InfluxDB, and the memory that it takes."""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from bench import data
from bench import database as databases
from bench.processes import cpu_seconds, peak_mb
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.feeder import Feeder

SENSORS, ZONES, MINUTES, PACK = 10_000, 20, 300, 100
_WITHIN_S = 120.0


def rows(rounds: int = 3) -> dict[str, str]:
    """What was measured, by name: medians of the rounds, the most memory."""
    found = [_measure() for _ in range(rounds)]
    rates, memory, of_archive, of_database = zip(*found, strict=True)
    return {
        "readings, sensors, readings a pack": f"{SENSORS * MINUTES:,}, {SENSORS:,}, {PACK}",
        "points/s, each round": ", ".join(f"{rate:,.0f}" for rate in rates),
        "points/s, median": f"{statistics.median(rates):,.0f}",
        "points per second of the archive's CPU": f"{statistics.median(of_archive):,.0f}",
        "points per second of the database's CPU": f"{statistics.median(of_database):,.0f}",
        "memory of the archive, the most": f"{max(memory):,.0f} MB",
    }


def _measure() -> tuple[float, float, float, float]:
    """(points a second, peak MB of the archive, points per second of its CPU, and of the database's)"""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that has just been started
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
        folder = Path(name)
        sites, rules = data.write_city(folder, SENSORS, ZONES)
        database = databases.database(folder / "influxdb")
        try:
            with ApacheKafka(folder / "kafka") as kafka:
                asyncio.run(_lay(kafka.address, sites, rules))
                archive = databases.start_archive(kafka.address, database.url, folder)
                try:
                    rate = _watch(lambda: databases.count(database), archive.check)
                    used = [SENSORS * MINUTES / cpu_seconds(pid) for pid in (archive.pid, database.pid)]
                    return rate, peak_mb(archive.pid), used[0], used[1]
                finally:
                    archive.stop()
        finally:
            database.stop()


async def _lay(broker: str, sites: Path, rules: Path) -> None:
    await topics.ensure(broker, live=False)
    await databases.publish_rules(broker, sites, rules)
    async with Feeder(broker, "") as feeder:
        log = data.records(SENSORS, ZONES, MINUTES, PACK, topics.PARTITIONS)
        while some := list(islice(log, 1000)):
            for record in some:
                await feeder.feed(record)


def _watch(count: Callable[[], int], check: Callable[[], None]) -> float:
    """Points a second from when the first were seen to when all were; it asks seldom, since that is work too."""
    began, first, pause = time.monotonic(), (0.0, 0), 0.2
    while (points := count()) < SENSORS * MINUTES:
        check()
        now = time.monotonic()
        if now - began > _WITHIN_S:
            raise RunError(f"{points:,} of {SENSORS * MINUTES:,} points within {_WITHIN_S:g} s")
        if points and not first[1]:
            first, pause = (now, points), 3.0
        elif points > first[1] > 0:
            left = (SENSORS * MINUTES - points) / (points - first[1]) * (now - first[0])
            pause = min(max(left * 0.7, 0.1), 5.0)
        time.sleep(pause)
    return (points - first[1]) / (time.monotonic() - first[0])
