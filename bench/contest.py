"""The contest: kapok and its peers, one after the other, round by round, on the same topics of one Apache Kafka.

A round is timed by its alerts alone, the same for all (bench/course.py says how they tell how far a contestant is),
and by the times that the broker gives them. The first tenth of a round, from its first alert to its last, is warm-up;
what counts is the readings done after that, a second. The alerts are compared with those of the fold.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from alerts.cases.message import time_ms
from bench import course as courses
from bench import data
from bench.course import Course, Known
from bench.peers import PEERS
from bench.processes import cpu_seconds, peak_mb, start_worker
from sensors.errors import RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.child import Child

KAPOK, KAPOK_ALL = "kapok", "kapok-all-rules"
TITLES = {KAPOK: "kapok", KAPOK_ALL: "kapok, all shipped rules"} | {peer.name: peer.title for peer in PEERS}
_COMMANDS = {peer.name: peer.command for peer in PEERS}
COURSES = (Course("packs", 500, 3_000), Course("singles", 1, 400))
QUICK = (Course("packs", 500, 200), Course("singles", 1, 20))
_RULE = "depth"  # of data.RULES; the shipped one that does the same has another name
_SAME_RULE = "flood-depth"
_WARM_UP = 0.1
_FIRST_ALERT_S, _STILL_S, _LAST_ALERTS_S = 60.0, 30.0, 5.0

Said = Callable[[str], None]


class Round(NamedTuple):
    """One contestant once on one course: readings a second, alerts that are not those of the fold, what it took.

    ``cpu_us``: of CPU a reading, all threads, from its first alerts on.
    """

    contestant: str
    course: str
    rate: float
    alerts: int
    missing: int
    extra: int
    repeated: int
    memory_mb: float
    cpu_us: float
    complete: bool  # else it was stopped: it took too long

    @property
    def same(self) -> bool:
        return not (self.missing or self.extra or self.repeated)


class Contest(NamedTuple):
    """All rounds, and why contestants that are not in them are missing."""

    rounds: list[Round]
    missing: dict[str, str]


class Lane(NamedTuple):
    """What a round needs to know of its course."""

    course: Course
    sites: Path
    rules: Path
    expected: tuple[set[Known], set[Known]]  # of the one rule, of all shipped ones


class Seen:
    """The alerts of a round as they come in, and how far they say that the contestant is."""

    def __init__(self, course: Course) -> None:
        self._marks, self._members = course.marks(), course.members()
        self.alerts: Counter[Known] = Counter()
        self.reached = dict.fromkeys(self._marks.values(), 0)  # partition: minutes that are done
        self._steps: list[tuple[int, int, int]] = []  # ms of the broker, partition, minutes
        self._last = course.minutes

    def take(self, known: Known, stamp_ms: int) -> None:
        self.alerts[known] += 1
        _, site, at, _ = known
        partition = self._marks.get(site)
        if partition is not None and known[0] in (_RULE, _SAME_RULE):
            done = (at - data.START_MS) // courses.MINUTE_MS + 1
            if done > self.reached[partition]:
                self.reached[partition] = done
                self._steps.append((stamp_ms, partition, done))

    @property
    def complete(self) -> bool:
        return all(done >= self._last for done in self.reached.values())

    @property
    def readings(self) -> int:
        """How many are done."""
        return sum(int(self._members[partition]) * minutes for partition, minutes in self.reached.items())

    def rate(self) -> float:
        """Readings a second after the warm-up."""
        steps = sorted(self._steps)
        if not steps or steps[-1][0] == steps[0][0]:
            return 0.0
        begin = steps[0][0] + _WARM_UP * (steps[-1][0] - steps[0][0])
        reached = dict.fromkeys(self.reached, 0)
        first: tuple[int, int] | None = None
        done = 0
        for number, (stamp, partition, minutes) in enumerate(steps):
            done += int(self._members[partition]) * (minutes - reached[partition])
            reached[partition] = minutes
            all_of_it = number + 1 == len(steps) or steps[number + 1][0] > stamp
            if first is None and stamp >= begin and all_of_it:
                first = stamp, done
        if first is None or steps[-1][0] == first[0]:
            return 0.0
        return (done - first[1]) * 1000 / (steps[-1][0] - first[0])

    def compared(self, expected: set[Known], partition_of: Callable[[str], int | None]) -> tuple[int, int, int]:
        """(missing, extra, repeated): of a round that was cut short, what came before the cut must be there."""
        extra = sum(known not in expected for known in self.alerts)
        repeated = sum(count - 1 for count in self.alerts.values())
        if self.complete:
            return len(expected - self.alerts.keys()), extra, repeated
        ends = {p: data.START_MS + courses.MINUTE_MS * (done - 1) for p, done in self.reached.items()}
        due = sum(
            known[0] in (_RULE, _SAME_RULE)
            and known[2] < ends[partition_of(known[1]) or 0]
            and known not in self.alerts
            for known in expected
        )
        return due, extra, repeated


async def contest(
    lengths: Sequence[Course],
    rounds: int,
    *,
    only: Sequence[str] | None = None,
    longest_s: float = 30.0,
    said: Said = lambda text: None,
) -> Contest:
    """Runs all contestants (``only``: these) in turns; a round ends after ``longest_s`` of alerts at the latest.

    Starts an Apache Kafka for it.
    """
    names = [name for name in TITLES if only is None or name in only]
    with tempfile.TemporaryDirectory(prefix="kapok-bench-") as temporary:
        folder = Path(temporary)
        missing: dict[str, str] = {}
        for name in [name for name in names if name in _COMMANDS]:
            said(f"preparing {TITLES[name]}")
            try:
                _COMMANDS[name](_made(folder / f"try-{name}"))
            except RunError as error:
                missing[name] = str(error)
        with ApacheKafka(folder / "kafka") as kafka:
            done = Contest([], missing)
            await compete(kafka.address, folder, lengths, rounds, names, done, longest_s, said)
    return done


async def compete(
    broker: str,
    folder: Path,
    lengths: Sequence[Course],
    rounds: int,
    names: Sequence[str],
    found: Contest,
    longest_s: float = 30.0,
    said: Said = lambda text: None,
) -> None:
    """Makes the data once, and runs the contestants with these names on it in turns; what comes of it is added."""
    lanes = []
    for course in lengths:
        said(f"laying the course: {course.name}, {course.readings:,} readings")
        sites, rules = courses.write_city(_made(folder / course.name), course)
        await topics.ensure(broker, course.prefix, course.partitions, live=False)
        lanes.append(Lane(course, sites, rules, await courses.lay(broker, course, sites, rules)))
    for number in range(rounds):
        for lane in lanes:
            for name in [name for name in names if name not in found.missing]:
                place = _made(folder / f"{lane.course.name}-{name}-{number}")
                what = f"round {number + 1} of {rounds}, {lane.course.name}, {TITLES[name]}"
                try:
                    one = await _round(broker, lane, name, place, longest_s)
                except RunError as error:
                    if name not in _COMMANDS:
                        raise
                    found.missing[name] = str(error)
                    said(f"{what}: {error}")
                    continue
                found.rounds.append(one)
                wrong = "" if one.same else f", {one.missing} missing, {one.extra} extra, {one.repeated} repeated"
                cut = "" if one.complete else ", cut short"
                said(f"{what}: {one.rate:,.0f} readings/s, {one.alerts:,} alerts{wrong}{cut}")


async def _round(broker: str, lane: Lane, name: str, folder: Path, longest_s: float) -> Round:
    course = lane.course
    if name not in _COMMANDS:
        output = course.prefix + topics.ALERTS
        others = [course.prefix + one for one in (topics.LAST, topics.REJECTED, topics.STATE, topics.RULES)]
        await remake(broker, [output, *others], course.partitions, stamped=output)
        one_rule: tuple[str | Path, ...] = () if name == KAPOK_ALL else ("--rules", lane.rules)
        child = start_worker(broker, folder, lane.sites, *one_rule, "--prefix", course.prefix)
    else:
        identity = f"{course.name}-{folder.name}"
        output = f"{identity}.alerts"
        await remake(broker, [output], course.partitions, stamped=output)
        told = {"BROKER": broker, "SOURCE": course.source, "ALERTS": output, "ID": identity, "FOLDER": str(folder)}
        told["PARTITIONS"] = str(course.partitions)
        env = {f"COURSE_{field}": value for field, value in told.items()}
        child = Child(TITLES[name], _COMMANDS[name](folder), folder / "log", env)
    expected = lane.expected[name == KAPOK_ALL]
    seen = Seen(course)
    try:
        cpu_us = await _watch(broker, output, course.partitions, child, seen, len(expected), longest_s)
        memory = peak_mb(child.pid)
    finally:
        child.stop(seconds=3)
    partitions = {data.gauge(n): course.partition(n) for n in range(course.sensors)}
    missing, extra, repeated = seen.compared(expected, partitions.get)
    count = sum(seen.alerts.values())
    rate, took = seen.rate(), (memory, cpu_us)
    return Round(name, course.name, rate, count, missing, extra, repeated, *took, seen.complete)


async def _watch(
    broker: str, topic: str, partitions: int, child: Child, seen: Seen, expected: int, longest_s: float
) -> float:
    """Reads the alerts until they are all there, or it has taken too long; gives the µs of CPU a reading."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        first, moved, over, fetched = None, time.monotonic(), None, {}
        cpu, readings = 0.0, 0
        while over is None or len(seen.alerts) < expected or fetched:
            child.check()
            fetched = await consumer.getmany(timeout_ms=100)
            for record in [record for some in fetched.values() for record in some]:
                seen.take(known(record.value), record.timestamp)
            now = time.monotonic()
            if fetched:
                moved = now
                if first is None:
                    first, cpu, readings = now, cpu_seconds(child.pid), seen.readings
            if over is None and seen.complete:
                over, cpu, readings = now, cpu_seconds(child.pid) - cpu, seen.readings - readings
            if over is not None and now - over > _LAST_ALERTS_S:
                break  # the comparison says what is not there
            if over is None and first is not None and now - first > longest_s:
                cpu, readings = cpu_seconds(child.pid) - cpu, seen.readings - readings
                break
            if now - moved > (_STILL_S if first else _FIRST_ALERT_S):
                raise RunError(f"{child.name} wrote no alerts for {now - moved:.0f} s:\n{child.tail()}")
        return cpu * 1e6 / readings if readings else float("nan")
    finally:
        await consumer.stop()


