"""What was fetched of the partitions, unpacked as it comes in, and waiting to be folded.

aiokafka asks a broker for more of a partition only when all that came of it is taken, and while something waits it
holds back its next fetch for all others. So what comes in is put on a shelf at once, the partition goes into the next
fetch, and fetching and folding overlap. A partition that has something on the shelf waits with its next
fetch as aiokafka would have it: that bounds the memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import numpy as np
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from sensors.record import Integers, Record, Records

try:
    from sensors._packs import kafka_records
except ImportError:

    def kafka_records(text: bytes, start: int, stop: int, offset: int) -> bytes | None:
        """Without it, records are unpacked one by one."""
        return None


_PIECE: Final = 5000  # records
_AT_ONCE: Final = 4_000_000  # bytes that are taken from the shelf at a time, about
_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long


class _Memory:
    """What was fetched of a partition: aiokafka's batches, and the bytes that they are made from."""

    def __init__(self, data: bytes) -> None:
        self.data, self._batches = data, MemoryRecords(data)
        self.has_next, self.next_batch = self._batches.has_next, self._batches.next_batch
        self.size_in_bytes = self._batches.size_in_bytes


fetcher.MemoryRecords = _Memory


class _Records(fetcher.PartitionRecords):
    """A fetched partition, unpacked as columns where its batches are plain, else into light records: aiokafka takes
    twice as long over each of its own.
    """

    next_fetch_offset: int
    _records: _Memory

    def start(self) -> None:
        self._pieces = self._unpack_pieces()
        self._following = self.next_fetch_offset  # the offset after what was unpacked

    def take(self) -> Sequence[Record]:
        """The next piece; one may be empty."""
        taken = next(self._pieces, ())
        self.next_fetch_offset = self._following
        return taken

    @property
    def more(self) -> bool:
        return bool(self._records.has_next())

    def _unpack_pieces(self) -> Iterator[Sequence[Record]]:
        """Neighbouring batches that are plain together, and the others together up to the size of a run."""
        data, end = self._records.data, 0
        while self._records.has_next():
            begin, plain, batches = end, _plain(data, end), []
            records: list[Record] = []
            while self._records.has_next() and _plain(data, end) == plain and len(records) < _PIECE:
                batch = self._records.next_batch()
                end += 12 + int.from_bytes(data[end + 8 : end + 12], "big")
                batches.append(batch)
                if not plain and not batch.is_control_batch:
                    records += self._unpacked(batch)
            self._following = batches[-1].next_offset
            columns = kafka_records(data, begin, end, self.next_fetch_offset) if plain else b""
            if columns:
                yield self._as_columns(np.frombuffer(columns, np.int64).reshape(-1, 6))
            elif columns is None:
                yield [record for batch in batches for record in self._unpacked(batch)]
            else:
                yield records

    def _as_columns(self, rows: Integers) -> Records:
        same = np.zeros(len(rows), np.int64)
        return Records(
            (self._tp.topic,),
            self._records.data,
            same,
            same + self._tp.partition,
            rows[:, 0],
            rows[:, 1],
            rows[:, 2:],
            framed=True,
        )

    def _unpacked(self, batch: Any) -> Iterator[Record]:
        topic, partition = self._tp
        if not batch.validate_crc():
            raise CorruptRecordException(f"{topic} partition {partition}: a wrong checksum")
        for one in batch:
            if one.offset >= self.next_fetch_offset:  # a batch comes as a whole, wherever it is sought
                fields = topic, partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers)
                yield _new(Record, fields)


def _size(piece: Sequence[Record]) -> int:
    """Bytes of the values."""
    if isinstance(piece, Records):
        return int(piece.spans[:, 3].sum())
    return sum(len(record.value or b"") for record in piece)


def _plain(data: bytes, at: int) -> bool:
    """Whether the batch there is of magic 2, not compressed, and not a transaction's marker."""
    return data[at + 16] == 2 and not data[at + 22] & 0b100111


