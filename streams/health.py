"""How a process is, over HTTP: for a container's health check, Prometheus, a curl at 3 a.m."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from sensors.errors import InputError, RunError
from streams.metrics import exposition


class Health(NamedTuple):
    """``ready``: the group has given this worker its share, and the state of all of it is loaded."""

    ready: bool
    partitions: list[int]
    lag: dict[str, int]  # per reading topic the records that are still to be folded


class State(Protocol):
    """What is served: a named tuple, of which ``ready`` decides."""

    @property
    def ready(self) -> bool: ...
    def _asdict(self) -> dict[str, Any]: ...


@asynccontextmanager
async def served(address: str | None, health: Callable[[], State], metrics: CollectorRegistry) -> AsyncIterator[None]:
    """Serves ``/health`` (200 while the process takes its turns) and ``/ready`` (503 until it is) at HOST:PORT.

    Both answer with the same JSON; ``/metrics`` with what the process has counted. Without an address nothing is
    served.
    """
    if address is None:
        yield
        return
    host, port = _parsed(address)

    async def answer(request: web.Request) -> web.Response:
        now = health()
        body: dict[str, Any] = {"status": "ready" if now.ready else "starting", **now._asdict()}
        status = 200 if now.ready or request.path == "/health" else 503
        return web.Response(body=msgspec.json.encode(body), content_type="application/json", status=status)

    async def counted(request: web.Request) -> web.Response:
        body, content_type = exposition(metrics, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/health", answer), web.get("/ready", answer), web.get("/metrics", counted)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise RunError(f"cannot serve health and metrics at {address}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()


def after(address: str, number: int) -> str:
    """The address whose port is so many higher."""
    host, port = _parsed(address)
    return f"{host}:{port + number}"


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{address!r} is not an address to serve health at", hint="give HOST:PORT, 127.0.0.1:8080")
    return host, int(port)
