"""A reading or a record that cannot be used, with the reason, for ``readings.rejected``."""

from __future__ import annotations

import base64
import sys
from typing import Any, Final

import msgspec

from sensors.record import Record
from sensors.senml import as_json

RAW_LIMIT = 65_536  # bytes
_KEY_LIMIT = 1_024  # bytes; a record's key comes with each of its readings
_DETAIL_LIMIT = 500  # characters
_SIZE: Final = 400  # bytes of the object, its texts' and its reading's heads
REASONS = ("malformed", "unknown_sensor", "wrong_zone", "wrong_quantity", "out_of_range", "future", "forged")
_WHOLE_RECORD: Final = object()


class Rejected:
    """``reading`` is the SenML record; without one it is the whole record, whose first 64 KiB are kept as base64.

    Nothing else is kept of the record but where it is, and its key up to 1 KiB: no zone's is longer.
    """

    __slots__ = ("_raw", "_record_size", "detail", "key", "offset", "partition", "reading", "reason", "topic")

    def __init__(self, reason: str, detail: str, topic: str, record: Record, reading: Any = _WHOLE_RECORD) -> None:
        self.reason, self.detail, self.topic, self.reading = reason, detail[:_DETAIL_LIMIT], topic, reading
        self.partition, self.offset = record.partition, record.offset
        self.key = None if record.key is None else bytes(record.key[:_KEY_LIMIT])
        self._raw, self._record_size = b"", len(record.value or b"")
        if reading is _WHOLE_RECORD and record.value is not None:
            self._raw = bytes(record.value[:RAW_LIMIT])

    @property
    def size(self) -> int:
        """What it keeps in memory, in bytes, about."""
        size = _SIZE + len(self.detail) + len(self.key or b"") + len(self._raw)
        return size if self.reading is _WHOLE_RECORD else size + _weight(self.reading)

    @property
    def value(self) -> bytes:
        """The JSON for the topic."""
        body: dict[str, Any] = {
            "reason": self.reason,
            "detail": self.detail.encode("utf-8", "replace").decode(),
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "key": None if self.key is None else self.key.decode("utf-8", "replace"),
        }
        if self.reading is _WHOLE_RECORD:
            body |= {"raw": base64.b64encode(self._raw).decode(), "size": self._record_size}
        else:
            body["reading"] = msgspec.Raw(as_json(self.reading))
        return msgspec.json.encode(body)


def _weight(item: Any) -> int:
    """Bytes of what JSON has become, which is nested no deeper than ``senml.load`` lets it be."""
    size = sys.getsizeof(item)
    if isinstance(item, dict):
        return size + sum(_weight(key) + _weight(one) for key, one in item.items())
    if isinstance(item, list):
        return size + sum(map(_weight, item))
    return size
