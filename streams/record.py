"""Recording: what was on the topics becomes a capture, in the order of its timestamps."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from sensors.capture import Writer
from sensors.connection import user
from sensors.errors import InputError, RunError
from streams import topics
from streams.failure import kafka_errors
from streams.reading import consuming
from streams.rules_log import rules_log

_QUIET_S = 1.0  # following: a partition from which nothing came for so long does not hold up the others
_LOG_APPEND_TIME = 1  # a record's timestamp_type: the broker's time, which only goes forward

Progress = Callable[[int, int | None], None]  # records written so far, timestamp reached in ms


async def record(
    broker: str,
    out: Path,
    *,
    prefix: str = "",
    names: Sequence[str] = topics.READINGS,
    from_ms: int | None = None,
    until_ms: int | None = None,
    follow: bool = False,
    stop: asyncio.Event | None = None,
    progress: Progress | None = None,
) -> int:
    """Writes a capture and returns the number of its records.

    Takes the records with timestamps in [from_ms, until_ms), up to where the topics ended when it began;
    with ``follow`` it goes on with what comes, until ``until_ms`` or until ``stop`` is set. Records of
    one partition stay in their order, those of different partitions are merged by timestamp. Topic names
    lose the prefix.
    """
    async with topics.admin(broker) as client:
        there = await topics.counts(client, prefix)
    if missing := [prefix + name for name in names if name not in there]:
        if user() is not None:
            raise RunError(f"no topic {', '.join(missing)} at {broker} that {user()!r} may read; see docs/security.md")
        raise InputError(f"no topic {', '.join(missing)} at {broker}", hint="is the --prefix right?")
    places = [TopicPartition(prefix + name, p) for name in names for p in range(there[name])]
    written = 0
    async with AsyncExitStack() as stack:
        stack.enter_context(kafka_errors(f"the Kafka at {broker} failed"))
        consumer = await stack.enter_async_context(consuming(broker))
        lanes = await _lanes(consumer, places, from_ms, follow)
        with Writer(out) as capture:
            if topics.RULES in there and set(names) & {*topics.READINGS, topics.ONCALL_LOG}:
                await _write_editions(broker, prefix, capture)
            async for one in _merged(consumer, lanes, from_ms, until_ms, stop or asyncio.Event()):
                headers = {name: value.decode("utf-8", "replace") for name, value in one.headers}
                capture.write(
                    one.topic.removeprefix(prefix),
                    None if one.key is None else one.key.decode("utf-8", "replace"),
                    one.value,
                    timestamp=one.timestamp,
                    partition=one.partition,
                    offset=one.offset,
                    headers=headers or None,
                )
                written += 1
                if progress and written % 100 == 0:
                    progress(written, one.timestamp)
    return written


async def _write_editions(broker: str, prefix: str, capture: Writer) -> None:
    """The rules and the catalogue come first, every edition of them: with them a replay needs no files."""
    async with rules_log(broker, None, prefix) as rules:
        for generation, edition in rules.editions.items():
            ruleset = rules.rulesets[generation]
            capture.write(topics.RULES, ruleset, edition.pack(), partition=0, offset=generation)


class _Lane:
    """A partition on its way into the merge; ``end`` is the offset that it is read to, None: it goes on.

    What is fetched together with the last record before the end is taken too.
    """

    def __init__(self, place: TopicPartition, end: int | None) -> None:
        self.place, self.end = place, end
        self.latest = -1  # timestamps may go back within a partition: its order is by the largest so far
        self.heard = time.monotonic()
        self.waiting: deque[tuple[int, Any]] = deque()


async def _lanes(
    consumer: AIOKafkaConsumer, places: list[TopicPartition], from_ms: int | None, follow: bool
) -> list[_Lane]:
    """The partitions that have something to record, with the consumer at the beginning of each."""
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    if from_ms is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(places, from_ms))
        begins = {place: ends[place] if at is None else at.offset for place, at in found.items()}
    lanes = [_Lane(place, None if follow else ends[place]) for place in places if follow or begins[place] < ends[place]]
    consumer.assign([lane.place for lane in lanes])
    for lane in lanes:
        consumer.seek(lane.place, begins[lane.place])
    return lanes


async def _merged(
    consumer: AIOKafkaConsumer,
    lanes: list[_Lane],
    from_ms: int | None,
    until_ms: int | None,
    stop: asyncio.Event,
) -> AsyncIterator[Any]:
    """The records of all lanes by timestamp: each goes out once no lane can have an earlier one."""
    reading = {lane.place: lane for lane in lanes}
    while reading and not stop.is_set():
        horizon = _horizon(reading.values())
        behind = [lane.place for lane in reading.values() if lane.latest <= horizon]  # the others are ahead: let them
        for place, records in (await consumer.getmany(*behind, timeout_ms=100)).items():
            lane = reading[place]
            lane.heard = time.monotonic()
            for one in records:
                lane.latest = max(lane.latest, one.timestamp)
                if until_ms is not None and one.timestamp >= until_ms:
                    if lane.end is None or one.timestamp_type == _LOG_APPEND_TIME:
                        lane.end = 0
                        break
                elif from_ms is None or one.timestamp >= from_ms:
                    lane.waiting.append((lane.latest, one))
        for place in behind:
            if (end := reading[place].end) is not None and await consumer.position(place) >= end:
                del reading[place]
        horizon = _horizon(reading.values())
        out: list[tuple[int, str, int, int, Any]] = []
        for lane in lanes:
            while lane.waiting and lane.waiting[0][0] < horizon:
                at, one = lane.waiting.popleft()
                out.append((at, one.topic, one.partition, one.offset, one))
        for entry in sorted(out, key=itemgetter(0, 1, 2, 3)):
            yield entry[-1]


def _horizon(reading: Iterable[_Lane]) -> float:
    """The time that every lane has been read up to; one that is followed and quiet is left out."""
    now = time.monotonic()
    return min(
        (lane.latest for lane in reading if lane.end is not None or now - lane.heard < _QUIET_S),
        default=math.inf,
    )
