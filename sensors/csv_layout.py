"""How a CSV file of readings is laid out: which column is what, and how a cell becomes a time or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from sensors.errors import InputError
from sensors.quantities import QUANTITIES
from sensors.senml import ABSOLUTE_FROM

# Metres in one of each; inch and foot are exact since the yard and pound agreement of 1959.
LENGTHS = {
    "mm": Decimal("0.001"),
    "cm": Decimal("0.01"),
    "m": Decimal(1),
    "in": Decimal("0.0254"),
    "ft": Decimal("0.3048"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class ValueColumn(NamedTuple):
    """A column that holds values of one quantity; of one sensor too, where the table is wide."""

    column: str
    quantity: str
    sensor: str | None = None

    @classmethod
    def parse(cls, text: str, kind: str, *, wide: bool) -> ValueColumn:
        """Reads ``COL[=QUANTITY]``, or ``COL=SENSOR[/QUANTITY]`` of a wide table.

        >>> ValueColumn.parse("gauge 3=TH-0012/depth", "flood", wide=True)
        ValueColumn(column='gauge 3', quantity='depth', sensor='TH-0012')
        """
        option = f"--column {text}" if wide else f"--value {text}"
        quantities = list(QUANTITIES[kind])
        column, equals, rest = text.rpartition("=")
        if wide and not (equals and rest):
            raise InputError(f"{option}: names no sensor", hint="COL=SENSOR or COL=SENSOR/QUANTITY")
        if wide:
            sensor, _, quantity = rest.partition("/")
        else:
            sensor, quantity = "", rest if equals else ""
            column = column if equals else text
        if quantity and quantity not in quantities:
            hint = f"it has {', '.join(quantities)}"
            raise InputError(f"{option}: {quantity!r} is not a quantity of {kind}", hint=hint)
        if not quantity and kind == "crowd":
            hint = f"add one of {', '.join(quantities)}: {text}{'/' if wide else '='}in"
            raise InputError(f"{option}: does not say which quantity", hint=hint)
        return cls(column, quantity or quantities[0], sensor or None)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which column of a CSV is what. Columns go by the header's names; without a header by number, from 1."""

    kind: str
    time: str
    values: tuple[ValueColumn, ...]
    sensor: str | None = None  # column
    sensor_id: str | None = None  # the sensor of the whole file
    zone: str | None = None  # column; without it the catalogue says
    arrival: str | None = None  # column: when the reading came, if that is known
    where: tuple[tuple[str, str], ...] = ()  # (column, text): only the rows that have it
    time_format: str | None = None  # strptime's, "unix" or "unix-ms"; None: ISO 8601
    timezone: tzinfo = UTC  # of times that name no offset
    unit: str | None = None  # None: the unit of the topic
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)  # value × scale + offset, in `unit`
    words: Mapping[str, Decimal] = field(default_factory=dict)  # what stands for a number: {"ON": 1}
    missing: frozenset[str] = frozenset()  # what stands for no value, besides the empty cell
    ids: Mapping[str, str] = field(default_factory=dict)  # sensor as in the file -> sensor id
    prefix: str = ""  # put before every sensor id that `ids` does not give
    reset_minute: int | None = None  # of the hour; values are a running total that starts anew after it
    delimiter: str = ","
    comment: str | None = None
    skip_rows: int = 0
    header: bool = True
    encoding: str = "utf-8-sig"
    strict: bool = False  # a row without value or sensor is an error
    skip_unknown: bool = False  # readings of sensors that the catalogue does not have are left out

    def factor(self, quantity: str) -> Decimal:
        """What a value in ``unit`` is multiplied by to be in the topic's unit."""
        target = QUANTITIES[self.kind][quantity]
        if self.unit is None or self.unit == target:
            return Decimal(1)
        if target not in LENGTHS:
            raise InputError(f"--unit {self.unit}: {quantity} has no unit to convert to", hint="leave it out")
        if self.unit not in LENGTHS:
            raise InputError(f"--unit {self.unit}: not a unit of {quantity}", hint=f"one of {', '.join(LENGTHS)}")
        return LENGTHS[self.unit] / LENGTHS[target]

    def time_ms(self, text: str) -> tuple[int, bool]:
        """A time in ms since 1970, and whether a clock change repeats or skips it (it is the one before)."""
        unsure = False
        try:
            if self.time_format in ("unix", "unix-ms"):
                ms = round(Decimal(text) * (1000 if self.time_format == "unix" else 1))
            else:
                form = self.time_format
                moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
                if moment.tzinfo is None:
                    moment = moment.replace(tzinfo=self.timezone)
                    unsure = moment.utcoffset() != moment.replace(fold=1).utcoffset()
                ms = round((moment - _EPOCH) / _MS)
        except (ValueError, OverflowError, InvalidOperation) as error:
            digits = text.replace(".", "").isdigit()
            hint = "--time-format unix or unix-ms" if digits else '--time-format, such as "%d/%m/%Y %H:%M"'
            raise InputError(f"{text!r} is not a time", hint=hint) from error
        if ms < ABSOLUTE_FROM * 1000:
            raise InputError(f"{text!r} is before July 1978, which SenML cannot carry")
        return ms, unsure

    def number(self, text: str) -> Decimal:
        """A cell's number as it stands in the file."""
        word = self.words.get(text)
        if word is not None:
            return word
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite():
            hint = f"--missing '{text}' if it stands for no value, --word '{text}=1' if for a number"
            raise InputError(f"{text!r} is not a number", hint=hint)
        return number
