"""A run: a capture fed through Apache Kafka to workers, faults upon them meanwhile, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sensors import clock
from sensors.clock import CLOCK_KEY
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.chaos import load
from streams.chaos.faults import Stage
from streams.chaos.feeding import Feeding
from streams.chaos.load import Load
from streams.chaos.plan import Fault, expected_seconds
from streams.chaos.proxy import Proxy
from streams.chaos.report import Report, Sent, rejected_difference, went_back
from streams.chaos.timeline import REST, Timeline
from streams.chaos.watch import Watch, watching
from streams.child import free_port
from streams.crew import Crew
from streams.kafka_replay import applied
from streams.reading import all_records
from streams.state_log import reader

PARTITIONS = 8
PREFIX = "chaos."
_TELL_EVERY_S = 0.2
_BATCH_S = 0.02  # readings due within this are sent together
_BACKLOG_S = 5.0  # so far behind, workers get nothing more until they have caught up
_HOLD_S = 60.0
_FOLDED_WITHIN_S = 120.0
SPARE_S = 60.0  # of the capture: what is left of it after the last fault is fed at once

# Faults so far, what is going on, readings and alerts so far.
Progress = Callable[[int, str, int, int], None]


class Chaos:
    """``Chaos(load, plan, …).run()`` gives a Report; ``folder`` gets the broker's data and all logs."""

    def __init__(
        self,
        load: Load,
        plan: Sequence[Fault],
        folder: Path,
        *,
        seed: int,
        workers: int,
        session_s: float,
        progress: Progress | None = None,
    ) -> None:
        self._load, self._plan, self._folder, self._session_s = load, plan, folder, session_s
        self._report = Report(seed, workers, session_s)
        self._progress = progress
        self._when = Timeline()
        self._doing = 0, "starting"
        self._last: dict[tuple[str, int], int] = {}  # (topic, partition): last offset fed
        self._due_by_plan = [expected_seconds(fault, session_s) for fault in plan]

    async def run(self) -> Report:
        """RunError when the broker cannot be started, or alerts do not come back after a fault."""
        began = time.monotonic()
        settings = {"group.min.session.timeout.ms": f"{self._session_s * 1000:.0f}"}
        # For topics without a setting of their own, as alerts: when an alert was there is for the broker to say.
        settings["log.message.timestamp.type"] = "LogAppendTime"
        async with contextlib.AsyncExitStack() as stack:
            ports = [free_port() for _ in range(self._report.workers)]
            kafka = ApacheKafka(self._folder / "kafka", settings=settings, proxies=ports)
            stack.enter_context(kafka)
            proxies = [
                await stack.enter_async_context(Proxy(port, to)) for port, to in zip(ports, kafka.ports, strict=True)
            ]
            await topics.ensure(kafka.address, PREFIX, PARTITIONS, live=False)
            addresses = [f"127.0.0.1:{port}" for port in ports]
            crew = stack.enter_context(Crew(addresses, PREFIX, self._folder, self._load.sites, self._load.rules))
            watch = await stack.enter_async_context(watching(kafka.address, PREFIX, PARTITIONS, self._when))
            stage = Stage(kafka, proxies, crew, watch, self._when, self._session_s)
            await stage.ready()
            pace = _Pace(self._load.first_ms, self._load.last_ms, sum(self._due_by_plan))
            feeding = asyncio.create_task(self._feed(kafka.address, pace, watch))
            faulting = asyncio.create_task(self._faults(stage, pace))
            telling = asyncio.create_task(self._tell(watch))
            try:
                await asyncio.wait([feeding, faulting], return_when=asyncio.FIRST_EXCEPTION)
                for task in (faulting, feeding):
                    if task.done():
                        task.result()
                await self._folded(kafka.address, crew)
            finally:
                for task in (feeding, faulting, telling):
                    task.cancel()
                await asyncio.gather(feeding, faulting, telling, return_exceptions=True)
            self._report.ended = stage.ended
            self._report.seconds = round(time.monotonic() - began, 1)
            await self._compare(kafka.address)
        return self._report

    async def _faults(self, stage: Stage, pace: _Pace) -> None:
        await stage.well()
        for number, fault in enumerate(self._plan):
            self._doing = number, fault.label
            await stage.befall(number, fault)
            pace.expect(sum(self._due_by_plan[number + 1 :]))
        self._doing = len(self._plan), REST
        self._when.begin(REST)
        pace.hurry()

    async def _tell(self, watch: Watch) -> None:
        while self._progress is not None:
            self._progress(*self._doing, self._report.readings, watch.alerts)
            await asyncio.sleep(_TELL_EVERY_S)

    async def _feed(self, broker: str, pace: _Pace, watch: Watch) -> None:
        sent = time.monotonic()
        async with Feeding(broker, PREFIX, self._when.store) as feeding:
            for record in clock.log(self._load.capture, PARTITIONS):
                now = time.monotonic()
                if (due := pace.due(record.timestamp)) > now + _BATCH_S or now > sent + _BATCH_S:
                    await feeding.flush()
                    sent = time.monotonic()
                    await asyncio.sleep(max(0.0, due - sent))
                    await self._hold(watch)
                await feeding.feed(record)
                if record.topic == load.TOPIC and load.is_canary(record.key):
                    watch.expect(record.partition, record.offset)
                self._last[record.topic, record.partition] = record.offset
                if record.key != CLOCK_KEY and record.value:
                    self._report.readings += record.value.count(b"{")  # a SenML record has no objects within

    async def _hold(self, watch: Watch) -> None:
        """Waits for workers that are behind; not for ever: an alert that is lost is for the report to find."""
        held = time.monotonic()
        while watch.behind() > _BACKLOG_S:
            if time.monotonic() - held > _HOLD_S:
                watch.expect_no_more()
            await asyncio.sleep(_BATCH_S)

    async def _folded(self, broker: str, crew: Crew) -> None:
        """Waits until the workers have written down that they are through."""
        deadline = time.monotonic() + _FOLDED_WITHIN_S
        async with reader(broker, PREFIX + topics.STATE, range(PARTITIONS)) as states:
            while behind := {p: at for p, at in applied(states, self._last).items() if at < self._last[p]}:
                crew.check()
                if time.monotonic() > deadline:
                    places = ", ".join(f"{n} {p}: {at} of {self._last[n, p]}" for (n, p), at in sorted(behind.items()))
                    what = f"the workers were not through {_FOLDED_WITHIN_S:g} s after the last reading"
                    raise RunError(f"{what}, offsets: {places}")
                await states.poll(100)

    async def _compare(self, broker: str) -> None:
        direct, sent = self._load.direct, await self._sent(broker)
        found = self._report.take_alerts(direct.alerts, sent)
        self._report.take_times(self._plan, sent, found.repeated, self._when)
        rejected: dict[tuple[Any, ...], bytes] = {}
        async for record in all_records(broker, [PREFIX + topics.REJECTED], PARTITIONS):
            headers = dict(record.headers)
            rejected[tuple(headers[name] for name in ("topic", "partition", "offset", "number"))] = record.value
        self._report.rejected = len(direct.rejected)
        lost, invented = rejected_difference(direct.rejected, list(rejected.values()))
        self._report.rejected_lost, self._report.rejected_invented = lost, invented
        due = [(f"{body['rule']}/{body['site']}", direct.alerts[body["id"]]) for body in direct.bodies()]
        last = [(r.key.decode(), r.value) async for r in all_records(broker, [PREFIX + topics.LAST], PARTITIONS)]
        self._report.went_back, self._report.stale = went_back(due, last)

    async def _sent(self, broker: str) -> list[Sent]:
        """The alerts in the order of their topic's partitions."""
        decode, sent = msgspec.json.Decoder(_Id).decode, []
        async for record in all_records(broker, [PREFIX + topics.ALERTS], PARTITIONS):
            if record.key != CLOCK_KEY:
                headers = dict(record.headers)
                name = headers["topic"].decode().removeprefix(PREFIX)
                source = name, int(headers["partition"]), int(headers["offset"])
                sent.append(Sent(decode(record.value).id, record.value, record.timestamp / 1000, source))
        return sent


class _Id(msgspec.Struct):
    id: str


class _Pace:
    """When which time of the capture is due, so that all of it but what ``SPARE_S`` takes lasts as long as the plan."""

    def __init__(self, first_ms: int, last_ms: int, seconds: float) -> None:
        self._last_ms, self._now_ms = last_ms, first_ms
        self._began, self._planned = time.monotonic(), seconds
        self.expect(seconds)

    def due(self, time_ms: int | None) -> float:
        """When a record of this time is to be fed (monotonic)."""
        if time_ms is not None and time_ms > self._now_ms:
            self._now_ms = time_ms
        return self._at + (self._now_ms - self._at_ms) / self._ms_per_s

    def expect(self, seconds: float) -> None:
        """So much of the plan is left: goes on at a speed that fits, and the plan's own pace up to now."""
        self._at, self._at_ms = time.monotonic(), self._now_ms
        slower = (self._at - self._began) / (self._planned - seconds) if seconds < self._planned else 1.0
        self._ms_per_s = max(1.0, (self._last_ms - self._now_ms) / (seconds * slower + SPARE_S))

    def hurry(self) -> None:
        """All that is left is due now."""
        self._at, self._at_ms, self._ms_per_s = time.monotonic(), self._now_ms, float("inf")
