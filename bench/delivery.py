"""From an alert's record to the first attempt to tell somebody of it, at a webhook; twenty new alerts a second.

Everything is real but the people: their addresses are of a receiver on loopback. ``kapok oncall`` decides and delivers.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from aiohttp import web
from aiokafka import AIOKafkaProducer

from alerts.edition import Edition
from alerts.routes.directory import SHIPPED
from bench.oncall import A_SECOND, READY_S, new_alert, ticks
from bench.processes import start_oncall
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.child import free_port
from streams.rules_log import rules_log

_PHONES = "127.0.0.1:8477"  # where all contacts in the shipped directory are
_LAST_S = 60.0


def rows(seconds: float = 15.0) -> dict[str, str]:
    """On Apache Kafka; each alert is of another gauge, of which there are 495. RunError when nobody was told of one."""
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as name, ApacheKafka(Path(name) / "kafka") as kafka:
        waits, attempts = asyncio.run(_measure(kafka.address, Path(name), seconds))
    p50, p99 = np.percentile(waits, [50, 99])
    return {
        f"Apache Kafka, {A_SECOND} new alerts/s": f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(waits):.0f} ms",
        "attempts by then": f"{attempts} for {len(waits)} alerts",
    }


async def _measure(broker: str, folder: Path, seconds: float) -> tuple[list[float], int]:
    """From sending to first attempt in ms, of each alert; and how many attempts there were."""
    sent: dict[str, float] = {}
    heard: dict[str, list[float]] = {}
    partitions = await topics.ensure(broker, names=(*topics.ALL, *topics.ONCALL))
    edition = Edition.read(None, None)
    gauges = [sensor for sensor in edition.catalogue.sensors.values() if sensor.kind == "flood"]
    directory, phones = folder / "directory.toml", f"127.0.0.1:{free_port()}"
    directory.write_text(SHIPPED.read_text().replace(_PHONES, phones))
    async with _receiver(phones, heard), AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        async with rules_log(broker, producer, "") as rules:
            await rules.publish(edition)
        oncall = start_oncall(broker, folder, "--directory", directory)
        ticking = asyncio.create_task(ticks(producer, partitions))

        async def send() -> str:
            case, key, value = new_alert(gauges.pop(), "flood-depth", edition.ruleset)
            sent[case] = time.perf_counter()
            await producer.send(topics.ALERTS, value, key)
            return case

        async def told(cases: set[str]) -> None:
            deadline = time.monotonic() + _LAST_S
            while left := cases - heard.keys():
                oncall.check()
                if time.monotonic() > deadline:
                    raise RunError(f"nobody was told of {len(left)} of {len(cases)} alerts:\n{oncall.tail()}")
                await asyncio.sleep(0.01)

        try:
            await asyncio.to_thread(oncall.wait_for, lambda: "on-call begins" in oncall.log.read_text(), READY_S)
            await told({await send()})  # all of it runs
            print(f"on-call runs; {A_SECOND} alerts a second for {seconds:g} s", file=sys.stderr)
            sent.clear()
            began = time.perf_counter()
            while (due := began + len(sent) / A_SECOND) < began + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await send()
            await told(set(sent))
        finally:
            ticking.cancel()
            oncall.stop()
    waits = [(min(heard[case]) - at) * 1000 for case, at in sent.items()]
    return waits, sum(len(heard[case]) for case in sent)


@asynccontextmanager
async def _receiver(address: str, heard: dict[str, list[float]]) -> AsyncIterator[None]:
    """Takes every message, and the times of them by case."""

    async def take(request: web.Request) -> web.Response:
        case, _, _ = request.headers["Idempotency-Key"].rpartition("/")
        heard.setdefault(case, []).append(time.perf_counter())
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/{rest:.*}", take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, _, port = address.partition(":")
    await web.TCPSite(runner, host, int(port)).start()
    try:
        yield
    finally:
        await runner.cleanup()
