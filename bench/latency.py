"""From a reading's sending to its alert's arrival at a consumer, while so many readings a second come in.

A hundred times a second a reading changes the level of one of a hundred gauges that take turns, over all partitions;
the others are dry. A reading is sent when the gateway's side hands it to its client, and every one counts, from the
first that a worker gets on. The worker is new each time. An Apache Kafka has done the same for a minute before, and
goes on from round to round: one that has just been started takes twice the CPU for it, and compiles.

In turns with it, at one rate, the least that can be done in kapok's place (bench/straight.py): what it takes is what a
broker and its Python client take on this machine, whatever is between them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from alerts.cases.message import time_ms
from bench import course as courses
from bench import data
from bench.course import Course
from bench.processes import start_worker
from sensors import senml
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.child import Child
from streams.embedded_broker import EmbeddedBroker

RATES = (1_000, 10_000, 100_000)
RATE = 10_000  # the one that a broker's figures are of
_REBALANCE_RATE = 1_000
_SENSORS, _ZONES, _MARKS = 1_000, 20, 100
_ALERTS_A_SECOND = 100
_SLICE_S = 0.001
WARM_UP_S = 60.0
_READY_S, _LAST_ALERTS_S = 60.0, 60.0
_AT_ONCE = 2_000  # readings in a slice, when the sending lags behind
_CITY = Course("latency", 1, 1, _SENSORS, _ZONES)
_STRAIGHT = Path(__file__).with_name("straight.py")


def latency(
    seconds: float,
    rounds: int,
    rates: tuple[int, ...] = RATES,
    said: Callable[[str], None] = lambda text: None,
    warm_up_s: float = WARM_UP_S,
) -> dict[str, Any]:
    """By broker and rate (p50, p99, max in ms: medians of the rounds, the worst maximum), straight through an Apache
    Kafka, and under a rebalance.
    """
    found: dict[str, Any] = {}
    own_rate = RATE if RATE in rates else rates[0]
    for name in ("kafka", "embedded"):
        by_rate: dict[str, dict[str, float]] = {}
        with Stand.up(embedded=name == "embedded", warm_up_s=warm_up_s) as stand:
            for rate in rates:
                waits, straight = [], []
                for _ in range(rounds):
                    waits.append(stand.measure(rate, seconds))
                    if name == "kafka" and rate == own_rate:
                        straight.append(stand.measure(rate, seconds, straight=True))
                of = by_rate[str(rate)] = _middle(waits)
                said(f"latency, {name}, {rate:,} readings/s: p50 {of['p50']:.1f} ms, p99 {of['p99']:.1f} ms")
                if straight:
                    least = found["straight"] = {"rate": rate} | _middle(straight)
                    said(f"latency, straight through: p50 {least['p50']:.1f} ms, p99 {least['p99']:.1f} ms")
            own = by_rate[str(own_rate)]
            found[name] = {field: own[field] for field in ("p50", "p99", "max")} | {"rates": by_rate}
            if name == "kafka":
                longer = max(seconds, 12.0)
                shaken = [stand.measure(_REBALANCE_RATE, longer, rebalance=True) for _ in range(rounds)]
                found["rebalance"] = {"rate": _REBALANCE_RATE} | _middle(shaken)
    return found


def _middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    found = {field: float(np.median([one[field] for one in rounds])) for field in rounds[0]}
    return found | {field: max(one[field] for one in rounds) for field in ("max", "lost")}


class Stand:
    """A broker, and the city whose readings are sent through it."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.broker, self._folder, self._rounds = broker, folder, 0
        self._sites, self._rules = data.write_city(folder, _SENSORS, _ZONES)
        self.waits = Waits()  # of the last measurement

    @classmethod
    @contextmanager
    def up(cls, *, embedded: bool = False, warm_up_s: float = WARM_UP_S) -> Iterator[Self]:
        """With a new broker; an Apache Kafka that has worked for so long."""
        with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
            folder = Path(name)
            with EmbeddedBroker() if embedded else ApacheKafka(folder / "kafka") as kafka:
                stand = cls(kafka.address, folder)
                if warm_up_s and not embedded:
                    stand.measure(_REBALANCE_RATE, warm_up_s)
                yield stand

    def measure(
        self, rate: int, seconds: float, *, rebalance: bool = False, straight: bool = False
    ) -> dict[str, float]:
        """p50, p99, max in ms, how many alerts were due and did not come, and the readings a second that were sent."""
        self._rounds += 1
        prefix, folder = f"round{self._rounds}.", self._folder / str(self._rounds)
        folder.mkdir()
        return asyncio.run(_measure(self, prefix, folder, rate, seconds, rebalance, straight))

    def start_straight(self, prefix: str, folder: Path) -> Child:
        """The least that can be done in a worker's place."""
        where = self.broker, prefix + data.TOPIC, prefix + topics.ALERTS, str(_CITY.partitions)
        return Child("straight", [sys.executable, _STRAIGHT, *where], folder / "log")

    def start_worker(self, prefix: str, folder: Path) -> Child:
        return start_worker(self.broker, folder, self._sites, "--rules", self._rules, "--prefix", prefix)


class Reading(NamedTuple):
    """A single reading on its way: where to, when (ms), the pack, and the gauge if its level changes."""

    partition: int
    key: bytes
    at: int
    pack: bytes
    mark: str | None = None


