"""The fold: (state, reading or clock tick) → (state, alerts). Pure: no wall clock, no I/O, no randomness.

Live, in replay, in tests and in the bench the same object is driven: an alert depends on nothing but the
readings, the ticks, the rules and the catalogue, however the log is cut into calls of ``apply``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from weakref import ref

import msgspec
import numpy as np

from alerts.alert import Alert
from alerts.batch import GRADES, Batch, Quality
from alerts.intake import Intake
from alerts.levels import Change
from alerts.rejection import Rejected
from alerts.roster import Roster
from alerts.rulebook import Limits, Rulebook, ruleset
from alerts.rules import TYPES, Rule
from alerts.rules.rule import Tick
from sensors import senml
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, read_ticks
from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from sensors.record import Record, Records, first_and_last, partition_of
from sensors.scanner import OF_THE_CLOCK
from sensors.seal import Seal

STATE_VERSION = 3
PARTITION_ROW = b"@partition"
TICK_AHEAD_MS = 60_000  # a tick further ahead of its record's timestamp is not believed

_Tick = tuple[int, int, Record]  # records up to and with it, time in ms, the record it came in


class Outcome:
    """What a call of ``apply`` gave rise to."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.rejected: list[Rejected] = []
        self.readings = 0  # good and bad
        self.graded: Counter[tuple[str, str]] = Counter()  # (kind, grade) → readings that were not rejected

    def add(self, later: Outcome) -> None:
        """Puts what came after it behind it."""
        self.alerts += later.alerts
        self.rejected += later.rejected
        self.readings += later.readings
        self.graded += later.graded


