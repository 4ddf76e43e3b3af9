"""From a reading's sending to its alert's arrival at a consumer, while so many readings a second come in.

A hundred times a second a reading changes the level of one of a hundred gauges that take turns, over all partitions;
the others are dry. A reading is sent when the gateway's side hands it to its client, and every one counts, from the
first on. An Apache Kafka has a quarter of a minute of other records before: one that has just been started is not what
it is an hour later.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic

from bench import course as courses
from bench import data
from bench.course import Course
from bench.processes import start_worker
from sensors import senml
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.embedded_broker import EmbeddedBroker

RATES = (1_000, 10_000, 100_000)
RATE = 10_000  # the one that a broker's figures are of
_REBALANCE_RATE = 1_000
_SENSORS, _ZONES, _MARKS = 1_000, 20, 100
_ALERTS_A_SECOND = 100
_SLICE_S = 0.001
_WARM_UP_S, _WARM_UP_TOPIC = 15.0, "warm-up"
_READY_S, _LAST_ALERTS_S = 60.0, 60.0
_AT_ONCE = 2_000  # readings in a slice, when the sending lags behind
_CITY = Course("latency", 1, 1, _SENSORS, _ZONES)


def latency(
    seconds: float, rounds: int, rates: tuple[int, ...] = RATES, said: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """By broker and rate (p50, p99, max in ms: medians of the rounds, the worst maximum), and under a rebalance."""
    found: dict[str, Any] = {}
    for name, embedded in (("kafka", False), ("embedded", True)):
        by_rate: dict[str, dict[str, float]] = {}
        for rate in rates:
            of = by_rate[str(rate)] = _middle([measure(rate, seconds, embedded=embedded) for _ in range(rounds)])
            said(f"latency, {name}, {rate:,} readings/s: p50 {of['p50']:.1f} ms, p99 {of['p99']:.1f} ms")
        own = by_rate[str(RATE if RATE in rates else rates[0])]
        found[name] = {field: own[field] for field in ("p50", "p99", "max")} | {"rates": by_rate}
    shaken = [measure(_REBALANCE_RATE, max(seconds, 12.0), rebalance=True) for _ in range(rounds)]
    found["rebalance"] = {"rate": _REBALANCE_RATE} | _middle(shaken)
    return found


def _middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    found = {field: float(np.median([one[field] for one in rounds])) for field in rounds[0]}
    return found | {field: max(one[field] for one in rounds) for field in ("max", "lost")}


def measure(rate: int, seconds: float, *, embedded: bool = False, rebalance: bool = False) -> dict[str, float]:
    """p50, p99, max in ms, how many alerts were due and did not come, and the readings a second that were sent."""
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
        folder = Path(name)
        sites, rules = data.write_city(folder, _SENSORS, _ZONES)
        with EmbeddedBroker() if embedded else ApacheKafka(folder / "kafka") as kafka:
            if not embedded:
                asyncio.run(_warm_up(kafka.address))
            return asyncio.run(_measure(kafka.address, folder, sites, rules, rate, seconds, rebalance))


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
        self.sent: dict[tuple[str, int], float] = {}
        self.ms: list[float] = []
        self.heard: set[str] = set()

    @property
    def due(self) -> int:
        return len(self.sent)

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            alert = msgspec.json.decode(record.value)
            now = time.perf_counter()
            at = int(np.datetime64(alert["at"].removesuffix("Z"), "ms").astype(np.int64))
            self.heard.add(alert["site"])
            began = self.sent.get((alert["site"], at))
            if began is not None:
                self.ms.append((now - began) * 1000)


async def _warm_up(broker: str) -> None:
    """Records through the broker, one by one."""
    async with topics.admin(broker) as client:
        await client.create_topics([NewTopic(_WARM_UP_TOPIC, _CITY.partitions, 1)])
    async with (
        AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer,
        AIOKafkaConsumer(_WARM_UP_TOPIC, bootstrap_servers=broker, fetch_max_wait_ms=20) as consumer,
    ):
        until = time.monotonic() + _WARM_UP_S
        while time.monotonic() < until:
            await producer.send(_WARM_UP_TOPIC, b"warm-up")
            await consumer.getmany(timeout_ms=1)


async def _measure(
    broker: str, folder: Path, sites: Path, rules: Path, rate: int, seconds: float, rebalance: bool
) -> dict[str, float]:
    await topics.ensure(broker, "", _CITY.partitions, live=False)
    log = _log(rate, seconds)
    waits = Waits()
    worker = start_worker(broker, folder, sites, "--rules", rules)
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=0, max_batch_size=1 << 20)
    consumer = AIOKafkaConsumer(topics.ALERTS, bootstrap_servers=broker, fetch_max_wait_ms=20)
    try:
        await producer.start()
        await consumer.start()
        listening = asyncio.create_task(waits.listen(consumer))
        await _until_ready(producer, waits, worker.check)
        shaking = asyncio.create_task(_shake(broker, folder, sites, rules, seconds)) if rebalance else None
        per_s = await _send(producer, log, rate, waits)
        if shaking:
            await shaking
        deadline = time.monotonic() + _LAST_ALERTS_S
        while len(waits.ms) < waits.due and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        listening.cancel()
        worker.check()
    finally:
        await producer.stop()
        await consumer.stop()
        worker.stop()
    if not waits.ms:
        raise RunError(f"{waits.due:,} readings changed a level, and no alert came")
    p50, p99 = np.percentile(waits.ms, [50, 99])
    told = {"p50": float(p50), "p99": float(p99), "max": max(waits.ms)}
    return told | {"alerts": waits.due, "lost": waits.due - len(waits.ms), "sent_per_s": per_s}


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


async def _until_ready(producer: AIOKafkaProducer, waits: Waits, check: Callable[[], None]) -> None:
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
            await producer.send(data.TOPIC, one.pack, one.key, one.partition, one.at)
        await asyncio.sleep(0.25)


async def _send(producer: AIOKafkaProducer, log: list[Reading], rate: int, waits: Waits) -> float:
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
            under_way.add(await producer.send_batch(batch, data.TOPIC, partition=partition))
        under_way = {one for one in under_way if not one.done()}
        await asyncio.sleep(_SLICE_S)
    per_s = done / (time.perf_counter() - began)
    await asyncio.gather(*under_way)
    return per_s


async def _shake(broker: str, folder: Path, sites: Path, rules: Path, seconds: float) -> None:
    """A second worker joins after a quarter of the time and leaves after two thirds."""
    place = folder / "second"
    place.mkdir()
    await asyncio.sleep(seconds / 4)
    second = start_worker(broker, place, sites, "--rules", rules)
    try:
        await asyncio.sleep(seconds * 5 / 12)
        second.check()
    finally:
        second.ask_to_end()
    while second.exit_code is None:
        await asyncio.sleep(0.05)
