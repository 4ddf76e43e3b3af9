"""Who is where in a home, told from its motions: the room, the stay in it, and whether anybody is in at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from alerts import parameters
from alerts.batch import Batch
from alerts.levels import FOREVER, NEVER, round6
from alerts.rules.rule import PlaceRule, Tick
from alerts.timers import next_due, steps_due
from sensors.catalogue import Sensor
from sensors.quantities import QUANTITIES
from sensors.record import Record

_MOTION = list(QUANTITIES["infrared"]).index("motion")
_DAY_MS = 86_400_000


class PresenceParameters(parameters.Parameters):
    """``away_room``: after a motion there nobody is in until the next motion elsewhere.

    ``away_return``: while nobody is in, motions elsewhere are ignored until so many fall within so long a time;
    the last of them ends the absence. A lone phantom trigger of an empty home is not somebody.
    """

    kinds = ("infrared",)
    away_room: str | None = None
    away_return: parameters.AwayReturn | None = None


class Presence:
    """The state of one home; all times in ms."""

    __slots__ = ("away", "last", "returning", "room", "since")

    def __init__(self) -> None:
        self.last, self.room, self.since = NEVER, "", NEVER  # last motion; current room; begin of the stay
        self.away = False
        self.returning: list[int] = []  # motions ignored so far, while nobody is in

    def motion(self, room: str, time: int, rule: PresenceParameters) -> bool:
        """Takes in a motion; False where it is ignored."""
        if time < self.last:
            return False
        if self.away and room != rule.away_room:
            if rule.away_return is not None and not self._returned(time, rule.away_return):
                return False
            self.away, self.room = False, ""
        self.returning.clear()
        if room != self.room:
            self.room, self.since = room, time
        self.away = room == rule.away_room
        self.last = time
        return True

    def _returned(self, time: int, back: parameters.AwayReturn) -> bool:
        self.returning.append(time)
        # motions of other sensors can come late, so the ones just out of the window are kept for a day
        oldest = max(self.returning) - back.within - _DAY_MS
        self.returning = [t for t in self.returning if t > oldest]
        return sum(time - back.within < t <= time for t in self.returning) >= back.motions


class PresenceRule(PlaceRule):
    """A timer per home. Subclasses say in ``wait`` what is being waited for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.homes = [Presence() for _ in range(len(self.sites))]
        self._due = np.full(len(self.sites), FOREVER)
        sensors = self.roster.kinds["infrared"].sensors.all
        self._room = [s.room or "" for s in sensors if isinstance(s, Sensor)]

    def wait(self, site: int, home: Presence) -> tuple[int, dict[int, int]] | None:
        """(begin, level → wait) of the timer that runs in this home, in ms; None where none does."""
        raise NotImplementedError

    def readings(self, batch: Batch) -> None:
        rows = batch.good(_MOTION)
        if not len(rows):
            return
        sensor, time, moved = batch.sensor[rows], batch.time[rows], batch.value[rows] != 0
        site = self.place_of[sensor]
        busy = moved | (time >= self._due[site])
        if busy.any():
            homes = np.zeros(len(self.sites), bool)
            homes[site[busy]] = True
            told = np.flatnonzero(homes[site])
            columns = (site[told], time[told], sensor[told], moved[told], batch.record[rows[told]])
            for s, at, who, motion, number in zip(*(column.tolist() for column in columns), strict=True):
                if motion or at >= self._due[s]:
                    self._apply(s, at, self._room[who] if motion else None, batch.records[number])
                elif at > self.step.used[s]:
                    self.step.used[s] = at
        np.maximum.at(self.step.used, site, time)

    def _apply(self, site: int, time: int, room: str | None, source: Record) -> None:
        if time >= self._due[site]:
            self._fall_due(site, time, source)
        if room is not None:
            home, level = self.homes[site], int(self.step.level[site])
            before = self.wait(site, home) if level else None
            if home.motion(room, time, self.rule):
                after = self.wait(site, home)
                if before is not None and after != before:
                    since, waits = before
                    self.move(site, 0, time, round6((time - since) / 1000), waits[level] / 1000, source)
                    level = 0
                self._due[site] = FOREVER if after is None else next_due(*after, level)
        if time > self.step.used[site]:
            self.step.used[site] = time

    def due(self, tick: Tick) -> None:
        for site in np.flatnonzero(self._due <= tick.now).tolist():
            self._fall_due(site, tick.now, tick.record)

    def _fall_due(self, site: int, now: int, source: Record) -> None:
        wait = self.wait(site, self.homes[site])
        if wait is None:
            return
        since, waits = wait
        for due, level in steps_due(since, waits, int(self.step.level[site]), now):
            self.move(site, level, due, round6((due - since) / 1000), waits[level] / 1000, source)
        self._due[site] = next_due(since, waits, int(self.step.level[site]))

    def dump(self, zone: int) -> dict[str, Any]:
        homes = self.homes[self.sites.of_zone[zone]]
        saved = [(home.last, home.room, home.since, home.away, home.returning) for home in homes]
        return super().dump(zone) | {"homes": saved}

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        for i, site in zip(old, new, strict=True):
            home = self.homes[site]
            home.last, home.room, home.since, home.away, returning = saved["homes"][i]
            home.returning = list(returning)
            wait = self.wait(site, home)
            self._due[site] = next_due(*wait, int(self.step.level[site])) if wait is not None else FOREVER
