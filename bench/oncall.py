"""From an alert's record to its first notification at a consumer, as delivery reads it; twenty new alerts a second."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from alerts.alert import iso
from alerts.edition import Edition
from bench.processes import start_oncall
from sensors.catalogue import Sensor
from sensors.clock import CLOCK_KEY, tick
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.embedded_broker import EmbeddedBroker
from streams.rules_log import rules_log

A_SECOND = 20
_WARM_UP_S = 3.0
_LAST_S = 30.0
READY_S = 90.0


def rows(seconds: float = 20.0, rounds: int = 3) -> dict[str, str]:
    """By broker: medians of the rounds, and the worst maximum. AssertionError when somebody was not told."""
    found = {}
    for name, embedded in (("Apache Kafka", False), ("embedded broker", True)):
        runs = [measure(seconds, embedded=embedded) for _ in range(rounds)]
        lost = sum(one["lost"] for one in runs)
        assert not lost, f"{lost:.0f} alerts were told to nobody"
        p50, p99 = (statistics.median(one[field] for one in runs) for field in ("p50", "p99"))
        longest = max(one["max"] for one in runs)
        found[f"{name}, {A_SECOND} new alerts/s"] = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {longest:.1f} ms"
    return found


def measure(seconds: float, *, embedded: bool = False) -> dict[str, float]:
    """p50, p99 and max in ms, and how many alerts were told to nobody (0)."""
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name:
        folder = Path(name)
        with EmbeddedBroker() if embedded else ApacheKafka(folder / "kafka") as kafka:
            return asyncio.run(_measure(kafka.address, folder, seconds))


async def _measure(broker: str, folder: Path, seconds: float) -> dict[str, float]:
    partitions = await topics.ensure(broker, names=(*topics.ALL, *topics.ONCALL))
    edition = Edition.read(None, None)
    gauges = [sensor for sensor in edition.catalogue.sensors.values() if sensor.kind == "flood"]
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    consumer = AIOKafkaConsumer(topics.NOTIFICATIONS, bootstrap_servers=broker, fetch_max_wait_ms=20)
    await producer.start()
    async with rules_log(broker, producer, "") as rules:
        await rules.publish(edition)
    oncall = start_oncall(broker, folder, "--no-delivery")
    await consumer.start()
    sent: dict[str, float] = {}
    heard: dict[str, float] = {}

    async def listen() -> None:
        async for record in consumer:
            case = json.loads(record.value)["case"]
            heard.setdefault(case, time.perf_counter())

    beside = [asyncio.create_task(listen()), asyncio.create_task(ticks(producer, partitions))]
    try:
        await asyncio.to_thread(oncall.wait_for, lambda: "on-call begins" in oncall.log.read_text(), READY_S)
        began, number = time.perf_counter() + _WARM_UP_S, 0
        while (due := began - _WARM_UP_S + number / A_SECOND) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            rule = f"flood-depth-{number}"  # one of its own, so that each opens a case
            case, key, value = new_alert(gauges[number % len(gauges)], rule, edition.ruleset)
            if due >= began:
                sent[case] = time.perf_counter()
            await producer.send(topics.ALERTS, value, key)
            number += 1
        deadline = time.monotonic() + _LAST_S
        while not sent.keys() <= heard.keys() and time.monotonic() < deadline:
            oncall.check()
            await asyncio.sleep(0.05)
    finally:
        for task in beside:
            task.cancel()
        await producer.stop()
        await consumer.stop()
        oncall.stop()
    waits = [(heard[case] - at) * 1000 for case, at in sent.items() if case in heard]
    if not waits:
        raise RunError("alerts were sent, and nobody was told")
    p50, p99 = np.percentile(waits, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "max": max(waits), "lost": len(sent) - len(waits)}


async def ticks(producer: AIOKafkaProducer, partitions: int) -> None:
    """The clock, once a second, until cancelled."""
    while True:
        now = tick(time.time_ns() // 1_000_000)
        places = [(name, p) for name in (topics.ALERTS, topics.ACTIONS) for p in range(partitions)]
        await asyncio.gather(*[await producer.send(name, now, CLOCK_KEY, p) for name, p in places])
        await asyncio.sleep(1)


def new_alert(gauge: Sensor, rule: str, ruleset: str) -> tuple[str, bytes, bytes]:
    """(case, key, value) of a red alert that opens a case."""
    key, at = f"{rule}/{gauge.id}", iso(time.time_ns() // 1_000_000)
    body: dict[str, Any] = {
        "id": f"{key}/{at}/0", "rule": rule, "type": "level", "kind": "flood", "site": gauge.id,
        "zone": gauge.zone, "district": gauge.district, "level": 4, "previous": 0, "status": "firing", "onset": at,
        "at": at, "seq": 0, "value": 0.5, "threshold": 0.27, "unit": "m",
        "message": {"zh": "积水", "en": "ponding"}, "ruleset": ruleset,
    }  # fmt: skip
    return f"{key}/{at}", key.encode(), json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
