"""Captures: what was published, a line a record, in log order (JSON Lines, plain, ``.gz`` or ``.zst``)."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import zstandard

from sensors.errors import InputError


class Line(msgspec.Struct, omit_defaults=True):
    """One record: ``value`` is the pack as JSON text, or ``raw`` its base64 where it is not JSON.

    ``timestamp`` is in ms since the epoch; ``number`` is the line's number in the file, from 1.
    """

    topic: str
    key: str | None = None
    value: msgspec.Raw = msgspec.Raw()
    raw: str | None = None
    timestamp: int | None = None
    partition: int | None = None
    offset: int | None = None
    headers: Any = None

    def payload(self) -> bytes | None:
        """The record's value as it was on the topic."""
        if self.raw is None:
            return bytes(self.value) or None
        return base64.b64decode(self.raw, validate=True)


def open_binary(path: str | Path, mode: str = "rb") -> IO[bytes]:
    """Opens a file that is plain, ``.gz`` or ``.zst`` by its name."""
    name = str(path)
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, mode, compresslevel=3))
    if name.endswith(".zst"):
        stream = zstandard.open(path, mode)
        return cast(IO[bytes], io.BufferedReader(stream, 1 << 20) if "r" in mode else stream)
    return cast(IO[bytes], open(path, mode))


def read(path: str | Path) -> Iterator[Line]:
    """The lines of a capture, in order; InputError with file and line where one is broken."""
    decode = msgspec.json.Decoder(Line).decode
    number = 0
    try:
        with open_binary(path) as file:
            for text in file:
                number += 1
                if text.isspace():
                    continue
                line = decode(text)
                if line.raw is not None:
                    line.payload()
                yield line
    except (msgspec.DecodeError, binascii.Error, RecursionError) as error:
        hint = 'a line is {"topic": …, "key": …, "value": […]}'
        raise InputError(f"broken line: {error}", file=path, line=number, hint=hint) from error
    except (OSError, EOFError, zstandard.ZstdError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot read the capture: {reason}", file=path, line=number + 1 if number else None
        ) from error


def contains(path: str | Path, text: bytes) -> bool:
    """Whether the bytes occur anywhere in the capture."""
    try:
        with open_binary(path) as file:
            tail = b""
            while chunk := file.read(1 << 22):
                if text in tail + chunk:
                    return True
                tail = chunk[-len(text) :]
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise InputError(f"cannot read the capture: {getattr(error, 'strerror', None) or error}", file=path) from error
    return False


class Writer:
    """Writes a capture: ``with Writer("storm.jsonl.zst") as capture: capture.write("readings.flood", …)``."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._file = open_binary(path, "wb")
        except OSError as error:
            raise InputError(f"cannot write the capture: {error.strerror}", file=path) from error
        self._encode = msgspec.json.Encoder().encode

    def write(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        *,
        timestamp: int | None = None,
        partition: int | None = None,
        offset: int | None = None,
        headers: Any = None,
    ) -> None:
        """Appends a record; a value that is not JSON text on one line goes in as base64."""
        line = Line(topic, key, timestamp=timestamp, partition=partition, offset=offset, headers=headers)
        if value is not None:
            if b"\n" not in value and _is_json(value):
                line.value = msgspec.Raw(value)
            else:
                line.raw = base64.b64encode(value).decode()
        self._file.write(self._encode(line) + b"\n")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _is_json(value: bytes) -> bool:
    try:
        value.decode()
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
