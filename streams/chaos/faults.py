"""What each fault does, and when it is over: when every partition alerts again as it should."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from sensors.errors import RunError
from streams.apache_kafka import READY_SECONDS, ApacheKafka
from streams.chaos.plan import Fault, Kind
from streams.chaos.proxy import Proxy
from streams.chaos.timeline import Timeline
from streams.chaos.watch import Watch
from streams.child import Child
from streams.crew import Crew

_WELL_WITHIN_S = 120.0  # else the pipeline is given up
_WELL_ENOUGH_AFTER_S = 20.0  # on a machine that is too busy for more, it is enough that all partitions alert
_ENDS_WITHIN_S = 30.0
_POLL_S = 0.05
_READING = b"reading partitions"  # in a worker's log, at each assignment


class Stage:
    """A broker, workers that reach it through a proxy each, and the faults that befall them.

    ``ended`` collects what workers said that ended by themselves; they are started again.
    """

    def __init__(
        self, kafka: ApacheKafka, proxies: Sequence[Proxy], crew: Crew, watch: Watch, when: Timeline, session_s: float
    ) -> None:
        self.kafka, self.proxies, self.crew, self.watch, self.when = kafka, proxies, crew, watch, when
        self._session_s = session_s
        self._down: set[int] = set()  # workers that are not running on purpose
        self.ended: list[str] = []

    async def befall(self, number: int, fault: Fault) -> None:
        """A fault, from the quiet before it until all is well again; RunError where that never comes."""
        await asyncio.sleep(fault.rest_s)
        acts: dict[Kind, Callable[[int, Fault], Awaitable[None]]] = {
            Kind.KILL: self._kill,
            Kind.STOP: self._stop,
            Kind.BROKER: self._broker,
            Kind.CUT: self._cut,
            Kind.DELAY: self._delay,
            Kind.ROLLING: self._rolling,
        }
        self.when.begin(fault.label, number)
        await acts[fault.kind](number, fault)
        await self.well()
        self.when.begin()

    async def ready(self) -> None:
        """Waits until the workers have their partitions."""
        for worker in self.crew.workers:
            await self._reading(worker)

    async def _kill(self, number: int, fault: Fault) -> None:
        for worker in fault.workers:
            self._down.add(worker)
            self.crew.workers[worker].kill()
        if fault.hard:
            await self.well()
            self.when.begin("a killed worker is back", number)
        await self._start(fault.workers)

    async def _stop(self, number: int, fault: Fault) -> None:
        (worker,) = fault.workers
        child = self.crew.workers[worker]
        before = _assignments(child)
        os.kill(child.pid, signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        os.kill(child.pid, signal.SIGCONT)
        await self._reading(child, before)

    async def _broker(self, number: int, fault: Fault) -> None:
        if fault.hard:
            self.kafka.process.kill()
        else:
            self.kafka.process.ask_to_end()
            await self._until(lambda: self.kafka.process.exit_code is not None, "the broker ended")
        await asyncio.sleep(fault.seconds)
        self.kafka.start()
        began = time.monotonic()
        while not self.kafka.ready():
            self.kafka.process.check()
            if time.monotonic() - began > READY_SECONDS:
                raise RunError(f"the broker did not come back:\n{self.kafka.process.tail()}")
            await asyncio.sleep(_POLL_S)
        self.when.broker_is_back()

    async def _cut(self, number: int, fault: Fault) -> None:
        before = {worker: _assignments(self.crew.workers[worker]) for worker in fault.workers}
        for worker in fault.workers:
            if fault.hard:
                await self.proxies[worker].cut()
            else:
                self.proxies[worker].silence()
        await asyncio.sleep(fault.seconds)
        for worker in fault.workers:
            await self.proxies[worker].restore()
        if fault.seconds > self._session_s + 0.5:
            for worker in fault.workers:
                await self._reading(self.crew.workers[worker], before[worker])

    async def _delay(self, number: int, fault: Fault) -> None:
        for worker in fault.workers:
            self.proxies[worker].latency_s = fault.latency_s
        await asyncio.sleep(fault.seconds)
        for worker in fault.workers:
            self.proxies[worker].latency_s = 0.0

    async def _rolling(self, number: int, fault: Fault) -> None:
        for worker in fault.workers:
            self._down.add(worker)
            child = self.crew.workers[worker]
            child.ask_to_end()
            began = time.monotonic()
            while child.exit_code is None:
                if time.monotonic() - began > _ENDS_WITHIN_S:
                    self.ended.append(
                        f"{child.name} did not end within {_ENDS_WITHIN_S:g} s of SIGTERM: {child.tail()}"
                    )
                    child.kill()
                await asyncio.sleep(_POLL_S)
            if child.exit_code > 0:
                self.ended.append(f"{child.name}, asked to end, exit code {child.exit_code}: {child.tail()}")
            await self._start([worker])

    async def _start(self, workers: Sequence[int]) -> None:
        for worker in workers:
            self.crew.replace(worker)
            self._down.discard(worker)
        for worker in workers:
            await self._reading(self.crew.workers[worker])

    async def _reading(self, child: Child, before: int = 0) -> None:
        """Waits until a worker has been given partitions anew, or has ended by itself."""
        await self._until(
            lambda: _assignments(child) > before or child.exit_code is not None, f"{child.name} was given partitions"
        )

    async def well(self) -> None:
        """Waits until every partition alerts as it should; starts workers that ended, as a supervisor would."""
        began = time.monotonic()
        while True:
            for number, child in enumerate(self.crew.workers):
                if number not in self._down and child.exit_code is not None:
                    self.ended.append(f"{child.name} ended with exit code {child.exit_code}: {child.tail()}")
                    await self._start([number])
            if await self.watch.calm():
                return
            if time.monotonic() - began > _WELL_ENOUGH_AFTER_S and self.watch.heard():
                return
            self._give_up_after(began, "every partition alerted again")
            await asyncio.sleep(_POLL_S)

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        began = time.monotonic()
        while not done():
            self._give_up_after(began, what)
            await asyncio.sleep(_POLL_S)

    def _give_up_after(self, began: float, what: str) -> None:
        if time.monotonic() - began > _WELL_WITHIN_S:
            logs = "\n".join(f"{child.name}, {child.log.name}:\n{child.tail()}" for child in self.crew.workers)
            said = f"{_WELL_WITHIN_S:g} s went by before {what}, after {self.when.phases[-1].label}"
            raise RunError(f"{said}; canaries were heard {self.watch.told()} ago\n{logs}")


def _assignments(worker: Child) -> int:
    return worker.log.read_bytes().count(_READING)
