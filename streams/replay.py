"""Replay without a broker: a capture through the fold, as fast as it goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from alerts.alert import order
from alerts.edition import Editions
from alerts.fold import Fold, Outcome
from alerts.rejection import Rejected
from alerts.rulebook import Rulebook
from alerts.succession import Succession
from sensors.capture import Line
from sensors.catalogue import Catalogue
from sensors.clock import CaptureLog
from sensors.quantities import KINDS, topic
from sensors.record import Record
from sensors.seal import Seal

RUN = 8192  # records that are folded at once; cutting the log elsewhere changes nothing

# readings so far, event time reached in ms, and the share of the capture that is done where it is known
Progress = Callable[[int, int | None, float | None], None]


class Replayed:
    """What a replay gave: alerts as JSON by id, rejected readings as JSON, and how many readings there were."""

    def __init__(self) -> None:
        self.alerts: dict[str, bytes] = {}
        self.rejected: list[bytes] = []  # in the order of topic, partition and offset
        self._rejected: list[Rejected] = []
        self.readings = 0
        self.duplicates = 0

    def add(self, outcome: Outcome) -> None:
        for alert in outcome.alerts:
            self.alerts[alert.id] = alert.value
        self._rejected += outcome.rejected
        self.readings += outcome.readings

    def close(self) -> None:
        """Puts what was rejected in order."""
        self._rejected.sort(key=lambda r: (r.topic, r.partition, r.offset))
        self.rejected = [rejected.value for rejected in self._rejected]

    def bodies(self) -> list[dict[str, Any]]:
        """The alerts, decoded and sorted by (at, rule, site, seq)."""
        return sorted((msgspec.json.decode(value) for value in self.alerts.values()), key=order)

    def lines(self) -> list[bytes]:
        """The alerts' JSON in the same order; each id once."""
        return [self.alerts[body["id"]] for body in self.bodies()]


def replay(
    source: str | Path | Iterable[Line],
    catalogue: Catalogue,
    rulebook: Rulebook,
    *,
    partitions: int = 8,
    until_ms: int | None = None,
    progress: Progress | None = None,
    editions: Editions | None = None,
    seal: Seal | None = None,
) -> Replayed:
    """Folds a capture; InputError where a line of it is broken.

    With ``editions`` the rules are those, and change where the capture says; else they are the ones given all along.
    ``seal``: with it the capture's own ticks and announcements are believed only where they bear it.
    """
    log = CaptureLog(source, partitions, until_ms, changes=editions is not None)
    seal = seal if log.own_ticks else None
    replayed = Replayed()
    if editions is not None:

        def succession(partition: int) -> Succession:
            return Succession(editions.by_generation, editions.first, partition, partitions, seal)

        _by_partition(log, succession, replayed, progress)
    elif log.own_ticks:

        def fold(partition: int) -> Fold:
            return Fold(catalogue, rulebook, partition=partition, partitions=partitions, seal=seal)

        _by_partition(log, fold, replayed, progress)
    else:
        _all_at_once(log, catalogue, rulebook, replayed, progress)
    replayed.close()
    return replayed


def _by_partition(
    log: CaptureLog, make: Callable[[int], Fold | Succession], replayed: Replayed, progress: Progress | None
) -> None:
    """A capture with ticks of its own: each partition has its own clock, and so its own fold."""
    folds: dict[int, Fold | Succession] = {}
    runs: dict[tuple[int, str], list[Record]] = defaultdict(list)
    kinds = {topic(kind): kind for kind in KINDS}

    def flush() -> None:
        for (partition, kind), run in runs.items():
            if partition not in folds:
                folds[partition] = make(partition)
            replayed.add(folds[partition].apply(kind, run))
        runs.clear()
        if progress:
            progress(replayed.readings, log.latest_ms, None)

    for count, record in enumerate(log.records(), 1):
        runs[record.partition, kinds[record.topic]].append(record)
        if count % RUN == 0:
            flush()
    flush()
    for one in folds.values():
        if isinstance(one, Succession):
            replayed.add(one.release())
    replayed.duplicates = sum(fold.duplicates for fold in folds.values())


def _all_at_once(
    log: CaptureLog, catalogue: Catalogue, rulebook: Rulebook, replayed: Replayed, progress: Progress | None
) -> None:
    """Ticks that go to all partitions alike: one fold for all zones."""
    fold = Fold(catalogue, rulebook, partition=None)
    for piece in log.pieces():
        for kind in KINDS:
            replayed.add(fold.apply(kind, piece.of(topic(kind))))
        if progress:
            progress(replayed.readings, log.latest_ms, None)
    replayed.duplicates = fold.duplicates
