"""One attempt to tell one person by one channel: DingTalk, WeCom, Feishu, SMS, mail, webhooks, all by apprise.

apprise is synchronous: an attempt has a thread to itself, and nobody waits longer than ``ATTEMPT_S`` for it. A line is
what channels share, such as an SMS gateway or a mail server; a thread that hangs takes one of its ``AT_ONCE`` places
until it ends, so a line that hangs holds up nobody on other lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import email.utils
import hashlib
import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

import apprise
import requests
from apprise.plugins import dingtalk, feishu, lark, wecombot
from apprise.plugins.email import base as mail

from alerts.delivery.text import Words

ATTEMPT_S: Final = 8.0  # a gateway that answers later is not one to wait for at 3 a.m.
AT_ONCE: Final = 16
_DOWN_AFTER, _DOWN_S = 2, 30.0
_STATUS = re.compile(r"error=(\d{3})\b")
_BUSY = "all lines of this channel are busy"
_NOT_AN_ADDRESS = "the address in the directory cannot be used"
_Work = Callable[[], str | None]
_Tell = Callable[[str | None], None]

_key: contextvars.ContextVar[str | None] = contextvars.ContextVar("key", default=None)
_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("said", default=None)


class Line:
    """What attempts share: places, and whether it has been down of late."""

    def __init__(self, at_once: int) -> None:
        self.places = asyncio.Semaphore(at_once)
        self._failures, self._until = 0, 0.0

    @property
    def down(self) -> bool:
        """Whether its last attempts failed for a reason that is not the address; it is tried after the others then."""
        return self._failures >= _DOWN_AFTER and time.monotonic() < self._until

    def count(self, fault: str | None) -> None:
        """Takes note of how an attempt ended."""
        if fault is None:
            self._failures = 0
        elif not fault.startswith("HTTP 4") and fault != _NOT_AN_ADDRESS:
            self._failures += 1
            self._until = time.monotonic() + _DOWN_S


class Threads:
    """Threads that are used again: starting one holds up whoever starts it until it runs, at a storm for too long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[tuple[_Work, _Tell]]] = []

    def run(self, work: _Work, tell: _Tell) -> None:
        """``tell`` gets what ``work`` gives, both in a thread; they do not hold up the end of the process."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name="delivery", daemon=True).start()
        inbox.put((work, tell))

    def _serve(self, inbox: SimpleQueue[tuple[_Work, _Tell]]) -> None:
        while True:
            work, tell = inbox.get()
            fault = work()
            with self._lock:
                self._idle.append(inbox)
            tell(fault)


_threads = Threads()


class Channels:
    """Sends by any apprise URL."""

    def __init__(self, attempt_s: float = ATTEMPT_S, at_once: int = AT_ONCE) -> None:
        self._attempt_s = attempt_s
        self._lines: dict[str, Line] = defaultdict(lambda: Line(at_once))
        apprise.Apprise.instantiate("json://127.0.0.1")  # reads all its plugins, for a second: now, not at an alert

    def line(self, url: str) -> Line:
        """That of an address: its scheme, server and port, without whoever is told."""
        parts = urlsplit(url)
        return self._lines[f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"]

    async def send(self, url: str, key: str, words: Words) -> str | None:
        """None when the channel took it, else why not (without an address).

        ``key`` is the idempotency key: a mail's Message-ID is made from it, webhooks get it as ``Idempotency-Key``.
        """
        line, loop = self.line(url), asyncio.get_running_loop()
        began = loop.time()
        try:
            await asyncio.wait_for(line.places.acquire(), self._attempt_s)
        except TimeoutError:
            return _BUSY
        ended: asyncio.Future[str | None] = loop.create_future()

        def end(fault: str | None) -> None:
            line.places.release()
            if not ended.done():
                ended.set_result(fault)

        def tell(fault: str | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(end, fault)

        _threads.run(lambda: _attempt(url, key, words, self._attempt_s), tell)
        try:
            fault = await asyncio.wait_for(asyncio.shield(ended), self._attempt_s - (loop.time() - began) + 0.1)
        except TimeoutError:
            fault = f"no answer within {self._attempt_s:g} s"
        line.count(fault)
        return fault


@lru_cache(maxsize=10_000)
def usable(url: str) -> bool:
    """Whether an address can be told anything at all, as far as it can be seen without telling."""
    try:
        return isinstance(apprise.Apprise.instantiate(url), apprise.NotifyBase)
    except Exception:
        return False


def _attempt(url: str, key: str, words: Words, most_s: float) -> str | None:
    """In a thread of its own. Whatever goes wrong there is a fault of the channel."""
    try:
        plugin = apprise.Apprise.instantiate(url)
    except Exception:
        plugin = None
    if not isinstance(plugin, apprise.NotifyBase):
        return _NOT_AN_ADDRESS
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, most_s)
    plugin.socket_read_timeout = min(plugin.socket_read_timeout, most_s)
    if isinstance(headers := getattr(plugin, "headers", None), dict):
        headers["Idempotency-Key"] = key
    with _telling(key) as said:
        try:
            title = words.title if plugin.title_maxlen > 0 else ""
            if plugin.notify(body=words.body, title=title, body_format=apprise.NotifyFormat.TEXT):
                return None
        except Exception as error:
            return f"{type(error).__name__} in the channel"
    return _fault(said)


def _fault(said: list[str]) -> str:
    """Why, from what apprise logs: that has addresses in it, which go nowhere else."""
    text = " ".join(said)
    if status := _STATUS.search(text):
        return f"HTTP {status[1]}"
    if refused := _REFUSED.search(text):
        return f"refused with code {refused[1]}"
    return "no connection" if "onnection error" in text else "not taken"


# -- what apprise does not do ---------------------------------------------------------------------------------

_REFUSED = re.compile(r"refused with code (-?\d+)")


@contextmanager
def _telling(key: str) -> Iterator[list[str]]:
    said: list[str] = []
    tokens = _key.set(key), _said.set(said)
    try:
        yield said
    finally:
        _key.reset(tokens[0])
        _said.reset(tokens[1])


class _Listener(logging.Handler):
    """Keeps what apprise says to the attempt that it says it of."""

    def emit(self, record: logging.LogRecord) -> None:
        if (said := _said.get()) is not None:
            said.append(record.getMessage())


class _Judging:
    """``requests`` for the plugins of services that answer 200 also when they refuse, with a code in the body.

    apprise 2.2 takes those for delivered: a token that is no longer valid, or too many messages a minute, would be a
    person who was never told.
    """

    RequestException, codes = requests.RequestException, requests.codes

    @staticmethod
    def post(*args: Any, **options: Any) -> requests.Response:
        answer = requests.post(*args, **options)
        if answer.ok:
            try:
                body = answer.json()
            except ValueError:
                body = None
            found = body if isinstance(body, dict) else {}
            code = next((found[name] for name in ("errcode", "code", "StatusCode") if name in found), 0)
            if code not in (0, "0"):
                said = _said.get()
                if said is not None:
                    said.append(f"refused with code {code}")
                raise requests.RequestException(f"refused with code {code}")
        return answer


def _message_id(idstring: str | None = None, domain: str | None = None) -> str:
    """The same for each attempt at a notification, so that mail servers and readers show it once."""
    if (key := _key.get()) is None:
        return email.utils.make_msgid(idstring, domain)
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@kapok>"


for _module in (dingtalk, feishu, lark, wecombot):
    _module.requests = _Judging  # type: ignore[attr-defined]
mail.make_msgid = _message_id
_logger = logging.getLogger("apprise")
_logger.addHandler(_Listener(logging.INFO))
_logger.setLevel(logging.INFO)
_logger.propagate = False
