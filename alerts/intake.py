"""From records to a batch: packs decoded, each reading checked, and a reason for each that cannot be used.

Clean packs go through column by column. A pack with anything odd about it is read again one reading at a time
(``_one_by_one``), so that a bad reading never takes the rest of its pack with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from alerts.batch import Batch
from alerts.levels import Floats, Times, round6, round6_all
from alerts.rejection import Rejected
from alerts.roster import KindRoster, Roster
from alerts.rulebook import Limits
from sensors import quantities, senml
from sensors.clock import CLOCK_KEY
from sensors.record import Record
from sensors.senml import CLOCK_NAME, END_OF_TIME, Columns, Malformed, Reading

FUTURE_MS = 600_000  # a reading further ahead than this has a wrong clock
TEXT = 1 << 16  # bytes of packs that are decoded at once


class Intake:
    """Reads the records of one kind's topic."""

    def __init__(self, roster: KindRoster, whole: Roster, limits: dict[str, Limits]) -> None:
        self.roster, self._catalogue = roster, whole.catalogue
        self.topic = quantities.topic(roster.kind)
        self._zones = {zone.encode(): number for zone, number in whole.zone.items()}
        self._zone_of = roster.channel_zone
        # the quantities of a kind have one unit, which may be left out
        self._units = {None, *quantities.QUANTITIES[roster.kind].values()}
        self._any_unit = roster.kind == "infrared"
        per_channel = [limits.get(q, Limits()) for q in roster.quantities]
        self._min = [-np.inf if limit.min is None else round6(limit.min) for limit in per_channel]
        self._max = [np.inf if limit.max is None else round6(limit.max) for limit in per_channel]
        self._lows, self._highs = np.array(self._min), np.array(self._max)

    def read(self, records: Sequence[Record], clock: Times) -> tuple[Batch | None, list[Rejected]]:
        """The readings of these records that can be used, in log order, each pack's by time; and the others.

        ``clock``: the partition's clock at each record in ms, -1 where there is none yet.
        """
        rejected: list[Rejected] = []
        parts: list[tuple[Any, ...]] = []
        size = np.cumsum([len(r.value or b"") for r in records]) // TEXT
        edges = [0, *(np.flatnonzero(np.diff(size)) + 1).tolist(), len(records)]
        for start, end in pairwise(edges):
            self._read_run(records, start, end, parts, rejected)
        if not parts:
            return None, rejected
        if len(parts) == 1:
            channel, seconds, value, record, place = parts[0]
        else:
            channel, seconds, value, record, place = (np.concatenate(column) for column in zip(*parts, strict=True))
        time = np.minimum(np.rint(seconds * 1000.0), float(END_OF_TIME)).astype(np.int64)
        fine = self._check(channel, time, value, record, place, records, clock, rejected)
        if fine is not None:
            channel, time, value, record = channel[fine], time[fine], value[fine], record[fine]
            if not len(channel):
                return None, rejected
        if ((np.diff(time) < 0) & (np.diff(record) == 0)).any():
            order = np.lexsort((time, record))
            channel, time, value, record = channel[order], time[order], value[order], record[order]
        if self._any_unit:
            value = (value != 0).astype(np.float64)
        return Batch(self.roster.kind, channel, len(self.roster.quantities), time, value, record, records), rejected

    def _read_run(
        self,
        records: Sequence[Record],
        start: int,
        end: int,
        parts: list[tuple[Any, ...]],
        rejected: list[Rejected],
    ) -> None:
        """Reads records [start, end) at once if all are clean; else halves them until the odd ones stand alone."""
        part = self._clean(records[start:end], start)
        if part is None and end - start == 1:
            part = self._one_by_one(records[start], start, rejected)
        elif part is None:
            middle = (start + end) // 2
            self._read_run(records, start, middle, parts, rejected)
            self._read_run(records, middle, end, parts, rejected)
        if part is not None:
            parts.append(part)

    def _clean(self, records: Sequence[Record], first: int) -> tuple[Any, ...] | None:
        """(channel, time in s, value, record number, place in its pack) of clean packs; None where one is not."""
        zone_of = self._zones.get
        zones = [zone_of(r.key) for r in records]  # type: ignore[arg-type]
        values: list[Any] = [r.value for r in records]
        if None in zones or not all(values):
            return None
        clean = senml.columns(values)
        channel = None if clean is None else self._channels(clean)
        if clean is None or channel is None:
            return None
        if (self._zone_of[channel] != np.repeat(np.array(zones), clean.sizes)).any():
            return None
        number = np.repeat(np.arange(first, first + len(records)), clean.sizes)
        ends = np.cumsum(clean.sizes)
        place = np.arange(len(channel)) - np.repeat(ends - clean.sizes, clean.sizes)
        return channel, clean.times, clean.values, number, place

    def _channels(self, clean: Columns) -> Any:
        """The channel of each reading, or None where a name or a unit is not one that this topic knows."""
        if not self._any_unit and (clean.truths or not clean.units <= self._units):
            return None
        found = list(map(self.roster.channel.get, clean.names))
        return None if None in found else np.array(found, np.int64)

    def _check(
        self,
        channel: Any,
        time: Any,
        value: Floats,
        record: Any,
        place: Any,
        records: Sequence[Record],
        clock: Times,
        rejected: list[Rejected],
    ) -> Any:
        """Which readings are within range and not ahead of time (None: all); the others are rejected."""
        quantity = channel % len(self._min)
        rounded = round6_all(value)
        fine = (rounded >= self._lows[quantity]) & (rounded <= self._highs[quantity]) & np.isfinite(value)
        stamps = np.array([-1 if r.timestamp is None else r.timestamp for r in records], np.int64)
        now = np.maximum(stamps, clock)
        latest = np.where(now < 0, END_OF_TIME - 1, np.minimum(now + FUTURE_MS, END_OF_TIME - 1))
        fine &= time <= latest[record]
        if fine.all():
            return None
        arrays: dict[int, list[Any]] = {}
        for row in np.flatnonzero(~fine).tolist():
            number = int(record[row])
            if number not in arrays:
                arrays[number] = senml.load(records[number].value)
            reading, source = arrays[number][int(place[row])], records[number]
            found = self._range(int(quantity[row]), float(value[row]))
            reason, detail = found or self._ahead(int(time[row]), int(now[number]))
            rejected.append(Rejected(reason, detail, self.topic, source, reading))
        return fine

    def _one_by_one(self, record: Record, number: int, rejected: list[Rejected]) -> tuple[Any, ...] | None:
        """A pack read one reading at a time; what can be used of it, already checked for the first four reasons."""
        try:
            array = senml.load(None if record.value is None else bytes(record.value))
        except Malformed as error:
            rejected.append(Rejected("malformed", str(error), self.topic, record))
            return None
        rows = []
        places = {id(entry): place for place, entry in enumerate(array)}
        clock_record = record.key == CLOCK_KEY
        for entry, resolved in senml.resolve(array, clock_record):
            if clock_record and isinstance(resolved, Reading) and resolved.name == CLOCK_NAME:
                continue  # a tick, which the fold takes
            reason, detail, channel, value = self._judge(resolved, record)
            if reason:
                rejected.append(Rejected(reason, detail, self.topic, record, entry))
            elif isinstance(resolved, Reading):
                rows.append((channel, resolved.time_ms / 1000.0, value, number, places[id(entry)]))
        if not rows:
            return None
        channels, times, values, numbers, at = zip(*rows, strict=True)
        return np.array(channels), np.array(times), np.array(values), np.array(numbers), np.array(at)

    def _judge(self, resolved: Reading | Malformed, record: Record) -> tuple[str, str, int, float]:
        """(reason or "", detail, channel, value) of one reading, by the reasons that do not need range or clock."""
        if isinstance(resolved, Malformed):
            return "malformed", str(resolved), -1, 0.0
        sensor_id, _, quantity = resolved.name.rpartition("/")
        sensor = self._catalogue.sensors.get(sensor_id)
        if sensor is None:
            return "unknown_sensor", f"{sensor_id!r} is not in the catalogue", -1, 0.0
        key = None if record.key is None else bytes(record.key).decode("utf-8", "replace")
        if key != sensor.zone:
            return "wrong_zone", f"{sensor_id} is in zone {sensor.zone}, the record's key is {key!r}", -1, 0.0
        if sensor.kind != self.roster.kind:
            return (
                "wrong_quantity",
                f"{sensor_id} is a {sensor.kind} sensor, the topic is {self.topic}",
                -1,
                0.0,
            )
        units = quantities.QUANTITIES[self.roster.kind]
        if quantity not in units:
            what = f"{quantity!r} is not a quantity of {self.topic}: {', '.join(units)}"
            return "wrong_quantity", what, -1, 0.0
        unit, value = units[quantity], resolved.value
        if unit is not None and resolved.unit not in (None, unit):
            return "wrong_quantity", f"the unit of {quantity} is {unit}, not {resolved.unit!r}", -1, 0.0
        if isinstance(value, str) or (isinstance(value, bool) and not self._any_unit):
            wanted = "a number or a truth value" if self._any_unit else "a number"
            return "wrong_quantity", f"the value of {quantity} is {value!r}, not {wanted}", -1, 0.0
        channel = self.roster.channel.get(resolved.name)
        if channel is None:  # another partition's zone under this partition's key cannot be
            what = f"zone {sensor.zone} does not belong in partition {record.partition}; use the default partitioner"
            return "wrong_zone", what, -1, 0.0
        return "", "", channel, float(value)

    def _range(self, quantity: int, value: float) -> tuple[str, str] | None:
        low, high = self._min[quantity], self._max[quantity]
        if np.isfinite(value) and low <= round6(value) <= high:
            return None
        name = self.roster.quantities[quantity]
        return "out_of_range", f"{name} {value:g} is outside {low:g} to {high:g}"

    def _ahead(self, time: int, now: int) -> tuple[str, str]:
        by = "past the year 9999"
        if time < END_OF_TIME:
            by = f"{(time - now) / 1000:.0f} s ahead of the clock and of the record's timestamp"
        return "future", f"the reading is {by}: is the sensor's clock right, and the time in seconds?"
