"""The worker: who reads which partition, the clock, faults on the way of a run, and what ends it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP
from pipelines import Files, Replaying, assert_same, drawn, ended, read_all, start_worker, wait_for_line, write

from alerts.edition import Edition
from alerts.fold import Fold
from sensors.clock import CLOCK_KEY, tick
from sensors.connection import connection
from sensors.errors import RunError
from streams import topics, transport
from streams.apache_kafka import ApacheKafka, missing
from streams.child import Child
from streams.consumer_thread import ConsumerThread
from streams.embedded_broker import EmbeddedBroker
from streams.outbox import Outbox
from streams.partition import Partition
from streams.prefetch import Prefetched
from streams.worker import Worker

pytest_plugins = ["brokers"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write(tmp_path_factory.mktemp("worker"), drawn(10, ticks="partitions"))


def partitions_read(worker: Child) -> list[set[int]]:
    """What its log says it reads, assignment after assignment."""
    found = re.findall(r"reading partitions ([0-9, ]+|none)", worker.log.read_text())
    return [set() if text == "none" else set(map(int, text.split(", "))) for text in found]


def test_three_workers_share_the_partitions(broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    """And partition p of the four topics is at the same one: otherwise it would have ended."""
    log = (tmp_path / f"worker-{n}.log" for n in range(3))
    with ended(*(start_worker(files, broker, prefix, next(log), "--no-clock") for _ in range(3))) as workers:

        def shares(number: int) -> bool:
            read = [partitions_read(worker) for worker in workers]
            now = [each[-1] for each in read if each]
            return len(now) == number and sum(map(len, now)) == 8 and set.union(*now) == set(range(8))

        def reach(number: int) -> None:
            deadline = time.monotonic() + 60
            while not shares(number):
                for worker in workers:
                    worker.check()
                assert time.monotonic() < deadline, [partitions_read(worker) for worker in workers]
                time.sleep(0.1)

        reach(3)
        assert sorted(len(partitions_read(worker)[-1]) for worker in workers) == [2, 3, 3]
        assert workers.pop().stop() == 0
        reach(2)
        workers.pop().kill()
        reach(1)


def ticks_written(broker: str, prefix: str) -> dict[tuple[str, int], list[int]]:
    """The ticks in seconds by topic and partition."""
    names = [prefix + name for name in topics.ALL if name != topics.STATE]
    ticks: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in asyncio.run(read_all(broker, names)):
        if record.key == CLOCK_KEY:
            found = re.fullmatch(rb'\[\{"n":"@clock","t":(\d+)\}\]', record.value)
            assert found, record.value
            ticks[record.topic.removeprefix(prefix), record.partition].append(int(found[1]))
    return ticks


def test_one_worker_writes_the_clock(broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    """A tick a second, in every partition of the readings, of alerts and of actions, from whoever is elected."""
    began = time.time()
    with ended(
        start_worker(files, broker, prefix, tmp_path / "a.log"),
        start_worker(files, broker, prefix, tmp_path / "b.log"),
    ) as workers:
        wait_for_line(workers[0], "reading partitions")
        wait_for_line(workers[1], "reading partitions")
        while (ticks := ticks_written(broker, prefix)) == {} or min(map(len, ticks.values())) < 4:
            for worker in workers:
                worker.check()
            time.sleep(0.2)
        assert [worker.stop() for worker in workers] == [0, 0]
    ticks = ticks_written(broker, prefix)
    assert set(ticks) == {(name, partition) for name in topics.TICKED for partition in range(8)}
    for seconds in ticks.values():
        assert began - 1 < min(seconds) <= max(seconds) < time.time() + 1
        assert len(set(seconds[-3:])) == 3  # those before may have come from both, while the second one joined


def test_without_clock_no_ticks_are_written(embedded_broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "a.log", "--no-clock")) as workers:
        wait_for_line(workers[0], "reading partitions")
        time.sleep(2)
    assert asyncio.run(read_all(embedded_broker, [prefix + name for name in topics.TICKED])) == []


class Running:
    """A worker in this process, so that faults can be put into it."""

    def __init__(self, files: Files, broker: str, prefix: str, **options: Any) -> None:
        self._files, self._broker, self._prefix, self._options = files, broker, prefix, options

    async def __aenter__(self) -> Running:
        edition = Edition.read(self._files.rules, self._files.sites)
        count = await topics.ensure(self._broker, self._prefix, live=False)
        self._stop = asyncio.Event()
        options = {"prefix": self._prefix, "partitions": count, "clock": False, **self._options}
        self.worker = Worker(self._broker, edition, **options)
        self.task = asyncio.create_task(self.worker.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(self.task, return_exceptions=True)

    async def with_replay(self, replaying: Replaying) -> None:
        while not replaying.done:
            if self.task.done():
                self.task.result()
            await asyncio.sleep(0.05)
        assert_same(replaying.result(), self._files.direct)


@pytest.fixture
def faults(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Runs get lost before and after the transport has looked at them, or come twice."""
    rng, counts = Random(1), Counter[str]()
    fetch, getmany = ConsumerThread.fetched, transport.Consumer.getmany

    async def lossy_fetch(self: ConsumerThread, active: Any, timeout: float) -> Any:
        fetched = await fetch(self, active, timeout)
        for tp in list(fetched):
            if rng.random() < 0.2:
                counts["lost before"] += 1
                del fetched[tp]
        return fetched

    async def lossy_getmany(self: transport.Consumer, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        async for tp, message in getmany(self, timeout):
            if rng.random() < 0.2:
                counts["lost after"] += 1
                continue
            runs = message.value
            yield tp, message
            if rng.random() < 0.1:
                counts["twice"] += 1
                yield tp, self._to_message(tp, runs)

    monkeypatch.setattr(ConsumerThread, "fetched", lossy_fetch)
    monkeypatch.setattr(transport.Consumer, "getmany", lossy_getmany)
    yield counts
    assert min(counts[what] for what in ("lost before", "lost after", "twice")) > 0


@pytest.mark.usefixtures("faults")
async def test_runs_that_get_lost_are_read_again(broker: str, prefix: str, files: Files) -> None:
    replaying = Replaying(files, broker, prefix, 1000)
    async with Running(files, broker, prefix) as running:
        await running.with_replay(replaying)


async def test_no_more_is_taken_than_the_folds_keep_up_with(
    embedded_broker: str, prefix: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they stand still the backlog stays in Kafka."""
    may_go_on, made, to_message = asyncio.Event(), Counter[str](), transport.Consumer._to_message
    room, folding = Outbox.room, asyncio.Event()

    def counting(self: transport.Consumer, tp: Any, runs: Any) -> Any:
        made[tp.topic.removeprefix(prefix)] += 1
        return to_message(self, tp, runs)

    async def full(self: Outbox) -> None:
        folding.set()
        await may_go_on.wait()
        await room(self)

    monkeypatch.setattr(transport.Consumer, "_to_message", counting)
    monkeypatch.setattr(Outbox, "room", full)
    producer = AIOKafkaProducer(**connection(embedded_broker))
    async with Running(files, embedded_broker, prefix) as running, producer as one:
        for second in range(40):
            for kind in ("flood", "rain"):
                await one.send_and_wait(f"{prefix}readings.{kind}", tick(second * 1000), CLOCK_KEY, partition=0)
            await asyncio.wait_for(folding.wait(), 60)
            await asyncio.sleep(0.02)
        assert made == {"readings.flood": 3, "readings.rain": 3}  # one that is folded, and two that wait
        may_go_on.set()
        while {running.worker.starts()[TP(f"{prefix}readings.{kind}", 0)] for kind in ("flood", "rain")} != {40}:
            await asyncio.sleep(0.05)


async def test_an_error_in_the_fold_ends_the_worker_and_loses_nothing(
    embedded_broker: str, prefix: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaying = Replaying(files, embedded_broker, prefix, None)
    apply, calls = Fold.apply, Counter[str]()

    def failing(self: Fold, kind: str, records: Any) -> Any:
        calls[kind] += 1
        if calls[kind] == 2:
            raise ZeroDivisionError("a mistake of ours")
        return apply(self, kind, records)

    with monkeypatch.context() as patched:
        patched.setattr(Fold, "apply", failing)
        async with Running(files, embedded_broker, prefix) as running:
            with pytest.raises(RunError, match="a mistake of ours"):
                await running.task
    async with Running(files, embedded_broker, prefix) as running:
        await running.with_replay(replaying)


async def test_alerts_that_were_sent_before_a_crash_are_not_sent_again(
    broker: str, prefix: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker sends all alerts and never gets to write its state; the next one folds all of it again."""

    async def not_in_time(self: Partition) -> None:
        await asyncio.sleep(0)

    replaying = Replaying(files, broker, prefix, None)
    with monkeypatch.context() as patched:
        patched.setattr(Partition, "write", not_in_time)
        async with Running(files, broker, prefix) as running:
            while True:
                alerts = [r for r in await read_all(broker, [prefix + topics.ALERTS]) if r.key != CLOCK_KEY]
                if len(alerts) == len(files.direct.alerts):
                    break
                assert not running.task.done()
    async with Running(files, broker, prefix) as running:
        await running.with_replay(replaying)
        again = [r.value for r in await read_all(broker, [prefix + topics.ALERTS]) if r.key != CLOCK_KEY]
        last = {r.key: r.value for r in await read_all(broker, [prefix + topics.LAST])}
    assert sorted(again) == sorted(files.direct.alerts.values())
    newest = {}
    for body in sorted(files.direct.bodies(), key=lambda body: (body["at"], body["onset"], body["seq"])):
        newest[f"{body['rule']}/{body['site']}".encode()] = files.direct.alerts[body["id"]]
    assert last == newest


async def test_a_partition_that_stands_still_ends_the_worker(
    embedded_broker: str, prefix: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something stopped fetching without a word, as Faust's consumers have been seen to do."""

    async with Running(files, embedded_broker, prefix, stuck_s=4.0) as running:
        monkeypatch.setattr(Prefetched, "take", lambda self, places: {})
        producer = AIOKafkaProducer(bootstrap_servers=embedded_broker)
        await producer.start()
        await producer.send_and_wait(prefix + "readings.rain", tick(0), CLOCK_KEY, 3)
        await producer.stop()
        with pytest.raises(RunError, match=r"watchdog: .*readings.rain partition 3 has stood still at offset 0"):
            await running.task


def test_a_blocked_event_loop_ends_the_process() -> None:
    blocked = """
import asyncio, time
from streams.log_ends import LogEnds
from streams.watchdog import Watchdog
async def main():
    watching = asyncio.create_task(Watchdog(dict, LogEnds("127.0.0.1:1", [], 1), 2.0, int).run())
    await asyncio.sleep(0.1)
    time.sleep(30)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (3, "kapok: watchdog: the worker's event loop was blocked for 2 s\n")


@pytest.mark.kafka
async def test_a_topic_made_anew_under_its_state_is_noticed(apache_kafka: str, prefix: str, files: Files) -> None:
    replaying = Replaying(files, apache_kafka, prefix, None)
    async with Running(files, apache_kafka, prefix) as running:
        await running.with_replay(replaying)
        place, due = max(running.worker.starts().items(), key=lambda start: start[1])
        assert due > 1
    async with topics.admin(apache_kafka) as client:
        await client.delete_topics([prefix + name for name in topics.READINGS])
        while set(await topics.counts(client, prefix)) & set(topics.READINGS):
            await asyncio.sleep(0.1)
    await topics.ensure(apache_kafka, prefix, live=False)
    async with Running(files, apache_kafka, prefix) as running:
        producer = AIOKafkaProducer(bootstrap_servers=apache_kafka)
        await producer.start()
        await producer.send_and_wait(place.topic, tick(0), CLOCK_KEY, place.partition)
        await producer.stop()
        what = rf"{place.topic} partition {place.partition} ends before offset {due}.*made anew"
        with pytest.raises(RunError, match=what):
            await running.task


@pytest.mark.kafka
async def test_transactions_and_expired_records_leave_holes_that_are_passed(
    apache_kafka: str, prefix: str, files: Files
) -> None:
    """A producer's transactions put markers into the log, which take offsets and are no records."""
    await topics.ensure(apache_kafka, prefix, live=False)
    producer = AIOKafkaProducer(bootstrap_servers=apache_kafka, transactional_id=prefix)
    await producer.start()
    for number in range(5):
        async with producer.transaction():
            await producer.send_and_wait(
                prefix + "readings.rain", tick(number), CLOCK_KEY, 3, timestamp_ms=number * 1000
            )
    await producer.stop()
    async with Running(files, apache_kafka, prefix) as running:
        place = transport.TP(prefix + "readings.rain", 3)
        while running.worker.starts().get(place, 0) < 9:
            await asyncio.sleep(0.05)
            assert not running.task.done()


def test_the_exit_code_says_why(embedded_broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    """0 after SIGTERM, 2 for bad input, 3 where it cannot run; each with one clear message."""
    asyncio.run(topics.ensure(embedded_broker, prefix, 4))
    broken = files._replace(rules=tmp_path / "none.toml")
    cases = [
        (start_worker(broken, embedded_broker, prefix, tmp_path / "a.log"), 2, r"none\.toml"),
        (start_worker(files, "127.0.0.1:1", prefix, tmp_path / "b.log"), 3, "no Kafka"),
        (start_worker(files, "nowhere", prefix, tmp_path / "c.log"), 2, "HOST:PORT"),
        (
            start_worker(files, embedded_broker, prefix, tmp_path / "d.log", "--partitions", "8"),
            3,
            "has 4 partitions",
        ),
        (start_worker(files, embedded_broker, "a b", tmp_path / "e.log"), 2, "prefix"),
    ]
    with ended(*(worker for worker, _, _ in cases)):
        for worker, code, text in cases:
            deadline = time.monotonic() + 60
            while worker.exit_code is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert (worker.exit_code, worker.tail().count("\n")) == (code, 0), worker.tail()
            assert re.match(rf"kapok: .*{text}", worker.tail())


def test_a_worker_can_be_ended_when_the_broker_is_gone(files: Files, prefix: str, tmp_path: Path) -> None:
    with (
        EmbeddedBroker() as broker,
        ended(start_worker(files, broker.address, prefix, tmp_path / "a.log", "--no-clock")) as workers,
    ):
        wait_for_line(workers[0], "reading partitions")
        broker.process.kill()
        assert workers[0].stop(60) in (0, 3), workers[0].tail(60)


@pytest.mark.kafka
def test_a_worker_goes_on_when_the_broker_comes_back(files: Files, prefix: str, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    kafka = ApacheKafka(tmp_path / "kafka")
    with ExitStack() as stack:
        with kafka:
            asyncio.run(topics.ensure(kafka.address, prefix, live=False))
            workers = stack.enter_context(
                ended(start_worker(files, kafka.address, prefix, tmp_path / "a.log", "--no-clock"))
            )
            wait_for_line(workers[0], "reading partitions")
        with kafka:
            assert_same(Replaying(files, kafka.address, prefix, None).result(workers), files.direct)
            assert workers[0].stop() == 0
