"""A rainstorm over the catchments: rain, runoff, what the drains take, the water that stands in the hollows.

Each catchment is a linear reservoir (runoff reaches the drains with a delay) above a bucket: the drains take
``drainage_mm_h``, ``storage_mm`` fits into pipes and gutters, and the rest stands in the lowest hollow,
1/hollow_ratio of the area. That is the balance of the rule ``waterlog_risk``, but driven by the rain over the
whole area instead of a few stations, with a delay, and with drains that are partly blocked; the rule has to
cope with the difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sensors.simulators.packs import HOUR, MINUTE, SECOND, STRETCH, Channels, Pack, Schedule, Setting
from sensors.simulators.storm_truth import (
    BALANCE,
    DepthTruth,
    RiskTruth,
    Samples,
    SumTruth,
    column,
    expect_silence,
)
from sensors.simulators.truth import Truth
from sensors.simulators.weather import Floats, Squall, fallen, kilometres

INTERVAL = 60 * SECOND
PEAK_HOUR = 15.5  # local time at which the line is over the centre, give or take half an hour
NOISE_M = 0.003  # one sigma of a gauge; cut off at three
DRY_M = 0.015  # a gauge reports less than this as 0
TIP_MM = 0.1  # a rain gauge's bucket
CATCH = 0.03  # a rain gauge catches that much too little or too much, at most
SPIKES = 1 / 20_000  # of a gauge's readings: an echo from something that is not water
_MINUTES = STRETCH // MINUTE


class Storm:
    """Flood gauges and rain stations through a day with a squall in the afternoon; other days are dry."""

    def __init__(self, setting: Setting, truth: Truth) -> None:
        self.setting = setting
        sensors = list(setting.catalogue.sensors.values())
        self.gauges = [s for s in sensors if s.kind == "flood"]
        self.stations = [s for s in sensors if s.kind == "rain"]
        ids = sorted({s.place for s in (*self.gauges, *self.stations)})
        places = [setting.catalogue.places[i] for i in ids]
        self.catchments = [p for p in places if None not in [getattr(p, field) for field in BALANCE]]
        self.flood = Channels(setting, "flood", [(s, "depth") for s in self.gauges])
        self.rain = Channels(setting, "rain", [(s, "rain") for s in self.stations])
        self._schedules = [Schedule(setting, INTERVAL, c.phases) for c in (self.flood, self.rain)]
        self._build_ground()
        self._draw_faults(truth)
        step_ms = max(s.interval_ms for s in self._schedules)
        self._depths = DepthTruth(truth, self.gauges, error=3 * NOISE_M + 0.0005, tolerance_ms=step_ms)
        self._sums = SumTruth(truth, self.stations, setting, error=(CATCH, TIP_MM), tolerance_ms=step_ms)
        self._risks = RiskTruth(truth, self.catchments, self.gauges, self.stations, setting)

    @property
    def sensors(self) -> set[str]:
        """The sensors that this simulator speaks for."""
        return {s.id for s in (*self.gauges, *self.stations)}

    def _build_ground(self) -> None:
        """Where everything is, how high each gauge stands above its hollow, how well the drains work."""
        rng = self.setting.rng("storm ground")
        points = [(p.lon or 0.0, p.lat or 0.0) for p in (*self.catchments, *self.stations)]
        lon, lat = np.array(points).reshape(-1, 2).T
        centre = (float(np.median(lon)), float(np.median(lat))) if len(lon) else (0.0, 0.0)
        east, north = kilometres(lon, lat, centre)
        count = len(self.catchments)
        self._stations_at = east[count:], north[count:]
        middle = east[:count], north[:count]
        # the rain over a catchment is the mean of five points in it
        area = np.array([place.area_km2 or 1.0 for place in self.catchments])
        radius = 0.3 * np.sqrt(area)
        corners = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
        self._areas_at = (
            np.concatenate([middle[0] + radius * i for i, _ in corners]),
            np.concatenate([middle[1] + radius * j for _, j in corners]),
        )
        peak = self.setting.midnight_ms + round((PEAK_HOUR + rng.uniform(-0.5, 0.5)) * HOUR)
        self.squall = Squall(rng, peak, middle)
        self._runoff = column(self.catchments, "runoff")
        self._interception = column(self.catchments, "interception_mm")
        self._storage = column(self.catchments, "storage_mm")
        self._hollow = column(self.catchments, "hollow_ratio")
        blocked = rng.uniform(0.75, 1.0, count)
        self._drainage = blocked * column(self.catchments, "drainage_mm_h")
        self._delay = 4 + 5 * np.sqrt(area)  # minutes
        self._wetted, self._running = np.zeros(count), np.zeros(count)
        self._water, self._pond = np.zeros(count), np.zeros(count)
        number = {place.id: i for i, place in enumerate(self.catchments)}
        self._catchment = np.array([number.get(s.place, -1) for s in self.gauges], int)
        # one gauge of each hollow is at its bottom
        bottoms = np.zeros(len(self.gauges), bool)
        bottoms[np.unique(self._catchment, return_index=True)[1]] = True
        self._above = np.where(bottoms, 0.0, rng.uniform(0.02, 0.25, len(self.gauges)))
        self._catch = 1 + np.clip(rng.normal(0, CATCH / 2, len(self.stations)), -CATCH, CATCH)
        self._fallen = np.zeros(len(self.stations))  # mm until the stretch began

    def _draw_faults(self, truth: Truth) -> None:
        """One gauge dies at the height of the storm, and is back after two hours or so."""
        rng = self.setting.rng("storm faults")
        self._noise = self.setting.rng("gauge noise")
        self._dead = int(rng.integers(len(self.gauges))) if self.gauges else -1
        begin = self.setting.midnight_ms + round(rng.uniform(15.0, 15.7) * HOUR)
        self._dead_span = begin, begin + round(rng.uniform(2.2, 2.8) * HOUR)
        if self.gauges:
            times = self._times_of(self._dead, self._dead_span[1])
            expect_silence(truth, self.setting, self.gauges[self._dead], times, self._dead_span)

    def _times_of(self, gauge: int, until: int) -> np.ndarray:
        """When a gauge would report, to the end of the run and some time after ``until``."""
        stretches = range(self.setting.midnight_ms, max(self.setting.end_ms, until) + STRETCH, STRETCH)
        return np.concatenate([self._schedules[0].times(begin)[:, gauge] for begin in stretches])

    def packs(self) -> Iterator[Pack]:
        """All packs of both kinds, in the order in which the broker gets them."""
        for begin in self.setting.stretches():
            pond = self._balance(begin)
            flood, depths = self._measure_depth(begin, pond)
            rain, sums = self._measure_rain(begin)
            self._depths.step(*depths)
            self._sums.step(begin, *sums)
            self._risks.step(begin, depths, sums)
            yield from sorted(flood + rain)

    def _balance(self, begin: int) -> Floats:
        """Depth of the water in each hollow (m) at the stretch's beginning and after each of its minutes."""
        depths = [self._pond]
        over = fallen(self.squall, begin, _MINUTES, *self._areas_at)
        for rain in over.reshape(_MINUTES, 5, -1).mean(axis=1):
            lost = np.minimum(rain, self._interception - self._wetted)
            self._wetted += lost
            self._running += self._runoff * (rain - lost)
            arriving = self._running * (1 - np.exp(-1 / self._delay))
            self._running -= arriving
            self._water = np.maximum(0.0, self._water + arriving - self._drainage / 60)
            depths.append(np.maximum(0.0, self._water - self._storage) * self._hollow / 1000)
        self._pond = depths[-1]
        return np.array(depths)

    def _measure_depth(self, begin: int, pond: Floats) -> tuple[list[Pack], Samples]:
        """Packs, and (times, true depths, whether a good reading was made of it), each (steps, gauges)."""
        times = self._schedules[0].times(begin)
        minute = (times - begin) / MINUTE
        low = minute.astype(int)
        here = self._catchment
        depth = pond[low, here] + (minute - low) * (pond[low + 1, here] - pond[low, here])
        depth = np.where(here >= 0, np.maximum(0.0, depth - self._above), 0.0)
        rng = self._noise
        read = depth + np.clip(rng.normal(0, NOISE_M, depth.shape), -3 * NOISE_M, 3 * NOISE_M)
        read = np.where(read < DRY_M, 0.0, read)
        spikes = rng.random(depth.shape) < SPIKES
        spikes[1:] &= ~spikes[:-1]
        spikes[[0, -1]] = False  # nor at the seam of two stretches
        read = np.where(spikes, read + rng.uniform(1.7, 4.0, depth.shape), read)
        alive = np.ones(depth.shape, bool)
        alive[:, self._dead : self._dead + 1] = ~_during(times[:, self._dead : self._dead + 1], self._dead_span)
        rows, gauges = np.nonzero(alive)
        packs = self.flood.packs(times[rows, gauges], gauges, np.round(read[rows, gauges], 3))
        return packs, (times, depth, alive & ~spikes & self.setting.wanted(times))

    def _measure_rain(self, begin: int) -> tuple[list[Pack], Samples]:
        """Packs, and (times, true mm since the reading before, whether told), each (steps, stations)."""
        schedule = self._schedules[1]
        times = schedule.times(begin)
        stations = np.arange(len(self.stations))
        minutes = fallen(self.squall, begin, _MINUTES, *self._stations_at)
        total = np.concatenate([self._fallen[None], self._fallen + np.cumsum(minutes, axis=0)])
        minute = (times - begin) / MINUTE
        low = minute.astype(int)
        reached = total[low, stations] + (minute - low) * minutes[low, stations]
        if begin == self.setting.midnight_ms:
            self._told = np.zeros(len(stations))
        since = np.diff(reached, axis=0, prepend=self._told[None])
        # the bucket empties whenever it is full; what is in it waits
        tips = np.floor(np.concatenate([self._told[None], reached]) * self._catch / TIP_MM + 1e-9)
        self._told, self._fallen = reached[-1], total[-1]
        packs = self.rain.packs(
            times.ravel(), np.tile(stations, len(times)), np.round(np.diff(tips, axis=0).ravel() * TIP_MM, 1)
        )
        return packs, (times, since, self.setting.wanted(times))


def _during(time: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    return (time >= span[0]) & (time < span[1])
