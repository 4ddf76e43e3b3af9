"""Replay through Kafka: a capture onto fresh topics, workers over them, and the alerts that come out."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition

from alerts.edition import Editions
from alerts.fold import applied_offsets
from sensors.clock import CLOCK_KEY, CaptureLog
from sensors.connection import connection
from sensors.errors import InputError, RunError
from sensors.quantities import KINDS, topic
from sensors.record import Record
from sensors.seal import Seal
from streams import topics
from streams.crew import Crew
from streams.embedded_broker import EmbeddedBroker
from streams.failure import kafka_errors
from streams.feeder import Feeder
from streams.reading import all_records, consuming
from streams.replay import Replayed
from streams.rules_log import rules_log
from streams.state_log import StateReader, reader

_SAMPLE_EVERY = 500  # records
_POLL_MS = 50
_WAIT_AT_LEAST_S = 0.005  # a shorter wait is not worth a batch


# Readings folded so far, the capture's time there (ms), and the share of its records that are folded.
Progress = Callable[[int, int | None, float], None]


def replay_through_kafka(
    capture: Path,
    sites: Path | None = None,
    rules: Path | None = None,
    *,
    broker: str | None = None,
    workers: int = 1,
    speed: float | None = None,
    until_ms: int | None = None,
    prefix: str | None = None,
    partitions: int | None = None,
    progress: Progress | None = None,
    editions: Editions | None = None,
) -> Replayed:
    """Feeds a capture to workers of its own and collects what they give.

    Without ``broker`` an embedded one is started. The topics get a fresh prefix unless one is given, and
    are deleted at the end. ``workers=0`` only feeds and collects: the workers were started apart with the
    same ``broker`` and ``prefix``, and the topics are left. ``speed``: seconds of the capture per second,
    None: as fast as it goes. ``editions``: as in ``streams.replay.replay``. ``rejected`` comes in the order of
    topic, partition and offset. Raises InputError, and RunError when a worker dies.
    """
    if workers == 0 and (broker is None or not prefix):
        hint = "start the workers with the same: kapok worker --no-clock --broker HOST:PORT --prefix P"
        raise InputError("--workers 0 needs --broker and --prefix", hint=hint)
    if speed is not None and not speed > 0:
        raise InputError(f"--speed {speed:g} is not a speed", hint="60 is a minute a second")
    with contextlib.ExitStack() as stack:
        if broker is None:
            broker = stack.enter_context(EmbeddedBroker()).address
            own_broker = True
        else:
            own_broker = False
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kapok-replay-")))
        name = prefix or f"replay-{uuid.uuid4().hex[:8]}."
        replay = _Replay(capture, broker, name, speed, until_ms, progress, changes=editions is not None)
        # The topics of workers started apart may be there already, and are in use after the replay.
        count = asyncio.run(replay.prepare(partitions))
        if workers and not own_broker:
            stack.callback(lambda: asyncio.run(topics.delete(replay.broker, replay.prefix)))
        if editions is not None:
            rules, sites = editions.by_generation[editions.first].write(folder)
            asyncio.run(replay.publish(editions))
        crew = stack.enter_context(Crew([broker] * workers, replay.prefix, folder, sites, rules))
        return asyncio.run(replay.run(count, crew))


class _Replay:
    def __init__(
        self,
        capture: Path,
        broker: str,
        prefix: str,
        speed: float | None,
        until_ms: int | None,
        progress: Progress | None,
        *,
        changes: bool,
    ) -> None:
        self._changes = changes
        self.capture, self.broker, self.prefix, self.speed, self.until_ms = (
            capture,
            broker,
            prefix,
            speed,
            until_ms,
        )
        self._report = progress
        self._records = 0  # in the capture
        self._fed = self._readings = 0
        self._last: dict[tuple[str, int], int] = {}  # (topic, partition): last offset fed
        self._samples: list[tuple[int, int, int | None]] = []  # (records, readings, event time) while feeding
        self._began = time.monotonic()

    async def prepare(self, partitions: int | None) -> int:
        """Makes the topics, and gives their number of partitions; RunError if they hold records already."""
        count = await topics.ensure(self.broker, self.prefix, partitions, live=False)
        names = [self.prefix + name for name in (*topics.READINGS, topics.ALERTS)]
        with kafka_errors(f"the Kafka at {self.broker} failed"):
            async with consuming(self.broker) as consumer:
                ends = await consumer.end_offsets([TopicPartition(n, p) for n in names for p in range(count)])
        if any(ends.values()):
            raise RunError(f"the topics of prefix {self.prefix!r} at {self.broker} hold records; give another --prefix")
        return count

    async def publish(self, editions: Editions) -> None:
        """Puts the capture's editions on the topics, with the generations that its announcements tell."""
        producer = AIOKafkaProducer(**connection(self.broker), max_request_size=topics.REJECTED_RECORD_BYTES)
        await producer.start()
        try:
            async with rules_log(self.broker, producer, self.prefix) as rules:
                for generation, edition in sorted(editions.by_generation.items()):
                    if generation >= editions.first:
                        await rules.publish(edition, generation)
        finally:
            await producer.stop()

    async def run(self, partitions: int, crew: Crew) -> Replayed:
        # While the workers start: a first pass finds broken lines before anything is fed, and how many
        # there are.
        for record in self._log(partitions):
            self._records += 1
            if self._records % 20_000 == 0:
                crew.check()
            self._last[record.topic, record.partition] = record.offset
        self._began = time.monotonic()
        feeding = asyncio.create_task(self._feed(partitions))
        try:
            async with reader(self.broker, self.prefix + topics.STATE, range(partitions)) as states:
                while not self._folded_all(states):
                    if feeding.done():
                        feeding.result()
                    crew.check()
                    await states.poll(_POLL_MS)
                    self._tell(states)
            await feeding
        finally:
            feeding.cancel()
        replayed = Replayed()
        replayed.alerts, replayed.rejected = await self._alerts(partitions), await self._rejected(partitions)
        replayed.readings = self._readings
        return replayed

    def _log(self, partitions: int) -> Iterable[Record]:
        log = CaptureLog(self.capture, partitions, self.until_ms, self._changes)
        seal = None if log.own_ticks else Seal.configured()  # ticks that are made here are believed
        return log.records() if seal is None else map(seal.sealed, log.records())

    async def _feed(self, partitions: int) -> None:
        async with Feeder(self.broker, self.prefix) as feeder:
            first_ms: int | None = None
            for record in self._log(partitions):
                if self.speed and record.timestamp is not None:
                    first_ms = record.timestamp if first_ms is None else first_ms
                    due = self._began + (record.timestamp - first_ms) / 1000 / self.speed
                    if due - time.monotonic() > _WAIT_AT_LEAST_S:
                        await feeder.flush()
                        await asyncio.sleep(due - time.monotonic())
                await feeder.feed(record)
                self._fed += 1
                if record.key != CLOCK_KEY and record.value:
                    self._readings += record.value.count(b"{")  # a SenML record has no objects within
                if self._fed % _SAMPLE_EVERY == 0:
                    self._samples.append((self._fed, self._readings, record.timestamp))
                    await asyncio.sleep(0)
            self._samples.append((self._fed, self._readings, record.timestamp if self._fed else None))

    def _folded_all(self, states: StateReader) -> bool:
        return all(self._last[place] <= offset for place, offset in applied(states, self._last).items())

    def _tell(self, states: StateReader) -> None:
        if self._report is None:
            return
        folded = min(self._fed, sum(offset + 1 for offset in applied(states, self._last).values()))
        at = bisect_right(self._samples, folded, key=lambda sample: sample[0]) - 1
        _, readings, event_ms = self._samples[at] if at >= 0 else (0, 0, None)
        self._report(readings, event_ms, folded / max(1, self._records))

    async def _alerts(self, partitions: int) -> dict[str, bytes]:
        alerts: dict[str, bytes] = {}
        decode = msgspec.json.Decoder(_Id).decode
        async for record in all_records(self.broker, [self.prefix + topics.ALERTS], partitions):
            if record.key == CLOCK_KEY:
                continue
            alert_id = decode(record.value).id
            if alerts.setdefault(alert_id, record.value) != record.value:
                raise RunError(f"alert {alert_id} was sent twice, and not the same")
        return alerts

    async def _rejected(self, partitions: int) -> list[bytes]:
        rejected: dict[tuple[str, int, int, int], bytes] = {}
        async for record in all_records(self.broker, [self.prefix + topics.REJECTED], partitions):
            headers = dict(record.headers)
            partition, offset, number = (int(headers[name]) for name in ("partition", "offset", "number"))
            rejected[headers["topic"].decode(), partition, offset, number] = record.value
        return [value for _, value in sorted(rejected.items())]


class _Id(msgspec.Struct):
    id: str


_KIND = {topic(kind): kind for kind in KINDS}


def applied(states: StateReader, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Of each reading topic (without prefix) and partition the last offset that the written state contains, or -1."""
    offsets: dict[tuple[str, int], int] = {}
    for name, partition in places:
        rows = states.partition_rows(partition)
        offsets[name, partition] = max((applied_offsets(row)[_KIND[name]] for row in rows), default=-1)
    return offsets
