"""CSV files of readings to a capture, so that what was recorded elsewhere can be replayed."""

from __future__ import annotations

import csv
import io
import itertools
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import numpy as np

from sensors import compressed
from sensors.catalogue import ID, Catalogue
from sensors.csv_layout import Layout, ValueColumn
from sensors.errors import InputError
from sensors.quantities import QUANTITIES
from sensors.senml import encode

PACK_READINGS = 1000  # about 60 kB: far below the 1 MB that Kafka takes as one record


class CsvImport:
    """Reads CSV files by one layout; ``packs`` then gives the records of the capture.

    ``left_out`` counts, by reason, what was not taken; ``unsure_times`` the readings at a local time that a
    clock change repeats or skips. It keeps 29 bytes a reading.
    """

    def __init__(self, layout: Layout, catalogue: Catalogue | None) -> None:
        self.layout, self.catalogue = layout, catalogue
        self.left_out: Counter[str] = Counter()
        self.unsure_times = 0
        self._quantities = list(QUANTITIES[layout.kind])
        self._factors = {v.quantity: layout.factor(v.quantity) for v in layout.values}
        self._series: dict[tuple[str, str], int | None] = {}  # (sensor, zone) as in the file -> number
        self._sensors: list[tuple[str, str]] = []  # number -> (sensor id, zone)
        self._totals: dict[tuple[int, str], tuple[int, int, Decimal]] = {}  # time, period, its largest total
        self._numbers, self._codes = array("i"), array("b")
        self._times, self._stamps, self._values = array("q"), array("q"), array("d")
        self._time_ms = lru_cache(4096)(layout.time_ms)  # many rows are of one time

    def __len__(self) -> int:
        return len(self._values)

    @property
    def sensors(self) -> int:
        """How many sensors have a reading."""
        return len({self._sensors[number][0] for number in set(self._numbers)})

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """The first and the last reading's time."""
        return (min(self._times), max(self._times)) if self._times else None

    def read(self, path: str | Path, advance: Callable[[int], None] = lambda position: None) -> None:
        """Adds a file's readings (``.gz`` and ``.zst`` too); ``advance`` hears how many bytes are read."""
        layout = self.layout
        lines: _Lines | None = None

        def wrong(what: object, hint: str | None = None) -> InputError:
            return InputError(str(what), file=path, line=(lines.number or None) if lines else None, hint=hint)

        try:
            with open(path, "rb") as raw:
                text = io.TextIOWrapper(compressed.uncompressed(raw, str(path)), layout.encoding, newline="")
                lines = _Lines(text, layout)
                rows = csv.reader(lines, delimiter=layout.delimiter, strict=True)
                self._table(rows, lambda: advance(raw.tell()))
        except InputError as error:
            raise wrong(error.what, error.hint) from error
        except UnicodeError as error:
            hint = "--encoding names another, such as gb18030"
            raise wrong(f"not {layout.encoding}: {error}", hint) from error
        except csv.Error as error:
            raise wrong(f"not CSV: {error}", "is --delimiter right?") from error
        except LookupError as error:
            raise InputError(f"--encoding {layout.encoding}: {error}") from error
        except compressed.ERRORS as error:
            raise wrong(f"cannot read it: {compressed.reason(error)}") from error

    def _table(self, rows: Iterable[list[str]], progress: Callable[[], None]) -> None:
        columns: _Columns | None = None
        for count, row in enumerate(rows):
            if count % 4096 == 0:
                progress()
            if not row:
                continue
            if columns is None:
                names = row if self.layout.header else [str(number) for number in range(1, len(row) + 1)]
                columns = _Columns(self.layout, [name.strip() for name in names])
                if self.layout.header:
                    continue
            self._row(row, columns)
        if columns is None and self.layout.header:
            raise InputError("the file has no header", hint="--no-header, if its columns have no names")

    def _row(self, row: list[str], columns: _Columns) -> None:
        if len(row) < columns.needed:
            raise InputError(f"the row has {len(row)} columns, it needs {columns.needed}")
        if any(row[i].strip() != wanted for i, wanted in columns.where):
            return
        layout = self.layout
        row_sensor = layout.sensor_id if columns.sensor is None else row[columns.sensor].strip()
        if row_sensor == "":
            return self._leave_out("rows without a sensor")
        zone = "" if columns.zone is None else row[columns.zone].strip()
        for i, value in zip(columns.values, layout.values, strict=True):
            text = row[i].strip()
            if not text or text in layout.missing:
                self._leave_out("empty values")
                continue
            number = self._number_of(value.sensor or row_sensor or "", zone)
            if number is None:
                self.left_out["readings of unknown sensors"] += 1
                continue
            time = self._time(row[columns.time], layout.time)
            stamp = time if columns.arrival is None else self._time(row[columns.arrival], str(layout.arrival))
            self._values.append(self._value(text, value, number, time))
            self._numbers.append(number)
            self._codes.append(self._quantities.index(value.quantity))
            self._times.append(time)
            self._stamps.append(stamp)

    def _leave_out(self, reason: str) -> None:
        if self.layout.strict:
            raise InputError(f"--strict: {reason}", hint="correct the row, or leave --strict out")
        self.left_out[reason] += 1

    def _number_of(self, name: str, row_zone: str) -> int | None:
        """The number of a sensor by what the file calls it; None for one to leave out."""
        if (name, row_zone) not in self._series:
            sensor = self.layout.ids.get(name, self.layout.prefix + name)
            zone = self._zone_of(sensor, row_zone)
            self._series[name, row_zone] = None if zone is None else len(self._sensors)
            if zone is not None:
                self._sensors.append((sensor, zone))
        return self._series[name, row_zone]

    def _zone_of(self, sensor: str, row_zone: str) -> str | None:
        layout = self.layout
        known = None if self.catalogue is None else self.catalogue.sensors.get(sensor)
        if known is None and layout.zone is None:
            if layout.skip_unknown:
                return None
            hint = "--sites names the catalogue, --map and --prefix change ids, --skip-unknown leaves it out"
            raise InputError(f"sensor {sensor!r} is not in the catalogue", hint=hint)
        if known is not None and known.kind != layout.kind:
            raise InputError(f"sensor {sensor!r} is of kind {known.kind}", hint=f"--kind {known.kind}")
        zone = known.zone if known is not None and layout.zone is None else row_zone
        for what, text in (("sensor id", sensor), ("zone", zone)):
            if not ID.fullmatch(text):
                hint = "it may hold A-Z a-z 0-9 . _ : - only; --map gives a sensor another id"
                raise InputError(f"{text!r} cannot be a {what}", hint=hint)
        return zone

    def _time(self, cell: str, column: str) -> int:
        try:
            time, unsure = self._time_ms(cell.strip())
        except InputError as error:
            raise _in_column(column, error) from error
        self.unsure_times += unsure
        return time

    def _value(self, text: str, column: ValueColumn, number: int, time: int) -> float:
        layout = self.layout
        try:
            exact = layout.number(text)
            if layout.reset_minute is not None:
                exact = self._growth(exact, number, column.quantity, time, layout.reset_minute)
            # Exactly, so that 0.91 in is 23.114 mm and not 23.113999999999997.
            value = float((exact * layout.scale + layout.offset) * self._factors[column.quantity])
            if math.isinf(value):
                raise InputError(f"{text!r} is too large")
        except InputError as error:
            raise _in_column(column.column, error) from error
        return value

    def _growth(self, total: Decimal, number: int, quantity: str, time: int, reset_minute: int) -> Decimal:
        """What a running total grew by; a smaller one within the hour is a report that left it out."""
        period = -((reset_minute - time // 60_000) // 60)
        last_time, last_period, largest = self._totals.get((number, quantity), (time, period, Decimal(0)))
        if time < last_time:
            hint = "a running total needs each sensor's rows in order: sort the file"
            raise InputError("time goes back", hint=hint)
        if period != last_period:
            largest = Decimal(0)
        self._totals[number, quantity] = time, period, max(total, largest)
        return max(total - largest, Decimal(0))

    def packs(self) -> Iterator[tuple[str, int, bytes]]:
        """(zone, timestamp in ms, pack) of each record: by timestamp, then zone, then as in the files."""
        if not len(self):
            return
        names = sorted({zone for _, zone in self._sensors})
        zone_of = np.array([names.index(zone) for _, zone in self._sensors])
        numbers, stamps = np.frombuffer(self._numbers, np.intc), np.frombuffer(self._stamps, np.int64)
        order = np.lexsort((zone_of[numbers], stamps))
        zones, stamps = zone_of[numbers][order], stamps[order]
        changes = (np.diff(stamps) != 0) | (np.diff(zones) != 0)
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
        for first, end in itertools.pairwise(edges):
            for start in range(first, end, PACK_READINGS):
                chosen = order[start : min(end, start + PACK_READINGS)].tolist()
                yield names[zones[first]], int(stamps[first]), encode(self._reading(i) for i in chosen)

    def _reading(self, i: int) -> tuple[str, str, int, float]:
        (sensor, _), quantity = self._sensors[self._numbers[i]], self._quantities[self._codes[i]]
        value = self._values[i]
        return sensor, quantity, self._times[i], int(value) if value.is_integer() else value


class _Columns:
    """Where the columns of a layout are in one file."""

    def __init__(self, layout: Layout, names: list[str]) -> None:
        def find(name: str) -> int:
            if names.count(name) != 1:
                what = "no column" if name not in names else "more than one column"
                raise InputError(f"there is {what} {name!r}", hint=f"there are {', '.join(names)}")
            return names.index(name)

        self.time = find(layout.time)
        self.values = [find(value.column) for value in layout.values]
        self.where = [(find(column), wanted) for column, wanted in layout.where]
        self.sensor = None if layout.sensor is None else find(layout.sensor)
        self.zone = None if layout.zone is None else find(layout.zone)
        self.arrival = None if layout.arrival is None else find(layout.arrival)
        optional = [i for i in (self.sensor, self.zone, self.arrival) if i is not None]
        self.needed = 1 + max([self.time, *self.values, *(i for i, _ in self.where), *optional])


class _Lines:
    """The lines of a file, counted; what is to be skipped is an empty line, so that numbers stay right."""

    def __init__(self, text: io.TextIOWrapper, layout: Layout) -> None:
        self._text, self._layout, self.number = text, layout, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix("\ufeff")  # of whatever encoding
        comment = self._layout.comment
        skipped = self.number <= self._layout.skip_rows or (comment is not None and line.startswith(comment))
        return "\n" if skipped else line


def _in_column(column: str, error: InputError) -> InputError:
    return InputError(f"column {column!r}: {error.what}", hint=error.hint)
