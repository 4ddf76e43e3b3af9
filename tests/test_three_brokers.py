"""Three real brokers: with one gone alerts go on; with two gone nothing is taken, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from feeds import Feed
from pipelines import ended, wait_for_line

from streams import topics
from streams.apache_kafka import READY_SECONDS, ApacheKafka

pytest_plugins = ["brokers"]
pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("java")]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[ApacheKafka]]:
    nodes = ApacheKafka.together(tmp_path, 3)
    with contextlib.ExitStack() as stack:
        for node in nodes:
            node.start()
            stack.callback(lambda node=node: node.process.kill())
        for node in nodes:
            node.process.wait_for(node.ready, READY_SECONDS)
        yield nodes


async def test_brokers_are_killed_under_load(nodes: list[ApacheKafka], tmp_path: Path) -> None:
    feed = Feed(",".join(node.address for node in nodes), tmp_path)
    with ended(feed.worker("worker1"), feed.worker("worker2")) as workers:
        for worker in workers:
            await asyncio.to_thread(wait_for_line, worker, "reading partitions")
        async with topics.admin(feed.brokers) as client:
            described = await client.describe_topics([*topics.ALL])
        assert {len(one["replicas"]) for topic in described for one in topic["partitions"]} == {3}
        async with feed.flowing():
            await feed.go_on()
            nodes[0].process.kill()
            await feed.go_on()
            nodes[1].process.kill()  # one copy, and no majority of controllers
            await asyncio.sleep(5)  # for what was under way
            rounds = len(feed.acknowledged)
            await asyncio.sleep(5)
            assert len(feed.acknowledged) == rounds
            for node in nodes[:2]:
                node.start()
            await feed.go_on()
