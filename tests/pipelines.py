"""A pipeline for tests: a scenario's files, worker processes over them, and a replay that runs beside."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from strategies import Scenario, scenario

from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.errors import RunError
from streams import topics
from streams.child import Child
from streams.kafka_replay import replay_through_kafka
from streams.reading import all_records
from streams.replay import Replayed, replay


class Files(NamedTuple):
    """What a scenario is in files, and what comes of it without a broker."""

    sites: Path
    rules: Path
    capture: Path
    until_ms: int | None
    direct: Replayed

    def options(self) -> dict[str, Any]:
        return {"sites": self.sites, "rules": self.rules, "until_ms": self.until_ms}


def write(folder: Path, drawn: Scenario) -> Files:
    sites, rules, capture = folder / "sites.geojson", folder / "rules.toml", folder / "capture.jsonl"
    sites.write_text(json.dumps(drawn.sites, ensure_ascii=False))
    rules.write_text(drawn.rules)
    capture.write_text("\n".join(drawn.lines) + "\n")
    direct = replay(capture, Catalogue.load(sites), Rulebook.load(rules), partitions=8, until_ms=drawn.until)
    return Files(sites, rules, capture, drawn.until, direct)


def drawn(seed: int, readings: int = 3000, **style: Any) -> Scenario:
    """Every kind of reading, rule and dirt, on eight partitions."""
    return replace(scenario(Random(seed), readings=readings, size=5, **style), partitions=8)


def assert_same(through: Replayed, direct: Replayed) -> None:
    """The same bytes; of the rejected readings too, whose order is the log's only within a partition."""
    assert through.lines() == direct.lines()
    assert sorted(through.rejected) == sorted(direct.rejected)


def start_worker(files: Files, broker: str, prefix: str, log: Path, *options: str) -> Child:
    """A worker process as a user starts it."""
    command = [sys.executable, "-m", "streams", "worker", "--broker", broker, "--prefix", prefix]
    command += ["--sites", str(files.sites), "--rules", str(files.rules), *options]
    return Child(log.stem, command, log)


class Replaying:
    """A replay in a thread, whose workers the test starts."""

    def __init__(self, files: Files, broker: str, prefix: str, speed: float | None) -> None:
        self.share = 0.0
        self._outcome: Replayed | BaseException | None = None
        options = {**files.options(), "broker": broker, "prefix": prefix, "speed": speed, "workers": 0}

        def run() -> None:
            try:
                self._outcome = replay_through_kafka(files.capture, **options, progress=self._progress)
            except BaseException as error:
                self._outcome = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def _progress(self, readings: int, event_ms: int | None, share: float) -> None:
        self.share = share

    def reach(self, share: float) -> None:
        """Waits until that share of the capture is folded."""
        while self.share < share and self._outcome is None:
            time.sleep(0.01)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, workers: Sequence[Child] = ()) -> Replayed:
        """What came out, when it is through; an error if one of the workers ends before that."""
        while not self.done:
            for worker in workers:
                worker.check()
            self._thread.join(0.1)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


@contextmanager
def ended(*workers: Child) -> Iterator[list[Child]]:
    """Workers that end with the test; others may be put in their place."""
    running = list(workers)
    try:
        yield running
    finally:
        for worker in running:
            worker.kill()


def wait_for_line(worker: Child, text: str, seconds: float = 60) -> str:
    """The first line of its log with that text."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for line in worker.log.read_text().splitlines():
            if text in line:
                return line
        worker.check()
        time.sleep(0.05)
    raise RunError(f"{worker.name} did not say {text!r}:\n{worker.tail()}")


async def read_all(broker: str, names: Iterable[str], partitions: int = topics.PARTITIONS) -> list[Any]:
    """The records of topics, up to where they end now."""
    return [record async for record in all_records(broker, names, partitions)]
