"""A sensor that says nothing: dead, cut off, or never seen at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from alerts import kernels, parameters
from alerts.batch import DUPLICATE, LATE, Batch
from alerts.levels import FOREVER, NEVER, round6
from alerts.rules.rule import SensorRule, Tick
from alerts.table import Table
from alerts.timers import next_due, steps_due
from sensors.record import Record


class Silence(SensorRule):
    """A timer per sensor: the time since its last accepted reading, of whatever quantity, held ones too.

    Before the first reading it runs from the first tick that the sensor's state has seen, so a sensor that never
    reports is found too. Late readings do not restart it, and nothing turns it back.

        [[rule]]
        id = "flood-silence"
        kind = "flood"
        type = "silence"
        levels = {yellow = "15m", orange = "2h"}
    """

    type = "silence"
    words = ("已 {wait} 没有读数", "no reading for {wait}")

    class Parameters(parameters.Parameters):
        levels: parameters.Waits

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.wait = Table(len(self.sites), since=np.int64)
        self._first = np.array([min(waits.values()) for waits in self.tables], np.int64)
        self._due = np.full(len(self.sites), FOREVER)
        self._unseen = True
        self._soonest = FOREVER  # no timer falls due before this

    def readings(self, batch: Batch) -> None:
        if kernels.compiled is None:
            self._by_sensor(batch)
            return
        row, waits = 0, (self.wait.since, self.step.level, self._first, self._due, self.step.used)
        while row < len(batch.channel):
            rows = batch.channel, batch.time, batch.grade, batch.quantities
            row, soonest = kernels.compiled.hear(*rows, row, *waits)
            self._soonest = min(self._soonest, soonest)
            if row < len(batch.channel):
                site, time = int(batch.sensor[row]), int(batch.time[row])
                source = batch.records[int(batch.record[row])]
                self._fall_due(site, time, source)
                self._restart(site, time, source)
                self.step.used[site] = max(int(self.step.used[site]), time)
                self._plan(np.array([site]))
                row += 1

    def _by_sensor(self, batch: Batch) -> None:
        accepted = np.flatnonzero((batch.grade != LATE) & (batch.grade != DUPLICATE))
        if not len(accepted):
            return
        sensor, time = batch.sensor[accepted], batch.time[accepted]
        since, earliest = self.wait.since.copy(), np.full(len(self.sites), FOREVER)
        np.maximum.at(since, sensor, time)
        np.minimum.at(earliest, sensor, time)
        # a wait can have ended in an alert only where the sensor was silent for the shortest of its waits
        begin = np.where(self.wait.since == NEVER, earliest, self.wait.since)
        busy = (since - begin >= self._first) | (self.step.level > 0)
        if busy.any():
            for row in np.flatnonzero(busy[sensor]).tolist():
                site, source = int(sensor[row]), batch.records[int(batch.record[accepted[row]])]
                self._fall_due(site, int(time[row]), source)
                self._restart(site, int(time[row]), source)
        np.maximum(self.wait.since, since, out=self.wait.since)
        np.maximum.at(self.step.used, sensor, time)
        heard = np.zeros(len(self.sites), bool)
        heard[sensor] = True
        self._plan(np.flatnonzero(heard))

    def due(self, tick: Tick) -> None:
        if self._unseen:
            new = np.flatnonzero(self.wait.since == NEVER)
            self.wait.since[new] = tick.time
            self._plan(new)
            self._unseen = False
        if tick.now < self._soonest:
            return
        for site in np.flatnonzero(self._due <= tick.now).tolist():
            self._fall_due(site, tick.now, tick.record)
        self._soonest = int(self._due.min(initial=FOREVER))

    def _fall_due(self, site: int, now: int, source: Record) -> None:
        """All changes of this wait at or before ``now``, each at its own time."""
        since, waits = int(self.wait.since[site]), self.tables[site]
        if since == NEVER:
            return
        for due, level in steps_due(since, waits, int(self.step.level[site]), now):
            self.move(site, level, due, round6((due - since) / 1000), waits[level] / 1000, source)
        self._due[site] = next_due(since, waits, int(self.step.level[site]))

    def _restart(self, site: int, time: int, source: Record) -> None:
        since, level = int(self.wait.since[site]), int(self.step.level[site])
        if time <= since:
            return
        self.wait.since[site] = time
        if level:
            waits = self.tables[site]
            self.move(site, 0, time, round6((time - since) / 1000), waits[level] / 1000, source)
        self.step.used[site] = max(int(self.step.used[site]), time)

    def _plan(self, sites: Any) -> None:
        """Sets when these sites' timers fall due next; a timer of a quiet site is the shortest of its waits."""
        if not len(sites):
            return
        self._due[sites] = self.wait.since[sites] + self._first[sites]
        for site in sites[self.step.level[sites] > 0].tolist():
            self._due[site] = next_due(int(self.wait.since[site]), self.tables[site], int(self.step.level[site]))
        self._soonest = min(self._soonest, int(self._due[sites].min()))

    def dump(self, zone: int) -> dict[str, Any]:
        return super().dump(zone) | self.wait.dump(self.sites.of_zone[zone])

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        self.wait.load(saved, old, new)
        seen = np.array(new)[self.wait.since[new] != NEVER] if new else np.array(new, np.int64)
        self._plan(seen)
