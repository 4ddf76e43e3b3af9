"""How a worker reads what Kafka answers: straight into a buffer that is used again and again.

asyncio's streams copy an answer three times, each time into memory that is new; at hundreds of megabytes a second the
system spends more on handing out pages than the fold takes. It builds on aiokafka 0.14 from within (names with an
underscore are aiokafka's and asyncio's).
"""

from __future__ import annotations

import asyncio
import io
import struct
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import conn

_FIRST: Final = 1 << 16  # bytes of the buffer in the beginning
_LARGE: Final = 1 << 18  # bytes of an answer from which on it is not copied as a whole
_AHEAD: Final = 1 << 26  # bytes of room made at most for what was only announced: it may be no Kafka that answers
_size = struct.Struct(">i").unpack_from


class _Reader(asyncio.StreamReader):
    """A stream's reader whose protocol fills its buffer itself."""

    _loop: Any
    _eof: bool
    _exception: BaseException | None
    _waiter: asyncio.Future[None] | None
    _wakeup_waiter: Callable[[], None]

    def begin(self) -> None:
        self._bytes = bytearray(_FIRST)
        self._from = self._to = 0  # what is there and not read yet

    def room(self) -> memoryview:
        """Where to put what comes next; it is never empty."""
        if self._to == len(self._bytes):
            self._make_room(len(self._bytes) if self._from == 0 else 0)
        return memoryview(self._bytes)[self._to :]

    def filled(self, count: int) -> None:
        self._to += count
        self._wakeup_waiter()  # and forgets it: over TLS the end may come before the waiter has its turn

    def _make_room(self, more: int) -> None:
        """Moves what is there to the beginning, of a buffer that is larger by so much."""
        kept = self._bytes[self._from : self._to]
        if more:
            self._bytes = bytearray(len(self._bytes) + more)
        self._bytes[: len(kept)] = kept
        self._from, self._to = 0, len(kept)

    async def _until(self, count: int) -> None:
        if (lacking := self._from + count - len(self._bytes)) > 0:
            self._make_room(min(max(0, lacking - self._from), _AHEAD))
        while self._to - self._from < count:
            if self._exception is not None:
                raise self._exception
            if self._eof:
                raise asyncio.IncompleteReadError(bytes(self._bytes[self._from : self._to]), count)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def frame(self) -> memoryview:
        """The next answer, to be used up before anything else is waited for."""
        await self._until(4)
        (size,) = _size(self._bytes, self._from)
        if size < 0:
            raise ValueError(f"an answer of {size} bytes")
        await self._until(4 + size)
        frame = memoryview(self._bytes)[self._from + 4 : self._from + 4 + size]
        self._from += 4 + size
        if self._from == self._to:
            self._from = self._to = 0
        return frame


class _Protocol(conn.AIOKafkaProtocol, asyncio.BufferedProtocol):
    def __init__(self, closed: Any, reader: Any, **options: Any) -> None:
        super().__init__(closed, reader, **options)
        reader.__class__ = _Reader
        reader.begin()
        self._fills: _Reader = reader

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._fills.room()

    def buffer_updated(self, nbytes: int) -> None:
        self._fills.filled(nbytes)


class _Connection(conn.AIOKafkaConnection):
    @staticmethod
    async def _read(self_ref: weakref.ref[Any]) -> None:
        connection = self_ref()
        if connection is None:
            return
        reader: _Reader = connection._reader
        del connection
        while True:
            frame = await reader.frame()
            connection = self_ref()
            if connection is None:
                return
            login = connection._requests[0][0] is None  # the answer goes to others as it is
            connection._handle_frame(bytes(frame) if login else frame)
            del connection, frame


class _Cursor:
    """What aiokafka reads an answer's fields from, one after another."""

    def __init__(self, frame: memoryview) -> None:
        self._frame, self._at = frame, 0

    def read(self, count: int) -> bytes:
        at = self._at
        self._at += count
        return bytes(self._frame[at : at + count])


def _fields(frame: Any) -> Any:
    return _Cursor(frame) if len(frame) > _LARGE else io.BytesIO(frame)


def read_into_buffers() -> None:
    """From now on the connections of this process read so."""
    conn.AIOKafkaProtocol, conn.AIOKafkaConnection = _Protocol, _Connection
    conn.io = SimpleNamespace(BytesIO=_fields)
