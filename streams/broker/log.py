"""A partition of the embedded broker: record batches as producers made them, one after the other in memory."""

from __future__ import annotations

import asyncio
import struct
import time
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch
from crc32c import crc32c
from kio.schema.errors import ErrorCode

LATEST, EARLIEST = -1, -2  # what a client asks for as a timestamp
# Base offset, length, leader's epoch, magic, CRC, attributes, last offset's delta, first and largest timestamp,
# producer's id, its epoch, its sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_AFTER_LENGTH, _CRC, _ATTRIBUTES, _MAX_TIMESTAMP = 12, 17, 21, 35
_BROKERS_TIME = 8  # a bit of the attributes: LogAppendTime
_REMEMBERED = 5  # batches of a producer; no more may be under way


class Refused(Exception):
    """A request, or the part of one that is about this partition, gets this code for an answer."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass
class _Sequences:
    """Of an idempotent producer: the sequence that comes next, and the offsets of its last batches by theirs."""

    coming: int
    offsets: dict[int, int] = field(default_factory=dict)


class Log:
    """``brokers_time``: its records are stamped as they come in."""

    def __init__(self, brokers_time: bool = False) -> None:
        self.end = 0
        self.waiting: set[asyncio.Future[None]] = set()  # done when there is more
        self._brokers_time = brokers_time
        self._data = bytearray()  # not an object a batch: the garbage collector would look at each, ever again
        self._places = array("q", [0])  # where each batch begins, and the next one will
        self._starts, self._latest = array("q"), array("q")  # first offsets; the largest of all times so far
        self._producers: dict[tuple[int, int], _Sequences] = {}

    def append(self, data: bytes) -> int:
        """The offset of the first record. Refused when these are not whole batches, or not a producer's next."""
        first, at = -1, 0
        while at < len(data):
            if len(data) - at < _HEADER.size:
                raise Refused(ErrorCode.corrupt_message)
            header = _HEADER.unpack_from(data, at)
            _, length, _, magic, _, _, delta, _, latest, producer, epoch, sequence, count = header
            size = _AFTER_LENGTH + length
            if magic != 2 or not _HEADER.size <= size <= len(data) - at or delta < 0:
                raise Refused(ErrorCode.corrupt_message)
            again = self._again(producer, epoch, sequence, count) if producer >= 0 else None
            if again is None:
                self._store(data[at : at + size], delta, latest)
            if first < 0:
                first = self._starts[-1] if again is None else again
            at += size
        for one in self.waiting:
            if not one.done():
                one.set_result(None)
        return first

    def read(self, offset: int, most: int) -> bytes:
        """Whole batches, the record of the offset in the first; at least that one, else ``most`` bytes."""
        if not 0 <= offset <= self.end:
            raise Refused(ErrorCode.offset_out_of_range)
        if offset == self.end:
            return b""
        first = bisect_right(self._starts, offset) - 1
        begin = self._places[first]
        after = max(bisect_right(self._places, begin + most) - 1, first + 1)
        return bytes(memoryview(self._data)[begin : self._places[after]])

    def find(self, timestamp: int) -> tuple[int, int]:
        """The offset and the time of the first record that is not earlier; -1, -1 if there is none."""
        if timestamp in (LATEST, EARLIEST):
            return (self.end if timestamp == LATEST else 0), -1
        at = bisect_left(self._latest, timestamp)
        if at == len(self._latest):
            return -1, -1
        try:
            batch = DefaultRecordBatch(self.read(self._starts[at], 1))
            return next((one.offset, one.timestamp) for one in batch if one.timestamp >= timestamp)
        except UnsupportedCodecError:  # zstd is what Python's wheels bring along
            raise Refused(ErrorCode.unsupported_compression_type) from None

    def _store(self, batch: bytes, delta: int, latest: int) -> None:
        place = len(self._data)
        self._data += batch
        struct.pack_into(">q", self._data, place, self.end)
        if self._brokers_time:
            latest = time.time_ns() // 1_000_000
            attributes = int.from_bytes(batch[_ATTRIBUTES : _ATTRIBUTES + 2]) | _BROKERS_TIME
            struct.pack_into(">h", self._data, place + _ATTRIBUTES, attributes)
            struct.pack_into(">q", self._data, place + _MAX_TIMESTAMP, latest)
            struct.pack_into(">I", self._data, place + _CRC, crc32c(self._data[place + _ATTRIBUTES :]))
        self._starts.append(self.end)
        self._places.append(len(self._data))
        self._latest.append(max(latest, self._latest[-1] if self._latest else latest))
        self.end += delta + 1

    def _again(self, producer: int, epoch: int, sequence: int, count: int) -> int | None:
        """Where a batch is that was sent before; None for the next one."""
        known = self._producers.setdefault((producer, epoch), _Sequences(sequence))
        if sequence in known.offsets:
            return known.offsets[sequence]
        if sequence != known.coming:
            raise Refused(ErrorCode.out_of_order_sequence_number)
        known.coming = (sequence + count) % 2**31
        known.offsets[sequence] = self.end
        if len(known.offsets) > _REMEMBERED:
            del known.offsets[next(iter(known.offsets))]
        return None
