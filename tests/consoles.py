"""A city in process for the console's tests: simulated readings, the real fold, the real Desk, and no broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import aiohttp
from argon2 import PasswordHasher

from alerts.cases.action import Action
from alerts.cases.desk import Desk
from alerts.cases.entry import Entry, Outcome
from alerts.cases.notification import Receipt
from alerts.console.app import create_app
from alerts.console.board import Board
from alerts.console.feed import Duty, Person
from alerts.console.login import Login, Logins, Scope
from alerts.console.server import Server
from alerts.fold import Fold
from alerts.routes.directory import Directory
from alerts.routes.residents import Audit, Residents
from alerts.routes.routes import Routes
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from sensors.quantities import KINDS, topic
from sensors.record import Record
from sensors.simulators import simulate

PASSWORD = "correct horse battery staple"
MINUTE_MS = 60_000


@cache
def _shipped() -> tuple[Catalogue, Rulebook, Directory, Routes]:
    return Catalogue.shipped(), Rulebook.shipped(), Directory.shipped(), Routes.shipped()


def another_catalogue(sensor: str, name: str) -> Catalogue:
    """The shipped one, in which a sensor has this name."""
    known = Catalogue.shipped()
    one = known.sensors[sensor]
    changed = type(one)(**{field: getattr(one, field) for field in one.__struct_fields__} | {"name": name})
    return Catalogue(known.sensors | {sensor: changed}, known.places, known.digest)


class City:
    """A Feed. ``run_to`` is what the pipeline does meanwhile; everybody who is told gets it at once by SMS."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        shipped, self.rulebook, self.directory, routes = _shipped()
        self.catalogue = catalogue or shipped
        self.board = Board(self.catalogue, self.rulebook)
        self.desk = Desk(routes, self.catalogue, self.rulebook)
        self.submitted: list[Action] = []
        self.failure: Exception | None = None
        self._offset = 0
        self._packs: Iterator[Any] = iter(())

    @cached_property
    def fold(self) -> Fold:
        return Fold(self.catalogue, self.rulebook)

    def simulate(self, scenario: str, start_ms: int | None = None, hours: float | None = None, seed: int = 0) -> int:
        """Prepares a day; returns its begin (ms)."""
        run = simulate(scenario, self.catalogue, seed=seed, start_ms=start_ms, hours=hours)
        self._packs, self._pack = run.packs(), None
        return run.setting.start_ms

    def run_to(self, until_ms: int) -> None:
        """Folds the simulated readings up to a time, a minute at a time."""
        pending: dict[str, list[Record]] = {kind: [] for kind in KINDS}
        self._pack = self._pack or next(self._packs, None)
        minute = None
        while self._pack is not None and self._pack.time_ms <= until_ms:
            pack = self._pack
            minute = minute or pack.time_ms // MINUTE_MS
            if pack.time_ms // MINUTE_MS > minute:
                minute = pack.time_ms // MINUTE_MS
                self._fold(pending, minute * MINUTE_MS)
            pending[pack.kind].append(
                Record(topic(pack.kind), 0, self._next(), pack.time_ms, pack.zone.encode(), pack.value)
            )
            self._pack = next(self._packs, None)
        self._fold(pending, until_ms)

    def readings(self, kind: str, zone: str, pack: bytes, at_ms: int) -> None:
        """One record of a gateway, and a tick at its time."""
        record = Record(topic(kind), 0, self._next(), at_ms, zone.encode(), pack)
        self._fold({kind: [record]}, at_ms)

    def alert(self, body: dict[str, Any], value: bytes) -> None:
        self.board.take(body)
        self._desk("alert", value)

    def tick(self, now_ms: int) -> None:
        self.board.tick(now_ms)
        self._desk("tick", now_ms)

    def duty(self) -> Sequence[Duty]:
        duty, now = self.directory.duty, self.board.clock_ms
        people = self.directory.people
        return [
            Duty(group, group, tuple(Person(p, people[p].name) for p in duty.on_duty(group, now)), None)
            for group in duty.groups
        ]

    def names(self) -> Mapping[str, str]:
        return self.directory.colleagues

    def residents(self, audit: Audit) -> Residents:
        return self.directory.residents(audit)

    def configure(self, catalogue: Catalogue, rulebook: Rulebook) -> None:
        """Other rules or sites hold."""
        self.desk.configure(_shipped()[3], catalogue, rulebook)
        self.board.configure(catalogue, rulebook)

    async def submit(self, action: Action) -> None:
        if self.failure is not None:
            raise self.failure
        self.submitted.append(action)
        self._desk("action", action.value)

    def _fold(self, pending: dict[str, list[Record]], now_ms: int) -> None:
        for kind in KINDS:
            records = pending.get(kind, [])
            self.board.readings(kind, records)
            clock = Record(topic(kind), 0, self._next(), now_ms, CLOCK_KEY, tick(now_ms))
            for alert in self.fold.apply(kind, [*records, clock]).alerts:
                self.alert(alert.body, alert.value)
            records.clear()
        self.tick(now_ms)

    def _desk(self, kind: Any, value: bytes | int) -> None:
        self._take(self.desk.apply(Entry(self._next(), kind, value)))

    def _take(self, outcome: Outcome) -> None:
        for case in outcome.cases:
            self.board.take(case)
        for told in (*outcome.notifications, *outcome.decisions):
            self.board.take(told)
        for told in outcome.notifications:
            receipt = Receipt(
                id=f"{told.id}/sms/1", notification=told.id, case=told.case, to=told.to, channel="sms", attempt=1,
                status="delivered", at=told.at,
            )  # fmt: skip
            self.board.take(receipt)
            self._desk("receipt", receipt.value)

    def _next(self) -> int:
        self._offset += 1
        return self._offset


