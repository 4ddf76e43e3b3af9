"""The console as its users rely on it, without a browser: who sees what, who may do what, what is pushed when."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alerts.console.board import KEEP_MS
from alerts.console.login import Scope, check_password, hash_password, logins_of
from alerts.console.pages import Pages
from alerts.console.view import View
from alerts.routes.directory import Directory
from alerts.rulebook import SHIPPED as rules_file
from alerts.rulebook import Rulebook
from sensors.errors import RunError
from tests.consoles import Browser, City, Running, another_catalogue, console, logins

START = 1_777_600_000_000
GAUGE, ZONE = "GZ-TH-0001", "TH-01"  # in 天河区
HOME, COMMUNITY = "H-9787", "TH-C01"  # in 天河区
RESIDENT = "陈伯"
OTHER = "海珠区"


def pack(sensor: str, quantity: str, value: float, at_ms: int) -> bytes:
    return json.dumps([{"n": f"{sensor}/{quantity}", "t": at_ms / 1000, "v": value}]).encode()


def flood(city: City, depth: float, at_ms: int = START, gauge: str = GAUGE) -> str:
    """One reading of a gauge; returns the id of the gauge's case."""
    sensor = city.catalogue.sensors[gauge]
    city.readings("flood", sensor.zone, pack(gauge, "depth", depth, at_ms), at_ms)
    return city.board.case_of[f"flood-depth/{gauge}"]


def press(city: City, at_ms: int = START) -> str:
    """The call button in the home; returns its case."""
    city.readings("infrared", COMMUNITY, pack(f"{HOME}-bed", "button", 1, at_ms), at_ms)
    return city.board.case_of[f"call-button/{HOME}"]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with console(City()) as running:
        yield running


async def logged_in(running: Running, name: str) -> Browser:
    browser = Browser(running.address)
    assert await browser.login(name) == 204
    await browser.whole()
    return browser


async def until(socket: Any, wanted: Any) -> dict[str, Any]:
    """Reads messages until one is wanted."""
    async with asyncio.timeout(20):
        while True:
            message: dict[str, Any] = await socket.receive_json()
            if wanted(message):
                return message


async def test_an_alert_is_pushed_answered_in_one_place_and_seen_in_another(running: Running) -> None:
    async with await logged_in(running, "admin") as here, await logged_in(running, "oncall") as there:
        async with await here.live() as one, await there.live() as two:
            case = flood(running.city, 0.3)
            for socket in (one, two):
                news = await until(socket, lambda m: m["t"] == "some" and m["items"])
                assert [(i["id"], i["level"], i["state"]) for i in news["items"]] == [(case, 4, "notified")]
                assert news["levels"][GAUGE] == 4
            answer = await there.post("/api/actions", {"id": "press-0001", "do": "ack", "case": case})
            assert answer.status == 202
            news = await until(one, lambda m: m["t"] == "some" and m["items"])
            assert news["items"][0]["acknowledged_by"] == "p-002"
            closing = {"id": "press-0002", "do": "close", "case": case, "outcome": "helped", "satisfaction": 5}
            assert (await here.post("/api/actions", closing)).status == 202
            news = await until(two, lambda m: m["t"] == "some" and m["items"] and m["items"][0]["state"] == "closed")
            assert news["items"][0]["closed_by"] == "p-004"
        detail = await (await here.get("/api/case", id=case)).json()
        said = [(e.get("change"), e.get("by")) for e in detail["timeline"] if e["what"] == "case"]
        assert said[0] == ("opened", None)
        assert ("acknowledged", "p-002") in said
        assert ("closed", "p-004") in said
        assert detail["series"][0]["points"] == [[START, 0.3]]
        assert detail["series"][0]["thresholds"] == {"1": 0.1, "2": 0.2, "4": 0.27}
        rows = await (await here.get("/api/figures")).json()
        assert [(r["district"], r["cases"], r["answered"], r["closed"], r["satisfaction"]) for r in rows] == [
            ("天河区", 1, 1, 1, 5.0)
        ]


