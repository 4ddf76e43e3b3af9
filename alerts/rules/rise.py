"""A reading that has risen fast: water that comes up by so much within so long a time."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from alerts import parameters
from alerts.batch import BySensor
from alerts.levels import MOST, Floats, round6_all
from alerts.rules.level import Level


class Rise(Level):
    """x is the reading minus the smallest good reading with time in [t − ``window``, t], per sensor.

    [[rule]]
    id = "flood-rise"
    kind = "flood"
    type = "rise"
    quantity = "depth"
    window = "15m"
    levels = {yellow = 0.10, red = 0.20}
    hysteresis = 0.02
    """

    type = "rise"
    words = (
        "{quantity}上涨 {value} {unit}，阈值 {threshold} {unit}",
        "{quantity} up by {value} {unit}, threshold {threshold} {unit}",
    )

    class Parameters(parameters.QuantityParameters):
        window: parameters.Duration
        levels: parameters.Thresholds
        hysteresis: parameters.Hysteresis = 0.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._plain = False
        # per sensor the readings that are or can yet become the smallest of the window: times and values rise
        self._lows: list[deque[tuple[int, float]]] = [deque() for _ in range(len(self.sites))]

    def number(self, by_sensor: BySensor) -> Floats:
        x = np.empty(len(by_sensor.sensor))
        rows = zip(by_sensor.sensor.tolist(), by_sensor.time.tolist(), by_sensor.value.tolist(), strict=True)
        for row, (sensor, time, value) in enumerate(rows):
            lows = self._lows[sensor]
            while lows and lows[-1][1] >= value:
                lows.pop()
            lows.append((time, value))
            while lows[0][0] < time - self.rule.window:
                lows.popleft()
            x[row] = value - lows[0][1]
        return np.minimum(round6_all(x), MOST)

    def dump(self, zone: int) -> dict[str, Any]:
        return super().dump(zone) | {"lows": [list(lows) for lows in self._lows[self.sites.of_zone[zone]]]}

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        for i, row in zip(old, new, strict=True):
            self._lows[row] = deque((time, value) for time, value in saved["lows"][i])
