"""What came of a run: lost, invented and repeated alerts against a replay without a broker, and how long they waited.

The *pause* of a fault is the longest that any alert was in coming while the fault and its consequences lasted: from
the moment at which the broker had the reading to the moment at which it had the alert (its own timestamp). With a
canary in every partition that is how long alerts stood still, catching up included. While the broker itself is away
nobody can be alerted, so there the time counts from its return, when it takes connections again.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from streams.chaos.plan import Fault
from streams.chaos.timeline import QUIET, REST, Timeline


class Sent(NamedTuple):
    """An alert as it is on its topic; ``source`` is the record it came of: topic without prefix, partition, offset."""

    id: str
    value: bytes
    time_s: float
    source: tuple[str, int, int]


@dataclass
class Difference:
    """What is on a topic against what ought to be. ``lost``: ids that are not there; ``invented``: ids that nothing
    gave rise to, or with other bytes; ``repeated``: alerts that were there before, with the same bytes."""

    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    repeated: list[Sent] = field(default_factory=list)


def difference(expected: Mapping[str, bytes], sent: Iterable[Sent]) -> Difference:
    """Compares byte by byte; each body that is not the expected one counts."""
    found, seen = Difference(), set[str]()
    for alert in sent:
        if expected.get(alert.id) != alert.value:
            found.invented.append(alert.id)
        elif alert.id in seen:
            found.repeated.append(alert)
        seen.add(alert.id)
    found.lost = [alert_id for alert_id in expected if alert_id not in seen]
    return found


def rejected_difference(expected: Sequence[bytes], got: Sequence[bytes]) -> tuple[int, int]:
    """How many rejected readings are lost and how many invented; each was counted once."""
    due, there = Counter(expected), Counter(got)
    return (due - there).total(), (there - due).total()


def went_back(due: Iterable[tuple[str, bytes]], last: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    """How often a record of ``alerts.last`` came after a newer one of its key, and how many keys are left old.

    ``due``: all alerts in the order of time, ``last``: what the topic has in its own, as keys and values.
    """
    due = list(due)
    place = {value: number for number, (_, value) in enumerate(due)}
    newest: dict[str, int] = {}
    now: dict[str, int] = {}
    times = 0
    for key, value in last:
        now[key] = place.get(value, -1)
        times += now[key] < newest.get(key, -1)
        newest[key] = max(newest.get(key, -1), now[key])
    final = {key: number for number, (key, _) in enumerate(due)}
    return times, sum(now.get(key) != final.get(key) for key in now.keys() | final.keys())


class Pauses(NamedTuple):
    """In seconds, over all phases of one label."""

    times: int
    median: float
    longest: float


@dataclass
class Report:
    """The outcome of a run; ``faults`` has a row a fault, ``pauses`` a row a label."""

    seed: int
    workers: int
    session_s: float
    readings: int = 0
    alerts: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    invented: int = 0
    repeated: int = 0
    repeats_by_kind: dict[str, dict[str, int]] = field(default_factory=dict)  # kind: faults with repeats, repeats
    went_back: int = 0  # records of alerts.last that came after a newer one of their key
    stale: int = 0  # keys that are left so
    rejected: int = 0
    rejected_lost: int = 0
    rejected_invented: int = 0
    pauses: dict[str, Pauses] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # workers that ended by themselves, and what they said
    examples: list[str] = field(default_factory=list)  # ids of the first that are lost or invented

    @property
    def same(self) -> bool:
        """Whether, without the repeats, the same came out as without a broker."""
        return not (self.lost or self.invented or self.stale or self.rejected_lost or self.rejected_invented)

    def json(self) -> dict[str, Any]:
        """For ``--json``."""
        body = asdict(self)
        body["pauses"] = {label: pauses._asdict() for label, pauses in self.pauses.items()}
        return {"same": self.same, **body}

    def take_alerts(self, expected: Mapping[str, bytes], sent: Sequence[Sent]) -> Difference:
        """Compares the alerts."""
        found = difference(expected, sent)
        self.alerts, self.lost, self.invented = len(expected), len(found.lost), len(found.invented)
        self.repeated = len(found.repeated)
        self.examples = [f"lost {one}" for one in found.lost[:5]] + [f"invented {one}" for one in found.invented[:5]]
        return found

    def take_times(self, plan: Sequence[Fault], sent: Sequence[Sent], repeated: Sequence[Sent], when: Timeline) -> None:
        """Finds each fault's pause and repeats. An alert belongs to the phase in which the broker had it."""
        longest: dict[float, float] = {}  # by the phase's beginning
        seen = set[str]()
        for alert in sent:
            if alert.id not in seen:
                seen.add(alert.id)
                phase = when.phase_at(alert.time_s)
                wait = when.wait(*alert.source, alert.time_s)
                longest[phase.began] = max(longest.get(phase.began, 0.0), wait)
        repeats = Counter(when.phase_at(alert.time_s).fault for alert in repeated)
        by_label, by_fault = defaultdict[str, list[float]](list), defaultdict[int, dict[str, float]](dict)
        for phase in when.phases:
            if phase.began in longest and phase.label != REST:
                by_label[phase.label].append(longest[phase.began])
                by_fault[phase.fault][phase.label] = round(longest[phase.began], 3)
        self.pauses = {
            label: Pauses(len(waits), round(statistics.median(waits), 3), round(max(waits), 3))
            for label, waits in sorted(by_label.items(), key=lambda item: (item[0] == QUIET, item[0]))
        }
        self.counts = dict(Counter(fault.kind.value for fault in plan))
        kinds: dict[str, list[int]] = defaultdict(list)
        for number, fault in enumerate(plan):
            kinds[fault.kind].append(repeats[number])
            row = {"fault": number + 1, "what": fault.label, "workers": [worker + 1 for worker in fault.workers]}
            self.faults.append(
                {**row, "lasts_s": round(fault.seconds, 2), "pauses_s": by_fault[number], "repeated": repeats[number]}
            )
        if repeats[-1]:
            kinds[QUIET].append(repeats[-1])
        self.repeats_by_kind = {
            kind: {"faults": sum(map(bool, counts)), "repeats": sum(counts)} for kind, counts in kinds.items()
        }
