"""Taking partitions over: all that a worker reads before it folds them on.

The state says up to where the readings are in, and from where on the ``alerts`` topic may hold alerts that are not
in the state: those that the last owner sent after it. They are read back, so that they are not sent again when
the fold comes to them once more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition

from alerts.alert import Source
from alerts.fold import applied_offsets
from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from streams.reading import learn, read_between
from streams.state_log import Rows, Snapshot, StateReader, reader
from streams.topics import ALERTS, STATE

SENT_ROW = b"@sent"  # per partition of `alerts` the offset from which on it may hold alerts that the state lacks
_VERSION = 1


class Sent(NamedTuple):
    """Alerts of one partition's readings that are on the topic and not in the state.

    ``places``: mark → topic and offset of the record that the alert came from. ``since``: per partition of ``alerts``
    the offset from which on they lie there. ``ends``: where those partitions ended when they were read.
    """

    places: dict[bytes, tuple[str, int]]
    since: Mapping[int, int]
    ends: Mapping[int, int]


class Found(NamedTuple):
    """What there is of one partition; ``begins``: per kind the first offset that the log still has."""

    snapshot: Snapshot
    begins: Mapping[str, int]
    sent: Sent


def mark(alert: bytes) -> bytes:
    """Stands for an alert's bytes: a different body under the same id is not the same alert."""
    return hashlib.blake2b(alert, digest_size=16).digest()


def sent_row(ends: Mapping[int, int]) -> bytes:
    """The row for the state, from the ends that the partitions of ``alerts`` had when the state was taken."""
    return msgspec.msgpack.encode({"version": _VERSION, "ends": dict(ends)})


async def take_over(broker: str, prefix: str, numbers: Iterable[int], partitions: int) -> dict[int, Found]:
    """Reads what there is of the partitions with these numbers; RunError where it cannot be read."""
    numbers = sorted(numbers)
    async with reader(broker, prefix + STATE, numbers) as states:
        await learn(states.consumer, [prefix + name for name in (STATE, ALERTS, *map(topic, KINDS))])
        await states.catch_up()
        snapshots = {n: states.snapshot(n, lambda row: sum(applied_offsets(row).values())) for n in numbers}
        readings = {(kind, n): TopicPartition(prefix + topic(kind), n) for kind in KINDS for n in numbers}
        begins = await states.consumer.beginning_offsets(list(readings.values()))
        sent = await _sent_since(states, prefix + ALERTS, partitions, {n: s.rows for n, s in snapshots.items()})
    return {n: Found(snapshots[n], {kind: begins[readings[kind, n]] for kind in KINDS}, sent[n]) for n in numbers}


async def _sent_since(states: StateReader, name: str, partitions: int, rows: dict[int, Rows]) -> dict[int, Sent]:
    """For each partition taken over its alerts from where its state says on, to where the topic ends now."""
    consumer = states.consumer
    places = [TopicPartition(name, partition) for partition in range(partitions)]
    found = await consumer.end_offsets(places)
    ends = {place.partition: end for place, end in found.items()}
    sent = {number: Sent({}, _ends(of_one.pop(SENT_ROW, None)), ends) for number, of_one in rows.items()}
    starts = {place: min(one.since.get(place.partition, 0) for one in sent.values()) for place in places}
    async for place, records in read_between(consumer, starts, found):
        for record in records:
            source = _source(record)
            one = sent.get(source.partition) if source else None
            if one and source and record.offset >= one.since.get(place.partition, 0):
                one.places[mark(record.value)] = source.topic, source.offset
    return sent


def _source(record: Any) -> Source | None:
    """The record that an alert came from (None: it is no alert)."""
    told = dict(record.headers)
    try:
        return Source(told["topic"].decode(), int(told["partition"]), int(told["offset"]))
    except (KeyError, ValueError):
        return None


def _ends(row: bytes | None) -> dict[int, int]:
    if row is None:
        return {}
    try:
        told = msgspec.msgpack.decode(row, type=dict[str, Any], strict=False)
        if told["version"] == _VERSION:
            return {int(partition): int(end) for partition, end in told["ends"].items()}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"a row of the state topic cannot be read: {error}; is the prefix another pipeline's?"
        ) from error
    raise RunError(f"{SENT_ROW.decode()} in the state is of version {told['version']}, this kapok reads {_VERSION}")
