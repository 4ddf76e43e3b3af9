"""What every simulator shares: its setting, its stretches of time, and readings made into packs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensors import senml
from sensors.catalogue import Catalogue, Sensor

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
LOCAL = 8 * HOUR  # Asia/Shanghai, all year round
STRETCH = 10 * MINUTE  # so much is simulated at a time
WINDOW = 10 * SECOND  # a gateway sends what its zone measured in this time as one pack

Times = NDArray[np.int64]
Rows = NDArray[np.int64]


class Pack(NamedTuple):
    """One record of ``readings.<kind>``: when the broker gets it (ms), its key, its value."""

    time_ms: int
    kind: str
    zone: str
    value: bytes
    readings: int


@dataclass(frozen=True)
class Setting:
    """What a run is about. ``scale``: how many times as often as usual every sensor reports."""

    catalogue: Catalogue
    seed: int
    start_ms: int
    end_ms: int
    scale: float = 1.0

    @property
    def midnight_ms(self) -> int:
        """Local midnight of the first day; all is simulated from there on, but told only from the start."""
        return (self.start_ms + LOCAL) // DAY * DAY - LOCAL

    def rng(self, name: str) -> np.random.Generator:
        """A stream of random numbers of its own for each thing, so that one does not disturb another."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def stretches(self) -> Iterator[int]:
        """The beginning of each stretch of time, from midnight."""
        return iter(range(self.midnight_ms, self.end_ms, STRETCH))

    def wanted(self, time: Times) -> NDArray[np.bool_]:
        """Which of these times are told."""
        return (time >= self.start_ms) & (time < self.end_ms)


class Schedule:
    """When the sensors of one kind report: each zone has a moment of its own within the interval (ms)."""

    def __init__(self, setting: Setting, interval_ms: int, phases: Rows) -> None:
        """``phases``: per sensor in parts per million of the interval."""
        steps = max(1, round(STRETCH * setting.scale / interval_ms))
        self.offsets = np.arange(steps, dtype=np.int64) * STRETCH // steps
        self.interval_ms = STRETCH // steps
        unit = SECOND if self.interval_ms >= 10 * SECOND else 1
        self.phase = phases * self.interval_ms // 1_000_000 // unit * unit

    def times(self, begin: int) -> Times:
        """(steps, sensors): when they report in the stretch that begins here."""
        return begin + self.offsets[:, None] + self.phase


class Channels:
    """Some sensors of one kind, each with a quantity, and how what they measure becomes packs."""

    def __init__(self, setting: Setting, kind: str, channels: Sequence[tuple[Sensor, str]]) -> None:
        self.setting, self.kind = setting, kind
        self.names = [sensor.id for sensor, _ in channels]
        self.quantities = [quantity for _, quantity in channels]
        self.zones = sorted({sensor.zone for sensor, _ in channels})
        number = {zone: i for i, zone in enumerate(self.zones)}
        self.zone = np.array([number[sensor.zone] for sensor, _ in channels], np.int64)
        rng = setting.rng(f"channels {kind}")
        self._delay = rng.integers(50, 1500, len(self.zones))  # ms until the broker has a pack
        self.phases = rng.integers(0, 1_000_000, len(self.zones))[self.zone]

    def packs(self, time: Times, channel: Rows, value: NDArray[Any]) -> list[Pack]:
        """The packs of readings of one stretch, in the order in which the broker gets them.

        Arrays of one length: time in ms, number of the channel, value; only the setting's span is told.
        """
        wanted = self.setting.wanted(time)
        if not wanted.any():
            return []
        time, channel, value = time[wanted], channel[wanted], value[wanted]
        zone = self.zone[channel]
        arrival = (time // WINDOW + 1) * WINDOW + self._delay[zone]
        order = np.lexsort((time, zone, arrival))
        zone, arrival = zone[order], arrival[order]
        edges = np.flatnonzero(np.diff(zone, prepend=-1) | np.diff(arrival, prepend=-1))
        channels = channel[order].tolist()
        names, quantities = self.names, self.quantities
        readings = list(
            zip(
                [names[c] for c in channels],
                [quantities[c] for c in channels],
                time[order].tolist(),
                value[order].tolist(),
                strict=True,
            )
        )
        begins, ends = edges.tolist(), [*edges[1:].tolist(), len(readings)]
        return [
            Pack(at, self.kind, self.zones[z], senml.encode(readings[a:b]), b - a)
            for at, z, a, b in zip(arrival[edges].tolist(), zone[edges].tolist(), begins, ends, strict=True)
        ]
