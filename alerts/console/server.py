"""The console under uvicorn, with the limits that it lacks: how long a request may take to arrive, and how many
connections one address may hold.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sensors.errors import RunError

ARRIVE_S = 10  # a request has to be there, headers and body, so long after its first byte or its connection's beginning
CONNECTIONS, PER_ADDRESS = 900, 300
_HEADER_BYTES = 16_384
_SOCKET_BYTES = 1024  # a page sends nothing
_GOODBYE_S = 3


class _Patient(H11Protocol):
    """uvicorn waits for ever for the rest of a request: a few hundred half requests (slowloris) would take all its
    connections. Here they are cut off.
    """

    _arriving: asyncio.TimerHandle | None = None
    _upgraded = False  # to a WebSocket, which is read by another protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        mine = self.client[0] if self.client else ""
        others = (getattr(other, "client", None) for other in self.connections)
        same = sum(other is not None and other[0] == mine for other in others)
        if same > PER_ADDRESS or len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        between = self.timeout_keep_alive_task is not None
        arriving = self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and not between)
        if arriving and not self._upgraded:
            self._wait()
        else:
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self._upgraded = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._arriving is None:
            self._arriving = self.loop.call_later(ARRIVE_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


class Server(uvicorn.Server):
    """Listens from its making on (RunError: it cannot); ``serve`` until ``should_exit`` is set. Signals stay the
    caller's.
    """

    def __init__(
        self, app: Any, host: str, port: int, *, certificate: str | None = None, key: str | None = None
    ) -> None:
        try:
            self._socket = socket.create_server((host, port), family=_family(host), backlog=512)
        except OSError as error:
            raise RunError(f"the console cannot listen on {host}:{port}: {error.strerror}") from error
        name = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if certificate else 'http'}://{name}:{self._socket.getsockname()[1]}"
        super().__init__(
            uvicorn.Config(
                app,
                http=_Patient,
                ws="websockets-sansio",
                ws_max_size=_SOCKET_BYTES,
                ws_max_queue=4,
                ws_per_message_deflate=False,  # it takes more time than the bytes saved are worth
                h11_max_incomplete_event_size=_HEADER_BYTES,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=_GOODBYE_S,
                proxy_headers=False,  # anybody could write them: addresses are those of connections
                server_header=False,
                access_log=False,
                log_config=None,
                log_level="warning",  # it would write down cookies at debug
                lifespan="on",
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )

        logging.getLogger("uvicorn.access").handlers.clear()  # which homes were looked at is for the audit log alone
        logging.getLogger("uvicorn.access").propagate = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve([self._socket])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
