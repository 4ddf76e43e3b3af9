"""A term: one process's time as the one that works, from its claim to the next one's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec import Raw

from alerts.cases.desk import Desk
from alerts.edition import Edition
from alerts.routes.routes import Routes
from sensors.errors import RunError
from streams import topics
from streams.oncall import checkpoint
from streams.oncall.checkpoint import Checkpoint
from streams.oncall.intake import Intake
from streams.oncall.journal import Config, Journal
from streams.oncall.outputs import Outputs, read_back
from streams.reading import following
from streams.rules_log import RulesLog
from streams.state_log import StateWriter, reader

log = logging.getLogger("kapok")

_WRITE_EVERY_S = 1.0
_SHARE = 20  # checkpoints may take one part in so many of the time
_RECORDS, _POLL_MS = 500, 200
_STOP_S = 5.0


class Term:
    """``routes``: what this process's files say just now, packed. ``rules``: read, and followed by the caller."""

    def __init__(
        self,
        broker: str,
        prefix: str,
        partitions: int,
        producer: AIOKafkaProducer,
        state_producer: AIOKafkaProducer,
        rules: RulesLog,
        routes: Callable[[], bytes],
        counts: Counter[str],
    ) -> None:
        """``counts``: of ``notifications`` decided and ``receipts`` read, whoever wrote them, added to."""
        self._broker, self._prefix, self._partitions = broker, prefix, partitions
        self._producer, self._state_producer = producer, state_producer
        self._rules, self._routes, self._counts = rules, routes, counts
        self.name = uuid.uuid4().hex[:12]
        self.journal, self.desk = Journal(), None  # type: Journal, Desk | None
        self.ready = False  # the fold is where the last process was
        self._ending = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._written_at, self._cost_s = 0.0, 0.0
        self._writing = asyncio.Lock()

    async def run(self, over: Awaitable[Any]) -> None:
        """Works until ``over`` is done or another has claimed the log; RunError or KafkaError when it cannot."""
        async with contextlib.AsyncExitStack() as stack:
            source, own = [await stack.enter_async_context(following(self._broker)) for _ in range(2)]
            self._intake = Intake(source, self._producer, self._prefix, self._partitions, self.name)
            await self._intake.claim()
            await self._restore(source)
            ending, folding = asyncio.ensure_future(over), asyncio.create_task(self._fold(own))
            self._beside = [
                asyncio.create_task(self._guarded(task)) for task in (self._outputs.run(), self._write_behind())
            ]
            try:
                await asyncio.wait({ending, folding, self._failure}, return_when=asyncio.FIRST_COMPLETED)
                self._ending = True  # between two entries: a half of one must not come into the state
                await asyncio.wait({folding}, timeout=_STOP_S)
                for task in (self._failure, folding):
                    if task.done():
                        task.result()
                if self.ready and self.journal.intake == self.name and folding.done():
                    await asyncio.wait_for(self._write(), _STOP_S)
            finally:
                for task in (ending, folding, *self._beside):
                    task.cancel()
                await asyncio.wait({ending, folding, *self._beside}, timeout=_STOP_S)

    def look_again(self, *, again: bool = False) -> None:
        """Puts newer rules in force, and this process's routes unless others have replaced them since.

        ``again``: even then, since somebody wants them back.
        """
        if not self.ready:
            return
        holds, own = self.journal.config, Config(self._rules.newest, Raw(self._routes()))
        wanted = own
        if holds is not None:
            if own.digest in self.journal.digests[:-1] and not again:
                what = "the routes given (%s) were replaced since by %s, which hold: kill -HUP %d puts these in force"
                log.warning(what, own.digest, holds.digest, os.getpid())
                wanted = Config(own.generation, holds.routes)
            wanted = Config(max(wanted.generation, holds.generation), wanted.routes)
        if holds is None or (wanted.generation, wanted.digest) != (holds.generation, holds.digest):
            log.info("on-call goes by routes %s, ruleset %s", wanted.digest, self._rules.rulesets[wanted.generation])
            self._intake.say(wanted)

    async def _restore(self, consumer: AIOKafkaConsumer) -> None:
        async with reader(self._broker, self._prefix + topics.ONCALL_STATE, [0]) as states:
            await states.catch_up()
            found = states.snapshot(0, checkpoint.offset_of)
        self._state = StateWriter(self._state_producer, self._prefix + topics.ONCALL_STATE, 0, found)
        self._rows = dict(found.rows)
        kept = checkpoint.from_snapshot(found)
        if kept is not None:
            self.journal = Journal.restore(kept.journal, kept.config)
            if self.journal.config is not None:
                await self._configure(self.journal.config, kept.desk)
        ends, before = await read_back(consumer, self._prefix, {} if kept is None else kept.ends, self._partitions)
        self._outputs = Outputs(self._producer, self._prefix, ends, before, self._fail)

    async def _fold(self, consumer: AIOKafkaConsumer) -> None:
        """Reads the log on from where the state is, until another has claimed it."""
        place = TopicPartition(self._prefix + topics.ONCALL_LOG, 0)
        consumer.assign([place])
        consumer.seek(place, self.journal.next)
        while not self._ending:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS)).values():
                for record in records:
                    await self._take(record)
                    if self.ready and self.journal.intake != self.name:
                        log.warning("another process has taken on-call over")
                        return
                    if self._ending:
                        return

    async def _take(self, record: Any) -> None:
        taken = self.journal.take(record)
        if isinstance(taken, Config):
            await self._configure(taken)
        elif taken is not None:
            assert self.desk is not None, "the log begins with what cases are decided by"
            outcome = self.desk.apply(taken)
            self._outputs.put(outcome)
            if self.ready:
                self._counts["notifications"] += len(outcome.notifications)
                self._counts["receipts"] += taken.kind == "receipt"
            for refused in outcome.rejected:
                log.warning("oncall.log %d changes nothing: %s: %s", taken.offset, refused.reason, refused.detail)
        elif not self.ready and self.journal.intake == self.name:
            # The fold has come to this process's own claim: nobody else writes what counts from here on.
            self._outputs.caught_up()
            self.ready = True
            self.look_again()
            log.info("on-call works from offset %d of %s%s on", self.journal.next, self._prefix, topics.ONCALL_LOG)
            copying = self._intake.run(self.journal.read, self.journal.clock)
            self._beside.append(asyncio.create_task(self._guarded(copying)))

    async def _configure(self, config: Config, state: bytes | None = None) -> None:
        routes, edition = Routes.unpack(bytes(config.routes)), await self._edition(config.generation)
        if state is not None:
            self.desk = Desk.restore(state, routes, edition.catalogue, edition.rulebook)
        elif self.desk is None:
            self.desk = Desk(routes, edition.catalogue, edition.rulebook)
        else:
            self.desk.configure(routes, edition.catalogue, edition.rulebook)

    async def _edition(self, generation: int) -> Edition:
        deadline = time.monotonic() + _STOP_S
        while generation not in self._rules.editions:
            if time.monotonic() > deadline:
                name = f"{self._prefix}{topics.RULES}"
                raise RunError(
                    f"cases were decided under edition {generation} of the rules, and topic {name} does not have it: "
                    "was the topic made anew? Delete the topics of on-call too, or use another --prefix"
                )
            await asyncio.sleep(_POLL_MS / 1000)
        return self._rules.editions[generation]

    async def _write_behind(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if self.ready and time.monotonic() - self._written_at >= max(_WRITE_EVERY_S, _SHARE * self._cost_s):
                await self._write()

    async def _write(self) -> None:
        """Writes the state as of now, once all that it contains is put out."""
        async with self._writing:
            began = time.monotonic()
            desk = None if self.desk is None else self.desk.checkpoint()
            # What is put out later lies behind the ends of now, whatever is still under way.
            ends = {topic: list(offsets) for topic, offsets in self._outputs.ends.items()}
            config = None if self.journal.config is None else self.journal.config.pack()
            kept = Checkpoint(self.journal.next, self.journal.checkpoint(), config, desk, ends)
            self._cost_s = time.monotonic() - began
            await self._outputs.settled()
            rows, changed = checkpoint.to_rows(kept, self._rows)
            if changed and not self._failure.done():
                await self._state.write(changed)
                self._rows = rows
            self._written_at = time.monotonic()

    async def _guarded(self, task: Awaitable[None]) -> None:
        try:
            await task
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)
