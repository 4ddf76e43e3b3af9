"""The console by an intruder's hand: each of these is tried as it would be, over a socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from alerts.console import server
from alerts.console.guard import BODY_BYTES, CONTENT_SECURITY_POLICY
from alerts.console.sessions import FAILURES_S, IDLE_S, LONGEST_S, PER_ADDRESS, PER_NAME, PER_PAIR, Attempts, Sessions
from tests.consoles import PASSWORD, Browser, City, Running, console, logins
from tests.test_console import COMMUNITY, GAUGE, HOME, flood, logged_in, pack, press

CLOSING = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with console(City()) as running:
        yield running


async def raw(address: str, text: bytes, *, stay: bool = False) -> bytes:
    """What comes back for bytes sent as they are, until the server closes."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text)
        if not stay:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def headers(address: str, *more: str) -> bytes:
    return "\r\n".join([f"Host: {address.removeprefix('http://')}", "Connection: close", *more, "", ""]).encode()


# -- without a session ----------------------------------------------------------------------------------------


async def test_nothing_is_told_without_a_session(running: Running) -> None:
    async with Browser(running.address) as stranger:
        for cookies in ({}, {"kapok": "x" * 43}):
            stranger.session.cookie_jar.update_cookies(cookies)
            for path in ("session", "city", "site?id=GZ-TH-0001", "case?id=x", "figures"):
                assert (await stranger.get(f"/api/{path}")).status == 401
            assert (await stranger.get("/")).status == 303


async def test_nobody_looks_up_a_home_by_another_way(running: Running) -> None:
    case = press(running.city)
    async with Browser(running.address) as stranger:
        assert (await stranger.post("/api/resident", {"case": case})).status in (401, 403)
    async with await logged_in(running, "carer") as carer:
        for sent in ({"x-kapok": "guess"}, {"origin": "http://evil.example"}):
            assert (await carer.post("/api/resident", {"case": case}, sent)).status == 403
        assert (await carer.get("/api/resident", case=case)).status == 405
        elsewhere = next(
            home.id
            for home in running.city.catalogue.places.values()
            if home.kind == "infrared" and home.zone != COMMUNITY
        )
        for wanted in (case.replace(HOME, elsewhere), HOME, elsewhere, "", "*", "call-button/*"):
            assert (await carer.post("/api/resident", {"case": wanted})).status in (404, 422)
        for body in ({"case": case, "home": elsewhere}, {"home": HOME}, [case], {"case": [case]}):
            assert (await carer.post("/api/resident", body)).status == 422
        cookie = next(iter(carer.session.cookie_jar)).value
        await carer.post("/logout")
        carer.session.cookie_jar.update_cookies({"kapok": cookie})
        assert (await carer.post("/api/resident", {"case": case})).status == 401
    assert running.audit.lines == []


async def test_no_socket_without_a_session(running: Running) -> None:
    async with Browser(running.address) as stranger:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await stranger.live()


async def test_no_socket_from_another_site(running: Running) -> None:
    async with await logged_in(running, "admin") as browser:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await browser.live(origin=origin)


async def test_addresses_that_frameworks_like_to_offer_are_not_there(running: Running) -> None:
    async with await logged_in(running, "admin") as browser:
        for path in ("/docs", "/redoc", "/openapi.json", "/metrics", "/server-status", "/.env"):
            assert (await browser.get(path)).status == 404


# -- passwords ------------------------------------------------------------------------------------------------


async def test_guessing_is_stopped_also_when_many_guess_at_once(running: Running) -> None:
    async with Browser(running.address) as guesser:
        answers = await asyncio.gather(*(guesser.login("admin", f"guess {n}") for n in range(PER_PAIR * 3)))
        assert answers.count(403) == PER_PAIR
        assert answers.count(429) == PER_PAIR * 2
        assert await guesser.login("admin") == 429  # the right one too: else guessing would go on unseen
        assert await guesser.login("viewer") == 204  # who sits at the same address, under another name, comes in


def test_a_guesser_elsewhere_does_not_lock_out_those_on_call() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(PER_PAIR):
        attempts.begin("oncall", "203.0.113.9")
    assert attempts.wait_s("oncall", "203.0.113.9") == FAILURES_S
    assert attempts.wait_s("oncall", "10.0.0.2") == 0
    for n in range(PER_ADDRESS):
        attempts.begin(f"name {n}", "203.0.113.7")
    assert attempts.wait_s("somebody else", "203.0.113.7") > 0
    for n in range(PER_NAME):
        attempts.begin("oncall", f"198.51.100.{n}")
    assert attempts.wait_s("oncall", "10.0.0.3") > 0  # so many together do close the name, for a while
    now = FAILURES_S + 1.0
    assert attempts.wait_s("oncall", "203.0.113.9") == 0


