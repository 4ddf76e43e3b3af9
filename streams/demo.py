"""The demo: an embedded broker, workers, a simulated day on the four topics, its alerts, and on-call to be played."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from sensors.clock import CLOCK_KEY, tick
from sensors.gateway import Gateway
from sensors.simulators import Run
from streams import topics
from streams.alert_board import AlertBoard
from streams.child import Child
from streams.crew import Crew
from streams.embedded_broker import EmbeddedBroker
from streams.oncall.players import Players

PREFIX = "demo."
PARTITIONS = 4
STEP_S = 0.1  # how often what has become due is published, and the time after it


class Demo:
    """Runs until the simulated time is over, ``seconds`` have passed, or it is cancelled; then nothing is left running.

    ``speed``: seconds of event time a second. ``ahead_ms``: so much of the simulated time is published at once at
    first, so that there is something to see. ``players``: who may come into the console.
    """

    def __init__(
        self,
        run: Run,
        board: AlertBoard,
        *,
        speed: float,
        workers: int,
        players: Players,
        ahead_ms: int = 0,
        seconds: float | None = None,
    ) -> None:
        self._run, self._board, self._speed, self._workers = run, board, speed, workers
        self._players, self._ahead_ms, self._seconds = players, ahead_ms, seconds

    async def run(self) -> None:
        """RunError where the broker or a worker ends before its time."""
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kapok-demo-")))
            broker = stack.enter_context(EmbeddedBroker())
            names = (*topics.ALL, *topics.ONCALL)
            await topics.ensure(broker.address, PREFIX, PARTITIONS, live=False, names=names)
            crew = stack.enter_context(Crew([broker.address] * self._workers, PREFIX, folder))
            await stack.enter_async_context(self._players.phones())
            oncall = self._players.start(broker.address, PREFIX, folder)
            stack.callback(oncall.stop, 10)
            tasks = [
                asyncio.create_task(self._publish(broker.address)),
                asyncio.create_task(self._collect(broker.address)),
                asyncio.create_task(_watch([broker.process, *crew.workers, oncall])),
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
        async with Gateway(broker, self._run.setting.catalogue, PREFIX) as gateway, _ticks(broker) as tick_all:
            began = time.monotonic() - self._ahead_ms / 1000 / self._speed
            while pack is not None:
                now = min(setting.start_ms + round((time.monotonic() - began) * 1000 * self._speed), setting.end_ms)
                readings = 0
                while pack is not None and pack.time_ms <= now:
                    await gateway.send(pack.kind, pack.zone, pack.value, pack.time_ms)
                    readings += pack.readings
                    pack = next(packs, None)
                await gateway.flush()
                await tick_all(now)
                self._board.published(readings, now)
                await asyncio.sleep(STEP_S)
            await tick_all(setting.end_ms)
        await asyncio.sleep(2)  # for what is still on its way through the worker

    async def _collect(self, broker: str) -> None:
        async for value in _alerts(broker):
            self._board.take(msgspec.json.decode(value))


@contextlib.asynccontextmanager
async def _ticks(broker: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Writes a time (ms) to every partition that gets ticks: the simulated time, not that of the wall."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    await producer.start()

    async def tick_all(time_ms: int) -> None:
        places = [(PREFIX + name, partition) for name in topics.TICKED for partition in range(PARTITIONS)]
        value = tick(time_ms)
        sent = [await producer.send(name, value, CLOCK_KEY, p, timestamp_ms=time_ms) for name, p in places]
        await asyncio.gather(*sent)

    try:
        yield tick_all
    finally:
        await producer.stop()


async def _alerts(broker: str) -> AsyncIterator[bytes]:
    consumer = AIOKafkaConsumer(
        PREFIX + topics.ALERTS, bootstrap_servers=broker, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    try:
        await consumer.start()
        async for record in consumer:
            if record.key != CLOCK_KEY and record.value is not None:
                yield record.value
    finally:
        await consumer.stop()


async def _watch(children: list[Child]) -> None:
    while True:
        for child in children:
            child.check()
        await asyncio.sleep(0.5)