class Fold:
    """The rules over the zones of one partition (``partition=None``: over all zones, whatever their partition)."""

    def __init__(
        self,
        catalogue: Catalogue,
        rulebook: Rulebook,
        *,
        partition: int | None = None,
        partitions: int = 8,
        seal: Seal | None = None,
    ) -> None:
        """``seal``: without its mark no tick is believed; None believes them all."""
        rulebook.check(catalogue)
        self.partition = partition
        self.roster = Roster(
            catalogue, lambda zone: partition is None or partition_of(zone.encode(), partitions) == partition
        )
        self.ruleset = ruleset(rulebook, catalogue)
        self.clock: dict[str, int | None] = dict.fromkeys(KINDS)
        self.offsets: dict[str, int] = dict.fromkeys(KINDS, -1)
        self._grace_ms = rulebook.grace_ms
        self._intake, self._quality = {}, {}
        for kind, roster in self.roster.kinds.items():
            self._intake[kind] = Intake(roster, self.roster, rulebook.limits, seal)
            steps = [rulebook.limits.get(q, Limits()).max_step for q in roster.quantities]
            self._quality[kind] = Quality(steps * len(roster.sensors))
        self._outcome = Outcome()
        self._silent = False
        self._changed = np.zeros(len(self.roster.zones), bool)  # zones
        fold = ref(self)

        def emit(rule: Rule, change: Change) -> None:  # holds no fold: one that is let go of is gone at once
            if told := fold():
                told._emit(rule, change)

        self.rules = [TYPES[rule.type](rule, self.roster, rulebook.timezone, emit) for rule in rulebook.rules]
        of_kind = {kind: [r for r in self.rules if kind in r.kinds and len(r.sites)] for kind in KINDS}
        self._clocked = {kind: [r for r in rules if r.clocked] for kind, rules in of_kind.items()}
        self._unclocked = {kind: [r for r in rules if not r.clocked] for kind, rules in of_kind.items()}

    @property
    def duplicates(self) -> int:
        """Readings dropped so far because they had been seen."""
        return sum(quality.duplicates for quality in self._quality.values())

    def apply(self, kind: str, records: Sequence[Record]) -> Outcome:
        """Folds the next records of ``readings.<kind>``, in log order; records already applied are passed over.

        Total: whatever the records hold, it does not raise; what cannot be used is in ``Outcome.rejected``.
        """
        self._outcome = outcome = Outcome()
        if self.partition is not None and records and first_and_last(records)[0] <= self.offsets[kind]:
            records = records[bisect_right(records, self.offsets[kind], key=attrgetter("offset")) :]
        batch, ticks = self._read(kind, records)
        if batch is not None:
            for rule in self._unclocked[kind]:
                rule.readings(batch)
        start = 0
        for before, time, record in ticks:
            end = start if batch is None else int(np.searchsorted(batch.record, before))
            self._step(kind, batch, start, end)
            self._tick(kind, time, record)
            start = end
        self._step(kind, batch, start, 0 if batch is None else len(batch.channel))
        if records:
            self.offsets[kind] = first_and_last(records)[1]
        return outcome

    def scan(self, kind: str, records: Sequence[Record]) -> None:
        """Does what can be done of ``apply`` before its turn, without touching the state, in any thread."""
        if isinstance(records, Records):
            self._intake[kind].scan(records)

    def _read(self, kind: str, records: Sequence[Record]) -> tuple[Batch | None, list[_Tick]]:
        """All readings of the call at once, checked and graded (neither depends on ticks but for what is too early),
        and the ticks.
        """
        if not records:
            return None, []
        intake, clock = self._intake[kind], self.clock[kind]
        found = intake.scan(records)
        now: Any = -1 if clock is None else clock
        ticks, more = self._ticks(kind, records, np.flatnonzero(found.sizes == OF_THE_CLOCK).tolist())
        if ticks:
            now = np.full(len(records), now, np.int64)
            for before, time, _ in ticks:
                now[before:] = time
        batch, rejected = intake.read(records, found, now, more)
        self._outcome.rejected += rejected
        self._outcome.readings += len(rejected) + (0 if batch is None else len(batch.channel))
        if batch is not None:
            for grade, count in zip(GRADES, self._quality[kind].grade(batch), strict=True):
                self._outcome.graded[kind, grade] += count
            self._changed[self.roster.kinds[kind].channel_zone[batch.channel]] = True
        return batch, ticks

    def _ticks(self, kind: str, records: Sequence[Record], told: list[int]) -> tuple[list[_Tick], list[int]]:
        """Each tick that moves the clock, of the records of the clock; and which of them hold something else too."""
        ticks: list[_Tick] = []
        mixed: list[int] = []
        clock = self.clock[kind]
        for number in told:
            record = records[number]
            times, more = ([], True) if self._intake[kind].forged(record) else read_ticks(record.value)
            if more:
                mixed.append(number)
            for time, entry in times:
                if self._believed(kind, time, record, entry) and (clock is None or time > clock):
                    ticks.append((number + 1, time, record))
                    clock = time
        return ticks, mixed

    def _step(self, kind: str, batch: Batch | None, start: int, end: int) -> None:
        """The readings between two ticks."""
        if batch is not None and start < end:
            part = batch.part(start, end)
            for rule in self._clocked[kind]:
                rule.readings(part)

    def _believed(self, kind: str, time: int, record: Record, entry: Any) -> bool:
        stamp = record.timestamp
        if time < senml.END_OF_TIME and (stamp is None or stamp < 0 or time <= stamp + TICK_AHEAD_MS):
            return True
        detail = "the tick is more than 60 s ahead of its record's timestamp"
        self._outcome.rejected.append(Rejected("future", detail, topic(kind), record, entry))
        return False

    def _tick(self, kind: str, time: int, record: Record) -> None:
        if self.clock[kind] is None:
            self._changed[:] = True
        self.clock[kind] = time
        tick = Tick(kind, time, time - self._grace_ms, record)
        for rule in self._clocked[kind]:
            rule.due(tick)

    def _emit(self, rule: Rule, change: Change) -> None:
        if self._silent:
            return
        self._changed[rule.sites.zone[change.site]] = True
        self._outcome.alerts.append(Alert(rule, change, self.ruleset))

    def follow(self, before: Fold, time_ms: int, source: Record) -> Outcome:
        """Goes on, under other rules or another catalogue, from where a fold stands.

        What is the same keeps its state; what is new begins; an alert whose rule or site is gone is resolved, at
        ``time_ms`` or the site's latest reading or change, whichever is later.
        """
        self._outcome = outcome = Outcome()
        self.offsets = dict(before.offsets)
        rules = {rule.rule.id: rule for rule in self.rules}
        for zone in range(len(before.roster.zones)):
            state = _decode(before._dump(zone))
            for rule_id, entry in state["rules"].items():
                old, new = next(r for r in before.rules if r.rule.id == rule_id), rules.get(rule_id)
                entry["sites"] = [site if new and new.goes_on_from(old, site) else None for site in entry["sites"]]
            self._load(zone, state)
        for rule in before.rules:
            for site in np.flatnonzero(rule.step.level).tolist():
                if reason := _why_gone(rule, rule.sites.all[site], rules.get(rule.rule.id)):
                    outcome.alerts.append(Alert(rule, rule.withdrawn(site, time_ms, source), self.ruleset, reason))
        self._resume(before.clock)
        self._changed[:] = True
        return outcome

    def checkpoint(self) -> dict[bytes, bytes]:
        """The rows of state that have changed since the last call: zone → state, and the partition's own row.

        The rows hold everything up to ``offsets``, and belong together.
        """
        rows = {self.roster.zones[zone].encode(): self._dump(zone) for zone in np.flatnonzero(self._changed).tolist()}
        self._changed[:] = False
        own = {
            "version": STATE_VERSION,
            "offsets": self.offsets,
            "clock": self.clock,
            "ruleset": self.ruleset,
        }
        rows[PARTITION_ROW] = msgspec.msgpack.encode(own)
        return rows

    def restore(self, rows: dict[bytes, bytes]) -> None:
        """Takes back the newest rows of all checkpoints; RunError where they are of another version."""
        for key, row in rows.items():
            state = _decode(row)
            if key != PARTITION_ROW and key.decode() in self.roster.zone:
                self._load(self.roster.zone[key.decode()], state)
        own = _decode(rows[PARTITION_ROW]) if PARTITION_ROW in rows else {}
        self.offsets |= own.get("offsets", {})
        self._changed[:] = False
        self._resume(own.get("clock", {}))

    def _resume(self, clock: dict[str, int | None]) -> None:
        self._silent = True
        for kind, time in clock.items():
            if time is not None:
                self.clock[kind] = time
                record = Record(topic(kind), self.partition or 0, self.offsets[kind], time, CLOCK_KEY, None)
                for rule in self._clocked[kind]:
                    rule.resume(Tick(kind, time, time - self._grace_ms, record))
        self._silent = False

    def _dump(self, zone: int) -> bytes:
        quality, rules = {}, {}
        for kind, roster in self.roster.kinds.items():
            rows = roster.sensors.of_zone[zone]
            if rows.start < rows.stop:
                count = len(roster.quantities)
                state = self._quality[kind].state.dump(slice(rows.start * count, rows.stop * count))
                quality[kind] = {"sensors": [s.id for s in roster.sensors.all[rows]], "state": state}
        for rule in self.rules:
            rows = rule.sites.of_zone[zone]
            if rows.start < rows.stop:
                sites = [s.id for s in rule.sites.all[rows]]
                rules[rule.rule.id] = {"type": rule.type, "sites": sites, "state": rule.dump(zone)}
        return msgspec.msgpack.encode({"version": STATE_VERSION, "quality": quality, "rules": rules})

    def _load(self, zone: int, state: dict[str, Any]) -> None:
        for kind, saved in state["quality"].items():
            row, count = self.roster.kinds[kind].sensors.row, len(self.roster.kinds[kind].quantities)
            pairs = [(old, row[s]) for old, s in enumerate(saved["sensors"]) if s in row]
            old = [o * count + q for o, _ in pairs for q in range(count)]
            new = [n * count + q for _, n in pairs for q in range(count)]
            self._quality[kind].state.load(saved["state"], old, new)
        for rule in self.rules:
            entry = state["rules"].get(rule.rule.id)
            if entry is not None and entry["type"] == rule.type:
                pairs = [(o, rule.sites.row[s]) for o, s in enumerate(entry["sites"]) if s in rule.sites.row]
                rule.load(entry["state"], [o for o, _ in pairs], [n for _, n in pairs])


def _why_gone(rule: Rule, site: Any, new: Rule | None) -> str | None:
    """Why a rule at a site does not go on; None where it does."""
    if new is None:
        return "rule_removed"
    if site.id not in new.sites.row:
        return "site_removed"
    return None if new.goes_on_from(rule, site.id) else "rule_changed"


def applied_offsets(row: bytes) -> dict[str, int]:
    """kind → last offset applied, from a partition's own row of state."""
    offsets: dict[str, int] = _decode(row)["offsets"]
    return offsets


def _decode(row: bytes) -> dict[str, Any]:
    try:
        state = msgspec.msgpack.decode(row)
        version = state["version"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise RunError(
            f"a row of the state topic cannot be read: {error}; is the prefix another pipeline's?"
        ) from error
    if version != STATE_VERSION:
        what = f"the state is of version {version}, this kapok reads {STATE_VERSION}"
        raise RunError(f"{what}; replay the readings onto a new prefix, or run the version that wrote it")
    return dict(state)