def test_a_login_that_succeeds_is_no_failure() -> None:
    attempts = Attempts()
    for _ in range(PER_NAME * 2):
        attempts.begin("oncall", "10.0.0.2")
        attempts.succeeded("oncall", "10.0.0.2")
        assert attempts.wait_s("oncall", "10.0.0.2") == 0


async def test_a_wrong_name_is_answered_as_a_wrong_password(running: Running) -> None:
    async with Browser(running.address) as guesser:
        wrong = await guesser.post("/login", {"name": "nobody", "password": "x"})
        other = await guesser.post("/login", {"name": "viewer", "password": "x"})
        assert (wrong.status, await wrong.text()) == (other.status, await other.text())


async def test_no_password_or_cookie_is_logged(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with await logged_in(running, "oncall") as browser:
            await browser.login("oncall", "another secret")
            secrets = [PASSWORD, "another secret", browser.token]
            secrets += [cookie.value for cookie in browser.session.cookie_jar]
    assert not [secret for secret in secrets if secret in caplog.text]


async def test_what_somebody_types_cannot_forge_a_line_of_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with Browser(running.address) as guesser:
            await guesser.login("x\r\nINFO p-004 logged in\x1b[2J\u2028", "y")
    assert "refused" in caplog.text
    assert not [r for r in caplog.records if set(r.getMessage()) & set("\r\n\x1b\u2028")]


# -- sessions -------------------------------------------------------------------------------------------------


async def test_the_cookie_is_for_this_site_and_not_for_scripts(running: Running) -> None:
    async with Browser(running.address) as browser:
        answer = await browser.post("/login", {"name": "viewer", "password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert answer.headers["cache-control"] == "no-store"


async def test_by_https_the_cookie_is_secure_and_http_is_refused() -> None:
    async with console(City(), secure=True) as running, Browser(running.address) as browser:
        secure = {"origin": running.address.replace("http:", "https:")}
        body = {"name": "viewer", "password": PASSWORD}
        assert (await browser.post("/login", body)).status == 403
        answer = await browser.post("/login", body, secure)
        assert answer.headers["set-cookie"].startswith("__Host-kapok=")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "strict-transport-security" in answer.headers


async def test_after_logout_a_stolen_cookie_is_worth_nothing_and_its_sockets_are_closed(running: Running) -> None:
    async with await logged_in(running, "admin") as owner, Browser(running.address) as thief:
        thief.session.cookie_jar.update_cookies({c.key: c.value for c in owner.session.cookie_jar})
        thief.token = owner.token
        async with await thief.live() as socket, await owner.live() as own:
            assert (await socket.receive_json())["t"] == "all"
            assert (await own.receive_json())["t"] == "all"
            assert (await owner.post("/logout")).status == 204
            flood(running.city, 0.3)
            for one in (socket, own):
                async with asyncio.timeout(10):
                    heard = [message async for message in one]
                assert not [m for m in heard if GAUGE in str(m.data)]
                assert one.close_code == 4401
        assert (await thief.get("/api/city")).status == 401
        assert (await thief.post("/api/actions", {"id": "press-0001", "do": "note", "case": "x"})).status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await thief.live()


async def test_a_new_login_ends_the_old_session_of_that_browser(running: Running) -> None:
    async with await logged_in(running, "viewer") as browser, Browser(running.address) as thief:
        thief.session.cookie_jar.update_cookies({c.key: c.value for c in browser.session.cookie_jar})
        assert await browser.login("viewer") == 204
        assert (await thief.get("/api/session")).status == 401


def test_sessions_end_by_themselves() -> None:
    now = 0.0
    sessions = Sessions(lambda: now)
    ended: list[str] = []
    cookie, idle = sessions.open(logins()["viewer"])
    idle.on_end.add(lambda: ended.append("idle"))
    now = IDLE_S + 1.0
    assert sessions.find(cookie) is None
    assert ended == ["idle"]
    cookie, _ = sessions.open(logins()["viewer"])
    for _ in range(100):
        now += LONGEST_S / 50
        found = sessions.find(cookie)
    assert found is None


# -- forged requests ------------------------------------------------------------------------------------------


async def test_another_site_cannot_act_in_somebodys_name(running: Running) -> None:
    case = flood(running.city, 0.3)
    async with await logged_in(running, "admin") as browser:
        body = {"id": "press-0001", "do": "ack", "case": case}
        for wrong in ({"origin": "http://evil.example"}, {"origin": ""}, {"x-kapok": ""}, {"x-kapok": "guess"}):
            assert (await browser.post("/api/actions", body, wrong)).status == 403, wrong
            assert (await browser.post("/logout", None, wrong)).status == 403, wrong
        form = {"origin": running.address, "x-kapok": browser.token}
        answer = await browser.session.post("/api/actions", data={"id": "press-0001"}, headers=form)
        assert answer.status == 422
        assert (await browser.get("/logout")).status == 405
    assert running.city.submitted == []


async def test_a_foreign_name_for_this_address_gets_nothing(running: Running) -> None:
    answer = await raw(running.address, b"GET /login HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert b" 421 " in answer.splitlines()[0]
    answer = await raw(running.address, b"GET /login HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n")
    assert b" 421 " in answer.splitlines()[0]


async def test_a_token_is_of_one_session(running: Running) -> None:
    case = flood(running.city, 0.3)
    async with await logged_in(running, "viewer") as other, await logged_in(running, "oncall") as browser:
        body = {"id": "press-0001", "do": "ack", "case": case}
        assert (await browser.post("/api/actions", body, {"x-kapok": other.token})).status == 403


# -- bytes ----------------------------------------------------------------------------------------------------


async def test_every_answer_has_the_policy(running: Running) -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    async with await logged_in(running, "viewer") as browser:
        for path in ("/", "/login", "/files/main.js", "/api/city", "/nothing", "/api/case?id=x"):
            answer = await browser.get(path)
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers
        page = await (await browser.get("/")).text()
        assert "<style" not in page
        assert " style=" not in page
        assert "<script>" not in page


PATHS = (
    "../login.py", "..%2flogin.py", "%2e%2e/%2e%2e/app.py", "....//app.py", "/etc/passwd", "%2fetc%2fpasswd",
    "..%5capp.py", "main.js%00.html", "",
)  # fmt: skip


async def test_only_the_pages_own_files_are_served(running: Running) -> None:
    for path in PATHS:
        answer = await raw(running.address, f"GET /files/{path} HTTP/1.1\r\n".encode() + headers(running.address))
        assert answer.split(b" ", 2)[1] == b"404", path
        assert b"import" not in answer


async def test_a_big_body_is_refused_told_or_not(running: Running) -> None:
    origin = f"Origin: {running.address}"
    big = b"x" * (BODY_BYTES + 1)
    told = headers(running.address, origin, "Content-Type: application/json", f"Content-Length: {len(big)}")
    answer = await raw(running.address, b"POST /login HTTP/1.1\r\n" + told + big)
    assert answer.split(b" ", 2)[1] == b"413"
    chunked = headers(running.address, origin, "Content-Type: application/json", "Transfer-Encoding: chunked")
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big)
    answer = await raw(running.address, b"POST /login HTTP/1.1\r\n" + chunked + body)
    assert answer.split(b" ", 2)[1] == b"413"
    answer = await raw(running.address, b"GET /login HTTP/1.1\r\n" + headers(running.address, "X: " + "y" * 100_000))
    assert answer.split(b" ", 2)[1] == b"431"
    async with await logged_in(running, "viewer") as browser, await browser.live() as socket:
        await socket.send_str("x" * 10_000)
        async with asyncio.timeout(10):
            while (await socket.receive()).type not in CLOSING:
                pass
        assert socket.close_code == 1009


async def test_half_requests_are_cut_off_and_others_served_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ARRIVE_S", 0.5)
    async with console(City()) as running:
        origin = f"Origin: {running.address}"
        body = headers(running.address, origin, "Content-Type: application/json", "Content-Length: 50")
        halves = [b"", b"GET / HTTP/1.1\r\nHost: 127", b"POST /login HTTP/1.1\r\n" + body + b'{"name":']
        halves += [b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /lo"]  # the second one is the half
        slow = [asyncio.create_task(raw(running.address, half, stay=True)) for half in halves * 20]
        await asyncio.sleep(0.1)
        async with await logged_in(running, "viewer") as browser:
            assert (await browser.get("/api/city")).status == 200
            async with asyncio.timeout(15):
                await asyncio.gather(*slow)
            async with await browser.live() as socket:
                assert (await socket.receive_json())["t"] == "all"
                for _ in range(3):  # several times as long as a request may take: a socket is none
                    assert (await socket.receive_json(timeout=10))["t"] == "beat"


async def test_one_address_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PER_ADDRESS", 10)
    async with console(City()) as running:
        host, _, port = running.address.removeprefix("http://").partition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        refused = 0
        for reader, _ in opened:
            try:
                async with asyncio.timeout(0.3):
                    refused += await reader.read(1) == b""
            except ConnectionError:
                refused += 1
            except TimeoutError:
                pass
        assert refused == 10
        for _, writer in opened:
            writer.close()


async def test_headers_and_lines_cannot_be_put_in(running: Running) -> None:
    for text in (
        b"GET /login?x=%0d%0aset-cookie:%20kapok=1 HTTP/1.1\r\n" + headers(running.address),
        b"GET /?wall%0d%0aset-cookie:%20kapok=1 HTTP/1.1\r\n" + headers(running.address),
        b"GET /files/x%0d%0aset-cookie:kapok HTTP/1.1\r\n" + headers(running.address),
        b"GET /login HTTP/1.1\r\n" + headers(running.address, "X: a\rset-cookie: kapok=1"),
    ):
        assert b"set-cookie" not in (await raw(running.address, text)).lower()


async def test_requests_cannot_be_smuggled(running: Running) -> None:
    both = headers(running.address, f"Origin: {running.address}", "Content-Length: 4", "Transfer-Encoding: chunked")
    answer = await raw(running.address, b"POST /login HTTP/1.1\r\n" + both + b"0\r\n\r\nGET /login HTTP/1.1\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") <= 1
    twice = headers(running.address, f"Origin: {running.address}", "Content-Length: 4", "Content-Length: 5")
    assert b" 400 " in (await raw(running.address, b"POST /login HTTP/1.1\r\n" + twice + b"{}{}")).splitlines()[0]


SENSELESS: list[Any] = [
    {"do": "ack"}, {"id": "press-0001"}, {"id": "press 1", "do": "ack"}, {"id": "press-0001", "do": "reboot"},
    {"id": "press-0001", "do": "note", "case": "x", "text": "y" * 2001}, {"id": "press-0001", "do": "ack", "case": {}},
    {"id": "press-0001", "do": "silence", "matcher": {}, "from": 0, "until": 9, "text": "all"},
    {"id": "press-0001", "do": "close", "case": "x"}, {"id": "press-0001", "do": "ack", "case": "x", "more": "y"},
    {"id": "press-0001", "do": "close", "case": "x", "outcome": "helped", "satisfaction": 6}, [], "x", None, 7,
]  # fmt: skip


async def test_actions_that_make_no_sense_go_nowhere(running: Running) -> None:
    async with await logged_in(running, "admin") as browser:
        for body in SENSELESS:
            assert (await browser.post("/api/actions", body)).status in (403, 422), body
    assert running.city.submitted == []


async def test_markup_in_a_note_stays_text(running: Running) -> None:
    case = flood(running.city, 0.3)
    markup = "<img src=x onerror=alert(1)>"
    async with await logged_in(running, "oncall") as browser:
        body = {"id": "press-0001", "do": "note", "case": case, "text": markup}
        assert (await browser.post("/api/actions", body)).status == 202
        answer = await browser.get("/api/case", id=case)
        assert answer.headers["content-type"] == "application/json"
        assert markup in [entry.get("text") for entry in (await answer.json())["timeline"]]


async def test_a_page_that_does_not_listen_is_cut_off_and_delays_nobody(running: Running) -> None:
    async with await logged_in(running, "admin") as browser:
        pages = running.address.removeprefix("http://").partition(":")
        cookie = next(iter(browser.session.cookie_jar))
        _, writer = await asyncio.open_connection(pages[0], int(pages[2]))
        more = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        more += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Origin: {running.address}"]
        more += [f"Cookie: {cookie.key}={cookie.value}", f"Host: {pages[0]}:{pages[2]}"]
        writer.write(("GET /live HTTP/1.1\r\n" + "\r\n".join(more) + "\r\n\r\n").encode())
        async with await browser.live() as socket:
            await socket.receive_json()
            at_ms, sensor = 1_777_600_000_000, running.city.catalogue.sensors[GAUGE]
            for n in range(5):
                at_ms += 60_000
                record = pack(GAUGE, "depth", 0.3 * (n % 2 == 0), at_ms)
                running.city.readings("flood", sensor.zone, record, at_ms)
                async with asyncio.timeout(10):
                    while (await socket.receive_json())["t"] != "some":
                        pass
        writer.close()
