"""From records to a batch: packs decoded, each reading checked, and a reason for each that cannot be used.

Clean packs come as columns from the scanner. A pack with anything odd about it is read one reading at a time
(``_one_by_one``), so that a bad reading never takes the rest of its pack with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alerts import kernels
from alerts.batch import Batch
from alerts.levels import Floats, Times, round6, round6_all
from alerts.rejection import Rejected
from alerts.roster import KindRoster, Roster
from alerts.rulebook import Limits
from sensors import quantities, scanner, senml
from sensors.clock import CLOCK_KEY
from sensors.record import Record
from sensors.scanner import NOT_CLEAN, Scanned
from sensors.seal import SEALED, Seal
from sensors.senml import CLOCK_NAME, END_OF_TIME, Malformed, Reading

_KEY = 200  # bytes of a record's key that are told
_FORGED = "the seal of the clock is missing, or is not for this topic, partition and time"
FUTURE_MS = 600_000  # a reading further ahead than this has a wrong clock


class Intake:
    """Reads the records of one kind's topic."""

    def __init__(self, roster: KindRoster, whole: Roster, limits: dict[str, Limits], seal: Seal | None = None) -> None:
        self.roster, self._catalogue, self._seal = roster, whole.catalogue, seal
        self.topic = quantities.topic(roster.kind)
        self._any_unit = roster.kind == "infrared"
        # the quantities of a kind have one unit, which may be left out
        unit = next(iter(quantities.QUANTITIES[roster.kind].values()))
        self._scanner = scanner.Scanner(
            [name.encode() for name in roster.channel],
            roster.channel_zone.tolist(),
            [zone.encode() for zone in whole.zones],
            None if unit is None else unit.encode(),
            self._any_unit,
        )
        per_channel = [limits.get(q, Limits()) for q in roster.quantities]
        self._min = [-np.inf if limit.min is None else round6(limit.min) for limit in per_channel]
        self._max = [np.inf if limit.max is None else round6(limit.max) for limit in per_channel]
        self._lows, self._highs = np.array(self._min), np.array(self._max)

    def scan(self, records: Sequence[Record]) -> Scanned:
        """What the clean ones among these records hold, and which are of the clock."""
        return scanner.scan(self._scanner, records)

    def read(
        self, records: Sequence[Record], found: Scanned, clock: Times | int, more: Sequence[int]
    ) -> tuple[Batch | None, list[Rejected]]:
        """The readings of these records that can be used, in log order, each pack's by time; and the others.

        ``found``: what ``scan`` made of the records; ``clock``: the partition's clock at each record in ms, -1 where
        there is none yet; ``more``: the records of the clock that hold more than ticks.
        """
        rejected: list[Rejected] = []
        odd = sorted([*np.flatnonzero(found.sizes == NOT_CLEAN).tolist(), *more])
        channel, time, value = found.channel, found.time, found.value
        if not odd and len(channel) and (numbers := self._sift(found, clock)) is not None:
            return self._batch(channel, time, value, numbers, records), rejected
        record = np.repeat(np.arange(len(records)), np.maximum(found.sizes, 0))
        entries: dict[int, list[Any]] = {}  # of the odd records, those that could be used
        if odd:
            parts: list[tuple[Any, ...]] = [(channel, time, value, record)]
            for number in odd:
                rows, entries[number] = self._one_by_one(records[number], rejected)
                parts.append((*rows, np.full(len(rows[0]), number)))
            channel, time, value, record = map(np.concatenate, zip(*parts, strict=True))
            order = np.argsort(record, kind="stable")
            channel, time, value, record = channel[order], time[order], value[order], record[order]
        if not len(channel):
            return None, rejected
        fine = self._check(channel, time, value, record, records, found.stamps, clock, entries, rejected)
        if fine is not None:
            channel, time, value, record = channel[fine], time[fine], value[fine], record[fine]
            if not len(channel):
                return None, rejected
        if ((time[1:] < time[:-1]) & (record[1:] == record[:-1])).any():
            order = np.lexsort((time, record))
            channel, time, value, record = channel[order], time[order], value[order], record[order]
        return self._batch(channel, time, value, record, records), rejected

    def _batch(self, channel: Times, time: Times, value: Floats, record: Times, records: Sequence[Record]) -> Batch:
        if self._any_unit:
            value = (value != 0).astype(np.float64)
        return Batch(self.roster.kind, channel, len(self.roster.quantities), time, value, record, records)

    def _sift(self, found: Scanned, clock: Times | int) -> Times | None:
        """Each reading's record number, if all can be used as they come; None where that has to be looked into."""
        if kernels.compiled is None:
            return None
        record = np.empty(len(found.channel), np.int64)
        rows = found.channel, found.time, found.value, found.sizes, found.stamps
        fine = kernels.compiled.sift(*rows, clock, self._lows, self._highs, record, FUTURE_MS, END_OF_TIME)
        return record if fine else None

    def _check(
        self,
        channel: Times,
        time: Times,
        value: Floats,
        record: Times,
        records: Sequence[Record],
        stamps: Times,
        clock: Times | int,
        entries: dict[int, list[Any]],
        rejected: list[Rejected],
    ) -> Any:
        """Which readings are within range and not ahead of time (None: all); the others are rejected."""
        quantity = channel % len(self._min)
        rounded = round6_all(value)
        fine = (rounded >= self._lows[quantity]) & (rounded <= self._highs[quantity]) & np.isfinite(value)
        now = np.minimum(np.maximum(stamps, clock), END_OF_TIME)  # a record may have any timestamp
        latest = np.where(now < 0, END_OF_TIME - 1, np.minimum(now + FUTURE_MS, END_OF_TIME - 1))
        fine &= time <= latest[record]
        if fine.all():
            return None
        source, last = records[0], 0  # a pack's readings come one after another: it is cut out once
        for row in np.flatnonzero(~fine).tolist():
            number = int(record[row])
            if number != last:
                source, last = records[number], number
            if number not in entries:
                entries[number] = [entry for entry, _ in senml.resolve(senml.load(source.value))]
            entry = entries[number][row - int(np.searchsorted(record, number))]
            wrong = self._range(int(quantity[row]), float(value[row]))
            reason, detail = wrong or self._ahead(int(time[row]), int(now[number]))
            rejected.append(Rejected(reason, detail, self.topic, source, entry))
        return fine

    def _one_by_one(self, record: Record, rejected: list[Rejected]) -> tuple[tuple[Any, Any, Any], list[Any]]:
        """A pack read one reading at a time: (channel, time in ms, value) and the SenML records of those that can be
        used, already checked for the first four reasons.
        """
        channels, times, values, entries = [], [], [], []
        if self.forged(record):
            rejected.append(Rejected("forged", _FORGED, self.topic, record))
            return (np.array([], np.int64), np.array([], np.int64), np.array([], np.float64)), []
        try:
            array = senml.load(None if record.value is None else bytes(record.value))
        except Malformed as error:
            rejected.append(Rejected("malformed", str(error), self.topic, record))
            array = []
        clock_record = record.key == CLOCK_KEY
        for entry, resolved in senml.resolve(array, clock_record):
            if clock_record and isinstance(resolved, Reading) and resolved.name == CLOCK_NAME:
                continue  # a tick, which the fold takes
            reason, detail, channel, value = self._judge(resolved, record)
            if reason:
                rejected.append(Rejected(reason, detail, self.topic, record, entry))
            elif isinstance(resolved, Reading):
                channels.append(channel)
                times.append(resolved.time_ms)
                values.append(value)
                entries.append(entry)
        return (np.array(channels, np.int64), np.array(times, np.int64), np.array(values, np.float64)), entries

    def forged(self, record: Record) -> bool:
        """Whether a record is of the clock or of new rules, and has not the seal that they have here."""
        return self._seal is not None and record.key in SEALED and not self._seal.holds(self.topic, record)

    def _judge(self, resolved: Reading | Malformed, record: Record) -> tuple[str, str, int, float]:
        """(reason or "", detail, channel, value) of one reading, by the reasons that do not need range or clock."""
        if isinstance(resolved, Malformed):
            return "malformed", str(resolved), -1, 0.0
        sensor_id, _, quantity = resolved.name.rpartition("/")
        sensor = self._catalogue.sensors.get(sensor_id)
        if sensor is None:
            return "unknown_sensor", f"{sensor_id!r} is not in the catalogue", -1, 0.0
        if record.key is None or bytes(record.key) != sensor.zone.encode():
            key = None if record.key is None else bytes(record.key[:_KEY]).decode("utf-8", "replace")
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
