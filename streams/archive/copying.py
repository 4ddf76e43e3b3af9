"""From the topics to InfluxDB, in a consumer group of its own, so that the database can never delay an alert.

Every few seconds all that was handed to the database is waited for; then the state of the judgement is written, and
then offsets are committed. What was written after that is judged again after a crash, from that state, to the same
points: writing them again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import urllib3.exceptions
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException

from alerts.batch import Batch
from alerts.roster import KindRoster
from sensors.announcement import RULES_KEY
from sensors.clock import CLOCK_KEY
from sensors.connection import connection
from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from sensors.record import Record
from streams import topics
from streams.archive.database import ALERTS, INFRARED, READINGS, Database, reason_of
from streams.archive.lines import Lines
from streams.archive.points import Pile, Points
from streams.archive.sender import BATCH_POINTS, Backoff, Sender
from streams.archive.shares import Shares
from streams.archive.watch import Watch
from streams.rules_log import RulesLog, rules_log
from streams.state_log import state_producer

CHECKPOINT_S = 5.0  # so much is judged and written once more after a crash
_PILE_POINTS = 100_000  # so many are put in the order of their series, or what comes within a second
_LINGER_S = 1.0
_POLL_RECORDS, _POLL_S = 5000, 0.2
_FETCH_BYTES, _FETCH_MS = 1 << 20, 250  # fewer and larger answers: cheaper here and at the broker
_TIMEOUT_MS = 30_000
_STOP_S = 5.0
_DAY_MS = 86_400_000

log = logging.getLogger("kapok.archive")


class Archive:
    """``await Archive(…).run(stop)`` copies until ``stop`` is set; RunError when the server turns it away.

    While the server is away or busy it tries again and again and commits nothing. ``skipped`` counts by reason what
    is no point; ``sender`` (None until it has begun) what became of the points.
    """

    def __init__(self, broker: str, database: Database, prefix: str = "") -> None:
        self.broker, self.database, self.prefix = broker, database, prefix
        self.source, self.watch = Points(), Watch(self)
        self.sender: Sender | None = None
        self.reading = False
        self.taken = 0  # records
        self._place = {kind: prefix + topic(kind) for kind in KINDS}
        self._alerts, self._cases = prefix + topics.ALERTS, prefix + topics.CASES
        self._piles = {READINGS: Pile(), INFRARED: Pile()}  # by bucket: what waits to be put
        self._told = Lines()  # of alerts and cases
        self._since = self._checkpoint_at = time.monotonic()
        self._next: dict[TopicPartition, int] = {}  # of topics that are not judged: what to commit

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.source.skipped

    def places(self) -> dict[TopicPartition, int]:
        """The offsets up to which all is archived, of the partitions that this one has just now."""
        return self._shares.archived if self.reading else {}

    async def run(self, stop: asyncio.Event) -> None:
        working = asyncio.ensure_future(self._work(stop))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # What is under way is finished; but not if the database is away: then it is done again later.
            await asyncio.wait({working}, timeout=_STOP_S)
            if not working.done():
                working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
        except KafkaError as error:
            raise RunError(f"the Kafka at {self.broker} cannot be used: {error!r}") from error
        finally:
            stopping.cancel()

    async def _work(self, stop: asyncio.Event) -> None:
        partitions = await topics.ensure(self.broker, self.prefix, names=(*topics.ALL, *topics.ARCHIVE))
        kept = await self._prepared()
        async with contextlib.AsyncExitStack() as stack:
            producer = state_producer(self.broker)
            stack.push_async_callback(producer.stop)
            await producer.start()
            rules = await stack.enter_async_context(rules_log(self.broker, None, self.prefix))
            database = self.database
            client = InfluxDBClientAsync(url=database.url, token=database.token, org=database.org, timeout=_TIMEOUT_MS)
            writer = (await stack.enter_async_context(client)).write_api()
            sender = self.sender = Sender(writer, database, kept, _Refusals(producer, self.prefix))
            stack.push_async_callback(sender.abandon)
            if not await self._rules_are_there(rules, stop):
                return
            self._shares = Shares(self.broker, self.prefix, partitions, rules, producer, self._judged)
            self._consumer = AIOKafkaConsumer(
                **connection(self.broker),
                group_id=f"{self.prefix}kapok-archive",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy=(RangePartitionAssignor,),  # p of all topics to the same archive
                session_timeout_ms=6000,  # the next one waits for it after a crash; brokers allow no less
                heartbeat_interval_ms=2000,
                fetch_min_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_MS,
                max_poll_interval_ms=_DAY_MS,  # so long may a database be away without this one leaving the group
            )
            stack.push_async_callback(self._consumer.stop)
            self._shares.follow(self._consumer, await self._topics())
            await self._consumer.start()
            self.reading = True
            following = asyncio.create_task(rules.follow(self._look_again))
            stack.callback(following.cancel)
            watching = asyncio.create_task(self.watch.follow(self._consumer))
            stack.callback(watching.cancel)
            while not stop.is_set():
                await self._round(sender)
            await self._checkpoint(sender)

    async def _prepared(self) -> dict[str, int]:
        """Buckets and tasks are there; tries until the server is."""
        backoff = Backoff()
        while True:
            try:
                return await asyncio.to_thread(self.database.prepare)
            except ApiException as error:
                reason = reason_of(error)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                reason = str(error)
            log.warning("InfluxDB did not take the buckets and tasks, tried again until it does: %s", reason)
            await backoff.wait()

    async def _rules_are_there(self, rules: RulesLog, stop: asyncio.Event) -> bool:
        """Waits for the first edition of the rules, which a worker publishes: readings are judged by its limits."""
        if not rules.editions:
            log.info("waits for the rules: the first worker on these topics publishes them")
        while not rules.editions and not stop.is_set():
            await asyncio.sleep(_POLL_S)
            await rules.catch_up()
        return bool(rules.editions)

    async def _topics(self) -> list[str]:
        """Those to be archived; cases where on-call has made their topic."""
        async with topics.admin(self.broker) as client:
            there = await topics.counts(client, self.prefix)
        names = (*topics.READINGS, topics.ALERTS, topics.CASES)
        return [self.prefix + name for name in names if name in there]

    async def _round(self, sender: Sender) -> None:
        epoch = self._shares.epoch
        fetched = await self._consumer.getmany(timeout_ms=int(_POLL_S * 1000), max_records=_POLL_RECORDS)
        for place, records in fetched.items():
            if epoch != self._shares.epoch and self._shares.kind(place.topic):
                self._shares.read_again(place)  # fetched before or after partitions changed hands: it cannot be told
            else:
                self._take(place, records)
            await self._put(sender)
        if self._shares.failure is not None:
            raise self._shares.failure
        now = time.monotonic()
        if now - self._since > _LINGER_S:
            self._since = now
            await self._put(sender, everything=True)
        if now - self._checkpoint_at > CHECKPOINT_S:
            await self._checkpoint(sender)

    def _take(self, place: TopicPartition, fetched: Sequence[Any]) -> None:
        """Judges the records of a partition; what comes of it waits to be put."""
        kind, share = self._shares.kind(place.topic), self._shares.owned.get(place.partition)
        self.taken += len(fetched)
        records = [Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in fetched]
        if kind is None:
            told = [record for record in records if record.key not in (CLOCK_KEY, RULES_KEY)]
            make = self.source.cases if place.topic == self._cases else self.source.alerts
            self._told.extend(make(told))
            self._next[place] = records[-1].offset + 1
        elif share is not None:
            outcome = share.judgement.apply(kind, records)
            self.source.skipped["rejected"] += len(outcome.rejected)
            self._hold_back(place.partition)

    def _judged(self, batch: Batch, roster: KindRoster) -> None:
        self._piles[INFRARED if roster.kind == "infrared" else READINGS].add(self.source.readings(batch, roster))

    def _look_again(self) -> None:
        """Goes on where rules were waited for that are known now."""
        for number, share in self._shares.owned.items():
            self.source.skipped["rejected"] += len(share.judgement.look_again().rejected)
            self._hold_back(number)

    def _hold_back(self, number: int) -> None:
        """Fetches no more of a topic whose next records wait for the other topics to come to new rules."""
        judgement, paused = self._shares.owned[number].judgement, self._consumer.paused()
        for kind, name in self._place.items():
            place = TopicPartition(name, number)
            if judgement.waits(kind) and place not in paused:
                self._consumer.pause(place)
            elif place in paused and not judgement.waits(kind):
                self._consumer.resume(place)

    async def _put(self, sender: Sender, *, everything: bool = False) -> None:
        """Hands over what is a great many, or all there is."""
        for bucket, pile in self._piles.items():
            if everything or len(pile) >= _PILE_POINTS:
                for lines in pile.batches(BATCH_POINTS):
                    await sender.put(bucket, lines)
        while self._told and (everything or len(self._told) >= BATCH_POINTS):
            lines, self._told = self._told.cut(0, BATCH_POINTS), self._told.cut(BATCH_POINTS)
            await sender.put(ALERTS, lines)

    async def _checkpoint(self, sender: Sender) -> None:
        """Waits until all that was judged by now is in the database, then writes the state as of now, then commits."""
        while self._told or any(map(len, self._piles.values())):
            await self._put(sender, everything=True)
        epoch, following = self._shares.epoch, self._next
        self._next = {}
        states = []
        for number, share in self._shares.owned.items():
            if share.changed:
                states.append(share.state())
                for kind, offset in share.following().items():
                    following[TopicPartition(self._place[kind], number)] = offset
        await sender.settled()
        self._checkpoint_at = time.monotonic()
        if epoch != self._shares.epoch or not following:
            return
        await asyncio.gather(*(write() for write in states))
        try:
            await self._consumer.commit(following)
            if epoch == self._shares.epoch:
                self._shares.archived |= following
        except (KafkaError, IllegalStateError) as error:  # others have these partitions now, or will
            log.warning("offsets not committed, what was written may be written again: %s", error)


class _Refusals:
    """Points that the database would not take, with its reason, on a topic of their own."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str) -> None:
        self._producer, self._topic = producer, prefix + topics.ARCHIVE_REJECTED

    async def __call__(self, bucket: str, line: str, reason: str) -> None:
        log.warning("InfluxDB refuses a point for good: %s: %s", reason, line[:200])
        value = msgspec.json.encode({"reason": reason, "bucket": bucket, "point": line})
        await self._producer.send_and_wait(self._topic, value, line.partition(" ")[0].encode())
