"""How full a venue is: a station at the holiday rush, a segment of the marathon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from alerts import parameters
from alerts.batch import GOOD, Batch
from alerts.levels import FOREVER, MOST, NEVER, round6
from alerts.rules.rule import PlaceRule, Site, Tick
from alerts.table import Table
from sensors.catalogue import Catalogue, Place
from sensors.quantities import QUANTITIES
from sensors.record import Record
from sensors.senml import END_OF_TIME

_LAST_DAYS = END_OF_TIME - 4 * 86_400_000  # of the year 9999, after which there are no dates
_IN, _OUT, _COUNT = (list(QUANTITIES["crowd"]).index(q) for q in ("in", "out", "count"))


def _clock_time(value: Any) -> time:
    try:
        found = time.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is not None:
        raise ValueError(f'{value!r} is not a time of day; write "03:00"')
    return found


class Occupancy(PlaceRule):
    """x is N ÷ the venue's ``capacity``: N ← max(0, N + in − out), or N ← count; N ← 0 at ``reset``, local time.

    Counters drift, so a time at which a venue is empty every day brings N back.

        [[rule]]
        id = "crowd-occupancy"
        kind = "crowd"
        type = "occupancy"
        levels = {yellow = 0.8, orange = 0.9, red = 1.0}
        hysteresis = 0.05
        reset = "03:00"
    """

    type = "occupancy"
    unit = "/"
    words = (
        "客流达到容量的 {percent}，阈值 {threshold_percent}",
        "{percent} of capacity, threshold {threshold_percent}",
    )

    class Parameters(parameters.Parameters):
        kinds = ("crowd",)
        levels: parameters.Thresholds
        hysteresis: parameters.Hysteresis = 0.0
        reset: Annotated[time, BeforeValidator(_clock_time)] | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.venue = Table(len(self.sites), reset=np.int64)
        self.people = np.zeros(len(self.sites))
        self._capacity = [getattr(site, "capacity", None) or 0.0 for site in self.sites.all]

    @classmethod
    def check(cls, rule: Any, site: Site, catalogue: Catalogue) -> None:
        super().check(rule, site, catalogue)
        if cls.applies(rule, site, catalogue) and isinstance(site, Place) and not site.capacity:
            raise ValueError(f"the venue {site.id} has no `capacity`; add it to the catalogue (people)")

    @classmethod
    def warnings(cls, rule: Any) -> list[str]:
        return parameters.regrets(rule.levels, rule.hysteresis)

    def readings(self, batch: Batch) -> None:
        rows = np.flatnonzero(batch.grade == GOOD)
        if not len(rows):
            return
        site = self.place_of[batch.sensor[rows]]
        order = np.argsort(site, kind="stable")
        rows, site = rows[order], site[order]
        time, record, quantity = batch.time[rows], batch.record[rows], batch.quantity[rows]
        edge = (np.diff(site, prepend=-1) != 0) | (np.diff(time, prepend=-1) != 0) | (np.diff(record, prepend=-1) != 0)
        starts = np.flatnonzero(edge)
        value = batch.value[rows]
        signed = np.where(quantity == _IN, value, np.where(quantity == _OUT, -value, 0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            change = np.add.reduceat(signed, starts)
        counted = np.full(len(rows), np.nan)
        counted[quantity == _COUNT] = value[quantity == _COUNT]
        ends = np.append(starts[1:], len(rows))
        known = np.flatnonzero(~np.isnan(counted))
        before = np.searchsorted(known, ends)
        last = np.append(known, -1)[before - 1]  # of an empty `known`, or where none comes before: -1
        count = np.where(last >= starts, counted[last], np.nan)
        columns = (site[starts], time[starts], change, count, record[starts])
        for s, at, delta, present, number in zip(*(column.tolist() for column in columns), strict=True):
            self._apply(s, at, delta, present, batch.records, number)

    def _apply(self, site: int, at: int, change: float, count: float, records: Sequence[Record], number: int) -> None:
        """The readings of a venue at one time, from record ``number``; ``count`` is NaN where there is none."""
        reset = self.venue.reset[site]
        if reset <= at:
            self._start_or_reset(site, at, at, records[number])
        people = min(max(0.0, float(self.people[site]) + change), MOST) if count != count else count
        self.people[site] = people
        x, level = round6(min(people / self._capacity[site], MOST)), int(self.step.level[site])
        if self.ladders[site].step(level, x) != level:
            self.step_to(site, x, at, records[number])
        if at > self.step.used[site]:
            self.step.used[site] = at

    def due(self, tick: Tick) -> None:
        for site in np.flatnonzero(self.venue.reset <= tick.now).tolist():
            self._start_or_reset(site, tick.now, tick.time, tick.record)

    def _start_or_reset(self, site: int, now: int, start: int, source: Record) -> None:
        """Empties the venue at each reset time up to ``now``; the first one is the next after ``start``."""
        reset = int(self.venue.reset[site])
        if reset == NEVER:
            self.venue.reset[site] = self._next_reset(start)
            return
        while reset <= now:
            if self.people[site] or self.step.level[site]:
                self.people[site] = 0.0
                self.step_to(site, 0.0, reset, source)
                reset = self._next_reset(reset)
            else:
                reset = self._next_reset(now)
        self.venue.reset[site] = reset

    def _next_reset(self, after: int) -> int:
        """The first reset time later than ``after``, both in ms."""
        if self.rule.reset is None or after >= _LAST_DAYS:
            return FOREVER
        local = datetime.fromtimestamp(after / 1000, self.timezone)
        for days in range(3):
            day = local.date() + timedelta(days=days)
            reset = datetime.combine(day, self.rule.reset, self.timezone)
            reset_ms = round(reset.timestamp() * 1000)
            if reset_ms > after:
                return reset_ms
        return FOREVER

    def resume(self, tick: Tick) -> None:
        self.due(tick)

    def dump(self, zone: int) -> dict[str, Any]:
        rows = self.sites.of_zone[zone]
        return super().dump(zone) | self.venue.dump(rows) | {"people": self.people[rows].tolist()}

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        self.venue.load(saved, old, new)
        self.people[new] = [saved["people"][i] for i in old]
