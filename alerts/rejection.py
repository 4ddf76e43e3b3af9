"""A reading or a record that cannot be used, with the reason, for ``readings.rejected``."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from sensors.record import Record
from sensors.senml import as_json

RAW_LIMIT = 65_536  # bytes
_KEY_LIMIT = 1_024  # bytes; a record's key comes with each of its readings
_DETAIL_LIMIT = 500  # characters
REASONS = ("malformed", "unknown_sensor", "wrong_zone", "wrong_quantity", "out_of_range", "future", "forged")
_WHOLE_RECORD = object()


class Rejected:
    """``reading`` is the SenML record; without one it is the whole record, whose first 64 KiB are kept as base64.

    A record's key is kept up to 1 KiB: no zone's is longer.
    """

    __slots__ = ("detail", "reading", "reason", "record", "topic")

    def __init__(self, reason: str, detail: str, topic: str, record: Record, reading: Any = _WHOLE_RECORD) -> None:
        self.reason, self.topic, self.record, self.reading = reason, topic, record, reading
        self.detail = detail[:_DETAIL_LIMIT]

    @property
    def key(self) -> bytes | None:
        return None if self.record.key is None else self.record.key[:_KEY_LIMIT]

    @property
    def value(self) -> bytes:
        """The JSON for the topic."""
        record = self.record
        body: dict[str, Any] = {
            "reason": self.reason,
            "detail": self.detail.encode("utf-8", "replace").decode(),
            "topic": self.topic,
            "partition": record.partition,
            "offset": record.offset,
            "key": None if self.key is None else bytes(self.key).decode("utf-8", "replace"),
        }
        if self.reading is _WHOLE_RECORD:
            raw = bytes(record.value or b"")
            body |= {"raw": base64.b64encode(raw[:RAW_LIMIT]).decode(), "size": len(raw)}
        else:
            body["reading"] = msgspec.Raw(as_json(self.reading))
        return msgspec.json.encode(body)
