"""What happened when: the phases of a run, and when the broker had each reading. Times are this machine's, in s."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

QUIET = "no fault"
REST = "the rest at once"  # what is left of the capture after the last fault: how long it waits says nothing


@dataclass
class Phase:
    """A stretch of the run. ``fault``: the number of the fault that it belongs to, -1 where all is quiet.

    ``back``: when the broker was back, if it was away; nobody can be alerted before that.
    """

    label: str
    fault: int
    began: float
    back: float = 0.0


class Timeline:
    """The phases, one after the other, and the readings' times."""

    def __init__(self) -> None:
        self.phases = [Phase(QUIET, -1, time.time())]
        # Per topic and partition, a row a batch: the offset after its last record, when the broker had it.
        self._following: dict[tuple[str, int], array[int]] = defaultdict(lambda: array("q"))
        self._stored: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))

    def begin(self, label: str = QUIET, fault: int = -1) -> None:
        """A phase begins, and the one before it ends."""
        self.phases.append(Phase(label, fault, time.time()))

    def broker_is_back(self) -> None:
        """The broker takes connections again."""
        self.phases[-1].back = time.time()

    def store(self, topic: str, partition: int, following: int) -> None:
        """The broker has all records of a reading topic (without prefix) before the offset ``following``."""
        self._following[topic, partition].append(following)
        self._stored[topic, partition].append(time.time())

    def stored(self, topic: str, partition: int, offset: int) -> float:
        """When the broker had that record; infinite if it never said so."""
        place = topic, partition
        at = bisect_right(self._following[place], offset)
        return self._stored[place][at] if at < len(self._stored[place]) else float("inf")

    def phase_at(self, time_s: float) -> Phase:
        """The phase in which a time lies."""
        at = bisect_right(self.phases, time_s, key=lambda phase: phase.began) - 1
        return self.phases[max(0, at)]

    def wait(self, topic: str, partition: int, offset: int, alerted: float) -> float:
        """How long the alert of a record was in coming, from when the broker had the record and was there to be read.

        ``alerted``: when the broker had the alert.
        """
        since = max(self.stored(topic, partition, offset), self.phase_at(alerted).back)
        return max(0.0, alerted - since)
