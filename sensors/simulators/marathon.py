"""A marathon: 20,000 runners cross the mats between segments; a segment holds those between its two mats.

Paces are lognormal, the start goes in waves through a start line of limited width, everyone slows down in the
second half, and some give up on the way (who does crosses no mat again, so counters go on counting them).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sensors.simulators.packs import HOUR, MINUTE, SECOND, Channels, Pack, Schedule, Setting
from sensors.simulators.rush import OccupancyTruth, venues
from sensors.simulators.truth import Truth

INTERVAL = 10 * SECOND
RUNNERS = 20_000
START = 7.5 * HOUR  # local time
WAVES, WAVE_EVERY = 4, 4 * MINUTE
LINE_PER_S = 25.0  # runners across the start line in a second
PACE_MIN_KM, PACE_SIGMA = 5.9, 0.15  # median and log-sigma
KM = 42.195
GIVE_UP = 0.015
MISSED = 0.003  # of the runners who cross a mat
ERROR = 0.012  # of a segment's capacity: what missed runners and those who gave up can add up to


class Marathon:
    """Venues with two counters, the mats at their two ends; mats and segments in order of their ids."""

    def __init__(self, setting: Setting, truth: Truth) -> None:
        self.setting = setting
        self.segments = venues(setting, lambda counters: len(counters) == 2)
        mats = [mat for pair in self.segments.values() for mat in pair]
        self.sensors = {mat.id for mat in mats}
        quantities = ["in", "out"] * len(self.segments)
        self.channels = Channels(setting, "crowd", list(zip(mats, quantities, strict=True)))
        self._schedule = Schedule(setting, INTERVAL, self.channels.phases)
        self._capacity = np.array([setting.catalogue.places[s].capacity for s in self.segments], float)
        self._truth = OccupancyTruth(truth, setting, list(self.segments), ERROR, self._schedule.interval_ms)
        gun = setting.midnight_ms + round(START)
        if self.segments and setting.start_ms <= gun < setting.end_ms:
            truth.event("start", next(iter(self.segments)), gun, None, runners=RUNNERS)
        self._race(setting.rng("runners"), gun)

    def _race(self, rng: np.random.Generator, gun: int) -> None:
        """When (ms, sorted) each mat saw a runner, and when runners came to each segment and were gone."""
        count = len(self.segments)
        wave = np.sort(rng.integers(0, WAVES, RUNNERS))
        place = np.arange(RUNNERS) - np.searchsorted(wave, wave)
        crossed = wave * WAVE_EVERY + place / LINE_PER_S * SECOND
        opened = np.maximum.accumulate(np.searchsorted(wave, wave) / LINE_PER_S * SECOND)
        start = gun + np.maximum(crossed, opened + place / LINE_PER_S * SECOND)
        pace = PACE_MIN_KM * np.exp(PACE_SIGMA * rng.standard_normal(RUNNERS)) * MINUTE
        fade = np.clip(rng.normal(0.12, 0.06, RUNNERS), 0.0, 0.4)  # slower by that much at the finish
        km = np.linspace(0, KM, count + 1)[:, None]
        at = start + pace * (km + fade * np.maximum(0.0, km - KM / 2) ** 2 / KM)
        gives_up = np.where(rng.random(RUNNERS) < GIVE_UP, rng.uniform(0, KM, RUNNERS), np.inf)
        at = np.where(km <= gives_up, at, np.inf)
        last = np.minimum(gives_up, KM)
        gone = start + pace * (last + fade * np.maximum(0.0, last - KM / 2) ** 2 / KM)
        self._mats, self._present = [], []
        for segment in range(count):
            for edge in (at[segment], at[segment + 1]):
                seen = np.isfinite(edge) & (rng.random(RUNNERS) >= MISSED)
                self._mats.append(np.sort(edge[seen]))
            came = at[segment][np.isfinite(at[segment])]
            left = np.minimum(at[segment + 1], gone)[np.isfinite(at[segment])]
            self._present.append((np.sort(came), np.sort(left)))

    def packs(self) -> Iterator[Pack]:
        """All packs, in the order in which the broker gets them."""
        mats = np.arange(len(self._mats))
        for begin in self.setting.stretches():
            times = self._schedule.times(begin)
            edges = np.concatenate([times[:1] - self._schedule.interval_ms, times])
            passed = [np.diff(np.searchsorted(seen, edges[:, m])) for m, seen in enumerate(self._mats)]
            at = times[:, ::2]  # both mats of a segment report together
            present = [
                np.searchsorted(came, at[:, s], "right") - np.searchsorted(left, at[:, s], "right")
                for s, (came, left) in enumerate(self._present)
            ]
            if mats.size:
                self._truth.step(at, np.stack(present, axis=1) / self._capacity)
                counts = np.stack(passed, axis=1).ravel()
                yield from self.channels.packs(times.ravel(), np.tile(mats, len(times)), counts)
