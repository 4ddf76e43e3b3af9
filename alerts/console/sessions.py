"""Who is logged in. In memory only: after a restart everybody logs in again."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from alerts.console.login import Login

IDLE_S = 12 * 3600  # a shift: a page left open counts as used while its socket is
LONGEST_S = 24 * 3600
FAILURES_S = 900
PER_PAIR, PER_ADDRESS, PER_NAME = 5, 30, 60  # failures in that time, by name and address, address, name
_KEPT = 100_000


@dataclass(eq=False)
class Session:
    """One login in one browser. ``token`` stops forged requests (it goes in a header that other sites cannot set)."""

    login: Login
    began: float
    used: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    ended: bool = False
    on_end: set[Callable[[], None]] = field(default_factory=set, repr=False)  # what closes its sockets


class Sessions:
    """Sessions by the hash of their cookie, so that memory shown somewhere gives no session away."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._sessions: dict[bytes, Session] = {}

    def open(self, login: Login) -> tuple[str, Session]:
        """The cookie's value, and the session."""
        self._sweep()
        cookie, now = secrets.token_urlsafe(32), self._now()
        session = self._sessions[_digest(cookie)] = Session(login, now, now)
        return cookie, session

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie, if it is still valid; this counts as use."""
        session = self._sessions.get(_digest(cookie)) if cookie else None
        if session is None or not cookie:
            return None
        if self._over(session):
            self.close(cookie)
            return None
        session.used = self._now()
        return session

    def close(self, cookie: str) -> None:
        """Ends a session and closes its sockets."""
        if session := self._sessions.pop(_digest(cookie), None):
            _end(session)

    def valid(self, session: Session) -> bool:
        """Whether a session that was found earlier still holds; its open page counts as use."""
        if session.ended or self._over(session):
            return False
        session.used = self._now()
        return True

    def _over(self, session: Session) -> bool:
        now = self._now()
        return now - session.used > IDLE_S or now - session.began > LONGEST_S

    def _sweep(self) -> None:
        for key in [key for key, session in self._sessions.items() if self._over(session)]:
            _end(self._sessions.pop(key))


def _end(session: Session) -> None:
    session.ended = True
    for end in tuple(session.on_end):
        end()


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


class Attempts:
    """Counts failed logins. Somebody who guesses from one address must not lock out the one on call at another:
    so few failures close a name for one address, many close the address, and only very many the name.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def wait_s(self, name: str, address: str) -> int:
        """How long no attempt is taken from this address for this name; 0: go on."""
        waits = [
            self._wait((name, address), PER_PAIR),
            self._wait(("", address), PER_ADDRESS),
            self._wait((name, ""), PER_NAME),
        ]
        return max(waits)

    def begin(self, name: str, address: str) -> None:
        """Counts as failed until ``succeeded`` says otherwise: many at once are not to slip through together."""
        for key in ((name, address), ("", address), (name, "")):
            self._failures.setdefault(key, deque(maxlen=PER_NAME)).append(self._now())
            self._failures.move_to_end(key)
        while len(self._failures) > _KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        self._failures.pop((name, address), None)
        for key in (("", address), (name, "")):
            if failures := self._failures.get(key):
                failures.pop()

    def _wait(self, key: tuple[str, str], most: int) -> int:
        failures = self._failures.get(key)
        if not failures:
            return 0
        while failures and failures[0] <= self._now() - FAILURES_S:
            failures.popleft()
        if len(failures) < most:
            return 0
        return max(1, round(failures[-most] + FAILURES_S - self._now()))
