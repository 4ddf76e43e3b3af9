"""Who is where in a home, told from its motions: the room, the stay in it, and whether anybody is in at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

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

    __slots__ = ("away", "due", "last", "level", "returning", "room", "since")

    def __init__(self) -> None:
        self.last, self.room, self.since = NEVER, "", NEVER  # last motion; current room; begin of the stay
        self.away = False
        self.returning: list[int] = []  # motions ignored so far, while nobody is in
        self.due, self.level = FOREVER, 0  # when its timer falls due next; the rule's level here

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

    restarts: ClassVar[bool]  # whether a further motion in the same room starts the timer again

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.homes = [Presence() for _ in range(len(self.sites))]
        self._due = np.full(len(self.sites), FOREVER)  # of all homes
        sensors = self.roster.kinds["infrared"].sensors.all
        self._room = [s.room or "" for s in sensors if isinstance(s, Sensor)]
        self._shortest = min((wait for waits in self.waits() for wait in waits.values()), default=FOREVER)

    def waits(self) -> Iterator[dict[int, int]]:
        """Every table of waits that ``wait`` may give."""
        raise NotImplementedError

    def wait(self, site: int, home: Presence) -> tuple[int, dict[int, int]] | None:
        """(begin, level → wait) of the timer that runs in this home, in ms; None where none does."""
        raise NotImplementedError

    def readings(self, batch: Batch) -> None:
        rows = batch.good(_MOTION)
        if not len(rows):
            return
        sensor, time, moved = batch.sensor[rows], batch.time[rows], batch.value[rows] != 0
        site = self.place_of[sensor]
        # a reading without motion matters where a timer is due by then: one that runs, or one that a motion starts
        due = self._due.copy()
        np.minimum.at(due, site[moved], time[moved] + self._shortest)
        busy = np.flatnonzero(moved | (time >= due[site]))
        homes, rooms = self.homes, self._room
        columns = (busy, site[busy], time[busy], sensor[busy], moved[busy])
        for row, s, at, who, motion in zip(*(column.tolist() for column in columns), strict=True):
            home = homes[s]
            if at >= home.due or (motion and home.level):
                earlier = time[:row][site[:row] == s]
                self.step.used[s] = max(int(self.step.used[s]), int(earlier.max(initial=NEVER)))
                self._apply(s, at, rooms[who] if motion else None, batch.records[int(batch.record[rows[row]])])
            elif not motion:
                continue
            elif rooms[who] == home.room and NEVER < home.last <= at and not home.away:  # most are in the same room
                home.due += at - home.last if self.restarts else 0
                home.last = at
            elif home.motion(rooms[who], at, self.rule):
                wait = self.wait(s, home)
                home.due = FOREVER if wait is None else next_due(*wait, 0)
        np.maximum.at(self.step.used, site, time)
        for s in set(site[busy].tolist()):
            self._due[s] = homes[s].due

    def _apply(self, site: int, time: int, room: str | None, source: Record) -> None:
        home = self.homes[site]
        if time >= home.due:
            self._fall_due(site, time, source)
        if room is not None:
            before = self.wait(site, home) if home.level else None
            if home.motion(room, time, self.rule):
                after = self.wait(site, home)
                if before is not None and after != before:
                    since, waits = before
                    self.move(site, 0, time, round6((time - since) / 1000), waits[home.level] / 1000, source)
                    home.level = 0
                home.due = FOREVER if after is None else next_due(*after, home.level)

    def due(self, tick: Tick) -> None:
        for site in np.flatnonzero(self._due <= tick.now).tolist():
            self._fall_due(site, tick.now, tick.record)

    def _fall_due(self, site: int, now: int, source: Record) -> None:
        home = self.homes[site]
        wait = self.wait(site, home)
        if wait is None:
            return
        since, waits = wait
        for due, level in steps_due(since, waits, home.level, now):
            self.move(site, level, due, round6((due - since) / 1000), waits[level] / 1000, source)
            home.level = level
        self._due[site] = home.due = next_due(since, waits, home.level)

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
            home.level = int(self.step.level[site])
            wait = self.wait(site, home)
            self._due[site] = home.due = FOREVER if wait is None else next_due(*wait, home.level)
