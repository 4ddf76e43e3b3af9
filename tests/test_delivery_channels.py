"""What people are told, and by which channel, with real receivers: some down, hanging, refusing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from typing import get_args

import pytest
from apprise.plugins.wecombot import NotifyWeComBot
from receivers import Person, mail_server, notification, webhook

from alerts.cases.notification import Receipt, Why
from alerts.delivery.channel import Channels, Threads
from alerts.delivery.courier import Courier
from alerts.delivery.text import MOST, words
from streams.child import free_port

LINK = "https://oncall.example.gov.cn"


class Kept:
    """The receipts of a courier."""

    def __init__(self, people: dict[str, Person], **options: float) -> None:
        self.receipts: list[Receipt] = []
        limits = {key: options.pop(key) for key in ("attempt_s", "at_once") if key in options}
        channels = Channels(**limits)  # type: ignore[arg-type]
        self.courier = Courier(people.get, channels, base_url=LINK, pause_s=0.02, **options)  # type: ignore[arg-type]

    async def _keep(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    async def tell(self, *numbers: int, to: str = "p-1", tried: Counter[str] | None = None) -> list[tuple[str, str]]:
        """(channel, status) of the receipts so far, after telling these."""
        for number in numbers:
            told = notification(number, to)
            assert await self.courier.deliver(told, self._keep, tried or Counter(), asyncio.Event())
        return [(receipt.channel, receipt.status) for receipt in self.receipts]


def test_a_message_says_where_what_how_high_since_when_what_to_do_and_where_to_answer() -> None:
    zh = words(notification(why="escalated"), "zh", LINK)
    assert zh.body == (
        "[红色 无人应答，转您处理] 天河区岗顶隧道：道路积水红色预警（积水 0.41 m，达到 0.27 m），05-04 13:20起。"
        "请立即到场，封闭积水路段。 https://oncall.example.gov.cn/?case=flood-depth/GZ-TH-0012/2024-05-04T05:20:00.000Z"
    )


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("why", get_args(Why))
@pytest.mark.parametrize("kind", ["level", "press", "silence", "something-new"])
def test_every_message_is_a_few_sms_at_most_and_says_of_an_exercise_that_it_is_one(
    lang: str, why: Why, kind: str
) -> None:
    real = words(notification(why=why, type=kind), lang, LINK)
    practice = words(notification(why=why, type=kind, exercise=True), lang, LINK)
    assert practice.body.startswith({"zh": "【演练】", "en": "EXERCISE "}[lang])
    assert practice.title.startswith({"zh": "【演练】", "en": "EXERCISE "}[lang])
    assert "演练" not in real.body
    assert "EXERCISE" not in real.body
    for text in (real, practice):
        assert len(text.body) <= MOST[lang]
        assert "岗顶" in text.body
        assert "05-04 13:20" in text.body
        assert text.body.endswith("/2024-05-04T05:20:00.000Z")


async def test_a_webhook_gets_the_text_and_the_key_of_idempotency() -> None:
    async with webhook() as hook:
        kept = Kept({"p-1": Person({"hook": hook.url("ok")}, "en")})
        assert await kept.tell(0) == [("hook", "delivered")]
        [call] = hook.calls
        assert call.key == notification().id
        assert "go now, close the flooded road" in call.body["message"]
        [receipt] = kept.receipts
        assert receipt.id == f"{notification().id}/hook/1"


async def test_mail_has_a_subject_and_the_same_message_id_at_each_attempt() -> None:
    with mail_server() as mails:
        kept = Kept({"p-1": Person({"mail": mails.url("p1")})})
        assert await kept.tell(0, 0, 1) == [("mail", "delivered")] * 3
        first, again, other = mails.taken
        assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
        assert first["Subject"].startswith("[红色] 天河区岗顶隧道")
        assert "请立即到场" in first.get_body(("plain",)).get_content()


async def test_a_channel_that_is_down_falls_over_to_the_next_one() -> None:
    with mail_server() as mails:
        down = f"json://127.0.0.1:{free_port()}/secret-address"
        kept = Kept({"p-1": Person({"sms": down, "mail": mails.url("p1")})})
        assert await kept.tell(0) == [("sms", "failed"), ("mail", "delivered")]
        assert kept.receipts[0].detail == "no connection"
        await kept.tell(1)
        kept.receipts.clear()
        assert await kept.tell(2) == [("mail", "delivered")]  # it has been down twice: nobody waits for it first


async def test_one_that_fails_at_first_is_tried_again() -> None:
    async with webhook() as hook:
        kept = Kept({"p-1": Person({"hook": hook.url("second")})})
        assert await kept.tell(0) == [("hook", "failed"), ("hook", "delivered")]
        assert [receipt.attempt for receipt in kept.receipts] == [1, 2]
        assert kept.receipts[0].detail == "HTTP 500"
        assert hook.taken("second") == [notification().id] * 2


async def test_a_bot_that_refuses_with_status_200_has_not_told_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with webhook() as hook:
        monkeypatch.setattr(NotifyWeComBot, "notify_url", f"http://127.0.0.1:{hook.port}/bot?key={{key}}")
        kept = Kept({"p-1": Person({"wecom": "wecombot://a-key", "hook": hook.url("ok")})})
        assert await kept.tell(0) == [("wecom", "failed"), ("hook", "delivered")]
        assert kept.receipts[0].detail == "refused with code 45009"


async def test_when_nothing_works_the_last_receipt_says_so_and_no_receipt_has_an_address() -> None:
    async with webhook() as hook:
        kept = Kept({"p-1": Person({"hook": hook.url("fails/secret"), "x": "nonsense://secret"})}, rounds=3)
        found = await kept.tell(0)
        assert Counter(channel for channel, _ in found) == {"hook": 3, "x": 3}
        assert [status for _, status in found] == ["failed"] * 5 + ["gave_up"]
        assert not any("secret" in receipt.value.decode() for receipt in kept.receipts)
        assert await Kept({}).tell(0) == [("none", "gave_up")]


async def test_attempts_before_a_restart_are_counted_on() -> None:
    async with webhook() as hook:
        kept = Kept({"p-1": Person({"hook": hook.url("fails")})}, rounds=4)
        assert await kept.tell(0, tried=Counter(hook=3)) == [("hook", "gave_up")]
        assert kept.receipts[0].attempt == 4


def test_a_thread_is_used_again_and_one_that_hangs_holds_up_no_other() -> None:
    threads, seen, released = Threads(), list[threading.Thread](), threading.Event()

    def attempt() -> None:
        seen.append(threading.current_thread())

    threads.run(lambda: str(released.wait()), lambda _: None)
    for _ in range(20):
        done = threading.Event()
        threads.run(attempt, lambda _, done=done: done.set())  # type: ignore[misc]
        done.wait()
    released.set()
    assert len(set(seen)) == 1


async def test_a_line_that_hangs_fills_its_own_places_and_holds_up_nobody_else() -> None:
    async with webhook() as hanging, webhook() as hook:
        people = {f"h-{n}": Person({"sms": hanging.url(f"hangs/{n}")}) for n in range(40)}
        people["p-1"] = Person({"hook": hook.url("ok")})
        kept = Kept(people, attempt_s=600.0, at_once=4)
        stuck = [asyncio.create_task(kept.tell(0, to=f"h-{n}")) for n in range(40)]
        while len(hanging.calls) < 4:
            await asyncio.sleep(0.01)
        assert await kept.tell(1) == [("hook", "delivered")]
        assert not any(task.done() for task in stuck)
        assert len(hanging.calls) == 4  # one that hangs keeps its place
        hanging.released.set()
        await asyncio.gather(*stuck)
        assert Counter(one.status for one in kept.receipts) == {"delivered": 41}
    assert not logging.getLogger("apprise").propagate  # what it logs has addresses in it


async def test_one_that_hangs_is_not_waited_for_longer_than_an_attempt_may_take() -> None:
    async with webhook() as hanging, webhook() as hook:
        contacts = {"sms": hanging.url("hangs"), "hook": hook.url("ok")}
        both = Kept({"p-1": Person(contacts)}, attempt_s=1.0, rounds=100)  # also where a machine is slow to answer
        assert (found := await both.tell(0))[-1] == ("hook", "delivered")
        assert found[0] == ("sms", "failed")
        only = Kept({f"h-{n}": Person({"sms": contacts["sms"]}) for n in range(8)}, attempt_s=0.5, at_once=2, rounds=1)
        await asyncio.gather(*[only.tell(0, to=f"h-{n}") for n in range(8)])
        assert Counter(one.status for one in only.receipts) == {"gave_up": 8}  # busy, or no answer
