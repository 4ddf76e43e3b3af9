"""A city's gauges that rise and fall while something is done to the brokers, and the account that is given afterwards."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from alerts.rulebook import Rulebook
from sensors import capture as captures
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY
from sensors.errors import RunError
from sensors.gateway import Gateway
from sensors.quantities import topic
from sensors.senml import Reading, load, resolve
from streams.child import Child
from streams.record import record
from streams.replay import replay

CITY = Catalogue.shipped()
GAUGES = [sensor.id for sensor in CITY.sensors.values() if sensor.kind == "flood"][:20]
RULES = """
[[rule]]
id = "wet"
kind = "flood"
type = "level"
quantity = "depth"
levels = {red = 0.2}
"""  # no tick makes an alert, so a log that ends somewhere has the alerts that it has
_PATIENCE_S = 200


class Feed:
    """Readings go to the brokers until the end of the block; ``acknowledged``: the times (s) of those that they took,
    ``alerts``: what came of them.
    """

    def __init__(self, brokers: str, folder: Path) -> None:
        self.brokers, self._folder = brokers, folder
        self.acknowledged: list[float] = []
        self.alerts: list[bytes] = []
        self.rules = folder / "rules.toml"
        self.rules.write_text(RULES)

    def worker(self, name: str) -> Child:
        """A worker, started again when it ends."""
        command = [sys.executable, "-m", "streams", "worker", "--broker", self.brokers, "--rules", str(self.rules)]
        return Child(name, [*command, "--supervise", "1"], self._folder / f"{name}.log")

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        listening, publishing = asyncio.create_task(self._listen()), asyncio.create_task(self._publish())
        try:
            yield
            publishing.cancel()
            await asyncio.wait([publishing])
            await self._account()
        finally:
            publishing.cancel()
            listening.cancel()

    async def go_on(self) -> None:
        """Waits until more readings are taken, and more alerts come."""
        rounds, alerts = len(self.acknowledged), len(self.alerts)
        await eventually(lambda: len(self.acknowledged) > rounds + 25 and len(self.alerts) > alerts + 500)

    async def _publish(self) -> None:
        wet = False
        while True:
            try:
                async with Gateway(self.brokers, CITY) as gateway:
                    while True:
                        at, wet = round(time.time(), 3), not wet
                        for gauge in GAUGES:
                            await gateway.publish(gauge, depth=0.3 * wet, at=at)
                        await gateway.flush()
                        self.acknowledged.append(at)
                        await asyncio.sleep(0.05)
            except (RunError, KafkaError):  # as its supervisor would start it again
                await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        consumer = AIOKafkaConsumer("alerts", bootstrap_servers=self.brokers, auto_offset_reset="earliest")
        async with consumer:
            async for one in consumer:
                if one.key != CLOCK_KEY:
                    self.alerts.append(one.value)

    async def _account(self) -> None:
        """What was acknowledged is in the log, and the alerts are those that a replay of it gives."""
        capture = self._folder / "readings.jsonl"
        await record(self.brokers, capture)
        logged: set[tuple[str, int]] = set()
        for line in captures.read(capture):
            if line.topic != topic("flood") or line.key in ("@clock", "@rules"):
                continue
            for _, reading in resolve(load(line.payload())):
                if isinstance(reading, Reading):
                    logged.add((reading.name, reading.time_ms))
        assert {(f"{gauge}/depth", round(at * 1000)) for at in self.acknowledged for gauge in GAUGES} <= logged
        wanted = set(replay(capture, CITY, Rulebook.load(self.rules), partitions=8).lines())
        await eventually(lambda: wanted <= set(self.alerts))
        assert set(self.alerts) == wanted


async def eventually(what: Callable[[], bool]) -> None:
    """Waits for it; where it does not come about, the traceback says what, which a test's own time limit would not."""
    deadline = time.monotonic() + _PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, f"it did not come about in {_PATIENCE_S} s"
        await asyncio.sleep(0.1)