async def test_the_same_press_of_a_button_twice_is_one_action(running: Running) -> None:
    case = flood(running.city, 0.3)
    async with await logged_in(running, "oncall") as browser:
        for _ in range(2):
            assert (await browser.post("/api/actions", {"id": "press-0001", "do": "ack", "case": case})).status == 202
    assert {action.id for action in running.city.submitted} == {"p-002.press-0001"}
    entries = [e for e in running.city.board.timeline(case) if getattr(e, "change", "") == "acknowledged"]
    assert len(entries) == 1


async def test_who_did_it_and_when_is_said_by_the_server(running: Running) -> None:
    case = flood(running.city, 0.3)
    async with await logged_in(running, "oncall") as browser:
        forged = {"id": "press-0001", "do": "ack", "case": case, "by": "p-004", "at": 0}
        assert (await browser.post("/api/actions", forged)).status == 202
    assert [(a.by, a.at) for a in running.city.submitted] == [("p-002", running.city.board.clock_ms)]


async def test_an_action_that_is_not_written_is_not_said_to_be(running: Running) -> None:
    case = flood(running.city, 0.3)
    running.city.failure = RunError("the broker is away")
    async with await logged_in(running, "oncall") as browser:
        answer = await browser.post("/api/actions", {"id": "press-0001", "do": "ack", "case": case})
    assert answer.status == 503
    assert running.city.board.cases[case].acknowledged is None


@pytest.mark.parametrize(
    ("role", "sees"),
    [
        ("admin", {"gauge", "home", "elsewhere"}),
        ("oncall", {"gauge", "home"}),
        ("viewer", {"gauge", "elsewhere"}),
        ("carer", {"home"}),
    ],
)
async def test_each_role_sees_what_is_its_own_whatever_it_asks(running: Running, role: str, sees: set[str]) -> None:
    elsewhere = next(s.id for s in running.city.catalogue.sensors.values() if s.kind == "flood" and s.district == OTHER)
    cases = {
        "gauge": flood(running.city, 0.3),
        "elsewhere": flood(running.city, 0.3, gauge=elsewhere),
        "home": press(running.city),
    }
    sites = {"gauge": GAUGE, "elsewhere": elsewhere, "home": HOME}
    async with await logged_in(running, role) as browser:
        whole = await browser.whole()
        assert {name for name, case in cases.items() if case in {i["id"] for i in whole["items"]}} == sees
        for name, case in cases.items():
            expected = 200 if name in sees else 404
            assert (await browser.get("/api/case", id=case)).status == expected
            assert (await browser.get("/api/site", id=sites[name])).status == expected
            allowed = 202 if name in sees and role != "viewer" else 403
            answer = await browser.post("/api/actions", {"id": f"press-{name}", "do": "ack", "case": case})
            assert answer.status == allowed
        text = json.dumps(whole) + await (await browser.get("/api/city")).text()
        assert (HOME in text) == ("home" in sees)
    assert {by for by, _ in running.audit.lines} == ({logins()[role].person} if "home" in sees else set())


async def test_homes_are_counted_for_those_who_may_not_see_them(running: Running) -> None:
    press(running.city)
    async with await logged_in(running, "viewer") as viewer, await logged_in(running, "carer") as carer:
        assert (await viewer.whole())["homes"] == {COMMUNITY: [0, 0, 0, 1]}
        assert (await carer.whole())["homes"] == {COMMUNITY: [0, 0, 0, 1]}
        city = await (await carer.get("/api/city")).json()
        assert [c["zone"] for c in city["communities"]] == [COMMUNITY]
        assert city["sites"] == []


