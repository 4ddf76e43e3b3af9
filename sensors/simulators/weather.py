"""Rain over the city: a squall line that moves through, cells along it, rain behind it, cells that stay."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sensors.simulators.packs import HOUR, MINUTE

Floats = NDArray[np.float64]

KM_PER_DEGREE = 111.2  # of latitude
_DRIZZLE = 0.3  # mm/h; less is dry


def kilometres(lon: Floats, lat: Floats, centre: tuple[float, float]) -> tuple[Floats, Floats]:
    """East and north of the centre, in km (a plane is good enough for one city)."""
    east = (lon - centre[0]) * KM_PER_DEGREE * math.cos(math.radians(centre[1]))
    return east, (lat - centre[1]) * KM_PER_DEGREE


class Squall:
    """A pre-summer rainstorm of South China: its line is over the centre at ``peak_ms``.

    Intensities are chosen to give a rainstorm signal in many places and red in a few: 27 mm/h in the line and
    up to three times that in its cells, 4 mm/h of stratiform rain behind it, and up to four cells that form
    again and again at one place (back-building) and bring 100 mm in 3 hours there.
    """

    def __init__(self, rng: np.random.Generator, peak_ms: int, targets: tuple[Floats, Floats]) -> None:
        """``targets``: east and north (km) of places over which standing cells may form."""
        self.peak_ms = peak_ms
        heading = math.radians(-35 + rng.normal(0, 8))  # from the north-west
        self._forward = (math.cos(heading), math.sin(heading))
        self._speed = rng.uniform(22, 30)  # km/h
        self._width = rng.uniform(4.5, 6)  # km
        cells = 9
        self._cell_at, self._cell_drift = rng.uniform(-55, 55, cells), rng.normal(0, 4, cells)
        self._cell_size, self._cell_strength = rng.uniform(3, 6, cells), rng.uniform(0.4, 1.8, cells)
        standing = min(4, len(targets[0]))
        where = rng.choice(len(targets[0]), standing, replace=False)
        self._east, self._north = targets[0][where], targets[1][where]
        self._radius, self._peak = rng.uniform(3, 4.5, standing), np.linspace(80, 50, standing)
        self._lasts = rng.uniform(1.2, 1.7, standing)  # h

    def intensity(self, time_ms: Floats, east: Floats, north: Floats) -> Floats:
        """mm/h at each time (rows) and point (columns)."""
        hours = (time_ms[:, None] - self.peak_ms) / HOUR
        along = -east * self._forward[1] + north * self._forward[0]
        behind = self._speed * hours - (east * self._forward[0] + north * self._forward[1])  # km
        cells = np.zeros_like(behind)
        for at, drift, size, strength in zip(
            self._cell_at, self._cell_drift, self._cell_size, self._cell_strength, strict=True
        ):
            cells += strength * np.exp(-(((along - at - drift * hours) / size) ** 2) / 2)
        rain = 27 * (1 + cells) * np.exp(-((behind / self._width) ** 2) / 2)
        rain += 4 * np.exp(-(((behind - 25) / 16) ** 2) / 2)
        for x, y, radius, peak, lasts in zip(
            self._east, self._north, self._radius, self._peak, self._lasts, strict=True
        ):
            # it forms as the line arrives, and stays when it has gone on
            passed = hours - (x * self._forward[0] + y * self._forward[1]) / self._speed
            near = np.exp(-((east - x) ** 2 + (north - y) ** 2) / (2 * radius**2))
            rain += peak * near * np.exp(-(((passed - 0.9) / (lasts / 2)) ** 4))
        return np.where(rain < _DRIZZLE, 0.0, rain)


def fallen(squall: Squall, begin: int, minutes: int, east: Floats, north: Floats) -> Floats:
    """mm in each of these minutes (rows) at each point (columns), taken at the middle of the minute."""
    middles = begin + (np.arange(minutes, dtype=np.float64) + 0.5) * MINUTE
    return squall.intensity(middles, east, north) / 60
