"""New rules while workers run: published once, followed by all, recorded, and the same again in replay."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pipelines import Files, ended, start_worker, wait_for_line

from alerts.edition import Edition, recorded
from sensors.catalogue import Catalogue
from sensors.gateway import Gateway
from streams import topics
from streams.child import Child
from streams.kafka_replay import replay_through_kafka
from streams.record import record
from streams.replay import replay
from streams.state_log import reader

pytest_plugins = ["brokers"]

RULES = """
[[rule]]
id = "depth"
kind = "flood"
type = "level"
quantity = "depth"
levels = {red = %s}
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    features = [
        {"id": "C", "role": "place"},
        {"id": "G1", "role": "sensor", "place": "C"},
        {"id": "G2", "role": "sensor", "place": "C"},
    ]
    known = {"kind": "flood", "zone": "Z", "district": "天河区"}
    made = [{"type": "Feature", "geometry": None, "properties": {**known, "name": f["id"], **f}} for f in features]
    sites, rules = tmp_path / "sites.geojson", tmp_path / "rules.toml"
    sites.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    rules.write_text(RULES % 0.3)
    return Files(sites, rules, tmp_path / "none", None, None)  # type: ignore[arg-type]


class Pipeline:
    """What a test sees of the topics."""

    def __init__(self, broker: str, prefix: str, files: Files, folder: Path) -> None:
        self.broker, self.prefix, self.folder = broker, prefix, folder
        self._catalogue = Catalogue.load(files.sites)
        self.generation = 0

    def publish(self, sensor: str, depth: float) -> None:
        async def run() -> None:
            async with Gateway(self.broker, self._catalogue, self.prefix) as gateway:
                await gateway.publish(sensor, depth=depth)

        asyncio.run(run())

    def capture(self, *names: str) -> Path:
        path = self.folder / f"{time.monotonic_ns()}.jsonl"
        asyncio.run(record(self.broker, path, prefix=self.prefix, names=names or topics.READINGS))
        return path

    def alerts(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.capture(topics.ALERTS).read_text().splitlines()]
        return [line["value"] for line in lines if line["key"] != "@clock"]

    def until(self, true: Callable[[], bool], *workers: Child) -> None:
        while not true():
            for worker in workers:
                worker.check()
            time.sleep(0.1)

    def until_changed(self, *workers: Child) -> None:
        """Until the written state of all partitions was folded under the same newer rules."""
        self.until(lambda: len(now := self._generations()) == 1 and max(now) > self.generation, *workers)
        self.generation = max(self._generations())

    def _generations(self) -> set[int]:

        async def read() -> set[int]:
            async with reader(self.broker, self.prefix + topics.STATE, range(8)) as states:
                await states.catch_up()
                rows = [
                    states.snapshot(p, lambda row: msgspec.msgpack.decode(row)["offsets"]["flood"]).rows
                    for p in range(8)
                ]
            return {msgspec.msgpack.decode(row[b"@rules"])["generation"] if row else -1 for row in rows}

        return asyncio.run(read())


def test_rules_change_while_workers_run_and_in_replay_too(
    broker: str, prefix: str, files: Files, tmp_path: Path
) -> None:
    pipeline = Pipeline(broker, prefix, files, tmp_path)
    with ended(*(start_worker(files, broker, prefix, tmp_path / f"{n}.log") for n in "ab")) as workers:
        for worker in workers:
            wait_for_line(worker, "reading partitions")
        pipeline.publish("G1", 0.4)
        pipeline.publish("G2", 0.1)
        pipeline.until(lambda: len(pipeline.alerts()) == 1, *workers)

        files.rules.write_text("this is not TOML")
        os.kill(workers[0].pid, signal.SIGHUP)
        assert "not TOML" in wait_for_line(workers[0], "the rules stay as they were")

        files.rules.write_text((RULES % 0.05).replace('"depth"\nkind', '"ponding"\nkind'))
        os.kill(workers[0].pid, signal.SIGHUP)
        pipeline.until_changed(*workers)
        pipeline.publish("G2", 0.11)
        pipeline.until(lambda: len(pipeline.alerts()) == 3, *workers)

        # a rolling restart with other files: the first of them brings the new rules, the second finds them there
        files.sites.write_text(
            files.sites.read_text().replace('"G2", "role"', '"G3", "role"').replace("天河区", "越秀区")
        )
        assert '"G3"' in files.sites.read_text()
        for n, name in enumerate("cd"):
            assert workers[n].stop() == 0
            workers[n] = start_worker(files, broker, prefix, tmp_path / f"{name}.log")
            wait_for_line(workers[n], "reading partitions")
            if n == 0:
                pipeline.until_changed(*workers)
        capture = pipeline.capture()
        assert [worker.stop() for worker in workers] == [0, 0]
    alerts = pipeline.alerts()
    assert [(a["rule"], a["site"], a["level"], a.get("reason")) for a in alerts] == [
        ("depth", "G1", 4, None),
        ("depth", "G1", 0, "rule_removed"),
        ("ponding", "G2", 4, None),
        ("ponding", "G2", 0, "site_removed"),
    ]
    assert len({a["ruleset"] for a in alerts}) == 3

    editions = recorded(capture)
    assert editions is not None
    assert (len(editions.by_generation), editions.first) == (3, 0)
    edition = Edition.read(files.rules, files.sites)
    direct = replay(capture, edition.catalogue, edition.rulebook, editions=editions)
    assert direct.bodies() == sorted(alerts, key=lambda a: (a["at"], a["rule"], a["site"], a["seq"]))
    assert direct.rejected == []
    through = replay_through_kafka(capture, broker=broker, workers=2, editions=editions)
    assert (through.lines(), through.rejected) == (direct.lines(), [])
    other = replay(capture, edition.catalogue, edition.rulebook)
    assert {(b["rule"], b["site"]) for b in other.bodies()} == {("ponding", "G1")}, "rules given hold all along"


def test_rules_that_were_replaced_do_not_come_back_by_a_restart(
    embedded_broker: str, prefix: str, files: Files, tmp_path: Path
) -> None:
    pipeline = Pipeline(embedded_broker, prefix, files, tmp_path)
    old = files.rules.read_text()
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "a.log")) as workers:
        wait_for_line(workers[0], "reading partitions")
        files.rules.write_text(RULES % 0.05)
        os.kill(workers[0].pid, signal.SIGHUP)
        pipeline.until_changed(*workers)
        workers[0].kill()
        files.rules.write_text(old)
        workers[0] = start_worker(files, embedded_broker, prefix, tmp_path / "b.log")
        wait_for_line(workers[0], "were replaced since by")
        wait_for_line(workers[0], "reading partitions")
        pipeline.publish("G1", 0.1)
        pipeline.until(lambda: len(pipeline.alerts()) == 1, *workers)
        os.kill(workers[0].pid, signal.SIGHUP)
        pipeline.until_changed(*workers)
        assert workers[0].stop() == 0


def test_workers_of_a_replay_must_have_the_same_rules(
    embedded_broker: str, prefix: str, files: Files, tmp_path: Path
) -> None:
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "a.log", "--no-clock")) as workers:
        wait_for_line(workers[0], "reading partitions")
        files.rules.write_text(RULES % 0.05)
        workers.append(start_worker(files, embedded_broker, prefix, tmp_path / "b.log", "--no-clock"))
        while workers[1].exit_code is None:
            time.sleep(0.05)
        assert (workers[1].exit_code, "give all workers the same" in workers[1].tail()) == (3, True)
