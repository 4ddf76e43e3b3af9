"""The worker: a Faust app with an agent per reading topic and a fold per partition."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from alerts.edition import Edition
from sensors.connection import connection
from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from sensors.record import Record
from sensors.seal import Seal
from streams import health, topics, transport
from streams.broker_certificate import Certificate
from streams.clock_writer import ClockWriter
from streams.credentials import credentials
from streams.failure import as_run_error
from streams.health import Health
from streams.holdings import Holdings
from streams.loading import Loader
from streams.log_ends import LogEnds
from streams.outbox import Outbox
from streams.partition import Partition
from streams.patience import patient
from streams.rule_changes import RuleChanges
from streams.rules_log import rules_log
from streams.state_log import state_producer
from streams.transport import Run, RunSchema
from streams.watchdog import Watchdog
from streams.worker_metrics import WorkerMetrics

# A worker that dies is missed after its session; the broker has the last word on how short one may be.
_SESSION_S, _USUAL_SESSION_S = 2.0, 6.0
_RUN_RECORDS = 5000  # at most in one run; 1 MB of a partition's records usually ends it before that
STUCK_S = 60.0  # so long may a partition with something to read stand still
_EVENTS = 2  # of a topic, which wait to be folded; Faust forgets what a topic of its own is given for it
_LONG_RUN = 50  # records, after which others have a turn
_STOP_S = 5.0
_BATCH_BYTES = 500_000


class App(faust.App):
    """The Faust app, with the worker as the one who knows where to read."""

    positions: transport.Positions


class Worker:
    """One process's share of a pipeline: the partitions that the group's coordinator assigns to it."""

    def __init__(
        self,
        broker: str,
        edition: Edition,
        *,
        prefix: str,
        partitions: int,
        clock: bool,
        reread: Callable[[], Edition] | None = None,
        stuck_s: float = STUCK_S,
        health: str | None = None,
    ) -> None:
        self.broker, self.prefix, self.partitions = broker, prefix, partitions
        self._seal = Seal.configured()
        self._changes, self._clock = RuleChanges(edition, reread, live=clock, seal=self._seal), clock
        self._stuck_s, self._health_address = stuck_s, health
        self._holdings = Holdings(prefix, self._load)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._topics = {kind: prefix + topic(kind) for kind in KINDS}
        self._kinds = {name: kind for kind, name in self._topics.items()}
        self._ends = LogEnds(broker, [*self._topics.values(), prefix + topics.ALERTS], partitions)
        self.metrics = WorkerMetrics(lambda: self.health().ready, live=clock)

    # For the transport (Positions).
    def starts(self) -> Mapping[TP, int]:
        return self._holdings.starts()

    def kept(self) -> Mapping[TP, int]:
        return self._holdings.kept()

    def look_ahead(self, tp: TP, records: Sequence[Record]) -> None:
        if partition := self._holdings.owned.get(tp.partition):
            partition.look_ahead(self._kinds[tp.topic], records)

    def cut_short(self, tp: TP, due: int) -> None:
        what = f"{tp.topic} partition {tp.partition} ends before offset {due}, up to which the state has it"
        self._fail(RunError(f"{what}: was the topic made anew? Delete the state topic too, or use another --prefix"))

    def health(self) -> Health:
        """How it is just now."""
        lag = dict.fromkeys(self._topics.values(), 0)
        for tp, behind in self._lag().items():
            lag[tp.topic] += behind
        return Health(self._holdings.assigned and not self._failure.done(), sorted(self._holdings.owned), lag)

    def _lag(self) -> dict[TP, int]:
        """How many records are still to be folded, for each partition owned."""
        return {tp: max(0, self._ends.ends.get(tp, due) - due) for tp, due in self._holdings.applied().items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set; RunError when it cannot go on."""
        session_ms = await topics.shortest_session_ms(self.broker, int(_SESSION_S * 1000), int(_USUAL_SESSION_S * 1000))
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(health.served(self._health_address, self.health, self.metrics.registry))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kapok-worker-"))
            self._alert_producer = AIOKafkaProducer(
                **connection(self.broker),
                acks="all",
                max_batch_size=_BATCH_BYTES,
                max_request_size=topics.REJECTED_RECORD_BYTES,
            )
            patient(self._alert_producer.client)
            state = state_producer(self.broker)
            for producer in (self._alert_producer, state):
                stack.push_async_callback(_in_time, producer.stop)
                await producer.start()
            self._rules = await stack.enter_async_context(rules_log(self.broker, self._alert_producer, self.prefix))
            await self._changes.settle(self._rules)
            self._outbox = Outbox(self._alert_producer, self._fail, self.partitions)
            self._loader = Loader(
                self.broker,
                self.prefix,
                self.partitions,
                self._rules,
                self._outbox,
                state,
                lambda: self._ends.of(self.prefix + topics.ALERTS),
                self.metrics,
                self._seal,
            )
            certificate, owned = Certificate(self.broker), lambda: self._holdings.owned
            self.metrics.watch(self.partitions, owned, self._lag, self._outbox, self._ends, certificate)
            self._app = self._faust_app(folder, session_ms / 1000)
            tasks = [self._app.start(), self._watch_app(), self._outbox.run(), self._holdings.write_behind()]
            tasks += [
                self._ends.run(),
                certificate.run(),
                Watchdog(self._holdings.applied, self._ends, self._stuck_s, lambda: self._outbox.acknowledged).run(),
            ]
            tasks.append(self._rules.follow(self._look_again))
            if self._clock:
                tasks.append(self._changes.announce(self._alert_producer, self._topics, self._holdings.all))
                tasks.append(
                    ClockWriter(
                        self._alert_producer,
                        self.prefix,
                        self.partitions,
                        self._elected,
                        self.metrics.ticks.inc,
                        self._seal,
                    ).run()
                )
            running = [asyncio.create_task(self._guarded(task)) for task in tasks]
            try:
                ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait()), self._failure]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if not self._failure.done() and not await _in_time(self._give_up_partitions):
                    self._fail(RunError("the state was not written in time; what it lacks will be folded again"))
            finally:
                self._stopping = True
                await _in_time(self._app.stop)
                for task in running:
                    task.cancel()
                await asyncio.wait(running, timeout=_STOP_S)
        if self._failure.done():
            self._failure.result()

    def _faust_app(self, folder: str, session_s: float) -> App:
        transport.register()
        app = App(
            self.prefix + "kapok",
            broker=f"kafka://{self.broker.replace(',', ';')}",
            broker_consumer=f"{transport.URL_SCHEME}://{self.broker.replace(',', ';')}",
            broker_credentials=credentials(self.broker),
            broker_session_timeout=session_s,
            broker_heartbeat_interval=session_s / 10,
            broker_max_poll_records=_RUN_RECORDS,
            consumer_auto_offset_reset="earliest",
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_buffer_maxsize=_EVENTS,
            stream_wait_empty=False,  # what agents still have at a rebalance is folded again, or dropped as stale
            web_enabled=False,
            datadir=folder,
            TableManager=transport.NoTables,
            autodiscover=False,
        )
        app.positions = self
        for kind, name in self._topics.items():
            # One agent a topic, one run at a time: the order of a partition is the order of its log.
            app.agent(app.topic(name, schema=RunSchema()), name=kind, concurrency=1)(self._agent(kind))
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_rebalance_complete.connect(self._on_assigned)
        app.in_worker = True
        return app

    def _agent(self, kind: str) -> Callable[[Any], Any]:
        async def fold(events: Any) -> None:
            async for runs in events:
                cast(transport.Consumer, self._app.consumer).has_room_again()
                # Faust acknowledges an event whose agent raises, and carries on: nothing may be raised here.
                try:
                    for run in runs:
                        await self._outbox.room()
                        self._take(kind, run)
                        if len(run.records) > _LONG_RUN:
                            await asyncio.sleep(0)
                except Exception as error:
                    self._fail(error)

        return fold

    def _take(self, kind: str, run: Run) -> None:
        partition, consumer = self._holdings.owned.get(run.tp.partition), cast(transport.Consumer, self._app.consumer)
        if partition is None or run.epoch != consumer.epoch[run.tp] or self._stopping or self._failure.done():
            return
        if run.start > partition.next[kind]:
            consumer.seek_back(run.tp)  # a run got lost on its way: Faust may do that
            return
        started = time.perf_counter()
        partition.apply(kind, run)
        self.metrics.folding.inc(time.perf_counter() - started)

    async def _load(self, numbers: set[int]) -> dict[int, Partition]:
        return await self._loader.load(numbers)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        await self._give_up_partitions()

    async def _give_up_partitions(self) -> None:
        try:
            await self._holdings.give_up(write=not self._failure.done())
        except Exception as error:
            self._fail(error)

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        """The end of a rebalance; then Faust seeks and reads on."""
        try:
            await self._holdings.take(cast(transport.Consumer, self._app.consumer))
            # What was loaded stays: to look through it at each collection would hold up alerts for 30 ms. What is
            # garbage by now, or was loaded before and is no more, would stay too.
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self.metrics.rebalances.inc()
        except Exception as error:
            self._fail(error)

    def _look_again(self) -> None:
        for partition in self._holdings.all():
            partition.look_again()

    def reload(self) -> None:
        """Reads rules and catalogue again; what cannot be used changes nothing."""
        self._changes.reload(self._guarded)

    def _elected(self) -> bool:
        return 0 in self._holdings.owned

    async def _guarded(self, task: Any) -> None:
        try:
            await task
        except Exception as error:
            self._fail(error)

    async def _watch_app(self) -> None:
        while not self._app.crashed:
            await asyncio.sleep(0.1)
        raise RunError(f"Faust crashed: {self._app.crash_reason!r}")

    def _fail(self, error: BaseException) -> None:
        """Ends the worker with this error, without writing more state: what is not in it is folded again."""
        if self._failure.done() or self._stopping:
            return
        self._failure.set_exception(as_run_error(error, self.broker))


async def _in_time(step: Callable[[], Awaitable[None]]) -> bool:
    """Whether a step of the ending was done before it took too long, as it does without a broker.

    A step that takes too long is left to itself: Faust's swallow a cancellation.
    """
    done, _ = await asyncio.wait({asyncio.ensure_future(step())}, timeout=_STOP_S)
    for task in done:
        task.result()
    return bool(done)
