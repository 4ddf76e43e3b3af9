"""A record of the log, many of them as columns, and the partition that a key belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, overload

import numpy as np
from aiokafka.partitioner import murmur2
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Headers = tuple[tuple[str, bytes], ...]
_AT = ord("@")


class Record(NamedTuple):
    """One record of a topic; field names are those of aiokafka's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None  # ms since the epoch, by the broker (live) or from the capture
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Records(Sequence[Record]):
    """Records as columns, and the text that they came in: a ``Record`` is made when one is looked at.

    ``topic``: its number in ``topics``; ``stamp``: in ms, -1 for none; ``spans``: begin and size of the key and of the
    value in ``text``, size -1 for none. ``framed``: the text is Kafka's, where a record's headers come after its value;
    they are read where the key begins with ``@``, as no zone's does. ``scanned``: a scanner and what it found in them,
    where one has been at them (``sensors.scanner.scan``).
    """

    __slots__ = ("framed", "offset", "partition", "scanned", "spans", "stamp", "text", "topic", "topics")

    def __init__(
        self,
        topics: Sequence[str],
        text: bytes,
        topic: Integers,
        partition: Integers,
        offset: Integers,
        stamp: Integers,
        spans: Integers,
        framed: bool = False,
    ) -> None:
        """``spans`` has a row of four for each record; the others are columns of one."""
        self.topics, self.text, self.topic, self.partition, self.framed = topics, text, topic, partition, framed
        self.offset, self.stamp, self.spans = offset, np.ascontiguousarray(stamp), np.ascontiguousarray(spans)
        self.scanned: tuple[Any, Any] = None, None

    def __len__(self) -> int:
        return len(self.offset)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: Any) -> Record | Records:
        if isinstance(index, slice):
            return self.take(index)
        stamp, spans = self.stamp.item(index), self.spans
        key, key_size = spans.item(index, 0), spans.item(index, 1)
        value, value_size = spans.item(index, 2), spans.item(index, 3)
        return Record(
            self.topics[self.topic.item(index)],
            self.partition.item(index),
            self.offset.item(index),
            None if stamp < 0 else stamp,
            None if key_size < 0 else self.text[key : key + key_size],
            None if value_size < 0 else self.text[value : value + value_size],
            self._headers(key, key_size, value, value_size) if self.framed else (),
        )

    def __iter__(self) -> Iterator[Record]:
        columns = (self.topic, self.partition, self.offset, self.stamp, self.spans)
        text, topics, framed = self.text, self.topics, self.framed
        for topic, partition, offset, stamp, span in zip(*(column.tolist() for column in columns), strict=True):
            at, size, value, value_size = span
            yield Record(
                topics[topic],
                partition,
                offset,
                None if stamp < 0 else stamp,
                None if size < 0 else text[at : at + size],
                None if value_size < 0 else text[value : value + value_size],
                self._headers(at, size, value, value_size) if framed else (),
            )

    def _headers(self, key: int, key_size: int, value: int, value_size: int) -> Headers:
        if key_size < 1 or self.text[key] != _AT or value_size < 0:
            return ()
        return _headers(self.text, value + value_size)

    def take(self, rows: Any) -> Records:
        """Some of them, by a slice, their numbers or a mask."""
        columns = (self.topic[rows], self.partition[rows], self.offset[rows], self.stamp[rows], self.spans[rows])
        return Records(self.topics, self.text, *columns, self.framed)

    def insert(self, at: list[int], text: bytes, stamps: list[int], spans: list[list[int]]) -> Records:
        """With more records of the same topic in partition 0, each before the record ``at`` that number.

        ``text`` begins with this one's.
        """
        if not at:
            return self
        topic, partition = (np.insert(column, at, 0) for column in (self.topic, self.partition))
        topic[:] = self.topic[0] if len(self) else 0
        offset, stamp = np.insert(self.offset, at, -1), np.insert(self.stamp, at, stamps)
        return Records(self.topics, text, topic, partition, offset, stamp, np.insert(self.spans, at, spans, axis=0))


def _headers(text: bytes, at: int) -> Headers:
    """The headers of a record in Kafka's batch, which begin there; none where they cannot be read."""
    found: list[tuple[str, bytes]] = []
    try:
        count, at = _varint(text, at)
        for _ in range(count):
            size, at = _varint(text, at)
            name, at = text[at : at + size], at + size
            size, at = _varint(text, at)
            found.append((name.decode(), text[at : at + max(size, 0)]))
            at += max(size, 0)
    except (IndexError, UnicodeDecodeError):
        return ()
    return tuple(found)


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint, and where it ends."""
    number = shift = 0
    while text[at] & 0x80:
        number |= (text[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > 28:
            raise IndexError
    number |= text[at] << shift
    return number >> 1 ^ -(number & 1), at + 1


def first_and_last(records: Sequence[Record]) -> tuple[int, int]:
    """The offsets of the first and the last of records, of which there is one at least."""
    if isinstance(records, Records):
        return records.offset.item(0), records.offset.item(-1)
    return records[0].offset, records[-1].offset


def with_key(records: Sequence[Record], key: bytes) -> list[int]:
    """The numbers of the records that have this key."""
    if not isinstance(records, Records):
        return [number for number, record in enumerate(records) if record.key == key]
    rows = np.flatnonzero(records.spans[:, 1] == len(key)).tolist()
    return [row for row in rows if records[row].key == key]


@lru_cache(maxsize=1 << 13)  # zones are few, and the hash is slow
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key by Kafka's default hash, the one that every Java client uses."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
