"""The process of on-call: it stands for election, and works while it is the one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, Histogram

from alerts.routes.directory import Person
from sensors.errors import InputError, RunError
from streams import health
from streams.failure import as_run_error
from streams.metrics import SECONDS, Finder, Found, registry
from streams.oncall.election import Election, standing
from streams.oncall.files import Files
from streams.oncall.producer import started
from streams.oncall.term import Term
from streams.rules_log import RulesLog, rules_log
from streams.state_log import state_producer

if TYPE_CHECKING:
    from streams.delivery import Delivery
    from streams.oncall.console import Console  # which takes a while to import, and is not always wanted

log = logging.getLogger("kapok")

_STOP_S = 5.0
_AGAIN_S, _CONSOLE_AGAIN_S, _RELAY_AGAIN_S = 0.5, 5.0, 5.0


class Health(NamedTuple):
    """``ready``: it works, or stands by for the one that does."""

    ready: bool
    role: str
    offset: int
    clock: int | None


class OnCall:
    """Alerts to cases to notifications: ``await OnCall(…).run(stop)``. Any number may run; one works at a time."""

    def __init__(
        self,
        broker: str,
        files: Files,
        *,
        prefix: str = "",
        partitions: int,
        health: str | None = None,
        console: Console | None = None,
        delivering: bool = True,
        base_url: str | None = None,
        alertmanager: str | None = None,
    ) -> None:
        self.broker, self.prefix, self.partitions, self._files = broker, prefix, partitions, files
        self._console, self._delivering, self._base_url = console, delivering, base_url
        self._alertmanager = alertmanager
        self._read()
        self._health_address, self._term, self._role = health, None, "starting"  # type: str | None, Term | None, str
        self._delivery: Delivery | None = None
        self._counts: Counter[str] = Counter()
        self._telling = Histogram(
            "kapok_told_latency_seconds",
            "From the broker's timestamp of a notification until a channel had taken it.",
            buckets=SECONDS,
            registry=None,
        )
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def health(self) -> Health:
        """How it is just now."""
        term = self._term
        if term is None:
            return Health(self._role == "standby", self._role, 0, None)
        return Health(term.ready, "working" if term.ready else "taking over", term.journal.next, term.journal.clock)

    def _metrics(self) -> CollectorRegistry:
        own = registry("oncall")

        def clock() -> dict[tuple[str, ...], float]:
            now = self.health().clock
            return {} if now is None else {(): now / 1000}

        def open_cases() -> dict[tuple[str, ...], float]:
            desk = None if self._term is None else self._term.desk
            counts = Counter(case.state for case in desk.cases.values()) if desk else Counter[str]()
            return {(state,): counts[state] for state in ("open", "notified", "acknowledged")} if desk else {}

        own.register(self._telling)
        own.register(
            Finder(
                [
                    Found("kapok_oncall_working", "1: this process works, 0: it stands by.", (), self._working),
                    Found("kapok_oncall_clock_seconds", "On-call's time, from the ticks.", (), clock),
                    Found("kapok_oncall_cases", "Cases that are not closed.", ("state",), open_cases),
                    Found("kapok_deliveries", "Receipts written.", ("status",), self._told, counter=True),
                    self._counted("notifications", "Notifications decided."),
                    self._counted("receipts", "Receipts read, whoever wrote them."),
                ]
            )
        )
        return own

    def _counted(self, what: str, about: str) -> Found:
        return Found(f"kapok_{what}", about, (), lambda: {(): float(self._counts[what])}, counter=True)

    def _told(self) -> dict[tuple[str, ...], float]:
        counts: Mapping[str, int] = self._delivery.counts if self._delivery else {}
        return {(status,): counts.get(status, 0) for status in ("delivered", "failed", "gave_up")}

    def _working(self) -> dict[tuple[str, ...], float]:
        return {(): float(self._term is not None and self._term.ready)}

    def reload(self) -> None:
        """Reads routes and directory again; what cannot be used changes nothing."""
        try:
            self._read()
        except InputError as error:
            log.error("routes and directory stay as they were: %s", error)
            return
        if self._term is not None:
            self._term.look_again(again=True)

    def _read(self) -> None:
        self.routes, self.directory = self._files.read()
        if self._console is not None:
            self._console.read(self.directory)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set; RunError when it cannot go on."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(health.served(self._health_address, self.health, self._metrics()))
            self._producer = await started(self.broker)
            stack.push_async_callback(_in_time, self._producer.stop)
            self._state_producer = state_producer(self.broker)
            stack.push_async_callback(_in_time, self._state_producer.stop)
            await self._state_producer.start()
            rules = await stack.enter_async_context(rules_log(self.broker, None, self.prefix))
            tasks = [
                rules.follow(partial(self._look_again, rules)),
                self._serve(rules),
                self._deliver(stop),
                self._work(rules, stop),
            ]
            running = [asyncio.create_task(self._guarded(task)) for task in tasks]
            try:
                ends: list[asyncio.Future[Any]] = [running[-1], self._failure]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    await asyncio.wait(running[-2:], timeout=_STOP_S)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running, timeout=_STOP_S)
        if self._failure.done():
            self._failure.result()

    def _look_again(self, rules: RulesLog) -> None:
        if self._console is not None:
            self._console.follow(rules.editions[rules.newest])
        if self._term is not None:
            self._term.look_again()

    async def _deliver(self, stop: asyncio.Event) -> None:
        if not self._delivering:
            return
        from streams.delivery import Delivery  # here, because its channels take a while to import

        while not stop.is_set():
            self._delivery = delivery = Delivery(
                self.broker,
                self._person,
                prefix=self.prefix,
                base_url=self._base_url,
                told=self._telling.observe,
            )
            try:
                await delivery.run(stop)
            except RunError:
                raise
            except Exception as error:  # cases go on all the same
                log.error("delivery failed, and is started again", exc_info=error)
                await asyncio.sleep(_AGAIN_S)

    def _person(self, person: str) -> Person | None:
        return self.directory.people.get(person)

    async def _serve(self, rules: RulesLog) -> None:
        if self._console is None:
            return
        while not rules.editions:
            await asyncio.sleep(_AGAIN_S)
        while True:
            edition = rules.editions[rules.newest]
            try:
                await self._console.run(self.broker, self.prefix, self.partitions, edition, self, self._producer)
            except RunError:
                raise
            except Exception as error:  # people are told all the same
                log.error("the console failed, and is started again", exc_info=error)
            await asyncio.sleep(_CONSOLE_AGAIN_S)

    async def _work(self, rules: RulesLog, stop: asyncio.Event) -> None:
        if not rules.editions:
            log.info("on-call waits for the rules, which the first worker publishes")
        while not rules.editions:
            if await _first(stop.wait(), asyncio.sleep(_AGAIN_S)) and stop.is_set():
                return
        async with standing(self.broker, self.prefix) as election:
            while not stop.is_set():
                self._role = "standby" if election.joined else "starting"
                await _first(stop.wait(), election.elected.wait(), asyncio.sleep(_AGAIN_S))
                if election.elected.is_set() and not stop.is_set():
                    await self._one_term(rules, election, stop)

    async def _one_term(self, rules: RulesLog, election: Election, stop: asyncio.Event) -> None:
        self._term = Term(
            self.broker,
            self.prefix,
            self.partitions,
            self._producer,
            self._state_producer,
            rules,
            lambda: self.routes.pack(),
            self._counts,
        )
        relay = asyncio.create_task(self._relay())
        try:
            await self._term.run(_first(stop.wait(), election.not_elected.wait()))
        finally:
            self._term = None
            relay.cancel()
            await asyncio.wait({relay}, timeout=_STOP_S)
        if not stop.is_set() and election.elected.is_set():
            await asyncio.sleep(_AGAIN_S)  # another claimed the log: if it goes on, the coordinator will say so

    async def _relay(self) -> None:
        """What fires to Alertmanager, from the process that works alone: one that is behind would say what is over."""
        if self._alertmanager is None:
            return
        from streams.alertmanager import AlertmanagerFeed  # here, because it is not always wanted

        while True:
            feed = AlertmanagerFeed(self.broker, self._alertmanager, prefix=self.prefix, base_url=self._base_url)
            try:
                await feed.run(asyncio.Event())
            except Exception as error:  # people are told all the same
                log.error("Alertmanager is told nothing just now, again in %g s", _RELAY_AGAIN_S, exc_info=error)
            await asyncio.sleep(_RELAY_AGAIN_S)

    async def _guarded(self, task: Awaitable[None]) -> None:
        try:
            await task
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(as_run_error(error, self.broker))


async def _first(*steps: Awaitable[Any]) -> bool:
    """Waits for the first of them, and gives up the others."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return True
    finally:
        for task in tasks:
            task.cancel()


async def _in_time(step: Callable[[], Awaitable[None]]) -> None:
    """A step of the ending that takes too long, as it does without a broker, is left to itself."""
    await asyncio.wait({asyncio.ensure_future(step())}, timeout=_STOP_S)
