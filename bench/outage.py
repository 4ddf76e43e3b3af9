"""The database of the archive killed, slow, full and refusing, under readings of a whole city: do alerts notice?

An Apache Kafka, a worker, the archive, and a real InfluxDB behind a proxy. Readings come at the same rate all the time,
in packs of twenty; a hundred times a second one of them changes the level of a gauge. How long alerts take is measured
before, while the database is away (a quarter of the time for each fault, one right after the other), and while the
archive catches up. In the end the database must have every reading once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from alerts.cases.message import time_ms
from bench import course as courses
from bench import data
from bench import database as databases
from bench.course import Course
from bench.faulty_database import Fault, FaultyDatabase
from bench.processes import cpu_seconds, peak_mb, start_worker
from sensors import senml
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.child import free_port

RATE = 20_000
PACK = 20
MAY_TAKE = 2.0  # times as long as before, the 99th percentile of alerts
CAUGHT_UP_WITHIN_S = 120.0
FAULTS = ("killed", Fault.full, Fault.slow, Fault.refusing)
_SENSORS, _ZONES = 10_000, 20
_MARK_EVERY = 10  # packs
_OTHER_DISK = Path("/dev/shm")  # the database should have a machine and a disk of its own
_BEFORE_S = 60.0  # that is 6,000 alerts, of which the 60 slowest count
_WARM_UP_S = 60.0  # a broker that was just started takes twice the CPU
_SLICE_S = 0.002
_STEADY_S = 6.0  # the archive commits every 5 s: more than that behind it is behind
_READY_S, _GIVE_UP_S = 60.0, 600.0
_BEFORE, _CATCHING_UP = "before", "while it catches up"
_CITY = Course("outage", PACK, 1, _SENSORS, _ZONES)


class Failed(AssertionError):
    """Something was lost or there twice, alerts were held up, or the archive did not catch up in time."""


class Found(NamedTuple):
    """``p99``: in ms, by phase. ``lost``, ``twice``: readings. ``caught_up_s``: after the database was back.
    ``cores``: what each process took of the CPU, by phase.
    """

    p99: dict[str, float]
    alerts_lost: int
    sent: int
    lost: int
    twice: int
    caught_up_s: float
    backlog: int
    memory_mb: float
    rate: float
    cores: dict[str, dict[str, float]]


def rows(minutes: float = 10.0) -> dict[str, str]:
    """What was measured, by name; Failed where it is not as it must be."""
    found = run(minutes * 60)
    told = {
        "readings/s, minutes of outage": f"{found.rate:,.0f}, {minutes:g}",
        **{f"reading → alert, p99 {phase}": f"{p99:.1f} ms" for phase, p99 in found.p99.items()},
        "alerts lost": f"{found.alerts_lost}",
        "readings, lost, there twice": f"{found.sent:,}, {found.lost}, {found.twice}",
        "points that waited when the database was back": f"{found.backlog:,}",
        "caught up in": f"{found.caught_up_s:.0f} s",
        "memory of the archive, the most": f"{found.memory_mb:,.0f} MB",
        **{
            f"cores {phase}": ", ".join(f"{name} {cores:.2f}" for name, cores in used.items())
            for phase, used in found.cores.items()
            if phase in (_BEFORE, _CATCHING_UP)
        },
    }
    if problems := _problems(found):
        raise Failed("; ".join(problems) + "\n" + "\n".join(f"{name}: {value}" for name, value in told.items()))
    return told


def _problems(found: Found) -> list[str]:
    before = found.p99[_BEFORE]
    slow = [f"p99 {phase} {p99:.1f} ms" for phase, p99 in found.p99.items() if p99 > MAY_TAKE * before]
    problems = [f"alerts held up: {', '.join(slow)}, before {before:.1f} ms"] if slow else []
    problems += [f"{found.alerts_lost} alerts lost"] if found.alerts_lost else []
    problems += [f"{found.lost} readings lost, {found.twice} there twice"] if found.lost or found.twice else []
    late = found.caught_up_s > CAUGHT_UP_WITHIN_S
    return problems + ([f"caught up in {found.caught_up_s:.0f} s"] if late else [])


def run(outage_s: float, rate: int = RATE, before_s: float = _BEFORE_S) -> Found:
    """An outage of so many seconds."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that has just been started
    with (
        tempfile.TemporaryDirectory(prefix="kapok-bench-") as name,
        tempfile.TemporaryDirectory(prefix="kapok-bench-", dir=_OTHER_DISK if _OTHER_DISK.is_dir() else None) as other,
    ):
        folder = Path(name)
        sites, rules = data.write_city(folder, _SENSORS, _ZONES)
        database = databases.database(Path(other, "influxdb"), aside=True)
        try:
            with ApacheKafka(folder / "kafka") as kafka:
                stage = _Stage(kafka, folder, sites, rules, rate, database)
                return asyncio.run(stage.run(before_s, outage_s))
        finally:
            database.stop()