class Waits:
    """When readings were sent, and how long their alerts took."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, int], float] = {}  # gauge and when the reading is of (ms): when it was sent
        self.came: dict[tuple[str, int], float] = {}
        self.heard: set[str] = set()

    @property
    def due(self) -> int:
        return len(self.sent)

    @property
    def ms(self) -> list[float]:
        return [(came - self.sent[key]) * 1000 for key, came in self.came.items()]

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            alert = msgspec.json.decode(record.value)
            now = time.perf_counter()
            self.heard.add(alert["site"])
            key = alert["site"], time_ms(alert["at"])
            if key in self.sent:
                self.came.setdefault(key, now)


async def _measure(
    stand: Stand, prefix: str, folder: Path, rate: int, seconds: float, rebalance: bool, straight: bool
) -> dict[str, float]:
    await topics.ensure(stand.broker, prefix, _CITY.partitions, live=False)
    log = _log(rate, seconds)
    gc.collect()
    gc.freeze()  # the log: what is measured is not how long this process collects garbage
    waits = stand.waits = Waits()
    worker = (stand.start_straight if straight else stand.start_worker)(prefix, folder)
    producer = AIOKafkaProducer(bootstrap_servers=stand.broker, linger_ms=0, max_batch_size=1 << 20)
    consumer = AIOKafkaConsumer(prefix + topics.ALERTS, bootstrap_servers=stand.broker, fetch_max_wait_ms=20)
    try:
        await producer.start()
        await consumer.start()
        listening = asyncio.create_task(waits.listen(consumer))
        await _until_ready(producer, prefix + data.TOPIC, waits, worker.check)
        shaking = asyncio.create_task(_shake(stand, prefix, folder, seconds)) if rebalance else None
        per_s = await _send(producer, prefix + data.TOPIC, log, rate, waits)
        if shaking:
            await shaking
        deadline = time.monotonic() + _LAST_ALERTS_S
        while len(waits.came) < waits.due and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        listening.cancel()
        worker.check()
    finally:
        await producer.stop()
        await consumer.stop()
        worker.stop()
    if not waits.came:
        raise RunError(f"{waits.due:,} readings changed a level, and no alert came")
    p50, p99 = np.percentile(waits.ms, [50, 99])
    told = {"p50": float(p50), "p99": float(p99), "max": max(waits.ms)}
    return told | {"alerts": waits.due, "lost": waits.due - len(waits.came), "sent_per_s": per_s}


def _log(rate: int, seconds: float) -> list[Reading]:
    """The readings in the order of sending; a millisecond of the city between them, however many are sent a second."""
    every = rate // _ALERTS_A_SECOND
    log = []
    for count in range(int(rate * seconds)):
        at, turn = data.START_MS + count, count // every
        mark = count % every == 0
        number = turn % _MARKS if mark else _MARKS + count % (_SENSORS - _MARKS)
        log.append(_reading(number, at, 0.5 * (turn // _MARKS % 2 == 0) if mark else 0.01, mark))
    return log


def _reading(number: int, at: int, depth: float, mark: bool = False) -> Reading:
    gauge = data.gauge(number)
    key, pack = courses.zone_key(number % _ZONES), senml.encode([(gauge, "depth", at, depth)])
    return Reading(_CITY.partition(number), key, at, pack, gauge if mark else None)


async def _until_ready(producer: AIOKafkaProducer, topic: str, waits: Waits, check: Callable[[], None]) -> None:
    """Waits until a gauge in each partition has been heard; they are dry ones of the log."""
    probes = {_CITY.partition(n): n for n in range(_MARKS, _MARKS + _ZONES)}
    began, turn = time.monotonic(), 0
    while missing := [number for number in probes.values() if data.gauge(number) not in waits.heard]:
        check()
        if time.monotonic() - began > _READY_S:
            raise RunError(f"no alerts of {missing} within {_READY_S:g} s")
        turn += 1
        for number in missing:
            one = _reading(number, data.START_MS - 1_000_000 + turn, 0.5 * (turn % 2))
            await producer.send(topic, one.pack, one.key, one.partition, one.at)
        await asyncio.sleep(0.25)


async def _send(producer: AIOKafkaProducer, topic: str, log: list[Reading], rate: int, waits: Waits) -> float:
    """Sends what is due, each millisecond a batch for each partition; gives readings a second."""
    began, done = time.perf_counter(), 0
    under_way: set[asyncio.Future[Any]] = set()
    while done < len(log):
        due = min(len(log), int((time.perf_counter() - began) * rate), done + _AT_ONCE)
        batches: dict[int, Any] = {}
        for reading in log[done:due]:
            if reading.mark is not None:
                waits.sent[reading.mark, reading.at] = time.perf_counter()
            if reading.partition not in batches:
                batches[reading.partition] = producer.create_batch()
            batches[reading.partition].append(key=reading.key, value=reading.pack, timestamp=reading.at)
        done = due
        for partition, batch in batches.items():
            batch.close()
            under_way.add(await producer.send_batch(batch, topic, partition=partition))
        under_way = {one for one in under_way if not one.done()}
        await asyncio.sleep(_SLICE_S)
    per_s = done / (time.perf_counter() - began)
    await asyncio.gather(*under_way)
    return per_s


async def _shake(stand: Stand, prefix: str, folder: Path, seconds: float) -> None:
    """A second worker joins after a quarter of the time and leaves after two thirds."""
    place = folder / "second"
    place.mkdir()
    await asyncio.sleep(seconds / 4)
    second = stand.start_worker(prefix, place)
    try:
        await asyncio.sleep(seconds * 5 / 12)
        second.check()
    finally:
        second.ask_to_end()
    while second.exit_code is None:
        await asyncio.sleep(0.05)
