"""The level step: how one number x per site moves the level of a rule there, and what a change is.

Levels are 0 normal, 1 blue, 2 yellow, 3 orange, 4 red (the colours of China's weather warning signals). With
up(x) the highest level i with x ≥ cᵢ (else 0) and down(x) the highest with x ≥ cᵢ − h (else 0), a step is

    L ← min(max(L, up(x)), down(x))

so a level is left only when x is below its threshold by more than the hysteresis h. Each step clamps L to
[up, down]; clamps compose to clamps, which is what lets ``scan`` take all steps of many sites at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = {"blue": 1, "yellow": 2, "orange": 3, "red": 4}
LEVEL_NAMES = ("normal", *LEVELS)
NEVER = -(1 << 62)  # a time before all others, in ms
FOREVER = 1 << 62

MOST = float(np.finfo(np.float64).max)  # of an x: JSON has no infinity
_FINE = float(1 << 20)  # below it x·10⁶ is off by less than 10⁻⁴
_SURE = 0.4999

Times = NDArray[np.int64]
Floats = NDArray[np.float64]


def round6(x: float) -> float:
    """x rounded to 6 decimals, as Python rounds: by x itself, not by x·10⁶, which is half where x only nearly is."""
    return round(float(x), 6)


def round6_all(x: Floats) -> Floats:
    """An array rounded to 6 decimals; the same as ``round6`` bit for bit."""
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers so big nothing is rounded
        scaled = x * 1e6
        rounded = np.rint(scaled)
        scaled -= rounded
    rounded /= 1e6
    # within its own error of a half, x·10⁶ does not tell which way to go; nor does it where it is not finite
    sure = np.abs(scaled) < _SURE
    sure &= np.abs(rounded) < _FINE
    if not sure.all():
        rounded[~sure] = [round(v, 6) for v in x[~sure].tolist()]
    return rounded


class Ladder:
    """The thresholds of one site: level → c, with the hysteresis already taken into account for the way down."""

    __slots__ = ("_lowest", "down_from", "thresholds", "up_from")

    def __init__(self, thresholds: dict[int, float], hysteresis: float = 0.0) -> None:
        self.thresholds = thresholds
        self.up_from = sorted((level, round6(c)) for level, c in thresholds.items())
        self.down_from = sorted((level, round6(c - hysteresis)) for level, c in thresholds.items())
        self._lowest = min(c for _, c in (*self.up_from, *self.down_from))

    def up(self, x: float) -> int:
        return max((level for level, c in self.up_from if x >= c), default=0)

    def step(self, level: int, x: float) -> int:
        """The level after a step with x (rounded to 6 decimals)."""
        if x < self._lowest:
            return 0
        down = max((i for i, c in self.down_from if x >= c), default=0)
        return min(max(level, self.up(x)), down)

    def threshold(self, previous: int, level: int) -> float:
        """c of the new level on the way up, of the level left on the way down."""
        return self.thresholds[max(previous, level)]


def scan(
    level: NDArray[np.int8], up: NDArray[np.int8], down: NDArray[np.int8], start: NDArray[np.intp]
) -> NDArray[np.int8]:
    """The level after each step of many sites at once, by doubling (a parallel prefix over clamps).

    All arrays have one row per step, rows of one site next to each other in order; ``start`` is the row at which
    a row's site begins, ``level`` the site's level before its first step.
    """
    up, down = up.copy(), down.copy()
    row = np.arange(len(up))
    depth = row - start
    reach, longest = 1, int(depth.max(initial=0))
    while reach <= longest:
        later = row[depth >= reach]
        earlier = later - reach
        low = np.minimum(np.maximum(up[earlier], up[later]), down[later])
        high = np.minimum(np.maximum(down[earlier], up[later]), down[later])
        up[later], down[later] = low, high
        reach *= 2
    return np.minimum(np.maximum(level, up), down)


class Change:
    """One change of level of one rule at one site; the body of an alert, before its words."""

    __slots__ = ("at", "level", "onset", "previous", "seq", "site", "source", "threshold", "value")

    def __init__(
        self,
        site: int,
        level: int,
        previous: int,
        onset: int,
        at: int,
        seq: int,
        value: float,
        threshold: float,
        source: Any,
    ) -> None:
        self.site, self.level, self.previous, self.onset, self.at = site, level, previous, onset, at
        self.seq, self.value, self.threshold, self.source = seq, value, threshold, source
