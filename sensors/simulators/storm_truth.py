"""What a storm ought to raise: depth levels, rainstorm sums, the risk of waterlogging, a gauge's silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sensors.catalogue import Place, Sensor
from sensors.simulators.packs import MINUTE, STRETCH, Setting
from sensors.simulators.truth import Expected, LevelTruth, Span, Truth
from sensors.simulators.weather import Floats

_MINUTES = STRETCH // MINUTE
# what a catchment's balance needs
BALANCE = ("runoff", "interception_mm", "storage_mm", "drainage_mm_h", "hollow_ratio")
Samples = tuple[np.ndarray, Floats, np.ndarray]  # times, numbers, whether told: (steps, sensors) each


class DepthTruth:
    """Rules of type ``level`` on depth: the true depth when each gauge looks, ± its noise."""

    def __init__(self, truth: Truth, gauges: Sequence[Sensor], error: float, tolerance_ms: int) -> None:
        self._error = error
        self._followed = [_follow(truth, rule, gauges, tolerance_ms) for rule in truth.of("level", "flood")]

    def step(self, times: np.ndarray, depth: Floats, told: np.ndarray) -> None:
        for levels in self._followed:
            for at, x, seen in zip(times, depth, told, strict=True):
                levels.step(at, x, np.full(len(x), self._error), seen)


class SumTruth:
    """Rules of type ``window_sum`` on rain: sums of the true rain over the last hours, ± catch and bucket."""

    def __init__(
        self,
        truth: Truth,
        stations: Sequence[Sensor],
        setting: Setting,
        error: tuple[float, float],
        tolerance_ms: int,
    ) -> None:
        self._setting, self._error = setting, error
        self._followed = []
        for rule in truth.of("window_sum", "rain"):
            tables = [rule.table(station) for station in stations]
            windows = sorted({(level, w.window) for table in tables for level, w in table.items()})
            sums = [{level: w.sum for level, w in table.items()} for table in tables]
            share = rule.parameters.hysteresis
            levels = LevelTruth(rule.id, [s.id for s in stations], sums, lambda c, h=share: c * (1 - h), tolerance_ms)
            self._followed.append((truth.follow(levels), np.array([w for _, w in windows])))
        self._windows = sorted({int(w) for _, windows in self._followed for w in windows})  # minutes
        self._sums = {w: np.zeros(len(stations)) for w in self._windows}
        # mm in each minute, round and round
        self._minutes = np.zeros((max(self._windows, default=0) + 1, len(stations)))

    def step(self, begin: int, times: np.ndarray, since: Floats, told: np.ndarray) -> None:
        if not self._followed:
            return
        minute = (times - begin) // MINUTE
        everywhere = np.ones(times.shape[1], bool)
        for m in range(_MINUTES):
            start = begin + m * MINUTE
            now = start // MINUTE % len(self._minutes)
            for window, sums in self._sums.items():
                sums -= self._minutes[now - window]
            self._minutes[now] = 0.0
            if start >= self._setting.start_ms:
                self._evaluate(np.full(len(everywhere), start), everywhere)
            for row in np.flatnonzero((minute == m).any(axis=1)):
                seen = told[row] & (minute[row] == m)
                if seen.any():
                    rain = np.where(seen, since[row], 0.0)
                    self._minutes[now] += rain
                    for sums in self._sums.values():
                        sums += rain
                    self._evaluate(times[row], seen)

    def _evaluate(self, at: np.ndarray, seen: np.ndarray) -> None:
        share, tip = self._error
        for levels, windows in self._followed:
            sums = np.array([self._sums[int(w)] for w in windows])
            levels.step(at, sums, np.where(sums > 1e-6, share * sums + tip, 0.0), seen)


class RiskTruth:
    """Rules of type ``waterlog_risk``: the rule's balance on true rain and true depths, minute by minute.

    The error is our own judgement: 2 cm and a tenth, for rain in buckets and gauges that are wet or dry.
    """

    ERROR = (0.10, 0.02)  # of x, and m

    def __init__(
        self,
        truth: Truth,
        catchments: Sequence[Place],
        gauges: Sequence[Sensor],
        stations: Sequence[Sensor],
        setting: Setting,
    ) -> None:
        self._setting, count = setting, len(catchments)
        rules = truth.of("waterlog_risk", "flood")
        self._followed = [_follow(truth, rule, catchments, MINUTE) for rule in rules]
        number = {place.id: i for i, place in enumerate(catchments)}
        self._gauge_of = np.array([number.get(s.place, count) for s in gauges], int)
        self._station_of = np.array([number.get(s.place, count) for s in stations], int)
        columns = [column(catchments, field) for field in BALANCE]
        self._runoff, self._interception, self._storage, self._drainage, self._hollow = columns
        self._left = self._interception.copy()
        self._dry_minutes, self._water = np.zeros(count, int), np.zeros(count)
        self._recent = np.zeros((15, count))

    def step(self, begin: int, depths: Samples, rains: Samples) -> None:
        if not self._followed:
            return
        r, d = self._rain(begin, *rains), self._depth(begin, *depths)
        for m in range(_MINUTES):
            end = begin + (m + 1) * MINUTE
            if self._setting.start_ms < end <= self._setting.end_ms:
                x = self._predict(r[m], d[m])
                for levels in self._followed:
                    levels.step(np.full(len(x), end), x, self.ERROR[0] * x + self.ERROR[1])

    def _rain(self, begin: int, times: np.ndarray, since: Floats, told: np.ndarray) -> Floats:
        """(minutes, catchments): mean over the stations that reported of their mm in the minute."""
        sums, reported = np.zeros((_MINUTES, times.shape[1])), np.zeros((_MINUTES, times.shape[1]))
        minute, station = (times - begin) // MINUTE, np.broadcast_to(np.arange(times.shape[1]), times.shape)
        np.add.at(sums, (minute[told], station[told]), since[told])
        reported[minute[told], station[told]] = 1
        stations_in = np.zeros((times.shape[1], len(self._water) + 1))
        stations_in[np.arange(times.shape[1]), self._station_of] = 1
        return (sums @ stations_in / np.maximum(1, reported @ stations_in))[:, :-1]

    def _depth(self, begin: int, times: np.ndarray, depth: Floats, told: np.ndarray) -> Floats:
        """(minutes, catchments): the largest of its gauges' last depths in the minute; NaN without any."""
        last = np.full((_MINUTES, times.shape[1]), np.nan)
        minute, gauge = (times - begin) // MINUTE, np.broadcast_to(np.arange(times.shape[1]), times.shape)
        last[minute[told], gauge[told]] = depth[told]
        largest = np.full((len(self._water) + 1, _MINUTES), np.nan)
        np.fmax.at(largest, self._gauge_of, last.T)
        return largest[:-1].T

    def _predict(self, r: Floats, d: Floats) -> Floats:
        """x of the rule: docs/rules.md has the balance."""
        self._dry_minutes = np.where(r > 0, 0, self._dry_minutes + 1)
        self._left = np.where(self._dry_minutes >= 360, self._interception, self._left)
        lost = np.minimum(r, self._left)
        self._left = self._left - lost
        water = np.maximum(0.0, self._water + self._runoff * (r - lost) - self._drainage / 60)
        wet = d >= 0.015  # less is told as 0
        water = np.where(wet, self._storage + 1000 * d / self._hollow, water)
        self._water = np.where(~wet & ~np.isnan(d), np.minimum(water, self._storage), water)
        self._recent = np.concatenate([self._recent[1:], r[None]])
        ahead = self._water + 30 * (self._runoff * self._recent.mean(axis=0) - self._drainage / 60)
        return np.maximum(0.0, np.maximum(self._water, ahead) - self._storage) * self._hollow / 1000