def known(value: bytes) -> Known:
    """What an alert is compared by; a peer has but the one rule."""
    alert: dict[str, Any] = msgspec.json.decode(value)
    return alert.get("rule", _RULE), alert["site"], time_ms(alert["at"]), alert["level"]


async def remake(broker: str, names: Sequence[str], partitions: int, *, stamped: str = "") -> None:
    """Empty topics with these names; ``stamped``: the one whose records are to have the broker's times."""
    async with topics.admin(broker) as client:
        if there := [name for name in names if name in await client.list_topics()]:
            await client.delete_topics(there)
        deadline = time.monotonic() + 30
        wanted = set(names)
        while wanted:
            new = []
            for name in wanted:
                kept = topics.settings(name.rpartition(".")[2], live=False)
                config = kept | ({"message.timestamp.type": "LogAppendTime"} if name == stamped else {})
                new.append(NewTopic(name, partitions, 1, topic_configs=config))
            for name, code, *reason in (await client.create_topics(new, timeout_ms=30_000)).topic_errors:
                if code == 0:
                    wanted.discard(name)
                elif code != TopicAlreadyExistsError.errno or time.monotonic() > deadline:  # its deletion takes a while
                    raise RunError(f"topic {name} could not be made: {(reason and reason[0]) or for_code(code)()}")
            await asyncio.sleep(0.05)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
