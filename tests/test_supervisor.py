"""Workers that are started again, and that say how they are."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from os import kill
from pathlib import Path
from typing import Any

import pytest
from pipelines import Files, drawn, ended, start_worker, wait_for_line, write

from streams.child import Child, free_port

pytest_plugins = ["brokers"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write(tmp_path_factory.mktemp("pipeline"), drawn(10, readings=200))


def asked(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """(status, body) of a health endpoint; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def until(true: Callable[[], bool], worker: Child) -> None:
    while not true():
        worker.check()
        time.sleep(0.05)


def pids(worker: Child) -> list[int]:
    """The processes that a supervisor has started so far."""
    return [int(found) for found in re.findall(r"worker \d runs as process (\d+)", worker.log.read_text())]


def test_workers_that_end_are_started_again_and_say_when_they_are_ready(
    embedded_broker: str, prefix: str, files: Files, tmp_path: Path
) -> None:
    port = free_port()
    health = ["--supervise", "2", "--health", f"127.0.0.1:{port}"]
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "two.log", *health)) as workers:
        worker = workers[0]

        def shared() -> bool:
            answers = [asked(port + n, "/ready") for n in range(2)]
            numbers = sorted(number for _, body in answers for number in body.get("partitions", ()))
            return [status for status, _ in answers] == [200, 200] and numbers == list(range(8))

        until(shared, worker)
        first, second = pids(worker)
        kill(first, signal.SIGKILL)
        until(lambda: len(pids(worker)) == 3, worker)
        until(shared, worker)
        status, body = asked(port, "/health")
        assert (status, body["status"], set(body["lag"])) == (200, "ready", {
            prefix + f"readings.{kind}" for kind in ("flood", "rain", "infrared", "crowd")
        })  # fmt: skip
        assert second in pids(worker)[:2]
        assert worker.stop() == 0
    assert asked(port, "/health") == asked(port + 1, "/health") == (0, {})


def test_it_is_alive_before_it_is_ready(prefix: str, files: Files, tmp_path: Path, embedded_broker: str) -> None:
    port = free_port()
    options = ("--health", f"127.0.0.1:{port}")
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "a.log", *options)) as workers:
        until(lambda: asked(port, "/health")[0] == 200, workers[0])
        wait_for_line(workers[0], "reading partitions")
        until(lambda: asked(port, "/ready")[0] == 200, workers[0])


def test_bad_input_is_not_tried_again(embedded_broker: str, prefix: str, files: Files, tmp_path: Path) -> None:
    broken = files._replace(rules=tmp_path / "none.toml")
    with ended(start_worker(broken, embedded_broker, prefix, tmp_path / "a.log", "--supervise", "2")) as workers:
        while workers[0].exit_code is None:
            time.sleep(0.05)
        assert workers[0].exit_code == 2
        assert "none.toml" in workers[0].log.read_text()


def test_an_address_that_is_none_is_bad_input(prefix: str, files: Files, tmp_path: Path, embedded_broker: str) -> None:
    with ended(start_worker(files, embedded_broker, prefix, tmp_path / "a.log", "--health", "nowhere")) as workers:
        while workers[0].exit_code is None:
            time.sleep(0.05)
        assert (workers[0].exit_code, "give HOST:PORT" in workers[0].tail()) == (2, True), workers[0].tail()