async def test_a_look_up_of_a_home_that_cannot_be_written_down_shows_nothing(running: Running) -> None:
    case = press(running.city)
    async with await logged_in(running, "carer") as carer:
        assert (await carer.get("/api/case", id=case)).status == 200
        assert (await carer.get("/api/site", id=f"{HOME}-bed")).status == 200
        assert running.audit.lines == [("p-003", HOME)] * 2
        running.audit.failure = RunError("the disk is full")
        assert (await carer.get("/api/case", id=case)).status == 503


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("carer", 200), ("oncall", 404), ("viewer", 404)])
async def test_who_lives_there_is_told_to_carers_and_admins_and_written_down(
    running: Running, role: str, status: int
) -> None:
    flooded, called = flood(running.city, 0.3), press(running.city)
    async with await logged_in(running, role) as browser:
        whole = json.dumps(await browser.whole(), ensure_ascii=False)
        answer = await browser.post("/api/resident", {"case": called})
        assert answer.status == status
        text = await answer.text()
        if status == 200:
            assert json.loads(text)["resident"] == RESIDENT
            assert set(json.loads(text)) <= {"resident", "address", "phone", "note"}
            assert answer.headers["cache-control"] == "no-store"
            assert running.audit.lines == [(logins()[role].person, HOME)]
        else:
            assert running.audit.lines == []
        assert (RESIDENT in text) == (status == 200)
        assert RESIDENT not in whole
        assert (await browser.post("/api/resident", {"case": flooded})).status == 404  # nobody lives in a gauge


async def test_who_lives_there_is_not_shown_where_that_cannot_be_written_down(running: Running) -> None:
    case = press(running.city)
    async with await logged_in(running, "carer") as carer:
        running.audit.failure = RunError("the disk is full")
        answer = await carer.post("/api/resident", {"case": case})
        assert answer.status == 503
        assert RESIDENT not in await answer.text()


async def test_other_rules_and_sites_are_shown_without_a_restart(running: Running) -> None:
    city = running.city
    case = flood(city, 0.3)
    text = rules_file.read_text()
    assert 'zh = "道路积水"' in text
    rulebook = Rulebook.parse(text.replace('zh = "道路积水"', 'zh = "水深"'))
    async with await logged_in(running, "admin") as browser, await browser.live() as socket:
        assert (await until(socket, lambda m: m["t"] == "all"))["edition"] == 0
        city.configure(another_catalogue(GAUGE, "新名字"), rulebook)
        news = await until(socket, lambda m: m["t"] == "all")
        assert news["edition"] == 1
        assert [(i["name"], i["what"]["zh"]) for i in news["items"] if i["id"] == case] == [("新名字", "水深")]
        shown = await (await browser.get("/api/city")).json()
        assert [site["name"] for site in shown["sites"] if site["id"] == GAUGE] == ["新名字"]
        detail = await (await browser.get("/api/site", id=GAUGE)).json()
        assert [len(series["points"]) for series in detail["series"]] == [1]  # the readings are kept


async def test_silences_are_for_those_whose_sites_they_are(running: Running) -> None:
    running.city.tick(START)
    silence = {"do": "silence", "text": "pump test", "from": START, "until": START + 3_600_000}
    mine, theirs = {"district": ["天河区"]}, {"district": [OTHER]}
    tries = [
        ("viewer", mine, 403),
        ("carer", {"site": [HOME]}, 403),
        ("oncall", theirs, 403),
        ("oncall", {"rule": ["flood-depth"]}, 403),
        ("oncall", {"site": [GAUGE]}, 202),
        ("oncall", {"zone": [ZONE]}, 202),
        ("oncall", mine, 202),
        ("admin", theirs, 202),
    ]
    for number, (role, matcher, status) in enumerate(tries):
        async with await logged_in(running, role) as browser:
            body = silence | {"id": f"silence-{number}", "matcher": matcher}
            assert (await browser.post("/api/actions", body)).status == status, (role, matcher)
    async with await logged_in(running, "oncall") as browser:
        shown = (await browser.whole())["quiet"]
        assert {q["id"] for q in shown} == {"p-002.silence-4", "p-002.silence-5", "p-002.silence-6"}
        lift = {"id": "lift-0001", "do": "lift"}
        assert (await browser.post("/api/actions", lift | {"lifts": "p-004.silence-7"})).status == 403
        assert (await browser.post("/api/actions", lift | {"lifts": "p-002.silence-4"})).status == 202
        assert len((await browser.whole())["quiet"]) == 2


