"""Delivery on real brokers: everybody is told, and nobody again who was, whatever happens to the processes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from pipelines import read_all
from receivers import Person, Webhook, mail_server, notification, webhook

from alerts.cases.notification import Notification, Receipt
from alerts.delivery.channel import Channels
from streams import topics
from streams.child import Child, free_port
from streams.delivery import Delivery

pytest_plugins = ["brokers"]

PARTITIONS = 2


class Topics:
    """``notifications`` and ``receipts`` of one pipeline."""

    def __init__(self, broker: str, prefix: str) -> None:
        self.broker, self.prefix = broker, prefix
        self.took: list[float] = []  # s

    async def publish(self, told: Iterable[Notification], *others: bytes) -> None:
        await topics.ensure(self.broker, self.prefix, PARTITIONS, names=(*topics.ALL, *topics.ONCALL))
        async with AIOKafkaProducer(bootstrap_servers=self.broker) as producer:
            for value in others:
                await producer.send_and_wait(self.prefix + "notifications", value, b"flood-depth/GZ-TH-0012")
            for one in told:
                await producer.send_and_wait(self.prefix + "notifications", one.value, one.key.encode())

    async def receipts(self) -> list[Receipt]:
        found = await read_all(self.broker, [self.prefix + "receipts"], PARTITIONS)
        return [Receipt.parse(record.value) for record in found]

    async def ends(self) -> Counter[str]:
        """notification → receipts that end it."""
        return Counter(one.notification for one in await self.receipts() if one.status != "failed")

    async def until_told(self, told: Iterable[Notification]) -> None:
        wanted = {one.id for one in told}
        await until(lambda: self.ends(), lambda ends: wanted <= ends.keys())

    @asynccontextmanager
    async def delivery(self, people: dict[str, Person]) -> AsyncIterator[Delivery]:
        stop = asyncio.Event()
        delivery = Delivery(self.broker, people.get, prefix=self.prefix, channels=Channels(), told=self.took.append)
        running = asyncio.create_task(delivery.run(stop))
        try:
            yield delivery
        finally:
            stop.set()
            await running


async def until(look: Callable, good: Callable, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not good(found := await look()):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


@pytest.fixture
def at(broker: str, prefix: str) -> Topics:
    return Topics(broker, prefix)


def some(count: int, to: str = "p-1", sites: int = 5) -> list[Notification]:
    first = 1000 * int(to[-1])  # ids of different people differ
    return [notification(first + n, to, site=f"GZ-TH-{n % sites:04d}") for n in range(count)]


async def test_people_are_told_in_order_by_what_works_and_never_again(at: Topics) -> None:
    async with webhook() as hook:
        with mail_server() as mails:
            down = f"json://127.0.0.1:{free_port()}/"
            people = {
                "p-1": Person({"hook": hook.url("ok")}),
                "p-2": Person({"sms": down, "mail": mails.url("p2")}),
                "p-3": Person({"hook": hook.url("second/3")}),
                "p-4": Person({"sms": hook.url("hangs/4")}),
            }
            told = [*some(20), *some(3, "p-2"), *some(1, "p-3"), *some(2, "p-9")]
            stuck = some(5, "p-4")
            await at.publish([*stuck, *told], b"not a notification")
            async with at.delivery(people):
                await at.until_told(told)  # those that hang are on their way, and hold up nobody
            ends = await at.ends()
            assert ends == Counter(one.id for one in told) | ends
            assert set(ends.values()) == {1}
            by_site: dict[str, list[int]] = {}
            for key in hook.taken("ok"):
                case, _, number = str(key).rpartition("/")
                by_site.setdefault(case, []).append(int(number))
            assert all(numbers == sorted(numbers) for numbers in by_site.values())
            assert len(hook.taken("ok")) == 20
            assert len(mails.taken) == 3
            assert hook.taken("second/3") == [told[23].id] * 2
            statuses = {one.to: one.status for one in await at.receipts() if one.to != "p-4"}
            assert statuses == {"p-1": "delivered", "p-2": "delivered", "p-3": "delivered", "p-9": "gave_up"}

            hook.released.set()
            later = some(1, "p-1", sites=1)[0].model_copy(update={"id": "flood-depth/GZ-TH-0000/later/0"})
            await at.publish([later])
            async with at.delivery(people):  # a restart
                await at.until_told([later, *stuck])
            assert len(hook.taken("ok")) == 21
            assert len(mails.taken) == 3
            assert max((await at.ends()).values()) == 1
            assert len(at.took) == sum(one.status == "delivered" for one in await at.receipts())


async def test_what_is_told_with_another_is_one_message_and_has_its_receipt(at: Topics) -> None:
    async with webhook() as hook:
        first, *others = some(12)
        first = first.model_copy(update={"count": 5, "names": ("A", "B", "C")})
        within = [one.model_copy(update={"within": first.id}) for one in others]
        last = notification(5000)
        people = {"p-1": Person({"hook": hook.url("ok")})}
        await at.publish([*within[:6], first, *within[6:], last])
        async with at.delivery(people):
            await at.until_told([first, last])
        async with at.delivery(people):
            await asyncio.sleep(1)
        assert sorted(map(str, hook.taken("ok"))) == sorted([first.id, last.id])
        assert await at.ends() == Counter([first.id, last.id])


async def test_after_a_kill_only_what_has_no_receipt_is_told_once_more(at: Topics, tmp_path: Path) -> None:
    async with webhook() as hook:
        people = {"p-1": {"hook": hook.url("ok")}, "p-2": {"sms": hook.url("hangs/2")}}
        quick, hanging = some(40, sites=40), some(4, "p-2", sites=4)
        told = [*quick[:20], *hanging, *quick[20:]]
        await at.publish(told)
        running = _start(at, people, tmp_path)
        await at.until_told(quick)
        await until(lambda: _count(hook, "hangs/2"), lambda count: count >= 4)
        running.kill()
        hook.released.set()
        running = _start(at, people, tmp_path)
        try:
            await at.until_told(told)
        finally:
            running.kill()
        assert Counter(hook.taken("ok")) == Counter(one.id for one in quick)  # with a receipt: never again
        assert Counter(hook.taken("hangs/2")) == Counter({one.id: 2 for one in hanging})  # without: once more
        assert set((await at.ends()).values()) == {1}


async def test_a_second_process_takes_over_what_the_first_leaves(at: Topics) -> None:
    async with webhook() as hook:
        people = {"p-1": Person({"hook": hook.url("ok")})}
        told = some(200, sites=200)
        await at.publish([])
        async with at.delivery(people):
            await at.publish(told[:100])
            async with at.delivery(people):
                await at.publish(told[100:])
                await at.until_told(told)
        assert set((await at.ends()).values()) == {1}
        assert Counter(hook.taken("ok")) == Counter(one.id for one in told)


async def _count(hook: Webhook, path: str) -> int:
    return len(hook.taken(path))


def _start(at: Topics, people: dict[str, dict[str, str]], folder: Path) -> Child:
    script = Path(__file__).with_name("delivery_process.py")
    return Child("delivery", [sys.executable, script, at.broker, at.prefix, json.dumps(people)], folder / "log")
