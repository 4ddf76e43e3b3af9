"""What the topics of the on-call part have in common: JSON with its keys sorted, times as ISO 8601 in UTC to the ms."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from alerts.alert import iso

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def time_ms(value: object) -> int:
    """``2024-05-04T05:20:00.000Z`` as ms since 1970; a time that is in ms already stays. ValueError for anything
    else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        raise ValueError(f"{value!r} is not a time; write 2024-05-04T05:20:00.000Z")
    return round(datetime.fromisoformat(value).timestamp() * 1000)


Time = Annotated[
    int,
    BeforeValidator(time_ms),
    PlainSerializer(iso, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Message(BaseModel):
    """A record's value. The same message is the same bytes; what is None is left out. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def value(self) -> bytes:
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, value: bytes | str) -> Self:
        """pydantic's ValidationError (a ValueError) says what is wrong with it."""
        return cls.model_validate_json(value)


class Words(Message):
    """One sentence for people, in Chinese and English."""

    zh: str
    en: str