async def test_an_alert_without_a_case_is_shown_too(running: Running) -> None:
    body = {"rule": "flood-depth", "type": "level", "kind": "flood", "site": GAUGE, "zone": ZONE, "district": "天河区"}
    body |= {"level": 1, "seq": 0, "at": "2026-05-01T00:00:00.000Z", "onset": "2026-05-01T00:00:00.000Z"}
    body |= {"value": 0.1, "threshold": 0.1, "unit": "m", "message": {"zh": "…", "en": "…"}}
    async with await logged_in(running, "viewer") as browser, await browser.live() as socket:
        await socket.receive_json()
        running.city.board.take(body)
        news = await until(socket, lambda m: m["t"] == "some")
        assert [(i["id"], i["state"]) for i in news["items"]] == [(f"alert:flood-depth/{GAUGE}", "alert")]
        running.city.board.take(body | {"level": 0, "seq": 1, "at": "2026-05-01T00:01:00.000Z"})
        news = await until(socket, lambda m: m["t"] == "some")
        assert news["gone"] == [f"alert:flood-depth/{GAUGE}"]
        assert news["levels"] == {GAUGE: 0}


async def test_a_clock_that_stands_still_is_told(running: Running) -> None:
    running.city.tick(START)
    async with await logged_in(running, "viewer") as browser, await browser.live() as socket:
        assert (await until(socket, lambda m: m["t"] == "beat" and m["still"] >= 1))["clock"] == START
        running.city.tick(START + 1000)
        assert (await until(socket, lambda m: m["t"] == "beat" and m["still"] == 0))["clock"] == START + 1000


def test_the_board_is_the_same_whatever_comes_twice_or_late() -> None:
    city = City()
    case = flood(city, 0.3)
    messages = [*city.board.timeline(case), *city.board.alerts.values()]
    before = View(city.board, Scope("admin")).whole()
    for message in reversed(messages):
        city.board.take(message)
    assert View(city.board, Scope("admin")).whole() == before
    assert len(city.board.timeline(case)) == len(messages) - 1


def test_what_was_closed_long_ago_is_forgotten() -> None:
    city = City()
    case = flood(city, 0.3)
    closed = city.board.cases[case].model_copy(update={"closed": START, "state": "closed", "seq": 99})
    city.board.take(closed)
    city.board.tick(START + KEEP_MS + 7_200_000)
    assert case not in city.board.cases
    assert city.board.timeline(case) == []


async def test_without_the_libraries_all_but_the_map_works(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with console(City(), pages=Pages(tmp_path)) as running:
            assert "echarts.min.js" in caplog.text
            assert "uv sync" in caplog.text
            async with await logged_in(running, "viewer") as browser:
                assert (await browser.whole())["me"]["missing"] == ["echarts.min.js", "districts.geojson"]
                assert (await browser.get("/")).status == 200
                assert (await browser.get("/files/echarts.min.js")).status == 404


def test_the_libraries_come_with_their_licences() -> None:
    names = Pages()._files
    if Pages().missing:
        pytest.skip("the libraries could not be fetched when kapok was installed")
    assert {"echarts.LICENSE", "echarts.NOTICE", "districts.LICENSE"} <= names.keys()


def test_logins_are_those_of_the_directory() -> None:
    directory = Directory.shipped()
    known = logins_of(directory)
    assert set(known) == {person for person, entry in directory.people.items() if entry.login}
    for login in known.values():
        assert (login.scope.role == "carer") == bool(login.scope.communities)


def test_a_password_is_known_by_its_hash_alone() -> None:
    login = logins()["viewer"]._replace(password=hash_password("open sesame"))
    assert "sesame" not in login.password
    assert check_password(login, "open sesame")
    assert not check_password(login, "open  sesame")
    assert not check_password(None, "nobody has this password")
    assert not check_password(login._replace(password="not a hash"), "open sesame")