class _Pack(NamedTuple):
    """A pack of one zone's gauges, dry and wet; the first gauge of a wet one has a flood. ``mark``: that gauge."""

    partition: int
    key: bytes
    dry: bytes
    wet: bytes
    mark: str | None

    @classmethod
    def make(cls, number: int) -> _Pack:
        zone, place = number % _ZONES, number // _ZONES
        gauges = [data.gauge(zone + _ZONES * (place * PACK + n)) for n in range(PACK)]
        texts = [
            senml.encode((gauge, "depth", data.START_MS, first if n == 0 else 0.01) for n, gauge in enumerate(gauges))
            for first in (0.01, 0.5)
        ]
        mark = gauges[0] if number % _MARK_EVERY == 0 else None
        return cls(_CITY.partition(zone), courses.zone_key(zone), *texts, mark)

    def at(self, second: int) -> bytes:
        """The pack of a second of the city: in every other one the marked gauge is wet."""
        text = self.wet if self.mark and second % 2 else self.dry
        base = data.START_MS // 1000
        return text.replace(b'"bt":%d' % base, b'"bt":%d' % (base + second), 1)


_PACKS = [_Pack.make(number) for number in range(_SENSORS // PACK)]  # all gauges once: a second of the city


class _Stage:
    """Who takes part, and what is sent and heard."""

    def __init__(self, kafka: ApacheKafka, folder: Path, sites: Path, rules: Path, rate: int, database: Any) -> None:
        self.kafka, self.broker, self.folder, self.sites, self.rules = kafka, kafka.address, folder, sites, rules
        self.rate, self.database = rate, database
        self._phase, self._began = "", time.monotonic()
        self.due: dict[tuple[str, int], tuple[float, str]] = {}  # (gauge, second): sent at, phase
        self.waits: dict[str, list[float]] = {}  # ms, by phase
        self.sent = 0  # readings
        self.cores: dict[str, dict[str, float]] = {}  # by phase and process
        self._used: tuple[float, dict[str, float]] = 0.0, {}  # when a phase began, CPU seconds by then

    async def run(self, before_s: float, outage_s: float) -> Found:
        await topics.ensure(self.broker, "", _CITY.partitions, live=False)
        producer = AIOKafkaProducer(bootstrap_servers=self.broker, linger_ms=0, max_batch_size=1 << 20)
        consumer = AIOKafkaConsumer(topics.ALERTS, bootstrap_servers=self.broker, fetch_max_wait_ms=20)
        worker = start_worker(self.broker, self.folder, self.sites, "--rules", self.rules)
        self._children = [worker]
        try:
            async with FaultyDatabase(free_port(), self.database.url) as proxy, producer, consumer:
                self._children.append(databases.start_archive(self.broker, proxy.url, self.folder, aside=True))
                tasks = [asyncio.create_task(self._listen(consumer)), asyncio.create_task(self._send(producer))]
                try:
                    return await self._observe(proxy, consumer, tasks, before_s, outage_s)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for child in reversed(self._children):
                child.stop()

    async def _observe(
        self, proxy: FaultyDatabase, consumer: AIOKafkaConsumer, tasks: list[Any], before_s: float, outage_s: float
    ) -> Found:
        archive = self._children[1]
        await asyncio.to_thread(archive.wait_for, lambda: "archiving" in archive.log.read_text(), _READY_S)
        await self._caught_up(consumer, _READY_S)
        await asyncio.sleep(_WARM_UP_S)
        gc.collect()
        gc.freeze()  # who sends and listens here is not what is measured
        began, sent_before = time.perf_counter(), self.sent
        self._enter(_BEFORE)
        await asyncio.sleep(before_s)
        await self._outage(proxy, outage_s)
        self._enter(_CATCHING_UP)
        backlog = PACK * await self._behind(consumer)
        caught_up_s = await self._caught_up(consumer, _GIVE_UP_S)
        rate = (self.sent - sent_before) / (time.perf_counter() - began)
        self._enter("")
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        good, others = await self._stored()
        deadline = time.monotonic() + _READY_S
        while self.due and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        p99 = {phase: float(np.percentile(ms, 99)) for phase, ms in self.waits.items() if phase}
        memory_mb = peak_mb(self._children[1].pid)
        return Found(
            p99, len(self.due), self.sent, self.sent - good, others, caught_up_s, backlog, memory_mb, rate, self.cores
        )

    def _enter(self, phase: str) -> None:
        now, used = time.monotonic(), self._cpu_seconds()
        began, before = self._used
        if before:
            self.cores[self._phase] = {name: (used[name] - before[name]) / (now - began) for name in used}
        self._used = now, used
        self._phase = phase
        said = f"{time.monotonic() - self._began:6.1f} s: {self.sent:,} readings sent, {len(self.due)} alerts due"
        print(f"{said}; {phase or 'end'}", file=sys.stderr)

    def _cpu_seconds(self) -> dict[str, float]:
        worker, archive = (child.pid for child in self._children[:2])
        pids = {"broker": self.kafka.process.pid, "worker": worker, "archive": archive, "database": self.database.pid}
        return {name: cpu_seconds(pid) for name, pid in {**pids, "this one": os.getpid()}.items()}

    async def _outage(self, proxy: FaultyDatabase, seconds: float) -> None:
        for fault in FAULTS:
            self._enter(f"while it is {fault}")
            if fault == "killed":
                self.database.kill()
            else:
                proxy.fault = Fault(fault)
            await asyncio.sleep(seconds / len(FAULTS))
            self._check()
            if fault == "killed":
                await asyncio.to_thread(self.database.start)
        proxy.fault = Fault.none

    async def _behind(self, consumer: AIOKafkaConsumer) -> int:
        """Packs that are on the topic and not known to be in the database."""
        places = [TopicPartition(data.TOPIC, number) for number in range(_CITY.partitions)]
        ends = await consumer.end_offsets(places)
        async with topics.admin(self.broker) as client:
            done = await client.list_consumer_group_offsets("kapok-archive")
        return sum(end - (max(done[place].offset, 0) if place in done else 0) for place, end in ends.items())

    async def _caught_up(self, consumer: AIOKafkaConsumer, within_s: float) -> float:
        """Seconds until the archive is no more behind than it always is."""
        began = time.monotonic()
        while self.sent == 0 or await self._behind(consumer) * PACK > self.rate * _STEADY_S:
            self._check()
            if time.monotonic() - began > within_s:
                raise RunError(f"the archive did not catch up within {within_s:g} s:\n{self._children[1].tail()}")
            await asyncio.sleep(0.5)
        return time.monotonic() - began

    async def _stored(self) -> tuple[int, int]:
        """How many readings the database has as good ones and as others, once no more come."""
        found, quiet = (0, 0), 0
        while quiet < 5 and found != (self.sent, 0):
            self._check()
            await asyncio.sleep(1)
            now = await asyncio.to_thread(databases.qualities, self.database)
            quiet = quiet + 1 if now == found else 0
            found = now
        return found

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            now, alert = time.perf_counter(), msgspec.json.decode(record.value)
            second = (time_ms(alert["at"]) - data.START_MS) // 1000
            began, phase = self.due.pop((alert["site"], second), (now, ""))
            self.waits.setdefault(phase, []).append((now - began) * 1000)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        """Sends what is due, in slices, each a batch for each partition, until cancelled."""
        began = time.perf_counter()
        while True:
            due = int((time.perf_counter() - began) * self.rate)
            batches: dict[int, Any] = {}
            for number in range(self.sent // PACK, min(due // PACK, self.sent // PACK + len(_PACKS))):
                second, pack = number // len(_PACKS), _PACKS[number % len(_PACKS)]
                if pack.partition not in batches:
                    batches[pack.partition] = producer.create_batch()
                stamp = data.START_MS + second * 1000
                batches[pack.partition].append(key=pack.key, value=pack.at(second), timestamp=stamp)
                if pack.mark and second:
                    self.due[pack.mark, second] = time.perf_counter(), self._phase
                self.sent += PACK
            sent = [await producer.send_batch(batch, data.TOPIC, partition=p) for p, batch in batches.items()]
            await asyncio.shield(asyncio.gather(*sent))
            await asyncio.sleep(_SLICE_S)

    def _check(self) -> None:
        for child in self._children:
            child.check()
