"""A disk that is really full: what was acknowledged is there when there is room again, and everything goes on by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from disks import fill
from feeds import Feed, eventually
from pipelines import ended, wait_for_line

from streams.apache_kafka import READY_SECONDS, ApacheKafka

pytest_plugins = ["brokers", "disks"]


@pytest.mark.kafka
@pytest.mark.usefixtures("java")
async def test_kafkas_disk_is_full(disk: Path, tmp_path: Path) -> None:
    """Kafka ends itself; after room was made and it was started again, workers and gateways go on."""
    kafka = ApacheKafka(disk / "kafka")
    with kafka:
        feed = Feed(kafka.address, tmp_path)
        with ended(feed.worker("worker")) as (worker,):
            await asyncio.to_thread(wait_for_line, worker, "reading partitions")
            async with feed.flowing():
                await feed.go_on()
                other = fill(disk)
                await eventually(lambda: kafka.process.exit_code is not None)
                assert "No space left on device" in kafka.process.log.read_text()
                other.unlink()
                kafka.start()
                await asyncio.to_thread(kafka.process.wait_for, kafka.ready, READY_SECONDS)
                await feed.go_on()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", ["storm.jsonl", "storm.jsonl.zst", "storm.jsonl.gz"])
def test_a_command_whose_disk_is_full_says_so_and_ends_with_3(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    out.symlink_to("/dev/full")
    command = [sys.executable, "-m", "streams", "simulate", "storm", "--hours", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (
        "kapok: cannot be written: No space left on device (what is there of it is not whole: make room, call it again)"
    )
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (3, said)
