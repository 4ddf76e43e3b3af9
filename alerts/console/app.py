"""The console's addresses. All but the login page and the files of pages want a session; the page decides nothing."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alerts.cases.action import Action
from alerts.console.feed import Feed
from alerts.console.figures import figures
from alerts.console.guard import Guard
from alerts.console.hub import BEAT_S, Hub
from alerts.console.login import Login, Logins, check_password
from alerts.console.pages import AGAIN, Pages
from alerts.console.sessions import Attempts, Session, Sessions
from alerts.console.view import View
from alerts.routes.residents import Audit
from sensors.catalogue import Place, Sensor
from sensors.errors import RunError

log = logging.getLogger(__name__)
HASHING = 2  # passwords checked at a time: each takes 64 MiB
CLOSED_BY_LOGOUT = 4401  # a WebSocket close code of our own: log in again


class Credentials(BaseModel):
    """Of the login page."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=100)]
    password: Annotated[str, Field(min_length=1, max_length=200)]


class LookUp(BaseModel):
    """Who lives in the home of a case."""

    model_config = ConfigDict(extra="forbid")
    case: Annotated[str, Field(min_length=1, max_length=300)]


class Doing(BaseModel):
    """An action as the page sends it. ``id`` is made by the page, once for each press of a button: sent again after a
    lost connection it is the same action. Who and when are for the server to say.
    """

    model_config = ConfigDict(extra="allow")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]


def _session(request: Request) -> Session:
    state = request.app.state
    session: Session | None = state.sessions.find(request.cookies.get(state.cookie))
    if session is None:
        raise HTTPException(401, "log in")
    return session


def _trusted(request: Request) -> Session:
    session = _session(request)
    if not secrets.compare_digest(request.headers.get("x-kapok", "").encode(), session.token.encode()):
        raise HTTPException(403, "not from this page")
    return session


Known = Annotated[Session, Depends(_session)]
Trusted = Annotated[Session, Depends(_trusted)]


