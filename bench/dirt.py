"""A million spoiled records among good ones: nothing good is lost, and each bad one is rejected for its own reason.

A log is made as it came, and as it would have been without the dirt. Both give the same alerts and the same state,
and what is rejected is what was spoiled.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from alerts.fold import PARTITION_ROW, Fold, applied_offsets
from alerts.rulebook import Rulebook
from bench.spoiled import Dirt, Spoiled, entry, pack
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from sensors.quantities import KINDS, topic
from sensors.record import Record, partition_of
from streams import topics
from streams.apache_kafka import ApacheKafka, missing
from streams.child import Child
from streams.feeder import Feeder
from streams.reading import all_records
from streams.state_log import reader

PARTITIONS = topics.PARTITIONS
START_MS = 1_714_800_000_000
MINUTE_MS = 60_000
_WORST_CASES_EVERY = 60  # minutes


class Minute(NamedTuple):
    """What is published within a minute, first of all a tick; in ``dirt`` records are more, and in other places."""

    now: int
    dirt: dict[str, list[Record]]
    clean: dict[str, list[Record]]
    reasons: Counter[tuple[int, str]]  # (offset, reason): how often it has to come of that record
    spoiled: int  # records


class Log:
    """Every sensor of a catalogue once a minute, a pack a zone, and so many spoiled records a minute."""

    def __init__(self, catalogue: Catalogue, seed: int, spoiled: int, worst_cases: bool = True) -> None:
        self._rng, self._spoiled, self._worst_cases = Random(seed), spoiled, worst_cases
        self._dirt = Dirt(catalogue, seed)
        self._zones: dict[tuple[str, str], list[str]] = {}
        for kind in KINDS:
            for sensor in self._dirt.sensors[kind]:
                self._zones.setdefault((kind, sensor.zone), []).append(sensor.id)
        self._level = dict.fromkeys(catalogue.sensors, 0.0)
        self._offset = 0

    def minutes(self, number: int) -> Iterator[Minute]:
        """The first minutes of the log; in the very first one nothing is spoiled."""
        for count in range(number):
            yield self._minute(START_MS + count * MINUTE_MS, self._spoiled if count else 0, count)

    def _minute(self, now: int, spoiled: int, count: int) -> Minute:
        items: list[Spoiled] = []
        for (kind, zone), sensors in self._zones.items():
            good = [reading for sensor in sensors for reading in self._readings(kind, sensor, now)]
            if spoiled and self._rng.random() < 0.2:
                items.append(self._dirt.spoil(kind, zone, good, now))
            else:
                items.append(Spoiled(kind, zone.encode(), pack(good), Counter(), pack(good)))
        while sum(1 for item in items if item.value != item.clean) < spoiled:
            missing = spoiled - sum(1 for item in items if item.value != item.clean)
            items += [self._dirt.record(self._rng.choice(KINDS), now) for _ in range(missing)]
        if spoiled and self._worst_cases and count % _WORST_CASES_EVERY == 1:
            items += self._dirt.giants(KINDS[count // _WORST_CASES_EVERY % len(KINDS)], now)
        self._rng.shuffle(items)
        minute = Minute(now, *({kind: [self._record(kind, now, CLOCK_KEY, tick(now))] for kind in KINDS} for _ in "12"),
                        Counter(), sum(1 for item in items if item.value != item.clean))  # fmt: skip
        for item in items:
            minute.dirt[item.kind].append(self._record(item.kind, now, item.key, item.value))
            minute.reasons.update({(self._offset, reason): often for reason, often in item.reasons.items()})
            if item.clean is not None:
                minute.clean[item.kind].append(self._record(item.kind, now, item.key, item.clean))
        return minute

    def _readings(self, kind: str, sensor: str, now: int) -> list[str]:
        rng, at = self._rng, now + self._rng.randrange(1000)
        if kind == "flood":
            level = min(max(self._level[sensor] + rng.choice((-0.02, -0.01, 0, 0, 0.01, 0.03)), 0.0), 1.0)
            self._level[sensor] = level
            return [entry(f"{sensor}/depth", at, f"{level:.2f}")]
        if kind == "rain":
            return [entry(f"{sensor}/rain", at, rng.choice(("0", "0", "0.2", "0.4")))]
        if kind == "infrared":
            moved = entry(f"{sensor}/motion", at, str(int(rng.random() < 0.1)))
            return [moved, entry(f"{sensor}/button", at, str(int(rng.random() < 0.001)))]
        return [entry(f"{sensor}/{way}", at, str(rng.randrange(100))) for way in ("in", "out")]

    def _record(self, kind: str, now: int, key: bytes | None, value: bytes | None) -> Record:
        self._offset += 1
        return Record(topic(kind), 0, self._offset, now, key, value, (("from", b"a gateway"),))


class Loss(AssertionError):
    """Something good was lost, or something bad was not rejected as it must be."""


class Found(NamedTuple):
    """What came of a log: records, readings and alerts are numbers, ``rejected`` is by reason, ``seconds`` of CPU."""

    spoiled: int
    good: int
    alerts: int
    rejected: Counter[str]
    rejected_bytes: int
    seconds: float


def through_fold(minutes: Iterable[Minute]) -> Found:
    """Both logs through a fold each, a minute at a time; Loss where they differ."""
    catalogue, rulebook = Catalogue.shipped(), Rulebook.shipped()
    dirty, clean = Fold(catalogue, rulebook), Fold(catalogue, rulebook)
    spoiled = good = alerts = written = 0
    seconds, rejected = 0.0, Counter[str]()
    for minute in minutes:
        found: Counter[tuple[int, str]] = Counter()
        for kind in KINDS:
            began = time.process_time()
            outcome = dirty.apply(kind, minute.dirt[kind])
            written += sum(len(one.value) for one in outcome.rejected)
            seconds += time.process_time() - began
            wanted = clean.apply(kind, minute.clean[kind])
            found.update((one.offset, one.reason) for one in outcome.rejected)
            ticks = sum(one.key == CLOCK_KEY and one.reason == "future" for one in outcome.rejected)
            used = outcome.readings - (len(outcome.rejected) - ticks)
            if used != wanted.readings:
                raise Loss(f"{wanted.readings - used} good readings of {kind} lost at {minute.now}")
            if [alert.value for alert in outcome.alerts] != [alert.value for alert in wanted.alerts]:
                raise Loss(f"the alerts of {kind} at {minute.now} are not those without the dirt")
            good, alerts = good + used, alerts + len(wanted.alerts)
        if found != minute.reasons:
            raise Loss(f"rejected at {minute.now}: {found - minute.reasons}, not rejected: {minute.reasons - found}")
        for (_, reason), often in found.items():
            rejected[reason] += often
        spoiled += minute.spoiled
    dirty_state, clean_state = (
        {key: row for key, row in fold.checkpoint().items() if key != PARTITION_ROW} for fold in (dirty, clean)
    )
    if dirty_state != clean_state:
        raise Loss("the state is not the one without the dirt")
    return Found(spoiled, good, alerts, rejected, written, seconds)


def placed(rng: Random, records: Iterable[Record], partitions: int) -> Iterator[Record]:
    """The records as a log: what has a key where its hash says, a good tick everywhere, and all else anywhere."""
    offsets: Counter[tuple[str, int]] = Counter()
    for record in records:
        places = [rng.randrange(partitions)]
        if record.key == CLOCK_KEY and record.value == tick(record.timestamp or 0):
            places = list(range(partitions))
        elif record.key not in (None, CLOCK_KEY):
            places = [partition_of(record.key, partitions)]
        for place in places:
            yield record._replace(partition=place, offset=offsets[record.topic, place])
            offsets[record.topic, place] += 1


def through_worker(minutes: Iterable[Minute], seed: int = 1) -> tuple[Found, float]:
    """The log through a worker on Apache Kafka, its peak memory in MB; Loss where not the same comes of it."""
    with tempfile.TemporaryDirectory() as name, ApacheKafka(Path(name, "kafka")) as kafka:
        return asyncio.run(_through_worker(kafka.address, minutes, Random(seed), Path(name, "worker.log")))


async def _through_worker(broker: str, minutes: Iterable[Minute], rng: Random, log: Path) -> tuple[Found, float]:
    clean, spoiled, good = Fold(Catalogue.shipped(), Rulebook.shipped()), 0, 0
    alerts, wanted, ends = Counter[bytes](), Counter[str](), dict[tuple[str, int], int]()

    def came() -> Iterator[Record]:
        nonlocal spoiled, good
        for minute in minutes:
            for kind in KINDS:
                yield from minute.dirt[kind]
                outcome = clean.apply(kind, minute.clean[kind])
                alerts.update(alert.value for alert in outcome.alerts)
                good += outcome.readings
            for (_, reason), often in minute.reasons.items():
                wanted[reason] += often
            spoiled += minute.spoiled

    await topics.ensure(broker, "", PARTITIONS, live=False)
    async with Feeder(broker, "") as feeder:
        for record in placed(rng, came(), PARTITIONS):
            await feeder.feed(record)
            ends[record.topic.removeprefix("readings."), record.partition] = record.offset
    began = time.perf_counter()
    worker = Child("worker", [sys.executable, "-m", "streams", "worker", "--no-clock", "--broker", broker], log)
    try:
        async with reader(broker, topics.STATE, range(PARTITIONS)) as states:
            while ends:
                worker.check()
                await states.poll(50)
                for place in range(PARTITIONS):
                    for row in states.partition_rows(place):
                        for kind, offset in applied_offsets(row).items():
                            if ends.get((kind, place), offset + 1) <= offset:
                                del ends[kind, place]
        seconds = time.perf_counter() - began
        status = Path(f"/proc/{worker.pid}/status").read_text()
    finally:
        worker.stop()
    memory = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    if Counter([one.value async for one in all_records(broker, [topics.ALERTS], PARTITIONS)]) != alerts:
        raise Loss("the alerts of the worker are not those without the dirt")
    rejected, written, seen = Counter[str](), 0, set[tuple[Any, ...]]()
    async for one in all_records(broker, [topics.REJECTED], PARTITIONS):
        if one.headers in seen:  # repeated by a worker that had lost its partition for a while
            continue
        seen.add(one.headers)
        rejected[json.loads(one.value)["reason"]] += 1
        written += len(one.value)
    if rejected != wanted:
        raise Loss(f"rejected: {rejected}, to be rejected: {wanted}")
    return Found(spoiled, good, sum(alerts.values()), rejected, written, seconds), memory


def rows(
    records: int = 1_000_000, through_kafka: int = 1_000_000, spoiled: int = 5_000, seed: int = 1
) -> dict[str, str]:
    """What was measured, by name: so many spoiled records through the fold, and so many through a worker."""
    found = through_fold(Log(Catalogue.shipped(), seed, spoiled).minutes(1 + -(-records // spoiled)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = _rows("fold", found) | {
        "fold: spoiled records/s of CPU, with the good ones": f"{found.spoiled / found.seconds:,.0f}",
        "fold: peak memory, the making of the log included": f"{peak:,.0f} MB",
    }
    if missing() is not None:
        return text
    log = Log(Catalogue.shipped(), seed + 1, spoiled, worst_cases=False)
    found, memory = through_worker(log.minutes(1 + -(-through_kafka // spoiled)))
    return text | _rows("worker", found) | {
        "worker: spoiled records/s, with the good ones": f"{found.spoiled / found.seconds:,.0f}",
        "worker: peak memory": f"{memory:,.0f} MB",
    }  # fmt: skip


def _rows(where: str, found: Found) -> dict[str, str]:
    return {
        f"{where}: spoiled records": f"{found.spoiled:,}",
        f"{where}: good readings beside them, lost": f"{found.good:,}, 0",
        f"{where}: alerts, the same as without the dirt": f"{found.alerts:,}",
        **{f"{where}: rejected as {reason}": f"{count:,}" for reason, count in found.rejected.most_common()},
        f"{where}: rejected, as JSON": f"{found.rejected_bytes / 1e6:,.0f} MB",
    }
