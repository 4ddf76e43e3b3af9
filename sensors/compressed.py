"""Compressed files as streams: whole, or an error; never a part of one as if that were all."""

from __future__ import annotations

import codecs
import gzip
import io
from pathlib import Path
from typing import IO, Any, cast

import zstandard

BOM = codecs.BOM_UTF8  # some editors put it before a text: it is no part of it
CHUNK = 1 << 16  # compressed bytes read at once
ERRORS = (OSError, EOFError, zstandard.ZstdError)  # what reading one may raise


class _Zstandard(io.RawIOBase):
    """The content of a .zst: all its frames, and EOFError where the last one is cut off.

    zstandard's own reader ends after the first frame, and takes a frame that breaks off for a whole one.
    """

    def __init__(self, raw: IO[bytes], *, close: bool) -> None:
        self._raw, self._close = raw, close
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._compressed, self._content = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            self._compressed = self._compressed or self._raw.read(CHUNK)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the compressed file is cut off")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._content = memoryview(self._frame.decompress(self._compressed))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._content))
        buffer[:size], self._content = self._content[:size], self._content[size:]
        return size

    def close(self) -> None:
        if self._close and not self.closed:
            self._raw.close()
        super().close()


def open_binary(path: str | Path, mode: str = "rb") -> IO[bytes]:
    """Opens a file that is plain, ``.gz`` or ``.zst`` by its name. Reading may raise any of ``ERRORS``."""
    name = str(path)
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, mode, compresslevel=3))
    if not name.endswith(".zst"):
        return cast(IO[bytes], open(path, mode))
    if "r" in mode:
        return cast(IO[bytes], io.BufferedReader(_Zstandard(open(path, mode), close=True), 1 << 20))
    return cast(IO[bytes], zstandard.open(path, mode))


def uncompressed(raw: IO[bytes], name: str) -> IO[bytes]:
    """What an open file of this name holds; it stays open."""
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(raw))
    return cast(IO[bytes], io.BufferedReader(_Zstandard(raw, close=False), 1 << 20)) if name.endswith(".zst") else raw


def reason(error: BaseException) -> str:
    """What one of ``ERRORS`` says, in words for whoever gave the file."""
    if isinstance(error, EOFError):
        return "the compressed file is cut off"
    return getattr(error, "strerror", None) or str(error)