def column(places: Sequence[Place], field: str) -> Floats:
    """One field of all places."""
    return np.array([getattr(place, field) for place in places], float)


def _follow(truth: Truth, rule: Any, sites: Sequence[Any], tolerance_ms: int) -> LevelTruth:
    """A rule with one number x per site and a hysteresis h in its unit."""
    h = rule.parameters.hysteresis
    tables = [rule.table(site) for site in sites]
    return truth.follow(LevelTruth(rule.id, [s.id for s in sites], tables, lambda c: c - h, tolerance_ms))


def expect_silence(truth: Truth, setting: Setting, sensor: Sensor, times: np.ndarray, span: tuple[int, int]) -> None:
    """For a sensor that would report at ``times`` and is dead in ``span``.

    It is silent since its last reading; one that was not heard of at all, since the first tick, which comes
    with the first whole minute after the first reading of all.
    """
    heard = times[(times >= setting.start_ms) & (times < min(span[0], setting.end_ms))]
    back = int(times[times >= span[1]][0])
    if back <= setting.start_ms or span[0] >= setting.end_ms:
        return
    until = back if back < setting.end_ms else None
    since = int(heard[-1]) if len(heard) else setting.start_ms
    doubt = 0 if len(heard) else 2 * MINUTE
    truth.event("gauge dead", sensor.id, since, until)
    for rule in truth.of("silence", sensor.kind):
        for level, wait in rule.table(sensor).items():
            begin = since + wait
            if begin + doubt < min(back, setting.end_ms):
                certain: list[Span] = [(begin + doubt, until)]
                truth.expect(Expected(rule.id, sensor.id, level, (begin, until), (begin, until), certain))
