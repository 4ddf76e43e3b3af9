"""Pushes what changes to every open page. What is encoded is encoded once for all who see the same."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.console.board import Body
from alerts.console.feed import Duty, Feed
from alerts.console.login import Scope
from alerts.console.view import View
from sensors.catalogue import Catalogue

GATHER_S = 0.04  # changes are sent together, so that twenty alerts a second are not twenty drawings of the map
BEAT_S = 1.0  # a page that hears nothing for longer says that it is cut off
QUEUE = 64  # messages that a slow page may be behind; then it is cut off, and comes back for the whole


class Page:
    """One open socket."""

    def __init__(self, scope: Scope, me: Callable[[], dict[str, Any]]) -> None:
        self.scope, self.me = scope, me
        self.ended = False
        self._queue: deque[str] = deque()
        self._wake = asyncio.Event()

    def put(self, text: str) -> None:
        if len(self._queue) >= QUEUE:
            self.end()
        else:
            self._queue.append(text)
            self._wake.set()

    def end(self) -> None:
        """No more is sent to it, not even what is waiting."""
        self.ended = True
        self._queue.clear()
        self._wake.set()

    async def next(self) -> str | None:
        """The next message; None when it is over."""
        while not self._queue and not self.ended:
            self._wake.clear()
            await self._wake.wait()
        return None if self.ended else self._queue.popleft()


class Hub:
    """Listens to the board while it runs (``async with``)."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.pages: set[Page] = set()
        self._cases: set[str] = set()
        self._keys: set[str] = set()
        self._quiet = False
        self._flush: asyncio.TimerHandle | None = None
        self._moved = (0, time.monotonic())  # the log's clock, and when it was last seen to move

    async def __aenter__(self) -> Hub:
        self._stop = self._feed.board.subscribe(self._changed)
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop()
        self._beating.cancel()
        if self._flush:
            self._flush.cancel()
        for page in tuple(self.pages):
            page.end()

    def join(self, scope: Scope, me: Callable[[], dict[str, Any]]) -> Page:
        """A new page, with everything already waiting in it. ``me``: what to tell it of whose it is."""
        page = Page(scope, me)
        page.put(self._all(page))
        self.pages.add(page)
        return page

    def _all(self, page: Page) -> str:
        board = self._feed.board
        known = {"me": page.me(), "edition": board.edition, "duty": duty(self._feed.duty(), board.catalogue)}
        return _encode({"t": "all", **known, **self._time(), **View(board, page.scope).whole()})

    def leave(self, page: Page) -> None:
        page.end()
        self.pages.discard(page)

    def _changed(self, what: Case | Body | Action) -> None:
        match what:
            case Case():
                self._cases.add(what.id)
            case Action():
                self._quiet = True
            case _:
                self._keys.add(f"{what['rule']}/{what['site']}")
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(GATHER_S, self._send)

    def _send(self) -> None:
        self._flush = None
        cases, keys, quiet = self._cases, self._keys, self._quiet
        self._cases, self._keys, self._quiet = set(), set(), False
        now = self._time()
        for scope in {page.scope for page in self.pages}:
            part = View(self._feed.board, scope).part(cases, keys, quiet)
            if any(part.values()) or quiet:
                self._put(scope, {"t": "some", **now, **part})

    async def _beat(self) -> None:
        told: tuple[Duty, ...] = ()
        names = self._feed.names()
        edition = self._feed.board.edition
        while True:
            await asyncio.sleep(BEAT_S)
            if edition != self._feed.board.edition or names != self._feed.names():
                # names, levels and what is drawn may all be others
                edition, names = self._feed.board.edition, self._feed.names()
                for page in tuple(self.pages):
                    page.put(self._all(page))
            now, on_duty = self._time(), tuple(self._feed.duty())
            for scope in {page.scope for page in self.pages}:
                news = {"duty": duty(on_duty, self._feed.board.catalogue)} if on_duty != told else {}
                self._put(scope, {"t": "beat", **now, **news})
            told = on_duty

    def _put(self, scope: Scope, message: dict[str, Any]) -> None:
        text = _encode(message)
        for page in tuple(self.pages):
            if page.scope == scope:
                page.put(text)

    def _time(self) -> dict[str, Any]:
        """``still``: for so many seconds the log's clock has not moved. Then what the page shows is old."""
        clock, now = self._feed.board.clock_ms, time.monotonic()
        if clock != self._moved[0]:
            self._moved = (clock, now)
        return {"clock": clock, "still": round(now - self._moved[1])}


def duty(on_duty: Sequence[Duty], catalogue: Catalogue) -> list[dict[str, Any]]:
    """Who is on call, in the page's shape, without a home's own groups (relatives-H-1A2B)."""
    places = catalogue.places
    return [
        {"group": d.group, "name": d.name, "people": [p._asdict() for p in d.people], "until": d.until_ms}
        for d in on_duty
        if d.group.partition("-")[2] not in places
    ]


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
