"""Captures: what was published, a line a record, in log order (JSON Lines, plain, ``.gz`` or ``.zst``)."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from sensors import compressed
from sensors.errors import InputError

BLOCK = 1 << 22  # bytes
_LATEST = 1 << 53  # ms; a timestamp beyond is a mistake


class Line(msgspec.Struct, omit_defaults=True):
    """One record: ``value`` is the pack as JSON text, or ``raw`` its base64 where it is not JSON.

    ``timestamp`` is in ms since the epoch; ``number`` is the line's number in the file, from 1.
    """

    topic: str
    key: str | None = None
    value: msgspec.Raw = msgspec.Raw()
    raw: str | None = None
    timestamp: Annotated[int, msgspec.Meta(ge=-_LATEST, le=_LATEST)] | None = None
    partition: int | None = None
    offset: int | None = None
    headers: Any = None

    def payload(self) -> bytes | None:
        """The record's value as it was on the topic."""
        if self.raw is None:
            return bytes(self.value) or None
        return base64.b64decode(self.raw, validate=True)

    def record_headers(self) -> tuple[tuple[str, bytes], ...]:
        """The record's headers, those that are text."""
        if not isinstance(self.headers, dict):
            return ()
        return tuple((name, value.encode()) for name, value in self.headers.items() if isinstance(value, str))


def read(path: str | Path) -> Iterator[Line]:
    """The lines of a capture, in order; InputError with file and line where one is broken."""
    for first, text in blocks(path):
        for _, line in lines(text, first, path):
            yield line


def blocks(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """A capture in blocks of whole lines, each with the number of its first line."""
    number = 1
    try:
        with compressed.open_binary(path) as file:
            head = file.read(len(compressed.BOM))
            rest = b"" if head == compressed.BOM else head
            while block := file.read(BLOCK):
                end = block.rfind(b"\n") + 1
                if end:
                    text, rest = rest + block[:end], block[end:]
                    yield number, text
                    number += text.count(b"\n")
                else:
                    rest += block
            if rest:
                yield number, rest
    except compressed.ERRORS as error:
        what = f"cannot read the capture: {compressed.reason(error)}"
        raise InputError(what, file=path, line=number if number > 1 else None) from error


def lines(text: bytes, first: int, path: str | Path) -> Iterator[tuple[int, Line]]:
    """The lines of a block, which begins with line number ``first``, and their numbers."""
    decode = msgspec.json.Decoder(Line).decode
    number = first
    try:
        for number, one in enumerate(io.BytesIO(text), first):
            if one.isspace():
                continue
            line = decode(one)
            if line.raw is not None:
                line.payload()
            yield number, line
    except (msgspec.DecodeError, binascii.Error, RecursionError) as error:
        hint = 'a line is {"topic": …, "key": …, "value": […]}'
        raise InputError(f"broken line: {error}", file=path, line=number, hint=hint) from error


def contains(path: str | Path, text: bytes) -> bool:
    """Whether the bytes occur anywhere in the capture."""
    try:
        with compressed.open_binary(path) as file:
            tail = b""
            while chunk := file.read(1 << 22):
                if text in tail + chunk:
                    return True
                tail = chunk[-len(text) :]
    except compressed.ERRORS as error:
        raise InputError(f"cannot read the capture: {compressed.reason(error)}", file=path) from error
    return False


class Writer:
    """Writes a capture: ``with Writer("storm.jsonl.zst") as capture: capture.write("readings.flood", …)``."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._file = compressed.open_binary(path, "wb")
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
