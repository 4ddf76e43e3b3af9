"""Readings a second and latency through a real Apache Kafka, one worker, one level rule."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from alerts.fold import applied_offsets
from bench import data
from sensors import senml
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.child import Child
from streams.embedded_broker import EmbeddedBroker
from streams.feeder import Feeder
from streams.state_log import reader

PARTITIONS = 4


def throughput(pack: int, sensors: int, zones: int, minutes: int) -> float:
    """Readings a second of wall time, from the moment at which the worker is under way to the last reading."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites, rules = data.write_city(folder, sensors, zones)
        with ApacheKafka(folder / "kafka") as kafka:
            return asyncio.run(_throughput(kafka.address, folder, sites, rules, pack, sensors, zones, minutes))


async def _throughput(
    broker: str, folder: Path, sites: Path, rules: Path, pack: int, sensors: int, zones: int, minutes: int
) -> float:
    await topics.ensure(broker, "", PARTITIONS, live=False)
    fed = 0
    async with Feeder(broker, "") as feeder:
        for record in data.records(sensors, zones, minutes, pack, PARTITIONS):
            await feeder.feed(record)
            fed += 1
    per_record = sensors * minutes / fed
    worker = _worker(broker, folder, sites, rules)
    try:
        samples: list[tuple[float, int]] = []
        async with reader(broker, topics.STATE, range(PARTITIONS)) as states:
            while not samples or samples[-1][1] < fed:
                worker.check()
                await states.poll(20)
                applied = 0
                for partition in range(PARTITIONS):
                    rows = states.partition_rows(partition)
                    applied += max((applied_offsets(row)["flood"] + 1 for row in rows), default=0)
                if applied and (not samples or applied > samples[-1][1]):
                    samples.append((time.perf_counter(), applied))
    finally:
        worker.stop()
    (began, first), (ended, last) = samples[0], samples[-1]
    return (last - first) * per_record / (ended - began)


def latency(rate: int, seconds: float, embedded: bool = False) -> tuple[float, float, float]:
    """(p50, p99, max) in ms from a reading's sending to its alert's arrival, at so many single readings a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites, rules = data.write_city(folder, 1_000, 20)
        with EmbeddedBroker() if embedded else ApacheKafka(folder / "kafka") as kafka:
            waits = asyncio.run(_latency(kafka.address, folder, sites, rules, rate, seconds))
    p50, p99 = np.percentile(waits, [50, 99])
    return float(p50), float(p99), float(max(waits))


async def _latency(broker: str, folder: Path, sites: Path, rules: Path, rate: int, seconds: float) -> list[float]:
    """Every tenth reading is of gauge 0, and each of those changes its level."""
    await topics.ensure(broker, "", PARTITIONS, live=False)
    worker = _worker(broker, folder, sites, rules)
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=0)
    consumer = AIOKafkaConsumer(topics.ALERTS, bootstrap_servers=broker, fetch_max_wait_ms=20)
    consumer_waits: list[float] = []
    sent: dict[int, float] = {}
    await producer.start()
    await consumer.start()
    try:
        await asyncio.sleep(4)  # the worker starts

        async def listen() -> None:
            async for record in consumer:
                at = msgspec.json.decode(record.value)["at"]
                now = time.perf_counter()
                consumer_waits.append((now - sent[_ms(at)]) * 1000)

        listening = asyncio.create_task(listen())
        began, count = time.perf_counter(), 0
        while count < rate * seconds:
            due = int((time.perf_counter() - began) * rate)
            while count < due:
                at = data.START_MS + count * 1000
                number = 0 if count % 10 == 0 else 1 + count % 999
                depth = 0.5 * (count // 10 % 2) if number == 0 else 0.01
                if number == 0:
                    sent[at] = time.perf_counter()
                pack = senml.encode([(data.gauge(number), "depth", at, depth)])
                await producer.send("readings.flood", pack, b"Z%04d" % (number % 20), timestamp_ms=at)
                count += 1
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        listening.cancel()
        worker.check()
    finally:
        await producer.stop()
        await consumer.stop()
        worker.stop()
    return consumer_waits


def _ms(time_text: str) -> int:
    return int(np.datetime64(time_text.removesuffix("Z"), "ms").astype(np.int64))


def _worker(broker: str, folder: Path, sites: Path, rules: Path) -> Child:
    command: list[str | Path] = [sys.executable, "-m", "streams", "worker", "--no-clock", "--broker", broker]
    return Child("worker", [*command, "--sites", sites, "--rules", rules], folder / "worker.log")
