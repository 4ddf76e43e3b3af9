"""What each reading is worth, judged from the log alone: for the archive, which has no use for the rules themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alerts.batch import Batch
from alerts.edition import Edition
from alerts.fold import Fold
from alerts.roster import KindRoster
from alerts.succession import Succession
from sensors.record import Record
from sensors.seal import Seal

Judged = Callable[[Batch, KindRoster], None]


class Judgement(Succession):
    """The workers' judgement of one partition's readings, through all changes of the rules, with nothing decided.

    ``judged`` is given each batch of readings that were not rejected, graded, as ``apply`` comes to it. The same log
    gives the same grades as the workers', who use the same limits and catalogue from the same places on; state is
    written and restored as theirs is.
    """

    def __init__(
        self,
        editions: Mapping[int, Edition],
        generation: int,
        partition: int,
        partitions: int,
        judged: Judged,
        seal: Seal | None = None,
    ) -> None:
        self._judged = judged
        super().__init__(editions, generation, partition, partitions, seal)

    def _fold(self, edition: Edition) -> Fold:
        return _WithoutRules(edition, self.partition, self._partitions, self._judged, self._seal)


class _WithoutRules(Fold):
    """A fold that only checks and grades."""

    def __init__(self, edition: Edition, partition: int, partitions: int, judged: Judged, seal: Seal | None) -> None:
        limits = edition.rulebook.without_rules()
        super().__init__(edition.catalogue, limits, partition=partition, partitions=partitions, seal=seal)
        self._judged = judged

    def _read(self, kind: str, records: Sequence[Record]) -> tuple[Batch | None, list[Any]]:
        batch, ticks = super()._read(kind, records)
        if batch is not None:
            self._judged(batch, self.roster.kinds[kind])
        return batch, ticks
