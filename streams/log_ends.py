"""Where the topics of a pipeline end just now: what there is to read, and what has been sent so far."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from streams.reading import consuming, read_between

log = logging.getLogger(__name__)

EVERY_S = 2.0


class LogEnds:
    """Asks the broker again and again; ``ends`` is what it said last, ``round`` how often it has."""

    def __init__(self, broker: str, names: Iterable[str], partitions: int) -> None:
        self._broker = broker
        self._places = [TopicPartition(name, partition) for name in names for partition in range(partitions)]
        self.ends: dict[TP, int] = {}
        self.round = 0

    async def run(self) -> None:
        """Asks until cancelled; while the broker is away the ends stay as they were."""
        async with consuming(self._broker) as consumer:
            while True:
                try:
                    self.ends = {TP(*place): end for place, end in (await consumer.end_offsets(self._places)).items()}
                    self.round += 1
                except KafkaError as error:
                    log.info("the ends of the topics are not known just now: %r", error)
                await asyncio.sleep(EVERY_S)

    def of(self, name: str) -> dict[int, int]:
        """partition → offset of the next record, for one topic."""
        return {tp.partition: end for tp, end in self.ends.items() if tp.topic == name}

    async def has_records(self, tp: TP, offset: int) -> bool:
        """Whether there is a record at that offset or after it, and not only a transaction's marker."""
        place = TopicPartition(*tp)
        try:
            async with consuming(self._broker) as consumer:
                async for _ in read_between(consumer, {place: offset}, {place: self.ends[tp]}, max_records=1):
                    return True
            return False
        except KafkaError:
            return False
