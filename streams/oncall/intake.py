"""The intake: copies alerts, actions, receipts and the clock into ``oncall.log``, one order for all of them."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sensors.clock import CLOCK_KEY, read_ticks, tick
from sensors.errors import RunError
from sensors.record import Record
from sensors.seal import Seal
from streams.oncall import journal
from streams.oncall.journal import SOURCES, TICKED, Config, Copy, Positions
from streams.reading import read_all
from streams.topics import LAST, ONCALL_LOG

log = logging.getLogger("kapok")

LEFT_OUT_MS = 10_000  # a partition that has nothing more to read and is so far behind the furthest holds nobody up
_STALLED_S = 30.0  # an intake that was stopped for so long, and goes on, may be behind
_LOOK_BACK = 20  # records of a partition, among which there is a tick
_WAIT_MS, _RECORDS = 200, 500
_BATCH_BYTES = 500_000


class Clock:
    """On-call's time from the ticks of many partitions: the smallest of them, so that no tick overtakes what lies
    before it in another partition.

    A partition that stands still, with nothing more to read, is left out when it is ``LEFT_OUT_MS`` behind: it must
    not stop the escalation. ``newest``: the furthest tick that is known of, read or seen at the ends.
    """

    def __init__(self, places: Iterable[TopicPartition], now_ms: int | None) -> None:
        self.newest = now_ms
        self._latest: dict[TopicPartition, int | None] = dict.fromkeys(places, now_ms)
        self._now = now_ms

    def seen(self, time_ms: int | None) -> None:
        """There is this tick, whatever lies before it."""
        self.newest = max(filter(None, (self.newest, time_ms)), default=None)

    def heard(self, place: TopicPartition, time_ms: int) -> None:
        self.seen(time_ms)
        for other, latest in self._latest.items():
            if latest is None:  # the first tick there is: the others are not known to be before it
                self._latest[other] = time_ms
        self._latest[place] = max(self._latest[place] or 0, time_ms)

    def advance(self, read_all: Callable[[TopicPartition], bool]) -> int | None:
        """The new time, where it is later than before; ``read_all``: whether a partition has nothing more to read."""
        known = {place: latest for place, latest in self._latest.items() if latest is not None}
        if not known:
            return None
        furthest = max(known.values())
        now = min(at for place, at in known.items() if at >= furthest - LEFT_OUT_MS or not read_all(place))
        if self._now is not None and now <= self._now:
            return None
        self._now = now
        return now


class Intake:
    """Writes the log in the name of a claim. ``said``: what else is to be written, in between."""

    def __init__(
        self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, prefix: str, partitions: int, name: str
    ) -> None:
        self._consumer, self._producer, self._prefix, self.name = consumer, producer, prefix, name
        self._places = [TopicPartition(prefix + t, p) for t in SOURCES for p in range(partitions)]
        self._partitions = partitions
        self._said: list[Config] = []
        self._seal = Seal.configured()

    def say(self, config: Config) -> None:
        """Has a change of routes or rules written with the next batch."""
        self._said.append(config)

    async def claim(self) -> None:
        """From here on only this intake's records count."""
        await self._write([journal.claim(self.name)])

    async def run(self, known: Positions, now_ms: int | None) -> None:
        """Copies on from where the log says, until cancelled; at the very first from now on, with what is firing."""
        await self._write(self._take_said())
        newest = await self._newest_tick()
        if known:
            read = {topic: list(offsets) for topic, offsets in known.items()}
        else:
            read, now_ms = await self._begin(newest), newest
        await self._check(read)
        self._assign(read)
        clock = Clock(self._ticked, now_ms)
        clock.seen(newest)
        looked = time.monotonic()
        while True:
            if time.monotonic() - looked > _STALLED_S:
                clock.seen(await self._newest_tick())
                self._assign(read)
            looked = time.monotonic()
            fetched = await self._consumer.getmany(timeout_ms=_WAIT_MS, max_records=_RECORDS)
            copies = self._take_said()
            for place, record in _by_time(fetched):
                if record.key == CLOCK_KEY:
                    for time_ms in self._ticks(place, record):
                        clock.heard(place, time_ms)
                else:
                    copies.append(journal.copy(self.name, self._topic(place), record, clock.newest))
            for place, records in fetched.items():
                read[self._topic(place)][place.partition] = records[-1].offset + 1
            if (now := clock.advance(partial(self._read_all, read))) is not None:
                copies.append(journal.clock(self.name, tick(now), read, max(now, clock.newest or now)))
            await self._write(copies)

    @property
    def _ticked(self) -> list[TopicPartition]:
        return [place for place in self._places if self._topic(place) in TICKED]

    def _assign(self, read: Positions) -> None:
        self._consumer.assign(self._places)
        for place in self._places:
            self._consumer.seek(place, read[self._topic(place)][place.partition])

    async def _newest_tick(self) -> int | None:
        """The newest tick at the ends of the topics, ms: what time it is, however much there is to read before it."""
        begins = await self._consumer.beginning_offsets(self._ticked)
        ends = await self._consumer.end_offsets(self._ticked)
        left = {place: end for place, end in ends.items() if begins[place] < end}
        self._consumer.assign(list(left))
        for place, end in left.items():
            self._consumer.seek(place, max(begins[place], end - _LOOK_BACK))
        found: list[int] = []
        while left:
            for place, records in (await self._consumer.getmany(timeout_ms=100)).items():
                found += [at for record in records if record.key == CLOCK_KEY for at in self._ticks(place, record)]
            left = {place: end for place, end in left.items() if await self._consumer.position(place) < end}
        return max(found, default=None)

    def _ticks(self, place: TopicPartition, record: Any) -> list[int]:
        """The times that a record of the clock tells; none where the clock did not seal it."""
        topic = self._topic(place)
        if topic not in TICKED or (self._seal is not None and not self._seal.holds(topic, record)):
            return []
        return [time_ms for time_ms, _ in read_ticks(record.value)[0]]

    def _take_said(self) -> list[Copy]:
        said, self._said = self._said, []
        return [journal.config(self.name, config) for config in said]

    def _topic(self, place: TopicPartition) -> str:
        return str(place.topic.removeprefix(self._prefix))

    def _read_all(self, read: Positions, place: TopicPartition) -> bool:
        end = self._consumer.highwater(place)
        return end is None or read[self._topic(place)][place.partition] >= end

    async def _begin(self, now_ms: int | None) -> Positions:
        """Where nothing was ever read: what fires now is told of, and whatever comes; what is over is not."""
        ends = await self._consumer.end_offsets(self._places)
        read = {t: [ends[TopicPartition(self._prefix + t, p)] for p in range(self._partitions)] for t in SOURCES}
        places = [TopicPartition(self._prefix + LAST, p) for p in range(self._partitions)]
        newest: dict[bytes, Record] = {}
        async for _, records in read_all(self._consumer, places):
            for record in records:
                newest.pop(record.key, None)  # so that they stay in the order of their offsets
                newest[record.key] = record
        copies = [journal.begin(self.name, read)]
        if now_ms is not None:  # first of all, so that what has fired for hours is told of as of now
            copies.append(journal.clock(self.name, tick(now_ms), read, now_ms))
        alerts = [record for record in newest.values() if record.value is not None]
        copies += [journal.copy(self.name, LAST, record, now_ms) for record in alerts]
        await self._write(copies)
        log.info("on-call begins with %d alerts that are known, and what comes", len(alerts))
        return read

    async def _check(self, read: Positions) -> None:
        """RunError where a topic was made anew: what comes on it would be taken for what was read already."""
        begins, ends = (
            await self._consumer.beginning_offsets(self._places),
            await self._consumer.end_offsets(self._places),
        )
        for place in self._places:
            due = read[self._topic(place)][place.partition]
            what = f"{place.topic} partition {place.partition}"
            if due > ends[place]:
                raise RunError(
                    f"{what} ends before offset {due}, up to which {self._prefix}{ONCALL_LOG} has it: was the topic "
                    "made anew? Delete the topics of on-call too, or use another --prefix"
                )
            if due < begins[place]:
                log.warning("%s: records %d to %d expired before they were read", what, due, begins[place] - 1)
                read[self._topic(place)][place.partition] = begins[place]

    async def _write(self, copies: Sequence[Copy]) -> None:
        """In order, and only once the broker has a batch the next: none can be there without those before it."""
        for batch in self._batches(copies):
            await (await self._producer.send_batch(batch, self._prefix + ONCALL_LOG, partition=0))

    def _batches(self, copies: Sequence[Copy]) -> Iterator[Any]:
        batch = self._producer.create_batch()
        for one in copies:
            fields = {"timestamp": None, "key": one.key, "value": one.value, "headers": one.headers}
            if batch.append(**fields) is None:
                batch.close()
                yield batch
                batch = self._producer.create_batch()
                if batch.append(**fields) is None:
                    raise RunError(f"a record for {ONCALL_LOG} is too large: {len(one.value or b'')} bytes")
        if batch.record_count():
            batch.close()
            yield batch


def _by_time(fetched: dict[TopicPartition, Sequence[Any]]) -> Iterator[tuple[TopicPartition, Any]]:
    """Records of many partitions by their times, without changing the order within one."""

    def lane(place: TopicPartition, records: Sequence[Any]) -> Iterator[tuple[int, str, int, int, TopicPartition, Any]]:
        latest = 0
        for record in records:
            latest = max(latest, record.timestamp)
            yield latest, place.topic, place.partition, record.offset, place, record

    for *_, place, record in heapq.merge(*(lane(place, records) for place, records in fetched.items())):
        yield place, record
