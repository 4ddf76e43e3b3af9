"""A run of readings of one kind between two ticks, column by column, and the quality stage that grades them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts import kernels
from alerts.levels import NEVER, Floats, Times, round6, round6_all
from alerts.table import Table
from sensors.record import Record

GOOD, HELD, LATE, DUPLICATE = range(4)
GRADES = ("good", "suspect", "late", "duplicate")  # by these numbers

Rows = NDArray[np.intp]


class BySensor(NamedTuple):
    """Good readings of one quantity, those of a sensor next to each other in order of time."""

    sensor: Rows
    time: Times
    value: Floats
    record: Rows
    start: Rows  # the row at which this row's sensor begins
    last: Rows  # the last row of each sensor
    records: Sequence[Record]

    def source(self, row: int) -> Record:
        """The record that a row came in."""
        return self.records[int(self.record[row])]


class Batch:
    """Readings in log order (a pack's by time): sensor row, quantity, time in ms, value, grade, record number, and
    ``lateness``: by how many ms a late one is before the last accepted of its sensor and quantity (0: it is not late).
    """

    def __init__(
        self,
        kind: str,
        channel: Rows,
        quantities: int,
        time: Times,
        value: Floats,
        record: Rows,
        records: Sequence[Record],
    ) -> None:
        self.kind, self.channel, self.time, self.value = kind, channel, time, value
        self.record, self.records, self.quantities = record, records, quantities
        self.grade = np.zeros(len(channel), np.int8)
        self.lateness = np.zeros(len(channel), np.int64)

    def part(self, start: int, end: int) -> Batch:
        """The rows from start up to end."""
        if start == 0 and end == len(self.channel):
            return self
        rows = slice(start, end)
        part = Batch(
            self.kind,
            self.channel[rows],
            self.quantities,
            self.time[rows],
            self.value[rows],
            self.record[rows],
            self.records,
        )
        part.grade, part.lateness = self.grade[rows], self.lateness[rows]
        return part

    @cached_property
    def sensor(self) -> Rows:
        return self.channel if self.quantities == 1 else self.channel // self.quantities

    @cached_property
    def quantity(self) -> Rows:
        return self.channel % self.quantities

    @cached_property
    def order(self) -> Rows:
        """Row numbers by channel, in log order within each."""
        return np.argsort(self.channel, kind="stable")

    def good(self, quantity: int) -> Rows:
        """Numbers of the good readings of one quantity, in log order."""
        fine = self.grade == GOOD
        if self.quantities > 1:
            fine &= self.quantity == quantity
        return np.flatnonzero(fine)

    def good_by_sensor(self, quantity: int) -> BySensor:
        key = f"_by_sensor_{quantity}"
        found: BySensor | None = self.__dict__.get(key)
        if found is None:
            rows = self.order
            fine = self.grade[rows] == GOOD
            if self.quantities > 1:
                fine &= self.quantity[rows] == quantity
            if not fine.all():
                rows = rows[fine]
            sensor = self.sensor[rows]
            first = np.flatnonzero(np.diff(sensor, prepend=-1))
            sizes = np.diff(first, append=len(rows))
            found = BySensor(
                sensor,
                self.time[rows],
                self.value[rows],
                self.record[rows],
                np.repeat(first, sizes),
                first + sizes - 1,
                self.records,
            )
            self.__dict__[key] = found
        return found


class Quality:
    """In order, duplicate, late, suspect: judged per channel by its last accepted time and last good value.

    A reading further than ``max_step`` from the last good one is held back (suspect). The next one is good if it
    is within the step of the last good or of the held one, or beyond the held one on the same side; otherwise
    it is the one now held.
    """

    def __init__(self, max_step: Sequence[float | None]) -> None:
        """``max_step``: per channel, None where no limit is set."""
        self.state = Table(len(max_step), last=np.int64, good=np.float64, held=np.float64)
        self.max_step = np.array([np.inf if step is None else round6(step) for step in max_step], np.float64)
        self._steps = bool(np.isfinite(self.max_step).any())
        self.duplicates = 0

    def grade(self, batch: Batch) -> list[int]:
        """Sets the batch's grades, and moves the state on; how many readings got each grade."""
        if kernels.compiled is None:
            counts = self._grade(batch)
        else:
            rows, state = (batch.channel, batch.time, batch.value), self.state
            columns = state.last, state.good, state.held, self.max_step
            counts = kernels.compiled.grade(*rows, *columns, batch.grade, batch.lateness, self._steps)
        self.duplicates += counts[DUPLICATE]
        return counts

    def _grade(self, batch: Batch) -> list[int]:
        counts = [0] * len(GRADES)
        state, order = self.state, batch.order
        channel, time, value = batch.channel[order], batch.time[order], batch.value[order]
        first = np.diff(channel, prepend=-1) != 0
        last = np.append(np.flatnonzero(first)[1:] - 1, len(order) - 1)
        before = np.where(first, state.last[channel], np.concatenate(([NEVER], time[:-1])))
        odd = time <= before
        if self._steps:
            held = state.held[channel]
            base = np.where(first, state.good[channel], np.concatenate(([np.nan], value[:-1])))
            step = round6_all(np.abs(value - base))
            odd |= (step > self.max_step[channel]) | ~np.isnan(held)
        if odd.any():
            slow = np.zeros(len(state.last), bool)
            slow[channel[odd]] = True
            one_by_one = slow[channel]
            for row, number in zip(np.flatnonzero(one_by_one).tolist(), order[one_by_one].tolist(), strict=True):
                last_accepted = int(state.last[channel[row]])
                grade = self._grade_one(int(channel[row]), int(time[row]), float(value[row]))
                batch.grade[number] = grade
                counts[grade] += 1
                if grade == LATE:
                    batch.lateness[number] = last_accepted - int(time[row])
            last = last[~slow[channel[last]]]
        state.last[channel[last]] = time[last]
        if self._steps:
            state.good[channel[last]] = value[last]
        counts[GOOD] += len(order) - sum(counts)
        return counts

    def _grade_one(self, channel: int, time: int, value: float) -> int:
        state = self.state
        if time <= state.last[channel]:
            return DUPLICATE if time == state.last[channel] else LATE
        state.last[channel] = time
        if not self._steps:
            return GOOD
        good, held, step = (
            float(state.good[channel]),
            float(state.held[channel]),
            float(self.max_step[channel]),
        )
        fine = not round6(abs(value - good)) > step  # no good reading yet: NaN, and the first is good
        if not fine and held == held:
            fine = round6(abs(value - held)) <= step or (held - good) * (value - held) > 0
        if fine:
            state.good[channel], state.held[channel] = value, np.nan
            return GOOD
        state.held[channel] = value
        return HELD
