"""A day in the life of someone old who lives alone: which room when, as a list of stays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sensors.simulators.packs import DAY, HOUR, MINUTE, SECOND


class Stay(NamedTuple):
    """``gap``: mean seconds between two motions in it; none after ``still`` seconds (a fall)."""

    begin: int  # ms
    end: int
    room: str
    gap: float
    still: float | None = None


GAPS = {"bed": 1500.0, "living": 70.0, "bathroom": 40.0, "entrance": 15.0}
SITTING, NAPPING, ARRIVING = 240.0, 900.0, 25.0
AWAY = "away"


class Habits(NamedTuple):
    """What stays the same from day to day: hours of local time, and how often (0–1)."""

    rises: float
    sleeps: float
    lunch: float
    goes_out: float
    has_visitors: float
    naps: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Habits:
        return cls(
            rises=float(np.clip(rng.normal(6.4, 0.5), 5.2, 8.0)),
            sleeps=float(np.clip(rng.normal(21.6, 0.5), 20.4, 23.0)),
            lunch=float(rng.uniform(11.3, 12.3)),
            goes_out=float(rng.uniform(0.3, 0.95)),
            has_visitors=float(rng.uniform(0.05, 0.4)),
            naps=float(rng.uniform(0.4, 0.95)),
        )


class Day:
    """Builds the stays of one day, one after the other, from local midnight."""

    def __init__(self, rng: np.random.Generator, midnight: int) -> None:
        self._rng, self._midnight, self._at = rng, midnight, midnight
        self.stays: list[Stay] = []

    def hour(self) -> float:
        return (self._at - self._midnight) / HOUR

    def stay(self, room: str, minutes: float, gap: float | None = None, still: float | None = None) -> None:
        end = min(self._at + max(SECOND, round(minutes * MINUTE)), self._midnight + DAY)
        if end > self._at:
            self.stays.append(Stay(self._at, end, room, gap or GAPS.get(room, 0.0), still))
        self._at = end

    def bathroom(self) -> None:
        self.stay("bathroom", self._rng.uniform(3, 9))

    def living_until(self, hour: float, gap: float | None = None) -> None:
        """In the living room, and never for two hours without a walk to the bathroom."""
        while (left := (hour - self.hour()) * 60) > 1:
            self.stay("living", min(left, self._rng.uniform(35, 100)), gap)
            if left > 20:
                self.bathroom()

    def out(self, minutes: float) -> None:
        self.stay("entrance", self._rng.uniform(0.5, 2))
        self.stay(AWAY, minutes)
        self.stay("entrance", self._rng.uniform(0.5, 2))
        self.stay("living", 4, ARRIVING)

    def visit(self, minutes: float) -> None:
        """Someone comes, sits in the living room, uses the bathroom perhaps, and goes."""
        self.stay("entrance", self._rng.uniform(0.5, 2))
        self.stay("living", minutes, 20.0)
        if self._rng.random() < 0.4:
            self.bathroom()
            self.stay("living", 15, 20.0)
        self.stay("entrance", self._rng.uniform(0.5, 2))
        self.stay("living", 4, ARRIVING)

    def night(self, until: float) -> None:
        """In bed, with a walk to the bathroom every few hours."""
        while (left := (until - self.hour()) * 60) > 1:
            self.stay("bed", min(left, self._rng.uniform(100, 260)))
            if left > 260:
                self.bathroom()


def ordinary_day(
    rng: np.random.Generator, habits: Habits, midnight: int, *, falls: bool = False, sits: bool = False
) -> list[Stay]:
    """The stays of one day. ``falls``: in the bathroom in the morning, found after two hours and more.

    ``sits``: after lunch, in the living room, for almost four hours.
    """
    day = Day(rng, midnight)
    day.night(habits.rises + rng.normal(0, 0.2))
    if falls:
        day.stay("bathroom", rng.uniform(138, 165), still=rng.uniform(120, 300))
        day.visit(rng.uniform(40, 60))
    else:
        day.stay("bathroom", rng.uniform(10, 25))
    day.living_until(8.3 + rng.normal(0, 0.2))
    if not (falls or sits) and rng.random() < habits.goes_out:
        day.out(rng.uniform(40, 130))
    day.living_until(habits.lunch + 0.7)
    if sits:
        day.bathroom()
        day.stay("living", rng.uniform(225, 245), SITTING)
        day.bathroom()
    elif rng.random() < habits.naps:
        in_bed = rng.random() < 0.7
        day.bathroom()
        day.stay("bed" if in_bed else "living", rng.uniform(35, 85), NAPPING)
        day.bathroom()
    day.living_until(15.2)
    if not sits and rng.random() < habits.goes_out * 0.6:
        day.out(rng.uniform(30, 100))
    if rng.random() < habits.has_visitors:
        day.visit(rng.uniform(30, 75))
    day.living_until(19.3 + rng.normal(0, 0.3))
    day.stay("bathroom", rng.uniform(15, 35))
    day.living_until(habits.sleeps + rng.normal(0, 0.2), SITTING / 2)
    day.night(24)
    return day.stays