@dataclass
class AuditList:
    lines: list[tuple[str, str]] = field(default_factory=list)  # (by, home)
    failure: Exception | None = None

    def write(self, *, at_ms: int, by: str, home: str, why: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.lines.append((by, home))


@cache
def logins() -> Logins:
    """One of each role, by their role's name; the people are of the shipped directory."""
    secret = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)  # a cheap one, to log in often
    tianhe = frozenset({"天河区"})
    people = {
        "viewer": ("p-001", Scope("viewer")),
        "oncall": ("p-002", Scope("oncall", tianhe)),
        "carer": ("p-003", Scope("carer", frozenset(), frozenset({"TH-C01"}))),
        "admin": ("p-004", Scope("admin")),
    }
    return {name: Login(person, f"{name}·{person}", scope, secret) for name, (person, scope) in people.items()}


@dataclass
class Running:
    address: str
    city: City
    audit: AuditList
    server: Server


@contextlib.asynccontextmanager
async def console(city: City, **settings: Any) -> AsyncIterator[Running]:
    """The console on a free port of loopback."""
    audit = AuditList()
    app = create_app(city, settings.pop("logins", None) or logins(), audit, ["127.0.0.1"], **settings)
    server = Server(app, "127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if serving.done():
            serving.result()
    try:
        yield Running(server.address, city, audit, server)
    finally:
        server.should_exit = True
        await serving


class Browser:
    """A client without a page: what an intruder, or a test, sends by hand."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = aiohttp.ClientSession(
            address, connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.CookieJar(unsafe=True)
        )
        self.token = ""

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def login(self, name: str, password: str = PASSWORD) -> int:
        answer = await self.post("/login", {"name": name, "password": password})
        return answer.status

    async def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> aiohttp.ClientResponse:
        sent = {"origin": self.address, "x-kapok": self.token} | (headers or {})
        answer = await self.session.post(path, json=body, headers={k: v for k, v in sent.items() if v})
        await answer.read()
        return answer

    async def get(self, path: str, **query: str) -> aiohttp.ClientResponse:
        answer = await self.session.get(path, params=query, allow_redirects=False)
        await answer.read()
        return answer

    async def live(self, **headers: str) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect("/live", headers={"origin": self.address} | headers)

    async def whole(self) -> dict[str, Any]:
        """The first message of a socket; its token is kept."""
        async with await self.live() as socket:
            message: dict[str, Any] = await socket.receive_json(timeout=20)
        self.token = message["me"]["token"]
        return message
