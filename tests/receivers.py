"""Those who are told: an HTTP receiver and a mail server on loopback, and the notifications that are sent to them."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiohttp import web
from aiosmtpd.controller import Controller

from alerts.alert import iso
from alerts.cases.notification import Notification, Why
from streams.child import free_port

ONSET_MS = 1_714_800_000_000  # 2024-05-04 13:20 in Guangzhou


def notification(number: int = 0, to: str = "p-1", why: Why = "opened", level: int = 4, **fields: Any) -> Notification:
    """One about ponding; ``fields`` are the alert's, or ``case`` and ``exercise``."""
    exercise, site = fields.pop("exercise", False), fields.pop("site", "GZ-TH-0012")
    alert = {
        "id": f"flood-depth/{site}/{iso(ONSET_MS)}/0", "rule": "flood-depth", "type": "level", "kind": "flood",
        "site": site, "zone": "TH-03", "district": "天河区", "level": level, "previous": 0, "status": "firing",
        "onset": iso(ONSET_MS), "at": iso(ONSET_MS), "seq": 0, "value": 0.41, "threshold": 0.27, "unit": "m",
        "message": {
            "zh": "天河区岗顶隧道：道路积水红色预警（积水 0.41 m，达到 0.27 m）",
            "en": "天河区 岗顶隧道: ponding, red (water 0.41 m, at or above 0.27 m)",
        },
        "ruleset": "9f2c00112233",
    } | fields  # fmt: skip
    case = f"flood-depth/{site}/{iso(ONSET_MS)}"
    return Notification(
        id=f"{case}/{number}", case=case, key=f"flood-depth/{site}", to=to, group="drainage", route="flood", step=0,
        round=0, why=why, reason={"zh": "新预警", "en": "a new alert"}, level=level, at=ONSET_MS, alert=alert,
        exercise=exercise,
    )  # fmt: skip


@dataclass
class Person:
    contacts: dict[str, str]
    language: str = "zh"


@dataclass
class Call:
    path: str
    key: str | None
    body: dict[str, Any]


@dataclass
class Webhook:
    """``/ok`` takes all, ``/fails`` answers 500, ``/second`` 500 the first time, ``/hangs`` nothing, ``/bot`` 200 with
    an error's code in the body; whatever follows is the caller's own.
    """

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str) -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    def taken(self, path: str) -> list[str | None]:
        """The idempotency keys that came there."""
        return [call.key for call in self.calls if call.path == f"/{path}"]

    async def _answer(self, request: web.Request) -> web.Response:
        self.calls.append(Call(request.path, request.headers.get("Idempotency-Key"), await request.json()))
        first = sum(call.path == request.path for call in self.calls) == 1
        kind = request.path.split("/")[1]
        if kind == "hangs":
            await self.released.wait()
        if kind == "bot":
            return web.json_response({"errcode": 45009, "errmsg": "api freq out of limit"})
        return web.Response(status=500 if kind == "fails" or (kind == "second" and first) else 200)


@asynccontextmanager
async def webhook() -> AsyncIterator[Webhook]:
    receiver = Webhook(free_port())
    app = web.Application()
    app.router.add_post("/{rest:.*}", receiver._answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver.port).start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        await runner.cleanup()


class Mails:
    """What a mail server has taken."""

    def __init__(self) -> None:
        self.port, self.taken = free_port(), list[EmailMessage]()

    def url(self, to: str) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=kapok@example.org&to={to}@example.org&mode=insecure"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[Mails]:
    mails = Mails()
    controller = Controller(mails, hostname="127.0.0.1", port=mails.port)
    controller.start()
    try:
        yield mails
    finally:
        controller.stop()
