"""Alerts to a real Alertmanager: they fire there, change their level, end, and last as long as they are repeated."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from oncall_pipeline import START_MS, OnCallTopics
from pipelines import ended
from receivers import notification
from typer.testing import CliRunner

from sensors.errors import InputError
from streams import topics
from streams.alertmanager import AlertmanagerFeed
from streams.child import Child, accepts, free_port
from streams.commands import app

pytest_plugins = ["brokers"]

_CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\nglobal: {resolve_timeout: 5m}\n"


class Manager:
    """A prometheus-alertmanager on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "alertmanager.yaml").write_text(_CONFIG)

    def start(self) -> Child:
        options = [f"--config.file={self.folder}/alertmanager.yaml", f"--storage.path={self.folder}/data"]
        options += [f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="]
        running = Child("alertmanager", ["prometheus-alertmanager", *options], self.folder / "log")
        running.wait_for(lambda: accepts(self.port), 30)
        return running

    async def levels(self) -> dict[str, str]:
        """site → level of what fires there."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/alerts") as answer:
            return {one["labels"]["site"]: one["labels"]["level"] for one in await answer.json()}

    async def links(self) -> list[str]:
        """Where Alertmanager sends those who want to know more."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/alerts") as answer:
            return [one["generatorURL"] for one in await answer.json()]

    async def until(self, wanted: dict[str, str]) -> None:
        deadline = time.monotonic() + 60
        while (found := await self.levels()) != wanted:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    if shutil.which("prometheus-alertmanager") is None:
        lacking = "prometheus-alertmanager is not installed"
        pytest.fail(lacking) if os.environ.get("KAPOK_CI") == "1" else pytest.skip(lacking)
    return Manager(tmp_path)


def change(site: str, level: int, previous: int = 0) -> dict[str, Any]:
    seq = 0 if not previous else 1
    return notification(site=site, level=level, previous=previous, seq=seq).alert


@asynccontextmanager
async def feed(broker: str, prefix: str, url: str, repeat_s: float) -> AsyncIterator[AlertmanagerFeed]:
    running, stop = AlertmanagerFeed(broker, url, prefix=prefix, repeat_s=repeat_s), asyncio.Event()
    task = asyncio.create_task(running.run(stop))
    try:
        yield running
    finally:
        stop.set()
        await task


async def test_what_fires_is_there_at_its_level_until_it_is_over(
    embedded_broker: str, prefix: str, manager: Manager
) -> None:
    await topics.ensure(embedded_broker, prefix, 2)
    async with AIOKafkaProducer(bootstrap_servers=embedded_broker) as producer:

        async def publish(*alerts: dict[str, Any]) -> None:
            for alert in alerts:
                value = json.dumps(alert).encode()
                await producer.send_and_wait(prefix + "alerts.last", value, f"flood-depth/{alert['site']}".encode())

        alertmanager = manager.start()
        await publish(change("A", 2), change("A", 4, 2), change("B", 3), change("C", 1), change("C", 0, 1))
        async with feed(embedded_broker, prefix, manager.url, 60):
            await manager.until({"A": "red", "B": "orange"})
            await publish(change("A", 3, 4), change("B", 0, 3), change("D", 1))
            await manager.until({"A": "orange", "D": "blue"})
        async with feed(embedded_broker, prefix, manager.url, 1):  # a restart, which repeats what fires
            await manager.until({"A": "orange", "D": "blue"})
            alertmanager.stop()
            await publish(change("D", 0, 1), change("E", 4))
            (manager.folder / "data").rename(manager.folder / "lost")
            alertmanager = manager.start()  # one that has forgotten everything
            await manager.until({"A": "orange", "E": "red"})
        alertmanager.stop()


def test_oncall_tells_it_also_when_it_was_away(
    embedded_broker: str, prefix: str, tmp_path: Path, manager: Manager
) -> None:
    on = OnCallTopics(embedded_broker, prefix, tmp_path)
    first, second = (gauge.id for gauge in on.gauges[:2])

    def feed_all(*alerts: tuple[str, bytes, bytes]) -> None:
        on.feed(*alerts, *[(topics.LAST, key, value) for _, key, value in alerts])

    options = ["--alertmanager", manager.url, "--url", "https://oncall.example.gov.cn/"]
    with contextlib.closing(on), ended(on.start(*options)) as running:
        on.until_ready(*running)
        feed_all(on.alert(first, 4, START_MS))
        on.feed(START_MS + 1000)
        on.until(lambda: len(on.notifications()) > 0, running)  # people are told all the same
        with ended(manager.start()):
            asyncio.run(manager.until({first: "red"}))
            [case] = {case.id for case in on.cases()}
            assert asyncio.run(manager.links()) == [f"https://oncall.example.gov.cn/?case={case}"]
            feed_all(on.alert(first, 0, START_MS + 2000, 4), on.alert(second, 2, START_MS + 2000))
            asyncio.run(manager.until({second: "yellow"}))
        assert running[0].stop() == 0


@pytest.mark.parametrize("option", ["--alertmanager", "--url"])
@pytest.mark.parametrize("address", ["127.0.0.1:9093", "http://", "http://a:b", "ftp://a"])
def test_an_address_that_is_none(option: str, address: str) -> None:
    ran = CliRunner().invoke(app, ["oncall", option, address])
    assert isinstance(ran.exception, InputError)
    assert f"{option} {address}: not an address" in str(ran.exception)
