"""The incidents of docs/operations.md, each brought about: what the page says shows, and what it says to do ends it.

A full disk is in tests/test_full_disk.py, who is turned out in tests/test_access.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from feeds import CITY, Feed, eventually
from pipelines import ended, wait_for_line
from test_metrics import scraped, value
from test_supervisor import asked
from watchers import Watcher, watching

from sensors.quantities import KINDS
from streams import access, topics
from streams.apache_kafka import READY_SECONDS, ApacheKafka
from streams.certificates import Authority
from streams.child import Child, free_port
from streams.record import record

pytest_plugins = ["brokers"]
# A minute each where nothing else runs: what an alert waits for has to pass.
pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("java"), pytest.mark.timeout(900)]

ALL = set(range(topics.PARTITIONS))
_USUAL_S = 20.0  # of what is usual, before a flood: more than Prometheus compares with in the watch's faster time
PLACES = len(KINDS) * topics.PARTITIONS


class Scene(NamedTuple):
    """A Kafka, a city's gauges, and a Prometheus that asks the workers at ``ports``, ten times as often."""

    kafka: ApacheKafka
    feed: Feed
    watch: Watcher
    ports: list[int]
    folder: Path

    def worker(self, number: int, *options: str, env: dict[str, str] | None = None) -> Child:
        """A worker as somebody starts it."""
        command = [sys.executable, "-m", "streams", "worker", "--broker", self.kafka.address]
        command += ["--rules", str(self.feed.rules), "--health", f"127.0.0.1:{self.ports[number]}", *options]
        return Child(f"worker {number}", command, self.folder / f"worker-{number}-{time.time_ns()}.log", env)

    def share(self, number: int) -> set[int]:
        """The partitions of a worker that says it is ready."""
        with suppress(OSError):
            status, body = asked(self.ports[number], "/ready")
            return set(body["partitions"]) if status == 200 else set()
        return set()

    def shared(self) -> bool:
        """Whether both workers have a part, and together all."""
        one, other = self.share(0), self.share(1)
        return bool(one and other) and one | other == ALL and not one & other

    def lags(self) -> dict[tuple[str, str], float]:
        """(topic, partition) → records still to be folded."""
        found = {}
        for port in self.ports:
            with suppress(OSError):
                for one in scraped(port)["kapok_lag_records"].samples:
                    found[one.labels["topic"], one.labels["partition"]] = one.value
        return found

    def counted(self, number: int, name: str, **labels: str) -> float:
        """The sum over a metric's series of a worker; nan while it does not answer."""
        with suppress(OSError):
            return value(scraped(self.ports[number]), name, **labels)
        return math.nan

    async def fires(self, name: str, running: list[Child]) -> None:
        await asyncio.to_thread(self.watch.until_fires, name, running)

    async def over(self, name: str, running: list[Child]) -> None:
        await asyncio.to_thread(self.watch.until_over, name, running)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    ports = [free_port(), free_port()]
    with ApacheKafka(tmp_path / "kafka") as kafka, watching(tmp_path / "watching", {"worker": ports}) as watch:
        yield Scene(kafka, Feed(kafka.address, tmp_path), watch, ports, tmp_path)


def with_fault(folder: Path, code: str) -> dict[str, str]:
    """The environment of a Python in which this is done first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def kapok(*arguments: str | Path) -> str:
    """What a command says."""
    command = [sys.executable, "-m", "streams", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


async def pour(scene: Scene, zone: str) -> None:
    """A gateway that has lost its catalogue: as much as is needed for 300 records more to wait each second."""
    now = int(time.time())
    pack = json.dumps([{"n": f"XX-{n}/depth", "v": 1, "t": now} for n in range(40)]).encode()
    began = time.monotonic()
    async with AIOKafkaProducer(bootstrap_servers=scene.kafka.address) as producer:
        while True:
            waiting = sum((await asyncio.to_thread(scene.lags)).values())
            for _ in range(20 if waiting < 300 * (time.monotonic() - began) else 0):
                await asyncio.gather(*[await producer.send("readings.flood", pack, zone.encode()) for _ in range(50)])
            await asyncio.sleep(0.05)


async def test_a_gateway_floods_and_lag_grows(scene: Scene) -> None:
    """One partition has the lag, and what was rejected says whose it is; then another worker takes its share of the work."""
    zone = next(sensor.zone for sensor in CITY.sensors.values() if sensor.kind == "flood")
    began = int(time.time() * 1000)
    with ended(scene.worker(0)) as running:
        await eventually(lambda: scene.share(0) == ALL)
        async with scene.feed.flowing():
            await scene.feed.go_on()
            await asyncio.sleep(_USUAL_S)
            pouring = asyncio.create_task(pour(scene, zone))
            await asyncio.to_thread(scene.watch.until_fired, "LagGrows", "GatewayFloods", running=running)
            ((worst, most), (_, next_most), *_) = sorted(scene.lags().items(), key=lambda item: -item[1])
            assert worst[0] == "readings.flood"
            assert most > 10 * next_most
            assert scene.counted(0, "kapok_rejected_total", reason="unknown_sensor") > 0
            pouring.cancel()
            await asyncio.wait({pouring})
            out = scene.folder / "rejected.jsonl"
            await record(scene.kafka.address, out, names=[topics.REJECTED], from_ms=began)
            said = [json.loads(line)["value"] for line in out.read_text().splitlines()]
            assert {(one["reason"], one["key"]) for one in said} == {("unknown_sensor", zone)}
            running.append(scene.worker(1))
            await eventually(scene.shared)
            await scene.over("LagGrows", running)
            await eventually(lambda: sum(scene.lags().values()) < 1000)


async def test_a_partition_is_stuck(scene: Scene) -> None:
    """A worker that hangs; then one whose reading stands still, started again and again until that is mended."""
    sick = scene.folder / "sick"
    fault = f"""
