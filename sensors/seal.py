"""The seal of the clock: who may write readings may write a record that looks like a tick, and cannot seal it.

A tick, and an announcement of new rules, carries a header ``seal``: HMAC-SHA256, in hex, over its topic (without
prefix), partition, key and value. So one that is repeated elsewhere does not hold, and where it was it says nothing
new: its time is in its value. ``KAPOK_CLOCK_KEY_FILE`` names a file with a key a line, each 32 bytes or more in hex:
the first seals, all of them are believed. Without a key nothing is sealed and everything is believed, as recorded.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from sensors.announcement import RULES_KEY
from sensors.errors import InputError
from sensors.record import Record
from sensors.senml import CLOCK_NAME

HEADER = "seal"
KEY_FILE = "KAPOK_CLOCK_KEY_FILE"
SEALED = (CLOCK_NAME.encode(), RULES_KEY)  # the keys of records that it is for
_SHORTEST = 32  # bytes

Header = tuple[str, bytes]


class Seal:
    """Seals with the first of the keys, and knows what was sealed with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def read(cls, file: Path) -> Seal:
        """With the keys in a file; InputError where it holds none, which does not show what it holds."""
        try:
            keys = [bytes.fromhex(line) for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
        except OSError as error:
            raise InputError(f"cannot read the clock's key: {error.strerror}", file=file, hint=KEY_FILE) from error
        except ValueError:
            keys = []
        if not keys or min(map(len, keys)) < _SHORTEST:
            raise InputError(
                f"not a key of {_SHORTEST} bytes in hex on each line", file=file, hint="openssl rand -hex 32"
            )
        return cls(keys)

    @classmethod
    def configured(cls) -> Seal | None:
        """That of the environment, None where there is none."""
        file = os.environ.get(KEY_FILE)
        return cls.read(Path(file)) if file else None

    def header(self, topic: str, partition: int, key: bytes, value: bytes) -> Header:
        """The header for a record; ``topic`` has no prefix."""
        return HEADER, _mac(self._keys[0], topic, partition, key, value)

    def sealed(self, record: Record) -> Record:
        """A record of a topic without prefix, sealed where it is of the clock or announces rules."""
        if record.key not in SEALED or record.value is None:
            return record
        return record._replace(headers=(self.header(record.topic, record.partition, record.key, record.value),))

    def holds(self, topic: str, record: Record) -> bool:
        """Whether a record of the clock or of new rules is sealed for this topic and its partition."""
        found = next((value for name, value in record.headers if name == HEADER), None)
        if found is None or record.key is None or record.value is None:
            return False
        where = topic, record.partition, bytes(record.key), bytes(record.value)
        return any(hmac.compare_digest(bytes(found), _mac(key, *where)) for key in self._keys)


def forget_key() -> None:
    """For commands that write a clock of their own, for themselves and the processes that they start."""
    os.environ.pop(KEY_FILE, None)


def _mac(secret: bytes, topic: str, partition: int, key: bytes, value: bytes) -> bytes:
    return hmac.digest(secret, b"%s/%d/%s/%s" % (topic.encode(), partition, key, value), "sha256").hex().encode()
