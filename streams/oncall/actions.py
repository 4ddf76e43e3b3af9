"""What people do about cases, from outside of on-call: the cases as they are, and actions written to their topic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from sensors.clock import CLOCK_KEY, read_ticks
from sensors.connection import connection
from sensors.errors import InputError, RunError
from streams import topics
from streams.failure import kafka_errors
from streams.reading import FETCH_MAX_WAIT_MS, consuming, read_all, read_between

_DAY_MS = 86_400_000
_LOOK_BACK = 20  # records of a partition, among which there is a tick


class CaseDesk:
    """A connection to the topics of on-call; RunError where there are none."""

    def __init__(self, broker: str, prefix: str) -> None:
        self.broker, self.prefix = broker, prefix

    async def __aenter__(self) -> CaseDesk:
        async with topics.admin(self.broker) as client:
            there = await topics.counts(client, self.prefix)
        wanted = (topics.CASES_LAST, topics.ACTIONS, topics.DECISIONS)
        if missing := [self.prefix + name for name in wanted if name not in there]:
            what = f"no topic {missing[0]} at {self.broker}"
            raise RunError(f"{what}: has kapok oncall run there, and is the --prefix right?")
        self._partitions = there[topics.CASES_LAST]
        self._connected = consuming(self.broker, fetch_max_wait_ms=FETCH_MAX_WAIT_MS)
        self._consumer = await self._connected.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._connected.__aexit__(*error)

    async def cases(self) -> dict[str, Case]:
        """The newest case of each ``rule/site``, by its id."""
        newest: dict[bytes, bytes] = {}
        async for _, records in read_all(self._consumer, self._places(topics.CASES_LAST)):
            newest |= {record.key: record.value for record in records if record.value is not None}
        return {case.id: case for case in map(Case.parse, newest.values())}

    async def now_ms(self) -> int:
        """The time to put on an action: that of the wall, or of the log where that is another day's (a replay's)."""
        wall = time.time_ns() // 1_000_000
        place = TopicPartition(self.prefix + topics.ACTIONS, 0)
        end = (await self._consumer.end_offsets([place]))[place]
        begin = (await self._consumer.beginning_offsets([place]))[place]
        ticks: list[int] = []
        async for _, records in read_between(self._consumer, {place: max(begin, end - _LOOK_BACK)}, {place: end}):
            for record in records:
                if record.key == CLOCK_KEY:
                    ticks += [at for at, _ in read_ticks(record.value)[0]]
        return ticks[-1] if ticks and abs(ticks[-1] - wall) > _DAY_MS else wall

    async def follow(self) -> AsyncIterator[Case]:
        """Each change of a case from now on, until the caller has had enough."""
        places = self._places(topics.CASES)
        self._consumer.assign(places)
        for place, end in (await self._consumer.end_offsets(places)).items():
            self._consumer.seek(place, end)
        while True:
            for records in (await self._consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    yield Case.parse(record.value)

    async def do(self, action: Action, seconds: float) -> Case | Decision | None:
        """Writes an action, and waits for what is decided about it; None where nothing is in that time."""
        places = [*self._places(topics.CASES), *self._places(topics.DECISIONS)]
        self._consumer.assign(places)
        for place, end in (await self._consumer.end_offsets(places)).items():
            self._consumer.seek(place, end)
        async with actions(self.broker) as producer:
            await submit(producer, self.prefix, action)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for place, records in (await self._consumer.getmany(timeout_ms=round(left * 1000))).items():
                for record in records:
                    if place.topic == self.prefix + topics.DECISIONS:
                        if (decision := Decision.parse(record.value)).action.id == action.id:
                            return decision
                    elif (case := Case.parse(record.value)).action == action.id:
                        return case
        return None

    def _places(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(self.prefix + name, partition) for partition in range(self._partitions)]


def find(cases: dict[str, Case], wanted: str) -> Case:
    """The case of an id, a ``rule/site``, or the one open case of a site; InputError where that is none or several."""
    if wanted in cases:
        return cases[wanted]
    found = [case for case in cases.values() if wanted in (case.key, case.site) and case.state != "closed"]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{wanted}: {len(found)} cases are open there", hint=_listed(found))
    raise InputError(f"{wanted}: no such case, or none that is open", hint="kapok alerts list shows those that are")


def _listed(found: Sequence[Case]) -> str:
    return "one of " + ", ".join(sorted(case.key for case in found))


@contextlib.asynccontextmanager
async def actions(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for actions."""
    producer = AIOKafkaProducer(**connection(broker), acks="all")
    try:
        with kafka_errors(f"the Kafka at {broker} failed"):
            await producer.start()
            yield producer
    finally:
        await producer.stop()


async def submit(producer: AIOKafkaProducer, prefix: str, action: Action) -> None:
    """Writes an action; returns once the broker has it."""
    with kafka_errors("the action was not written"):
        await producer.send_and_wait(prefix + topics.ACTIONS, action.value, action.key)