class Prefetched(OrderedDict[TopicPartition, Any]):
    """aiokafka's fetched partitions, with a shelf before them.

    The dictionary belongs to the consumer's thread, which fills the shelf; from the shelf another thread takes.
    """

    def __init__(self, look_ahead: Callable[[Any, Sequence[Record]], None]) -> None:
        """``look_ahead`` is shown what comes onto the shelf, in the consumer's thread."""
        super().__init__()
        self._look_ahead = look_ahead
        self._lock = threading.Lock()
        self._shelf: dict[TopicPartition, tuple[Any, Sequence[Record]]] = {}  # with aiokafka's assignment
        self._held: set[TopicPartition] = set()
        self._failed: dict[TopicPartition | None, Exception] = {}  # None: no partition's alone
        self.came = 0  # bytes, so far

    def __setitem__(self, place: TopicPartition, result: Any) -> None:
        if isinstance(result, fetcher.FetchResult):
            self.came += result._partition_records._records.size_in_bytes()
            result._partition_records.__class__ = _Records
            result._partition_records.start()
            if place not in self._shelf:
                self._shelve(place, result)
                return
        super().__setitem__(place, result)
        if isinstance(result, fetcher.FetchError):
            with self._lock:
                if place not in self._held:
                    self._failed[place] = result._error

    def clear(self) -> None:
        super().clear()
        with self._lock:
            self._shelf.clear()
            self._failed = {place: error for place, error in self._failed.items() if place is None}

    def refill(self) -> bool:
        """Fills the shelf up with what waited, and forgets errors, so that their partitions are fetched again; whether
        there was anything of that.
        """
        found = [(p, one) for p, one in self.items() if isinstance(one, fetcher.FetchError) or p not in self._shelf]
        for place, result in found:
            del self[place]
            if not isinstance(result, fetcher.FetchError):
                self._shelve(place, result)
        return bool(found)

    def fail(self, error: Exception) -> None:
        """Something went wrong that is no partition's alone."""
        with self._lock:
            self._failed[None] = error

    def release(self, place: TopicPartition) -> None:
        """What is fetched from now on may be taken."""
        with self._lock:
            self._held.discard(place)
            self._shelf.pop(place, None)

    # For the thread that takes.
    def hold(self, place: TopicPartition) -> None:
        """Lets go of what is on the shelf, of what went wrong, and of all that comes until ``release``: something else
        is sought.
        """
        with self._lock:
            self._held.add(place)
            self._shelf.pop(place, None)
            self._failed.pop(place, None)

    def take(self, places: Collection[TopicPartition]) -> dict[TopicPartition, Sequence[Record]]:
        """What the shelf has of these, the oldest first, and not all if that is much: what is on its way to the folds
        is as much whatever the number of partitions. If it has nothing, what went wrong with them is raised.
        """
        taken, size = {}, 0
        with self._lock:
            for place in [place for place in self._shelf if place in places]:
                if size >= _AT_ONCE:
                    break
                assignment, piece = self._shelf.pop(place)
                if assignment.active:
                    taken[place] = piece
                    size += _size(piece)
            if not taken:
                for failed in self._failed:
                    if failed is None or failed in places:
                        raise self._failed.pop(failed)
        return taken

    @property
    def waiting(self) -> bool:
        """Whether there may be something for ``refill`` to do."""
        return bool(self)

    def _shelve(self, place: TopicPartition, result: Any) -> None:
        records: _Records = result._partition_records
        try:
            while place not in self._held and result.check_assignment(place) and records.more:
                piece = records.take()
                result._update_position()
                if piece:
                    self._look_ahead(place, piece)
                    with self._lock:
                        if place not in self._held:
                            self._shelf[place] = result._assignment, piece
                    break
        except Exception as error:  # raised where records are taken
            self[place] = fetcher.FetchError(error=error, backoff=0)
        else:
            if place not in self._held and result.has_more() and records.more:
                super().__setitem__(place, result)
