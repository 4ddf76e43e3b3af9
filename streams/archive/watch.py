"""How an archive is, for people and for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.metrics import Finder, Found, registry

if TYPE_CHECKING:
    from streams.archive.copying import Archive

_EVERY_S = 5.0


class ArchiveHealth(NamedTuple):
    """``ready``: it reads, and the database has its buckets. ``lag``: per topic the records still to be archived."""

    ready: bool
    points: int
    failures: int  # writes that the database did not take, and that were tried again
    lag: dict[str, int]


class Watch:
    """Knows how far an archive is behind, also while it waits for a database and reads nothing."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._ends: dict[TopicPartition, int] = {}
        self.registry = registry("archive")
        place = ("topic", "partition")

        def sent(name: str) -> dict[tuple[str, ...], float]:
            return {(): getattr(archive.sender, name) if archive.sender else 0}

        found = [
            Found("kapok_archive_ready", "1 when it reads.", (), lambda: {(): self.health().ready}),
            Found("kapok_archive_records", "Taken from Kafka.", (), lambda: {(): archive.taken}, counter=True),
            Found("kapok_archive_points", "In the database.", (), lambda: sent("points"), counter=True),
            Found("kapok_archive_refused", "Points refused for good.", (), lambda: sent("refused"), counter=True),
            Found("kapok_archive_expired", "Points too old to keep.", (), lambda: sent("expired"), counter=True),
            Found(
                "kapok_archive_failures", "Writes not taken, tried again.", (), lambda: sent("failures"), counter=True
            ),
            Found("kapok_archive_lag_records", "Records still to be archived.", place, self._by_labels),
        ]
        self.registry.register(Finder(found))

    def health(self) -> ArchiveHealth:
        """How it is just now."""
        by_topic: dict[str, int] = {}
        for tp, behind in self._lag().items():
            by_topic[tp.topic] = by_topic.get(tp.topic, 0) + behind
        sender = self._archive.sender
        points, failures = (sender.points, sender.failures) if sender else (0, 0)
        return ArchiveHealth(self._archive.reading, points, failures, by_topic)

    async def follow(self, consumer: AIOKafkaConsumer) -> None:
        """Asks where the topics end, until cancelled."""
        while True:
            with contextlib.suppress(KafkaError):
                self._ends = await consumer.end_offsets(list(consumer.assignment()))
            await asyncio.sleep(_EVERY_S)

    def _lag(self) -> dict[TopicPartition, int]:
        places = self._archive.places()
        return {tp: max(0, end - places[tp]) for tp, end in self._ends.items() if tp in places}

    def _by_labels(self) -> dict[tuple[str, ...], float]:
        return {(tp.topic, str(tp.partition)): behind for tp, behind in self._lag().items()}
