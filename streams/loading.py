"""Partitions as the log and the state have them, ready to be folded on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaProducer

from alerts.succession import GENERATION_ROW, Succession, generation_of
from sensors.errors import RunError
from sensors.quantities import topic
from sensors.seal import Seal
from streams.outbox import Outbox
from streams.partition import Partition
from streams.rules_log import RulesLog
from streams.state_log import StateWriter
from streams.takeover import Found, take_over
from streams.topics import RULES, STATE
from streams.worker_metrics import WorkerMetrics

log = logging.getLogger("kapok")


class Loader:
    """``await loader.load({0, 1})`` reads the state and what is needed beside it."""

    def __init__(
        self,
        broker: str,
        prefix: str,
        partitions: int,
        rules: RulesLog,
        outbox: Outbox,
        state: AIOKafkaProducer,
        alert_ends: Callable[[], Mapping[int, int]],
        metrics: WorkerMetrics,
        seal: Seal | None,
    ) -> None:
        self._broker, self._prefix, self._partitions = broker, prefix, partitions
        self._rules, self._outbox, self._state = rules, outbox, state
        self._alert_ends, self._metrics, self._seal = alert_ends, metrics, seal

    async def load(self, numbers: set[int]) -> dict[int, Partition]:
        """The partitions with these numbers; RunError where they cannot be had."""
        owned = {}
        for number, found in (await take_over(self._broker, self._prefix, numbers, self._partitions)).items():
            succession = self._restored(number, found)
            for kind, begin in found.begins.items():
                if 0 < (following := succession.fold.offsets[kind] + 1) < begin:
                    what = "%s partition %d: records %d to %d expired before they were read"
                    log.warning(what, self._prefix + topic(kind), number, following, begin - 1)
            writer = StateWriter(self._state, self._prefix + STATE, number, found.snapshot)
            owned[number] = Partition(
                number, self._prefix, succession, found, self._outbox, writer, self._alert_ends, self._metrics
            )
            await asyncio.sleep(0)
        return owned

    def _restored(self, number: int, found: Found) -> Succession:
        """The fold as the written state has it, under the rules that it was folded under."""
        rows = found.snapshot.rows
        row = rows.pop(GENERATION_ROW, None)
        generation = self._rules.first if row is None else generation_of(row)
        if generation not in self._rules.editions:
            what = f"the state was folded under edition {generation} of the rules, and topic {self._prefix}{RULES}"
            raise RunError(f"{what} no longer has it: was the topic made anew? Delete the state topic too")
        succession = Succession(self._rules.editions, generation, number, self._partitions, self._seal)
        if rows:
            succession.fold.restore(rows)
        return succession
