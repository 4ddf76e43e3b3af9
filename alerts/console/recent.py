"""The last readings of every sensor, for the chart beside an alert."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerts.intake import Intake
from alerts.roster import Roster
from alerts.rulebook import Limits
from sensors.catalogue import Catalogue
from sensors.record import Record

BUDGET = 64 << 20  # bytes for all rings of a city; with 7,500 channels each holds 256 readings
_MOST, _LEAST = 256, 8


class _Rings:
    """A ring of (time in ms, value) for each channel of one kind."""

    def __init__(self, channels: int, size: int) -> None:
        self.size = size
        self.time = np.zeros((channels, size), np.int64)
        self.value = np.zeros((channels, size), np.float32)
        self.count = np.zeros(channels, np.int64)

    def put(self, channel: np.ndarray, time: np.ndarray, value: np.ndarray) -> None:
        order = np.argsort(channel, kind="stable")
        channel, time, value = channel[order], time[order], value[order]
        first = np.flatnonzero(np.diff(channel, prepend=-1))
        sizes = np.diff(first, append=len(channel))
        rank = np.arange(len(channel)) - np.repeat(first, sizes)
        slot = (self.count[channel] + rank) % self.size
        self.time[channel, slot], self.value[channel, slot] = time, value
        self.count[channel[first]] += sizes

    def copy(self, here: list[int], other: _Rings, there: list[int]) -> None:
        """Takes over these channels of another one of the same size."""
        self.time[here], self.value[here], self.count[here] = other.time[there], other.value[there], other.count[there]

    def get(self, channel: int) -> list[tuple[int, float]]:
        held = min(int(self.count[channel]), self.size)
        times, values = self.time[channel, :held].tolist(), self.value[channel, :held].tolist()
        return sorted({t: round(v, 4) for t, v in zip(times, values, strict=True)}.items())


class Recent:
    """Takes records of the reading topics as they are, good and bad; what a fold would reject is left out."""

    def __init__(self, catalogue: Catalogue, limits: dict[str, Limits]) -> None:
        roster = Roster(catalogue, lambda _: True)
        self._kinds = {kind: part for kind, part in roster.kinds.items() if part.channel}
        self._intake = {kind: Intake(part, roster, limits) for kind, part in self._kinds.items()}
        channels = sum(len(part.channel) for part in self._kinds.values())
        size = max(_LEAST, min(_MOST, BUDGET // (12 * max(channels, 1))))
        self._rings = {kind: _Rings(len(part.channel), size) for kind, part in self._kinds.items()}

    def carry_over(self, before: Recent) -> None:
        """What it held of the channels that are here too, where there is as much room for it."""
        for kind, part in self._kinds.items():
            if kind in before._kinds and before._rings[kind].size == self._rings[kind].size:
                others = before._kinds[kind].channel
                pairs = [(here, others[name]) for name, here in part.channel.items() if name in others]
                here, there = (list(side) for side in zip(*pairs, strict=True)) if pairs else ([], [])
                self._rings[kind].copy(here, before._rings[kind], there)

    def take(self, kind: str, records: Sequence[Record]) -> None:
        """The next records of ``readings.<kind>``, as fetched."""
        if kind not in self._kinds or not records:
            return
        intake = self._intake[kind]
        batch, _ = intake.read(records, intake.scan(records), -1, [])
        if batch is not None:
            self._rings[kind].put(batch.channel, batch.time, batch.value)

    def of(self, sensor: str, kind: str) -> dict[str, list[tuple[int, float]]]:
        """Quantity → (time in ms, value), oldest first."""
        part = self._kinds.get(kind)
        if part is None or sensor not in part.sensors.row:
            return {}
        return {q: self._rings[kind].get(part.channel[f"{sensor}/{q}"]) for q in part.quantities}