def create_app(
    feed: Feed, logins: Logins, audit: Audit, hosts: Iterable[str], *, secure: bool = False, pages: Pages | None = None
) -> Guard:
    """``secure``: it is reached by https only, here or at a proxy before it."""
    hub, sessions, attempts = Hub(feed), Sessions(), Attempts()
    files = pages or Pages()
    if files.missing:
        log.warning("%s", missing(files.missing))
    hashing = asyncio.Semaphore(HASHING)
    cookie = "__Host-kapok" if secure else "kapok"

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with hub:
            yield

    app = FastAPI(title="kapok", lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)

    app.state.sessions, app.state.cookie = sessions, cookie

    def me(session: Session) -> dict[str, Any]:
        login = session.login
        names = {other.person: other.name for other in logins.values()} | dict(feed.names())
        return {
            "person": login.person,
            "name": login.name,
            "role": login.scope.role,
            "districts": sorted(login.scope.districts),
            "token": session.token,
            "names": names,
            "missing": files.missing,
            "timezone": feed.board.rulebook.timezone.key,
        }

    @app.get("/")
    async def index(request: Request) -> Response:
        if sessions.find(request.cookies.get(cookie)) is None:
            asked = {name: value for name, value in request.query_params.items() if name in ("case", "wall")}
            return RedirectResponse(f"/login?{urlencode(asked)}" if asked else "/login", 303)
        return _found(files.answer("index.html", request))

    @app.get("/login")
    async def login_page(request: Request) -> Response:
        return _found(files.answer("login.html", request))

    @app.get("/files/{name}")
    async def file(name: str, request: Request) -> Response:
        return _found(files.answer(name, request))

    @app.post("/login")
    async def enter(given: Credentials, request: Request) -> Response:
        address = request.client.host if request.client else ""
        if wait := attempts.wait_s(given.name, address):
            raise HTTPException(429, "too many attempts", {"retry-after": str(wait)})
        attempts.begin(given.name, address)
        login = logins.get(given.name)
        async with hashing:
            right = await asyncio.to_thread(check_password, login, given.password)
        if not right or login is None:
            log.warning("login of %s from %s refused", _plain(given.name), _plain(address))
            raise HTTPException(403, "wrong name or password")
        attempts.succeeded(given.name, address)
        if old := request.cookies.get(cookie):
            sessions.close(old)
        value, _ = sessions.open(login)
        response = Response(status_code=204)
        response.set_cookie(cookie, value, path="/", secure=secure, httponly=True, samesite="strict")
        log.info("%s logged in from %s", login.person, _plain(address))
        return response

    @app.post("/logout")
    async def leave(request: Request, session: Trusted) -> Response:
        sessions.close(request.cookies[cookie])
        log.info("%s logged out", session.login.person)
        response = Response(status_code=204)
        response.delete_cookie(cookie, path="/", secure=secure, httponly=True, samesite="strict")
        return response

    @app.get("/api/session")
    async def still_in(_: Known) -> Response:
        return Response(status_code=204)

    @app.get("/api/city")
    async def city(session: Known) -> dict[str, Any]:
        return View(feed.board, session.login.scope).city()

    @app.get("/api/site")
    async def site(id: str, session: Known) -> dict[str, Any]:
        view = View(feed.board, session.login.scope)
        return _detail(view, view.site(id), session.login)

    @app.get("/api/case")
    async def case(id: str, session: Known) -> dict[str, Any]:
        view, found = View(feed.board, session.login.scope), feed.board.cases.get(id)
        if found is None or not session.login.scope.sees(found.kind, found.zone, found.district):
            raise HTTPException(404, "no such case")
        detail = _detail(view, view.site(found.site), session.login)
        return detail | {"case": view.case(found), "timeline": view.timeline(found)}

    def _detail(view: View, site: Sensor | Place | None, login: Login) -> dict[str, Any]:
        if site is None:
            raise HTTPException(404, "no such site")
        if site.kind == "infrared":
            home = site.place if isinstance(site, Sensor) else site.id
            try:
                audit.write(at_ms=feed.board.clock_ms, by=login.person, home=home, why="console: readings")
            except RunError as error:
                log.error("%s", error)
                raise HTTPException(503, "look-ups cannot be written down, so nothing is shown") from None
        return view.detail(site)

    @app.post("/api/resident")
    async def resident(wanted: LookUp, session: Trusted) -> dict[str, Any]:
        """Name, address and phone; it is written down who asked, and for which case. Nothing where the directory has
        no such home.
        """
        login, found = session.login, feed.board.cases.get(wanted.case)
        site = None if found is None else View(feed.board, login.scope).site(found.site)
        if found is None or site is None or not login.scope.may_look_up(found):
            raise HTTPException(404, "no such case")
        home = site.place if isinstance(site, Sensor) else site.id
        try:
            living = feed.residents(audit).look_up(home, at_ms=feed.board.clock_ms, by=login.person, why=found.id)
        except RunError as error:
            log.error("%s", error)
            raise HTTPException(503, "look-ups cannot be written down, so nothing is shown") from None
        return {} if living is None else living.model_dump(include={"resident", "address", "phone", "note"})

    @app.get("/api/figures")
    async def all_figures(session: Known) -> list[dict[str, Any]]:
        return figures(feed.board, session.login.scope)

    @app.post("/api/actions")
    async def act(doing: Doing, session: Trusted) -> Response:
        login, board = session.login, feed.board
        body = (doing.model_extra or {}) | {
            "id": f"{login.person}.{doing.id}",
            "by": login.person,
            "at": board.clock_ms,
        }
        try:
            action = Action.model_validate(body)
        except ValidationError as error:
            what = error.errors(include_url=False, include_input=False, include_context=False)
            raise HTTPException(422, [{"where": e["loc"], "what": e["msg"]} for e in what]) from None
        if action.do == "lift":
            silence = board.quiet.get(action.lifts or "")
            allowed = silence is not None and login.scope.may(silence, None, board.catalogue)
        else:
            allowed = login.scope.may(action, board.cases.get(action.case or ""), board.catalogue)
        if not allowed:
            raise HTTPException(403, "not yours to do")
        try:
            await feed.submit(action)
        except RunError as error:
            log.error("%s of %s could not be written: %s", action.do, login.person, error)
            raise HTTPException(503, "could not be written down: try again, or telephone") from None
        return Response(status_code=202)

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        session = sessions.find(socket.cookies.get(cookie))
        if session is None:
            await socket.close(CLOSED_BY_LOGOUT)
            return
        await socket.accept()
        page = hub.join(session.login.scope, partial(me, session))
        session.on_end.add(page.end)
        listening = asyncio.create_task(_until_gone(socket))
        listening.add_done_callback(lambda _: page.end())
        try:
            while sessions.valid(session) and (text := await page.next()) is not None:
                async with asyncio.timeout(10 * BEAT_S):  # one that takes nothing is gone
                    await socket.send_text(text)
            if not listening.done():
                await socket.close(CLOSED_BY_LOGOUT if not sessions.valid(session) else 1013)
        except (WebSocketDisconnect, RuntimeError, TimeoutError, OSError):
            pass  # it went away
        finally:
            session.on_end.discard(page.end)
            hub.leave(page)
            listening.cancel()

    return Guard(app, hosts, secure=secure)


async def _until_gone(socket: WebSocket) -> None:
    """A page has nothing to say on the socket: what it sends is not looked at."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def missing(names: list[str]) -> str:
    """What to do where the libraries are not there."""
    what = ", ".join(names)
    return f"the console has no map: {what} could not be fetched; with a network: {AGAIN}"


def _found(response: Response | None) -> Response:
    if response is None:
        raise HTTPException(404, "no such file")
    return response


def _plain(text: str) -> str:
    """For a log: on one line, and not long."""
    return ascii(text[:100])
