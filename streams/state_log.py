"""The state of the folds, written behind to a compacted topic, and read back when a partition is taken over.

Partition p of the ``state`` topic holds what the fold of partition p knows, as rows by key; one row,
``@partition``, says up to which offsets the readings are in. A Faust Table would do the same job at 170
µs a write, one record at a time, with its own idea of when it is current; here a checkpoint is one record
batch, which the broker appends as a whole, so the rows of one moment are there together or not at all.

Each time a partition is taken over its rows are written anew under a name of their own (a *set*), and the
older sets are deleted. A worker that was cut off, does not know it yet and still writes therefore writes
to its own set: its successor's rows stay as they are. A set counts if it has as many rows as its
``@partition`` row says (one half deleted, or cut short, has not). Every set that counts is the state of
one moment, from which the same alerts follow; the most advanced one is taken.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from sensors.connection import connection
from sensors.errors import RunError
from streams.failure import kafka_errors
from streams.patience import patient
from streams.reading import FETCH_MAX_WAIT_MS, consuming
from streams.topics import STATE_BATCH_BYTES

PARTITION_ROW = b"@partition"
FORMAT = b"1"  # of keys, headers and sets; what is in a row is the fold's own matter

Rows = dict[bytes, bytes]


class Snapshot:
    """What is to be restored of one partition, and the keys that are in its way in the topic."""

    def __init__(self, rows: Rows, keys: list[bytes]) -> None:
        self.rows, self.keys = rows, keys


class StateWriter:
    """Writes the rows of one partition; begins a set of its own with the first write."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int, found: Snapshot) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._rows = dict(found.rows)
        self._obsolete = list(found.keys)
        self._set: bytes | None = None

    @property
    def rows(self) -> int:
        """How many rows the state has."""
        return len(self._rows)

    @property
    def size(self) -> int:
        """Bytes in them."""
        return sum(map(len, self._rows.values()))

    async def write(self, changed: Mapping[bytes, bytes | None]) -> None:
        """Writes rows that changed (None: no longer there); returns when the broker has them.

        ``@partition`` is among them.
        """
        for key, value in changed.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        if self._set is not None:
            batches = self._batches(self._set, changed.items())
            if len(batches) == 1:
                await self._append(batches[0])
                return
            self._obsolete = [self._set + b"/" + key for key in {*self._rows, *changed}]
        # Too much for one batch, or the first time: a new set, its @partition row last, then away with
        # the old ones.
        self._set = b"%x-%s" % (time.time_ns() // 1_000_000, os.urandom(4).hex().encode())
        for batch in self._batches(self._set, self._rows.items()):
            await self._append(batch)
        for batch in self._packed((key, None, []) for key in self._obsolete):
            await self._append(batch)
        self._obsolete = []

    def _batches(self, name: bytes, rows: Iterable[tuple[bytes, bytes | None]]) -> list[Any]:
        ordered = sorted(rows, key=lambda row: row[0] == PARTITION_ROW)
        header = [("format", FORMAT), ("rows", b"%d" % len(self._rows))]
        return self._packed(
            (name + b"/" + key, value, header if key == PARTITION_ROW else []) for key, value in ordered
        )

    def _packed(self, records: Iterable[tuple[bytes, bytes | None, list[tuple[str, bytes]]]]) -> list[Any]:
        batches: list[Any] = []
        for key, value, headers in records:
            record = {"timestamp": None, "key": key, "value": value, "headers": headers}
            if batches and batches[-1].append(**record) is not None:
                continue
            batches.append(self._producer.create_batch())
            if batches[-1].append(**record) is None:
                raise RunError(f"a row of state is too large ({len(value or b'')} bytes): {key!r}")
        for batch in batches:
            batch.close()
        return batches

    async def _append(self, batch: Any) -> None:
        await (await self._producer.send_batch(batch, self._topic, partition=self._partition))


def state_producer(broker: str) -> AIOKafkaProducer:
    """A producer whose batches are as large as a checkpoint may be."""
    producer = AIOKafkaProducer(
        **connection(broker),
        acks="all",
        max_batch_size=STATE_BATCH_BYTES,
        max_request_size=2 * STATE_BATCH_BYTES,
    )
    patient(producer.client)
    return producer


class StateReader:
    """Reads a ``state`` topic from its beginning on; each call of ``poll`` takes in what is new.

    ``consumer`` is its connection, free for other reading once the state has been read.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, partitions: Iterable[int]) -> None:
        self.consumer = consumer
        self._tps = [TopicPartition(topic, partition) for partition in partitions]
        self._sets: dict[int, dict[bytes, Rows]] = {tp.partition: defaultdict(dict) for tp in self._tps}
        self._sizes: dict[tuple[int, bytes], int] = {}

    async def catch_up(self) -> None:
        """Reads up to where the topic ends now."""
        ends = await self.consumer.end_offsets(self._tps)
        while any([await self.consumer.position(tp) < end for tp, end in ends.items()]):
            await self.poll(timeout_ms=100)

    async def poll(self, timeout_ms: int) -> None:
        """Takes in the next records."""
        for tp, records in (await self.consumer.getmany(timeout_ms=timeout_ms)).items():
            for record in records:
                self._take(tp.partition, record)

    def _take(self, partition: int, record: Any) -> None:
        name, _, key = record.key.partition(b"/")
        rows = self._sets[partition][name]
        if record.value is None:
            rows.pop(key, None)
            return
        rows[key] = record.value
        if key == PARTITION_ROW:
            headers = dict(record.headers)
            if headers.get("format") != FORMAT:
                raise RunError(
                    f"{record.topic} partition {partition} is in format {headers.get('format', b'?')!r}, unknown to "
                    "this version of kapok: use the version that wrote it, or another --prefix"
                )
            self._sizes[partition, name] = int(headers["rows"])

    def snapshot(self, partition: int, advance: Callable[[bytes], int]) -> Snapshot:
        """The most advanced set that counts; ``advance`` tells from ``@partition`` how far a set is."""
        sets = self._sets[partition]
        best: Rows = {}
        for name, rows in sets.items():
            if PARTITION_ROW not in rows or self._sizes.get((partition, name)) != len(rows):
                continue
            if not best or advance(rows[PARTITION_ROW]) >= advance(best[PARTITION_ROW]):
                best = rows
        return Snapshot(dict(best), [name + b"/" + key for name, rows in sets.items() for key in rows])

    def partition_rows(self, partition: int) -> list[bytes]:
        """Every ``@partition`` row there is for a partition."""
        return [rows[PARTITION_ROW] for rows in self._sets[partition].values() if PARTITION_ROW in rows]


@asynccontextmanager
async def reader(broker: str, topic: str, partitions: Iterable[int]) -> AsyncIterator[StateReader]:
    """A reader of some partitions, at their beginning."""
    numbers = sorted(partitions)
    options = {"fetch_max_wait_ms": FETCH_MAX_WAIT_MS, "max_partition_fetch_bytes": 2 * STATE_BATCH_BYTES}
    with kafka_errors(f"the state could not be read from {topic} at {broker}"):
        async with consuming(broker, **options) as consumer:
            consumer.assign([TopicPartition(topic, number) for number in numbers])
            await consumer.seek_to_beginning()
            yield StateReader(consumer, topic, numbers)
