"""Kafka's messages as kio has them, in whatever version a client speaks: an answer is given as a dictionary."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any, get_args, get_type_hints

from kio import index
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

_request_kind, _response_kind = cache(index.load_request_schema), cache(index.load_response_schema)
_NOTHING = {"error_code": ErrorCode.none, "timedelta_i32": timedelta(), "bool": False}


def request(key: int, version: int, frame: bytes) -> Any:
    """The body of a request; what kio raises when it is none."""
    kind = _request_kind(key, version)
    _, size = entity_reader(kind.__header_schema__)(frame, 0)
    body, _ = entity_reader(kind)(frame, size)
    return body


def answer(key: int, version: int, correlation: int, fields: Mapping[str, Any]) -> bytes:
    """The answer as it is sent, its length in front. What this version does not have is left out; an error code and
    a time that are not given are none.
    """
    kind = _response_kind(key, version)
    buffer = io.BytesIO(bytes(4))
    buffer.seek(4)
    entity_writer(kind.__header_schema__)(buffer, filled(kind.__header_schema__, {"correlation_id": correlation}))
    entity_writer(kind)(buffer, filled(kind, fields))
    data = buffer.getbuffer()
    data[:4] = (len(data) - 4).to_bytes(4)
    return bytes(data)


def filled(kind: Any, fields: Mapping[str, Any]) -> Any:
    """An entity of this kind; lists of entities are given as dictionaries, or as they are."""
    values = {}
    for name, item, nothing in _shape(kind):
        if name not in fields:
            if nothing is not dataclasses.MISSING:
                values[name] = nothing
        elif item is None:
            values[name] = fields[name]
        else:
            values[name] = tuple(filled(item, one) if isinstance(one, dict) else one for one in fields[name])
    return kind(**values)


@cache
def _shape(kind: Any) -> list[tuple[str, Any, Any]]:
    """Of each field its name, the kind of its items if they are entities, and what it is if it is not given."""
    shape = []
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        items = [one for one in get_args(hints[field.name]) if dataclasses.is_dataclass(one)]
        nothing = _NOTHING.get(field.metadata.get("kafka_type", ""), dataclasses.MISSING)
        shape.append((field.name, items[0] if items else None, () if items else nothing))
    return shape
