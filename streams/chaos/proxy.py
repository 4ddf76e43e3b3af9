"""A TCP proxy on loopback between a worker and the broker, whose connections can be cut, silenced and delayed."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

_CHUNK = 1 << 16
_UNDER_WAY = 256  # chunks, above which the sender has to wait


class Proxy:
    """``async with Proxy(port, to) as proxy``: what connects to ``port`` talks to the port ``to``.

    Connections made while the target is away are closed at once, as one's own would be refused.
    """

    def __init__(self, port: int, to: int) -> None:
        self.port, self.to = port, to
        self.latency_s = 0.0  # added each way
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    async def __aenter__(self) -> Proxy:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def cut(self) -> None:
        """Closes all connections and refuses new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writers in self._pairs.items():
            for writer in writers:
                writer.transport.abort()
            task.cancel()

    def silence(self) -> None:
        """Passes nothing on, while connections stay open and new ones are taken: a cable that is out."""
        self._flows.clear()

    async def restore(self) -> None:
        """Ends a cut or a silence; what was sent into a silence arrives now."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer,)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._flows.wait()
                back, onward = await asyncio.open_connection("127.0.0.1", self.to)
                self._pairs[task] = (writer, onward)
                ways = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, onward), (back, writer))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for one in self._pairs.pop(task):
                one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until either end closes."""
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

        async def send() -> None:
            while True:
                due, chunk = await chunks.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                await self._flows.wait()
                if not chunk:
                    return
                writer.write(chunk)
                await writer.drain()

        async def receive() -> None:
            while True:
                try:
                    chunk = await reader.read(_CHUNK)
                except OSError:
                    chunk = b""
                await chunks.put((loop.time() + self.latency_s, chunk))
                if not chunk:
                    return

        receiving = asyncio.create_task(receive())
        try:
            await send()
        finally:
            receiving.cancel()
