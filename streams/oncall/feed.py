"""What the console is given of the topics: read back so far as it shows, and followed from then on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from alerts.cases.desk import Desk
from alerts.cases.notification import Notification, Receipt
from alerts.console.board import KEEP_MS, Board
from alerts.console.feed import Duty, Person
from alerts.edition import Edition
from alerts.routes.directory import Directory
from alerts.routes.residents import Audit, Residents
from alerts.routes.routes import Routes
from sensors.clock import CLOCK_KEY, read_ticks
from sensors.quantities import KINDS, topic
from sensors.record import Record
from streams import topics
from streams.oncall import checkpoint
from streams.oncall.actions import submit
from streams.oncall.journal import Config
from streams.reading import following, read_between
from streams.state_log import reader

log = logging.getLogger("kapok")

_MESSAGES: dict[str, Callable[[bytes], Any]] = {
    topics.CASES: Case.parse,
    topics.CASES_LAST: Case.parse,
    topics.NOTIFICATIONS: Notification.parse,
    topics.RECEIPTS: Receipt.parse,
    topics.DECISIONS: Decision.parse,
    topics.ALERTS: msgspec.json.decode,
    topics.LAST: msgspec.json.decode,
}
# Over the time that the board keeps.
_READ_BACK = (topics.CASES, topics.NOTIFICATIONS, topics.RECEIPTS, topics.DECISIONS)
_FOLLOWED = (*_READ_BACK, topics.ALERTS)
_RECENT = 1_000  # records of each partition of readings that are read back, for the charts
_BEHIND = 20_000  # records: so far behind, the readings in between are left out
_READINGS_RECORDS, _RECORDS = 200, 500
_READINGS_EVERY_S = 0.25
_DAY_MS = 86_400_000


class Who(Protocol):
    """Whose directory it is: it may be read again."""

    @property
    def directory(self) -> Directory: ...


class TopicFeed:
    """``Feed`` of the console: ``await open()``, then ``run()`` until cancelled."""

    def __init__(
        self, broker: str, prefix: str, partitions: int, edition: Edition, who: Who, producer: AIOKafkaProducer
    ) -> None:
        self._broker, self._prefix, self._partitions = broker, prefix, partitions
        self._who, self._producer, self._edition = who, producer, edition
        self._board = Board(edition.catalogue, edition.rulebook)
        self._duty: tuple[tuple[int, int], list[Duty]] = ((-1, -1), [])

    @property
    def board(self) -> Board:
        return self._board

    def follow(self, edition: Edition) -> None:
        """Rules or catalogue have changed."""
        self._edition = edition
        self._board.configure(edition.catalogue, edition.rulebook)

    def duty(self) -> Sequence[Duty]:
        minute, directory = self._board.clock_ms // 60_000, self._who.directory
        if self._duty[0] != (minute, id(directory)):
            homes = tuple(f"-{home}" for home in directory.homes)  # whose relatives are nobody else's business
            groups = [group for group in directory.duty.groups if not group.endswith(homes)]
            self._duty = ((minute, id(directory)), [self._on_duty(directory, group) for group in groups])
        return self._duty[1]

    def names(self) -> Mapping[str, str]:
        return self._who.directory.colleagues

    def residents(self, audit: Audit) -> Residents:
        return self._who.directory.residents(audit)

    async def submit(self, action: Action) -> None:
        await submit(self._producer, self._prefix, action)

    async def run(self, ready: Callable[[], None]) -> None:
        """Reads back, says ``ready``, and follows until cancelled."""
        async with following(self._broker) as cases, following(self._broker) as readings:
            await self._read_back(cases)
            ready()
            await asyncio.gather(self._follow(cases), self._follow_readings(readings))

    def _on_duty(self, directory: Directory, group: str) -> Duty:
        now, people = self._board.clock_ms, directory.people
        on_duty = [Person(one, people[one].name) for one in directory.duty.on_duty(group, now) if one in people]
        changes = directory.duty.changes(group, now, now + _DAY_MS)
        until = next((at for at in changes if at > now), None)
        return Duty(group, directory.names.get(group, group), tuple(on_duty), until)

    async def _read_back(self, consumer: AIOKafkaConsumer) -> None:
        await self._read_silences()
        followed = self._places(_FOLLOWED)
        starts = dict(await consumer.end_offsets(followed))
        lasts = self._places((topics.LAST, topics.CASES_LAST))
        await self._read(consumer, dict(await consumer.beginning_offsets(lasts)), await consumer.end_offsets(lasts))
        since = time.time_ns() // 1_000_000 - KEEP_MS
        back = self._places(_READ_BACK)
        found = await consumer.offsets_for_times(dict.fromkeys(back, since))
        await self._read(
            consumer,
            {place: starts[place] if found[place] is None else found[place].offset for place in back},
            {place: starts[place] for place in back},
        )
        consumer.assign(followed)
        for place, start in starts.items():
            consumer.seek(place, start)

    async def _read_silences(self) -> None:
        """Those that are in force are in the state of the Desk; they may have been made long ago."""
        async with reader(self._broker, self._prefix + topics.ONCALL_STATE, [0]) as states:
            await states.catch_up()
            kept = checkpoint.from_snapshot(states.snapshot(0, checkpoint.offset_of))
        if kept is not None and kept.desk is not None and kept.config is not None:
            routes = Routes.unpack(bytes(Config.unpack(kept.config).routes))
            desk = Desk.restore(kept.desk, routes, self._edition.catalogue, self._edition.rulebook)
            for action in desk.silences:
                self._board.take(action)

    async def _read(
        self, consumer: AIOKafkaConsumer, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> None:
        async for place, records in read_between(consumer, starts, ends, _RECORDS):
            self._take(place, records)
            await asyncio.sleep(0)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for place, records in (await consumer.getmany(timeout_ms=1000, max_records=_RECORDS)).items():
                self._take(place, records)

    def _take(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        name = place.topic.removeprefix(self._prefix)
        parse = _MESSAGES[name]
        for record in records:
            if record.key == CLOCK_KEY:
                for at, _ in read_ticks(record.value)[0]:
                    self._board.tick(at)
            elif record.value is not None:
                try:
                    self._board.take(parse(record.value))
                except (ValidationError, msgspec.DecodeError, KeyError) as error:
                    log.info("%s %d %d cannot be shown: %s", name, place.partition, record.offset, type(error).__name__)

    async def _follow_readings(self, consumer: AIOKafkaConsumer) -> None:
        """Not every reading of a flood of them: what cannot be kept up with is passed over."""
        kinds = {self._prefix + topic(kind): kind for kind in KINDS}
        places = self._places([topic(kind) for kind in KINDS])
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        consumer.assign(places)
        for place in places:
            consumer.seek(place, max(begins[place], ends[place] - _RECENT))
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=_READINGS_RECORDS)
            for place, records in fetched.items():
                taken = [
                    Record(place.topic, place.partition, one.offset, one.timestamp, one.key, one.value)
                    for one in records
                ]
                self._board.readings(kinds[place.topic], taken)
                if (end := consumer.highwater(place) or 0) - records[-1].offset > _BEHIND:
                    consumer.seek(place, end - _RECENT)
            if sum(map(len, fetched.values())) < _READINGS_RECORDS:
                await asyncio.sleep(_READINGS_EVERY_S)
            else:
                await asyncio.sleep(0)

    def _places(self, names: Sequence[str]) -> list[TopicPartition]:
        return [
            TopicPartition(self._prefix + name, partition) for name in names for partition in range(self._partitions)
        ]
