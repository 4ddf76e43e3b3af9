"""Sensors to which nothing happens: they say so every ten minutes, so that nobody takes them for dead."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from operator import attrgetter

import numpy as np

from sensors.catalogue import Sensor
from sensors.quantities import KINDS
from sensors.simulators.homes import BUTTON
from sensors.simulators.packs import MINUTE, Channels, Pack, Schedule, Setting

INTERVAL = 10 * MINUTE
_QUANTITIES = {"flood": ("depth",), "rain": ("rain",), "crowd": ("in", "out")}


class Quiet:
    """The sensors of the catalogue that no other simulator of the run speaks for."""

    def __init__(self, setting: Setting, spoken_for: set[str]) -> None:
        self.setting = setting
        others = [s for s in setting.catalogue.sensors.values() if s.id not in spoken_for]
        self._channels = []
        for kind in KINDS:
            pairs = [(s, q) for s in others if s.kind == kind for q in _quantities(s)]
            if pairs:
                self._channels.append(Channels(setting, kind, pairs))

    def packs(self) -> Iterator[Pack]:
        return merge(*(self._of(channels) for channels in self._channels), key=attrgetter("time_ms"))

    def _of(self, channels: Channels) -> Iterator[Pack]:
        schedule = Schedule(self.setting, INTERVAL, channels.phases)
        numbers = np.arange(len(channels.names))
        truths = channels.kind == "infrared"
        for begin in self.setting.stretches():
            times = schedule.times(begin)
            nothing = np.zeros(times.size, bool if truths else np.int64)
            yield from channels.packs(times.ravel(), np.tile(numbers, len(times)), nothing)


def _quantities(sensor: Sensor) -> tuple[str, ...]:
    if sensor.kind == "infrared":
        return ("button",) if sensor.room == BUTTON else ("motion",)
    return _QUANTITIES[sensor.kind]