from pathlib import Path
from streams.prefetch import Prefetched
take = Prefetched.take
Prefetched.take = lambda self, places: {{}} if Path({str(sick)!r}).exists() else take(self, places)
"""
    env = with_fault(scene.folder / "fault", fault)
    with ended(scene.worker(0), scene.worker(1)) as running:
        await eventually(scene.shared)
        async with scene.feed.flowing():
            await scene.feed.go_on()
            os.kill(running[0].pid, signal.SIGSTOP)
            await eventually(lambda: scene.share(1) == ALL)
            await scene.feed.go_on()
            os.kill(running[1].pid, signal.SIGSTOP)  # now nobody is left
            await scene.fires("WorkersDown", running)
            for one in running:
                os.kill(one.pid, signal.SIGCONT)
            await eventually(scene.shared)
            await scene.over("WorkersDown", running)
            await scene.feed.go_on()

            for one in running:
                assert one.stop() == 0
            sick.touch()
            running[:] = [scene.worker(0, "--supervise", "1", "--stuck", "4s", env=env)]
            await scene.fires("WorkersRestart", running)
            said = wait_for_line(running[0], "watchdog: readings.")
            assert "has stood still at offset" in said
            wait_for_line(running[0], "worker 1 ended with exit code 3; it is started again")
            sick.unlink()
            await eventually(lambda: scene.share(0) == ALL)
            await scene.feed.go_on()


async def test_the_clock_stops(scene: Scene) -> None:
    """Nobody writes it, or the machine of the one that does has another time than Kafka's."""
    ahead = scene.folder / "ahead"
    fault = f"""
import time
from pathlib import Path
from streams import clock_writer
class Machine:
    time = staticmethod(lambda: time.time() + float(Path({str(ahead)!r}).read_text()))
clock_writer.time = Machine
"""

    def put(seconds: float) -> None:
        (scene.folder / "new").write_text(str(seconds))
        (scene.folder / "new").rename(ahead)

    put(0)
    env = with_fault(scene.folder / "fault", fault)

    def behind() -> float:
        return time.time() - scene.counted(1, "kapok_clock_timestamp_seconds", kind="flood", partition="0")

    with ended(scene.worker(0, "--no-clock")) as running:
        await eventually(lambda: scene.share(0) == ALL)
        async with scene.feed.flowing():
            await scene.fires("ClockStopped", running)
            await scene.feed.go_on()  # what needs no timer is told all the same
            assert scene.counted(0, "kapok_ticks_total") == 0
            running.append(scene.worker(1, env=env))
            await eventually(scene.shared)
            assert running[0].stop() == 0  # it may have kept partition 0, and writes nothing
            del running[0]
            await eventually(lambda: scene.share(1) == ALL and abs(behind()) < 5)
            await scene.over("ClockStopped", running)

            put(90)
            await eventually(lambda: scene.counted(1, "kapok_rejected_total", reason="future") > 2 * PLACES)
            put(-120)  # and what it has said before stands
            await scene.fires("Behind", running)
            put(0)
            await eventually(lambda: abs(behind()) < 5)
            await scene.over("Behind", running)
            put(25)
            await scene.fires("ClockAhead", running)
            assert -30 < behind() < -20
            put(0)
            await scene.over("ClockAhead", running)


async def test_the_certificate_expires(tmp_path: Path) -> None:
    """It is seen coming, and a new one holds once Kafka was started again: nothing else has to be changed."""
    folder, port = tmp_path / "access", free_port()
    access.make(folder, ["127.0.0.1"], {"field": list(KINDS)})
    Authority(folder).issue(
        folder / access.BROKER / "server.pem", access.BROKER, ["127.0.0.1"], lasts=timedelta(days=20)
    )
    with (
        ApacheKafka(tmp_path / "kafka", access=folder) as kafka,
        watching(tmp_path / "watching", {"worker": [port]}) as watch,
    ):
        kapok("access", "grant", folder, "--broker", kafka.admin_address)
        command = [sys.executable, "-m", "streams", "worker", "--broker", kafka.address]
        command += ["--health", f"127.0.0.1:{port}", "--supervise", "1"]
        env = {"KAPOK_BROKER_SETTINGS": str(folder / "worker" / "broker.toml")}
        with ended(Child("worker", command, tmp_path / "worker.log", env)) as running:
            await asyncio.to_thread(watch.until_fires, "CertificateEnds", running)
            assert "CertificateEndsNow" not in watch.firing
            assert "made broker" in kapok("access", "make", folder, "--host", "127.0.0.1", "--gateway", "field")
            said, since = len(running[0].log.read_text().splitlines()), time.monotonic()
            kafka.process.stop()
            kafka.start()
            await asyncio.to_thread(kafka.process.wait_for, kafka.ready, READY_SECONDS)
            await asyncio.to_thread(watch.until_over, "CertificateEnds", running)
            end = watch.value("max(kapok_broker_certificate_timestamp_seconds)")
            assert end is not None
            assert end > time.time() + 300 * 86_400
            said = len(running[0].log.read_text().splitlines()) - said
            assert said < 400 * (time.monotonic() - since)  # who asks in vain waits before asking again
