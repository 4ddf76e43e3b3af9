"""A record of the log, and the partition its key belongs to."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from aiokafka.partitioner import murmur2


class Record(NamedTuple):
    """One record of a topic; field names are those of aiokafka's ConsumerRecord, which can stand in for it."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None  # ms since the epoch, by the broker (live) or from the capture
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@lru_cache(maxsize=1 << 16)  # keys are few, and the hash is slow
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key by Kafka's default hash, the one that every Java client uses."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
