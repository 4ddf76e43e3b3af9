"""The demo: an embedded broker, workers, a simulated day on the four topics, and the alerts that come of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer

from sensors.clock import CLOCK_KEY, tick
from sensors.quantities import KINDS, topic
from sensors.record import Record, partition_of
from sensors.simulators import Run
from streams import topics
from streams.alert_board import AlertBoard
from streams.child import Child
from streams.embedded_broker import EmbeddedBroker
from streams.feeder import Feeder

PREFIX = "demo."
PARTITIONS = 4
TICK_MS = 10_000  # of event time
STEP_S = 0.1  # how often the demo publishes what has become due


class Demo:
    """Runs until the simulated time is over, ``seconds`` have passed, or it is cancelled; then nothing is left running.

    ``speed``: seconds of event time a second. ``ahead_ms``: so much of the simulated time is published at once at
    first, so that there is something to see.
    """

    def __init__(
        self,
        run: Run,
        board: AlertBoard,
        *,
        speed: float,
        workers: int,
        ahead_ms: int = 0,
        seconds: float | None = None,
    ) -> None:
        self._run, self._board, self._speed, self._workers = run, board, speed, workers
        self._ahead_ms, self._seconds = ahead_ms, seconds
        self._next: dict[tuple[str, int], int] = defaultdict(int)

    async def run(self) -> None:
        """RunError where the broker or a worker ends before its time."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kapok-demo-")))
            broker = stack.enter_context(EmbeddedBroker())
            await topics.ensure(broker.address, PREFIX, PARTITIONS, live=False)
            workers = stack.enter_context(_workers(broker.address, self._workers, folder))
            tasks = [
                asyncio.create_task(self._publish(broker.address)),
                asyncio.create_task(self._collect(broker.address)),
                asyncio.create_task(_watch([broker.process, *workers])),
            ]
            try:
                await asyncio.wait(tasks, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, broker: str) -> None:
        setting = self._run.setting
        packs = self._run.packs()
        pack = next(packs, None)
        next_tick = setting.start_ms
        async with Feeder(broker, PREFIX) as feeder:
            began = time.monotonic() - self._ahead_ms / 1000 / self._speed
            while pack is not None:
                now = setting.start_ms + round((time.monotonic() - began) * 1000 * self._speed)
                readings = published = 0
                while pack is not None and pack.time_ms <= now:
                    while next_tick <= pack.time_ms:
                        await self._tick(feeder, next_tick)
                        next_tick += TICK_MS
                    await feeder.feed(self._record(topic(pack.kind), pack.zone.encode(), pack.value, pack.time_ms))
                    readings += pack.readings
                    published += 1
                    pack = next(packs, None)
                    if published % 200 == 0:
                        await asyncio.sleep(0)
                await feeder.flush()
                self._board.published(readings, min(now, setting.end_ms))
                await asyncio.sleep(STEP_S)
            await self._tick(feeder, setting.end_ms)
            await feeder.flush()
        await asyncio.sleep(2)  # for what is still on its way through the worker

    async def _tick(self, feeder: Feeder, time_ms: int) -> None:
        pack = tick(time_ms)
        for kind in KINDS:
            for partition in range(PARTITIONS):
                await feeder.feed(self._record(topic(kind), CLOCK_KEY, pack, time_ms, partition))

    def _record(self, name: str, key: bytes, value: bytes, time_ms: int, partition: int | None = None) -> Record:
        place = partition_of(key, PARTITIONS) if partition is None else partition
        offset = self._next[name, place]
        self._next[name, place] = offset + 1
        return Record(name, place, offset, time_ms, key, value)

    async def _collect(self, broker: str) -> None:
        async for value in _alerts(broker):
            self._board.take(msgspec.json.decode(value))


async def _alerts(broker: str) -> AsyncIterator[bytes]:
    consumer = AIOKafkaConsumer(
        PREFIX + topics.ALERTS, bootstrap_servers=broker, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        async for record in consumer:
            if record.key != CLOCK_KEY and record.value is not None:
                yield record.value
    finally:
        await consumer.stop()


@contextlib.contextmanager
def _workers(broker: str, count: int, folder: Path) -> Iterator[list[Child]]:
    command: list[str | Path] = [sys.executable, "-m", "streams", "worker", "--no-clock"]
    command += ["--broker", broker, "--prefix", PREFIX]
    children: list[Child] = []
    try:
        for number in range(1, count + 1):
            children.append(Child(f"worker {number}", command, folder / f"worker-{number}.log"))
        yield children
    finally:
        for child in children:
            child.ask_to_end()
        for child in children:
            child.stop(seconds=5)


async def _watch(children: list[Child]) -> None:
    while True:
        for child in children:
            child.check()
        await asyncio.sleep(0.5)
