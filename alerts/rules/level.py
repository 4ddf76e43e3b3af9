"""A reading at or above a threshold: ponding in an underpass, a river over its mark."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from alerts import kernels, parameters
from alerts.batch import Batch, BySensor
from alerts.levels import NEVER, Floats, round6_all, scan
from alerts.rules.rule import SensorRule
from sensors.quantities import QUANTITIES


class Level(SensorRule):
    """x is the reading, per sensor.

    ``levels``: level → threshold in the quantity's unit. ``hysteresis``: a level is left only below its threshold
    minus this. ``for``: a level counts on the way up only if every good reading of the last run, the run being
    at least that long in time, was at or above it.

        [[rule]]
        id = "flood-depth"
        kind = "flood"
        type = "level"
        quantity = "depth"
        levels = {blue = 0.10, yellow = 0.20, red = 0.27}
        hysteresis = 0.03
        for = "5m"
    """

    type = "level"
    clocked = False
    words = (
        "{quantity} {value} {unit}，阈值 {threshold} {unit}",
        "{quantity} {value} {unit}, threshold {threshold} {unit}",
    )

    class Parameters(parameters.QuantityParameters):
        levels: parameters.Thresholds
        hysteresis: parameters.Hysteresis = 0.0
        for_: parameters.Duration | None = Field(None, alias="for")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unit = QUANTITIES[self.rule.kind][self.rule.quantity] or "/"
        self._for: int | None = getattr(self.rule, "for_", None)
        self._quantity = list(QUANTITIES[self.rule.kind]).index(self.rule.quantity)
        self._plain = self._for is None  # each reading is judged by itself
        self._levels = sorted({level for ladder in self.ladders for level in ladder.thresholds})
        self._codes = np.array(self._levels, np.int8)
        shape = (len(self._levels), len(self.sites))
        self._up_from, self._down_from = np.full(shape, np.inf), np.full(shape, np.inf)
        for site, ladder in enumerate(self.ladders):
            for level, c in ladder.up_from:
                self._up_from[self._levels.index(level), site] = c
            for level, c in ladder.down_from:
                self._down_from[self._levels.index(level), site] = c
        self._lowest = self._down_from.min(axis=0, initial=np.inf)
        # per level the time at which the run of readings at or above it began, where one is under way
        self._run = np.full(shape, NEVER, np.int64)

    @classmethod
    def warnings(cls, rule: Any) -> list[str]:
        return parameters.regrets(rule.levels, rule.hysteresis)

    def readings(self, batch: Batch) -> None:
        if kernels.compiled is None or not self._plain:
            self._by_sensor(batch)
            return
        of = batch.grade, batch.quantities, self._quantity
        ladder = self._codes, self._up_from, self._down_from, self._lowest
        for row, old, new, x in kernels.compiled.level_steps(batch.channel, batch.value, *of, *ladder, self.step.level):
            site, source = int(batch.sensor[row]), batch.records[int(batch.record[row])]
            self.move(site, new, int(batch.time[row]), x, self.ladders[site].threshold(old, new), source)
        kernels.compiled.mark_used(batch.channel, batch.time, *of, self.step.used)

    def _by_sensor(self, batch: Batch) -> None:
        by_sensor = batch.good_by_sensor(self._quantity)
        if not len(by_sensor.sensor):
            return
        last = by_sensor.last
        x = self.number(by_sensor)
        if self._for is None:
            # most sites are quiet: below every threshold, and at level 0
            stirred = (x >= self._lowest[by_sensor.sensor]) | (self.step.level[by_sensor.sensor] > 0)
            if not stirred.any():
                self.step.used[by_sensor.sensor[last]] = by_sensor.time[last]
                return
            stir = np.zeros(len(self.sites), bool)
            stir[by_sensor.sensor[stirred]] = True
            rows = np.flatnonzero(stir[by_sensor.sensor])
        else:
            rows = np.arange(len(x))
        self._steps(by_sensor, x, rows)
        self.step.used[by_sensor.sensor[last]] = by_sensor.time[last]

    def number(self, by_sensor: BySensor) -> Floats:
        """x at each reading, rounded to 6 decimals."""
        return round6_all(by_sensor.value)

    def _steps(self, by_sensor: BySensor, x: Floats, rows: NDArray[np.intp]) -> None:
        """All level steps at these rows, which are whole sensors."""
        sensor, x, time = by_sensor.sensor[rows], x[rows], by_sensor.time[rows]
        first = np.flatnonzero(np.diff(sensor, prepend=-1))
        start = np.repeat(first, np.diff(first, append=len(rows)))
        up, down = np.zeros(len(rows), np.int8), np.zeros(len(rows), np.int8)
        for i, level in enumerate(self._levels):
            reached = x >= self._up_from[i][sensor]
            if self._for is not None:
                reached &= time - self._run_start(i, reached, sensor, time, start) >= self._for
            up[reached] = level
            down[x >= self._down_from[i][sensor]] = level
        before = self.step.level[sensor]
        after = scan(before, up, down, start)
        previous = np.where(np.arange(len(rows)) == start, before, np.concatenate((before[:1], after[:-1])))
        for row in np.flatnonzero(after != previous).tolist():
            site, old, new = int(sensor[row]), int(previous[row]), int(after[row])
            threshold = self.ladders[site].threshold(old, new)
            self.move(site, new, int(time[row]), float(x[row]), threshold, by_sensor.source(int(rows[row])))

    def _run_start(
        self,
        i: int,
        reached: NDArray[np.bool_],
        sensor: NDArray[np.intp],
        time: NDArray[np.int64],
        start: NDArray[np.intp],
    ) -> NDArray[np.int64]:
        """When the run that each row is in began (rows that did not reach the level: anything); moves the state on."""
        row = np.arange(len(sensor))
        broken = np.maximum.accumulate(np.where(reached, -1, row))
        fresh = np.maximum(broken + 1, start)
        carried = (fresh == start) & (broken < start) & (self._run[i][sensor] != NEVER)
        began = np.where(carried, self._run[i][sensor], time[np.minimum(fresh, len(row) - 1)])
        last = np.append(start[1:] != start[:-1], True)
        self._run[i][sensor[last]] = np.where(reached[last], began[last], NEVER)
        return began

    def dump(self, zone: int) -> dict[str, Any]:
        saved = super().dump(zone)
        if self._for is not None:
            saved["run"] = [self._run[i][self.sites.of_zone[zone]].tobytes() for i in range(len(self._levels))]
            saved["levels"] = list(self._levels)
        return saved

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        for level, run in zip(saved.get("levels", ()), saved.get("run", ()), strict=True):
            if level in self._levels:
                self._run[self._levels.index(level)][new] = np.frombuffer(run, np.int64)[old]
