"""A small proxy before a real InfluxDB, which makes it slow, full, or refuse: what a database may do to the archive."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import aiohttp
from aiohttp import web

_SLOW_S = 5.0  # a write then takes so long
_LARGEST = 64 << 20
_KEPT = ("Authorization", "Content-Type", "Content-Encoding", "Accept")


class Fault(StrEnum):
    """``full`` is answered as an influxd does whose disk is full, ``refusing`` as one that has too much to do."""

    none = "none"
    slow = "slow"
    full = "full"
    refusing = "refusing"


class FaultyDatabase:
    """``async with FaultyDatabase(port, url)``: what comes to the port on loopback goes to the server at ``url``.

    ``fault`` is what befalls writes from now on; while the server is away the answer is that of nobody: the connection
    is closed.
    """

    def __init__(self, port: int, url: str) -> None:
        self.port, self.to, self.fault = port, url, Fault.none
        self.url = f"http://127.0.0.1:{port}"
        self.befallen = 0  # writes that a fault befell

    async def __aenter__(self) -> FaultyDatabase:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/api/v2/write" and self.fault is not Fault.none:
            self.befallen += 1
            if self.fault is not Fault.slow:
                return _refusal(self.fault)
            await asyncio.sleep(_SLOW_S)
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        try:
            target = self.to + request.path_qs
            async with self._session.request(request.method, target, data=body, headers=headers) as answer:
                kind = answer.headers.get("Content-Type", "application/json")
                return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": kind})
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)


def _refusal(fault: Fault) -> web.Response:
    if fault is Fault.full:
        said = "unexpected error writing points to database: [shard 1] write wal: no space left on device"
        return web.json_response({"code": "internal error", "message": said}, status=500)
    said = {"code": "unavailable", "message": "too many requests"}
    return web.json_response(said, status=503, headers={"Retry-After": "1"})
