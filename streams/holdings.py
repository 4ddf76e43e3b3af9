"""The partitions that a worker has: taken over when they are assigned to it, written down when they are given up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from faust.types import TP

from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from streams.partition import Partition
from streams.tenure import NO_TENURE, Tenure
from streams.transport import Consumer

log = logging.getLogger("kapok")


class Holdings:
    """``owned`` are the partitions by number; also tells the transport where to read (``transport.Positions``).

    ``load`` gives partitions as the log and the state have them.
    """

    def __init__(self, prefix: str, load: Callable[[set[int]], Awaitable[dict[int, Partition]]]) -> None:
        self._load = load
        self._topics = {kind: prefix + topic(kind) for kind in KINDS}
        self.owned: dict[int, Partition] = {}
        self.assigned = False
        self._tenure = NO_TENURE  # of what is owned
        self._given: tuple[Tenure, dict[int, Partition]] = NO_TENURE, {}  # what was owned before the rebalance

    def all(self) -> list[Partition]:
        return list(self.owned.values())

    def starts(self) -> dict[TP, int]:
        return {TP(self._topics[k], p): one.next[k] for p, one in self.owned.items() for k in KINDS}

    def kept(self) -> dict[TP, int]:
        return {TP(self._topics[k], p): one.kept[k] for p, one in self.owned.items() for k in KINDS if one.kept[k]}

    def applied(self) -> dict[TP, int]:
        """The offset after what is folded, for each partition owned."""
        return {TP(self._topics[k], p): due for p, one in self.owned.items() for k, due in one.applied().items()}

    async def give_up(self, *, write: bool = True) -> None:
        """Owns nothing any more; writes down what it had."""
        self.assigned = False
        given, self.owned = self.owned, {}
        self._given, self._tenure = (self._tenure, given), NO_TENURE
        if write:
            await asyncio.gather(*(partition.write() for partition in given.values()))

    async def take(self, consumer: Consumer) -> None:
        """Owns what is now assigned to the consumer.

        The state is read of what is new. A partition that this worker had before and has again goes on as it is, where
        nobody else can have had it in between.
        """
        assigned, tenure = consumer.assignment(), consumer.tenure()
        per_topic = [{tp.partition for tp in assigned if tp.topic == name} for name in self._topics.values()]
        numbers = set.union(*per_topic)
        if any(found != numbers for found in per_topic):
            raise RunError(f"not the same partitions of every reading topic: {sorted(map(tuple, assigned))}")
        (before, given), self._given = self._given, (NO_TENURE, {})
        owned = {n: given[n] for n in numbers & given.keys()} if tenure.follows(before) else {}
        if new := numbers - owned.keys():
            log.info("loading the state of partitions %s", ", ".join(map(str, sorted(new))))
            owned |= await self._load(new)
        self.owned, self.assigned = owned, True
        if consumer.tenure() == tenure:
            self._tenure = tenure
        log.info("reading partitions %s", ", ".join(map(str, sorted(numbers))) or "none")

    async def write_behind(self) -> None:
        """Writes down what is due, until cancelled."""
        while True:
            await asyncio.sleep(0.05)
            if due := [partition for partition in self.owned.values() if partition.due()]:
                await asyncio.gather(*(partition.write() for partition in due))
