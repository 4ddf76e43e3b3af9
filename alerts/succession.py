"""Rules that change while readings come in: the moment is in the log, so replay shows it too.

New rules are announced by a record of their own, with the key ``@rules``, in every partition of the four reading
topics. The four logs of one partition number run side by side, each at its own pace; so that the change falls at one
place in all of them, whatever that pace is, a topic that has come to the announcement waits there for the other
three. When all have come to it, the fold goes on under the new rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from alerts.edition import Edition
from alerts.fold import Fold, Outcome
from sensors.announcement import RULES_KEY, Announcement, announced
from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from sensors.record import Record, with_key
from sensors.seal import Seal

GENERATION_ROW = b"@rules"  # of the state: which rules it was folded under
_VERSION = 1


class Succession:
    """The fold of one partition, through all changes of its rules.

    ``editions``: those known by now, by generation, which grows with each that takes another's place; more may be
    put in while it goes on. ``generation``: the one to begin with. ``seal``: as in ``Fold``, for announcements too.
    """

    def __init__(
        self,
        editions: Mapping[int, Edition],
        generation: int,
        partition: int,
        partitions: int,
        seal: Seal | None = None,
    ) -> None:
        self._editions, self.generation, self._seal = editions, generation, seal
        self.partition, self._partitions = partition, partitions
        self.fold = self._fold(editions[generation])
        self._waiting: dict[str, list[Record]] = {kind: [] for kind in KINDS}
        self._gone: set[str] = set()  # zones that the catalogue no longer has

    @property
    def duplicates(self) -> int:
        return self.fold.duplicates

    def heard(self, kind: str) -> int:
        """The newest generation that a topic's log has announced so far."""
        waiting = self._waiting[kind]
        said = self._announced(kind, waiting[0]) if waiting else None
        return max(self.generation, said.generation if said else 0)

    def waits(self, kind: str) -> bool:
        """Whether a topic's records wait for the other topics, or for rules that are not known yet."""
        return bool(self._waiting[kind])

    def apply(self, kind: str, records: Sequence[Record]) -> Outcome:
        """Folds the next records of a topic as far as it may go, and those of others that need wait no more."""
        waiting = self._waiting[kind]
        if not waiting and not with_key(records, RULES_KEY):
            return self.fold.apply(kind, records)
        seen = waiting[-1].offset if waiting else self.fold.offsets[kind]
        waiting += [record for record in records if record.offset > seen]
        outcome = Outcome()
        self._go_on(kind, outcome)
        return outcome

    def look_again(self) -> Outcome:
        """Goes on where rules that were not known before are known now."""
        outcome = Outcome()
        self._change(outcome)
        return outcome

    def release(self) -> Outcome:
        """The log has ended in the midst of a change: folds what waits under the rules as they were."""
        outcome = Outcome()
        for kind, waiting in self._waiting.items():
            if waiting:
                self._waiting[kind] = []
                self._take(kind, waiting, outcome)
        return outcome

    def checkpoint(self) -> dict[bytes, bytes | None]:
        """The rows of the fold's state that changed (None: gone), and under which rules it is."""
        own = msgspec.msgpack.encode({"version": _VERSION, "generation": self.generation})
        gone: dict[bytes, bytes | None] = {zone.encode(): None for zone in sorted(self._gone)}
        self._gone.clear()
        return {**gone, **self.fold.checkpoint(), GENERATION_ROW: own}

    def _fold(self, edition: Edition) -> Fold:
        where = {"partition": self.partition, "partitions": self._partitions}
        return Fold(edition.catalogue, edition.rulebook, **where, seal=self._seal)

    def _announced(self, kind: str, record: Record) -> Announcement | None:
        said = announced(record)
        return said if said is None or self._seal is None or self._seal.holds(topic(kind), record) else None

    def _take(self, kind: str, records: list[Record], outcome: Outcome) -> None:
        """Folds what is no announcement that counts; one that came twice or too late is passed over."""
        outcome.add(self.fold.apply(kind, [record for record in records if self._announced(kind, record) is None]))
        self.fold.offsets[kind] = records[-1].offset

    def _go_on(self, kind: str, outcome: Outcome) -> None:
        """Up to the next announcement of a topic; and when that was the last one missing, everybody further."""
        waiting = self._waiting[kind]
        until = len(waiting)
        for number, record in enumerate(waiting):
            said = self._announced(kind, record)
            if said is not None and said.generation > self.generation:
                until = number
                break
        free, self._waiting[kind] = waiting[:until], waiting[until:]
        if free:
            self._take(kind, free, outcome)
        if self._waiting[kind]:
            self._change(outcome)

    def _target(self) -> int:
        return max(self.heard(kind) for kind in KINDS)

    def _change(self, outcome: Outcome) -> None:
        """Once every topic waits: to the new rules where all wait for the same, else on to the newest of them."""
        if not all(self._waiting.values()):
            return
        target = self._target()
        behind = [kind for kind in KINDS if self.heard(kind) < target]
        if behind:
            for kind in behind:
                self._pass(kind, outcome, target)
        elif target in self._editions:
            self._succeed(target, outcome)
            for kind in KINDS:
                self._go_on(kind, outcome)

    def _pass(self, kind: str, outcome: Outcome, target: int) -> None:
        """A topic passes announcements that were overtaken before the others had come to them."""
        while self._waiting[kind] and self.heard(kind) < target:
            self._take(kind, [self._waiting[kind].pop(0)], outcome)
            self._go_on(kind, outcome)

    def _succeed(self, target: int, outcome: Outcome) -> None:
        heads = {kind: waiting.pop(0) for kind, waiting in self._waiting.items()}
        said = announced(heads["flood"])
        assert said is not None
        fold = self._fold(self._editions[target])
        outcome.add(fold.follow(self.fold, said.time_ms, heads["flood"]))
        for kind, head in heads.items():
            fold.offsets[kind] = head.offset
        self._gone = (self._gone | set(self.fold.roster.zones)) - set(fold.roster.zones)
        self.fold, self.generation = fold, target


def generation_of(row: bytes) -> int:
    """The generation that a partition's state was folded under, from its ``@rules`` row."""
    try:
        own = msgspec.msgpack.decode(row, type=dict[str, int])
        if own["version"] == _VERSION:
            return own["generation"]
    except (msgspec.DecodeError, KeyError) as error:
        raise RunError(f"the state's @rules row cannot be read: {error}") from error
    raise RunError(f"the state's @rules row is of version {own['version']}, this kapok reads {_VERSION}")
