"""What stands before the app: whose requests are answered, how big and how slow they may be, what every answer says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = HEADER_BYTES = 16_384
ANSWER_S = 30  # for a request from its headers to the last byte of its answer, whoever is slow
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """``hosts``: the names (without port) by which the console is reached; a page of another name gets nothing, so that
    no foreign name can be pointed at this address.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, secure: bool) -> None:
        self._app, self._hosts, self._secure = app, frozenset(hosts), secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wrong = self._wrong(scope, headers)
        if scope["type"] == "websocket":
            if wrong:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        answer = self._answers(send)
        if wrong:
            await PlainTextResponse(wrong[1], wrong[0])(scope, receive, answer)
            return
        began = False

        async def started(message: Message) -> None:
            nonlocal began
            began = True
            await answer(message)

        try:
            async with asyncio.timeout(ANSWER_S):
                await self._app(scope, _limited(receive), started)
        except TimeoutError:
            if began:
                raise  # the server cuts the connection
            await PlainTextResponse("too slow", 408, {"connection": "close"})(scope, receive, answer)

    def _wrong(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers.raw) > HEADER_BYTES:
            return 431, "too many headers"
        host = headers.get("host", "")
        if _name(f"//{host}") not in self._hosts:
            return 421, "this console has another name"
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and headers.get("origin") not in (f"http://{host}", f"https://{host}"):
            return 403, "from another site"
        if self._secure and changes and not headers.get("origin", "").startswith("https://"):
            return 403, "not by https"
        try:
            size = int(headers.get("content-length", "0"))
        except ValueError:
            return 400, "content-length is no number"
        return (413, "too big") if size > BODY_BYTES else None

    def _answers(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if self._secure:
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        return answer


def _limited(receive: Receive) -> Receive:
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > BODY_BYTES:
            raise HTTPException(413, "too big")
        return message

    return limited


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
