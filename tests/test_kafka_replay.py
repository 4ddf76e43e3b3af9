"""Through Kafka the same alerts come out as without, whatever happens to the workers on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from pipelines import Files, Replaying, assert_same, drawn, ended, start_worker, wait_for_line, write

from alerts.rulebook import Rulebook
from sensors import capture
from sensors.catalogue import Catalogue
from sensors.clock import log
from sensors.errors import InputError, RunError
from streams import topics
from streams.kafka_replay import replay_through_kafka
from streams.replay import replay

pytest_plugins = ["brokers"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A capture with ticks of its own, partition by partition, and with every kind of dirt."""
    made = write(tmp_path_factory.mktemp("replay"), drawn(10, ticks="partitions"))
    assert len(made.direct.alerts) > 100
    assert len(made.direct.rejected) > 100
    return made


@pytest.fixture(scope="module")
def no_ticks(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A capture that is given its ticks."""
    made = write(tmp_path_factory.mktemp("replay"), drawn(10, ticks="none"))
    assert len(made.direct.alerts) > 100
    return made


def speed_for(files: Files, seconds: float) -> float:
    """The speed at which the capture takes so long."""
    times = [record.timestamp for record in log(files.capture, 8, files.until_ms) if record.timestamp]
    return (max(times) - min(times)) / 1000 / seconds


def left_topics(broker: str, prefix: str) -> dict[str, int]:
    async def count() -> dict[str, int]:
        async with topics.admin(broker) as client:
            return await topics.counts(client, prefix)

    return asyncio.run(count())


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_bytes(broker: str, prefix: str, files: Files, workers: int) -> None:
    seen: list[tuple[int, float]] = []
    replayed = replay_through_kafka(
        files.capture,
        **files.options(),
        broker=broker,
        prefix=prefix,
        workers=workers,
        progress=lambda readings, event_ms, share: seen.append((readings, share)),
    )
    assert_same(replayed, files.direct)
    assert seen == sorted(seen)
    assert seen[-1] == (replayed.readings, 1.0)
    assert not left_topics(broker, prefix)


def test_speed_and_added_ticks_change_nothing(embedded_broker: str, no_ticks: Files) -> None:
    speed = speed_for(no_ticks, seconds=3)
    replayed = replay_through_kafka(
        no_ticks.capture, **no_ticks.options(), broker=embedded_broker, speed=speed, partitions=3
    )
    assert replayed.lines() == no_ticks.direct.lines()


@pytest.mark.usefixtures("embedded_broker")
def test_a_replay_brings_its_own_broker(no_ticks: Files) -> None:
    assert_same(replay_through_kafka(no_ticks.capture, **no_ticks.options()), no_ticks.direct)


def test_killed_and_restarted_workers_change_nothing(broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    replaying = Replaying(files, broker, prefix, speed_for(files, seconds=9))
    logs = iter(tmp_path / f"worker-{n}.log" for n in range(10))
    options = (files, broker, prefix)
    with ended(start_worker(*options, next(logs), "--no-clock")) as workers:
        workers.append(start_worker(*options, next(logs), "--no-clock"))
        replaying.reach(0.1)
        workers[0].kill()
        replaying.reach(0.3)
        workers[0] = start_worker(*options, next(logs), "--no-clock")
        replaying.reach(0.5)
        wait_for_line(workers[1], "reading partitions")
        assert workers[1].stop() == 0
        workers[1] = start_worker(*options, next(logs), "--no-clock")
        replaying.reach(0.6)
        workers[0].kill()
        workers[1].kill()
        workers[0] = start_worker(*options, next(logs), "--no-clock")
        assert_same(replaying.result([workers[0]]), files.direct)
        wait_for_line(workers[0], "reading partitions")
        assert workers[0].stop() == 0


def test_a_worker_that_was_cut_off_does_no_harm(broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    replaying = Replaying(files, broker, prefix, speed_for(files, seconds=9))
    with ended(
        start_worker(files, broker, prefix, tmp_path / "a.log", "--no-clock"),
        start_worker(files, broker, prefix, tmp_path / "b.log", "--no-clock"),
    ) as workers:
        replaying.reach(0.1)
        for worker in workers:  # longer than a session: the other one takes over, and then it is back
            os.kill(worker.pid, signal.SIGSTOP)
            time.sleep(4)
            os.kill(worker.pid, signal.SIGCONT)
        assert_same(replaying.result(workers), files.direct)


def test_a_dead_worker_ends_the_replay(embedded_broker: str, files: Files, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[rule]]\nid = 'x'\ntype = 'guess'\n")
    with pytest.raises(RunError, match=r"(?s)worker 1 ended with exit code 2:.*rules\.toml:\d+: .*guess"):
        replay_through_kafka(files.capture, files.sites, rules, broker=embedded_broker)


def test_a_broken_line_ends_the_replay(embedded_broker: str, files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(files.capture.read_text() + '{"topic": "readings.flood", "key"\n')
    number = len(broken.read_text().splitlines())
    with pytest.raises(InputError, match=rf"broken\.jsonl:{number}: "):
        replay_through_kafka(broken, files.sites, files.rules, broker=embedded_broker)


def test_used_topics_are_refused(embedded_broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    replaying = Replaying(files, embedded_broker, prefix, None)
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "worker.log", "--no-clock")) as workers:
        replaying.result(workers)
    with pytest.raises(RunError, match="hold records"):
        replay_through_kafka(files.capture, broker=embedded_broker, prefix=prefix)


def test_arguments_are_checked(files: Files) -> None:
    with pytest.raises(InputError, match="--broker and --prefix"):
        replay_through_kafka(files.capture, workers=0)
    with pytest.raises(InputError, match="--speed"):
        replay_through_kafka(files.capture, speed=0)
    with pytest.raises(InputError, match="HOST:PORT"):
        replay_through_kafka(files.capture, broker="localhost")
    with pytest.raises(RunError, match="no Kafka"):
        replay_through_kafka(files.capture, broker="127.0.0.1:1")


def test_large_and_odd_records_pass(embedded_broker: str, files: Files, tmp_path: Path) -> None:
    odd = tmp_path / "odd.jsonl"
    with capture.Writer(odd) as writer:
        writer.write("readings.flood", "z", b"\xff" * 3_000_000, timestamp=1_714_846_800_000)
        writer.write("readings.flood", None, None, timestamp=4_102_444_800_000)
        writer.write("readings.rain", "z", b'[{"n": "' + b"x" * 2_000_000 + b'/rain", "v": 1}]', timestamp=0)
        writer.write("readings.rain", "", b"", timestamp=1_714_846_800_000)
        writer.write("readings.crowd", "@clock", b"[1]", timestamp=1_714_846_800_000)
    direct = replay(odd, Catalogue.load(files.sites), Rulebook.load(files.rules))
    assert len(direct.rejected) >= 5
    assert_same(replay_through_kafka(odd, files.sites, files.rules, broker=embedded_broker), direct)
