"""People at stations and the airport on a holiday; at one of them trains are held, and the hall fills up.

Who comes stays for some time and leaves (a queue with as many servers as people); arrivals follow the hour of
the day. While trains are held fewer leave; with the hall full, most are kept waiting outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sensors.catalogue import Sensor
from sensors.simulators.packs import HOUR, LOCAL, MINUTE, SECOND, Channels, Pack, Schedule, Setting
from sensors.simulators.truth import LevelTruth, Truth

INTERVAL = 10 * SECOND
COUNT_EVERY = 10 * MINUTE  # the gates' own tally, told by a venue's first counter
MISSED = 0.005  # of the people who pass a counter
ERROR = 0.012  # of the capacity: what missed people and the tally's own error can add up to
STAY = 40 * MINUTE
# arrivals in each local hour, per cent of the busiest
HOURS = np.array([8, 3, 2, 2, 6, 25, 60, 85, 100, 95, 85, 80, 75, 80, 90, 100, 100, 95, 85, 75, 60, 45, 30, 15], float)
HELD_FROM, HELD_FOR = 15.5 * HOUR, 50 * MINUTE  # trains: local time, how long
HELD_SHARE = 0.4  # of the trains that run all the same


class Rush:
    """Venues with more counters than a marathon segment's two; one of them, by the seed, overflows."""

    def __init__(self, setting: Setting, truth: Truth) -> None:
        self.setting = setting
        self.venues = venues(setting, lambda counters: len(counters) > 2)
        counters = [s for found in self.venues.values() for s in found]
        self.sensors = {s.id for s in counters}
        firsts = [found[0] for found in self.venues.values()]
        pairs = [(s, q) for q in ("in", "out") for s in counters]
        self.channels = Channels(setting, "crowd", [*pairs, *((s, "count") for s in firsts)])
        # all counters of a venue report together
        self._schedule = Schedule(setting, INTERVAL, self.channels.phases[2 * len(counters) :])
        rng = setting.rng("rush")
        sizes = [len(found) for found in self.venues.values()]
        self._doors = [rng.dirichlet(np.full(size, 6.0)) for size in sizes]
        self._first_door = np.cumsum([0, *sizes])
        self._capacity = np.array([setting.catalogue.places[v].capacity for v in self.venues], float)
        self._busy = rng.uniform(0.45, 0.62, len(sizes))  # share of the capacity at the busiest hour
        self._held = int(rng.integers(len(sizes))) if sizes else -1
        self._held_from = setting.midnight_ms + round(HELD_FROM + rng.uniform(-0.3, 0.3) * HOUR)
        if sizes:
            self._busy[self._held] = rng.uniform(0.68, 0.74)
            until = self._held_from + HELD_FOR
            if self._held_from < setting.end_ms and until > setting.start_ms:
                truth.event("trains held", list(self.venues)[self._held], self._held_from, until)
        self._rng = setting.rng("people")
        self._present = np.round(self._busy * self._capacity * HOURS[0] / 100).astype(np.int64)
        self._truth = OccupancyTruth(truth, setting, list(self.venues), ERROR, self._schedule.interval_ms)
        self._told = np.zeros(len(sizes), bool)  # whether the tally was told yet

    def packs(self) -> Iterator[Pack]:
        """All packs, in the order in which the broker gets them."""
        doors, count = int(self._first_door[-1]), len(self.venues)
        columns = np.arange(doors)
        venue_of = np.repeat(np.arange(count), np.diff(self._first_door))
        for begin in self.setting.stretches():
            times = self._schedule.times(begin)
            passed = np.zeros((len(times), 2 * doors), np.int64)
            present = np.zeros((len(times), count), np.int64)
            for step, at in enumerate(times):
                passed[step] = self._step(int(at[0]) if count else begin, doors)
                present[step] = self._present
            self._truth.step(times, present / self._capacity)
            seen = self._rng.binomial(passed, 1 - MISSED)
            door_times = times[:, venue_of]
            tally_rows, tally_venues = self._tallies(times)
            error = self._rng.uniform(-MISSED, MISSED, len(tally_rows))
            time = np.concatenate([door_times.ravel(), door_times.ravel(), times[tally_rows, tally_venues]])
            channel = np.concatenate(
                [np.tile(columns, len(times)), np.tile(doors + columns, len(times)), 2 * doors + tally_venues]
            )
            tally = np.rint(present[tally_rows, tally_venues] * (1 + error)).astype(np.int64)
            value = np.concatenate([seen[:, :doors].ravel(), seen[:, doors:].ravel(), tally])
            yield from self.channels.packs(time, channel, value)

    def _step(self, at: int, doors: int) -> np.ndarray:
        """How many came in and went out by each door in one interval; brings those present up to date."""
        rng, seconds = self._rng, self._schedule.interval_ms / STAY
        hour = (at + LOCAL) / HOUR % 24
        wave = np.interp(hour, np.arange(25) + 0.5, np.append(HOURS, HOURS[0])) / 100
        leaving = np.full(len(self.venues), 1.0)
        since = at - self._held_from
        if 0 <= since < HELD_FOR:
            leaving[self._held] = HELD_SHARE
        elif 0 <= since < HELD_FOR + 2 * HOUR:
            leaving[self._held] = 1.5  # more trains than usual
        # the doors are closed to most while the hall is full
        door = np.where(self._present > 1.06 * self._capacity, 0.35, 1.0)
        came = rng.poisson(self._busy * self._capacity * wave * door * seconds)
        went = rng.binomial(self._present, 1 - np.exp(-leaving * seconds))
        self._present = self._present + came - went
        passed = np.zeros(2 * doors, np.int64)
        for venue, shares in enumerate(self._doors):
            a, b = self._first_door[venue], self._first_door[venue + 1]
            passed[a:b] = rng.multinomial(came[venue], shares)
            passed[doors + a : doors + b] = rng.multinomial(went[venue], shares)
        return passed

    def _tallies(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, venues) of the times at which a tally is told: the first of all, then every ten minutes."""
        told = self.setting.wanted(times)
        due = told & (times // COUNT_EVERY != (times - self._schedule.interval_ms) // COUNT_EVERY)
        first = np.argmax(told, axis=0)
        new = told.any(axis=0) & ~self._told
        due[first[new], np.flatnonzero(new)] = True
        self._told |= new
        rows, venue = np.nonzero(due)
        return rows, venue


class OccupancyTruth:
    """Rules of type ``occupancy``: people really present ÷ capacity, ± what counters miss."""

    def __init__(self, truth: Truth, setting: Setting, ids: list[str], error: float, tolerance_ms: int) -> None:
        self._setting, self._error = setting, error
        places = [setting.catalogue.places[i] for i in ids]
        self._followed = []
        for rule in truth.of("occupancy", "crowd"):
            h = rule.parameters.hysteresis
            tables = [rule.table(place) for place in places]
            levels = LevelTruth(rule.id, ids, tables, lambda c, h=h: c - h, tolerance_ms)
            self._followed.append(truth.follow(levels))

    def step(self, times: np.ndarray, ratio: np.ndarray) -> None:
        for levels in self._followed:
            for at, x in zip(times, ratio, strict=True):
                levels.step(at, x, np.full(len(x), self._error), self._setting.wanted(at))


def venues(setting: Setting, wanted: Callable[[list[Sensor]], bool]) -> dict[str, list[Sensor]]:
    """Venues (id → its counters by id) of a crowd whose counters are as wanted, by id."""
    found: dict[str, list[Sensor]] = {}
    for sensor in sorted(setting.catalogue.sensors.values(), key=lambda s: s.id):
        if sensor.kind == "crowd" and setting.catalogue.places[sensor.place].capacity:
            found.setdefault(sensor.place, []).append(sensor)
    return {venue: counters for venue, counters in sorted(found.items()) if wanted(counters)}
