"""The compiled reader of clean SenML packs (sensors/_packs.c); sensors/scanner.py says what it does."""

from collections.abc import Sequence
from typing import Any

from sensors.record import Record

class Scanner:
    def __init__(
        self,
        names: Sequence[bytes],
        zone_of: Sequence[int],
        zones: Sequence[bytes],
        unit: bytes | None,
        truths: bool,
    ) -> None: ...
    def scan(self, records: Sequence[Record]) -> tuple[Any, Any, Any, Any, Any]:
        """The columns of ``Scanned``, as bytes."""

    def scan_text(self, text: bytes, spans: Any, stamps: Any) -> tuple[Any, Any, Any, Any, Any]:
        """The same of records in a text; a row of ``spans``: begin and size of the key and of the value (-1: none)."""

def latest_time(pack: bytes) -> int | None:
    """The largest time in a clean pack, in ms; None where it is not clean, or has none before the year 10000."""

def capture_lines(text: bytes, start: int, topics: tuple[bytes, ...], partitions: int) -> tuple[int, bytes]:
    """Reads lines of a capture from ``start`` on, up to one that is not as ``capture.Writer`` writes it with a clean
    pack; gives where that one begins, and a row of 64-bit integers for each line: the number of its topic, partition,
    timestamp and time in ms (-1: none), and the spans of key and value.
    """

def kafka_records(text: bytes, start: int, stop: int, offset: int) -> bytes | None:
    """Reads the Kafka batches in text[start:stop], all of magic 2 and neither compressed nor control: a row of 64-bit
    integers for each record from ``offset`` on, its offset, its timestamp in ms, and the spans of key and value (size
    -1: none). None where they are broken, or their checksum is wrong.
    """

def crc32c(text: bytes, plainly: bool) -> int:
    """The checksum of Kafka's batches; ``plainly``: without the processor's instruction for it."""
