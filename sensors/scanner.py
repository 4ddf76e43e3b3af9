"""Records' packs as columns of numbers: clean ones at once, and the others named, to be read one reading at a time.

``Scanner`` is compiled (sensors/_packs.c) where there is a C compiler at installation; else it is ``PythonScanner``.
They may differ in which packs they call clean, never in what a clean one holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensors import senml
from sensors.record import Record, Records
from sensors.senml import CLOCK_NAME, END_OF_TIME

NOT_CLEAN: Final = -1
OF_THE_CLOCK: Final = -2
_CLOCK_KEY = CLOCK_NAME.encode()
_TEXT = 1 << 16  # bytes of packs that Python decodes at once

Integers = NDArray[np.int64]


class Scanned(NamedTuple):
    """A row a record: ``stamps``, its timestamp in ms (-1: none), and ``sizes``, how many readings it holds (NOT_CLEAN;
    OF_THE_CLOCK, by its key). A row a reading of the clean packs: ``channel``, ``time`` in ms, and ``value``.
    """

    stamps: Integers
    sizes: Integers
    channel: Integers
    time: Integers
    value: NDArray[np.float64]


class PythonScanner:
    """Reads the packs of one topic. A pack is clean if all its readings are of channels that are known, in the zone
    that is the record's key and in the right unit, and nothing else is wrong with it. Range and clock are not checked.
    """

    def __init__(
        self,
        names: Sequence[bytes],
        zone_of: Sequence[int],
        zones: Sequence[bytes],
        unit: bytes | None,
        truths: bool,
    ) -> None:
        """``names``: of each channel; ``zone_of``: the number of its zone in ``zones``; ``unit``: None takes any;
        ``truths``: whether values may be truth values.
        """
        self._channel = {name.decode(): number for number, name in enumerate(names)}
        self._zone_of = np.array(zone_of, np.int64)
        self._zones = {zone: number for number, zone in enumerate(zones)}
        self._units = None if unit is None else {None, unit.decode()}
        self._truths = truths

    def scan(self, records: Sequence[Record]) -> tuple[Any, ...]:
        """The columns of ``Scanned``, one after another."""
        sizes = np.full(len(records), NOT_CLEAN, np.int64)
        sizes[[number for number, r in enumerate(records) if r.key == _CLOCK_KEY]] = OF_THE_CLOCK
        none = np.empty(0, np.int64)
        parts: list[tuple[Any, ...]] = [(none, none, np.empty(0))]
        size = np.cumsum([len(r.value or b"") for r in records]) // _TEXT
        edges = [0, *(np.flatnonzero(np.diff(size)) + 1).tolist(), len(records)]
        for start, end in pairwise(edges):
            self._scan_run(records, start, end, sizes, parts)
        stamps = [-1 if r.timestamp is None else min(max(r.timestamp, -1), END_OF_TIME) for r in records]
        return np.array(stamps, np.int64), sizes, *map(np.concatenate, zip(*parts, strict=True))

    def _scan_run(
        self, records: Sequence[Record], start: int, end: int, sizes: Integers, parts: list[tuple[Any, ...]]
    ) -> None:
        """Reads records [start, end) at once if all are clean; else halves them until the odd ones stand alone."""
        part = self._clean(records[start:end], sizes[start:end])
        if part is not None:
            parts.append(part)
        elif end - start > 1:
            middle = (start + end) // 2
            self._scan_run(records, start, middle, sizes, parts)
            self._scan_run(records, middle, end, sizes, parts)

    def _clean(self, records: Sequence[Record], sizes: Integers) -> tuple[Any, ...] | None:
        """(channel, time, value) of clean packs, whose sizes are set; None where one is not."""
        zone_of = self._zones.get
        zones = [zone_of(r.key) for r in records]  # type: ignore[arg-type]
        values: list[Any] = [r.value for r in records]
        if None in zones or not all(values):
            return None
        clean = senml.columns(values)
        if clean is None or (clean.truths and not self._truths):
            return None
        if self._units is not None and not clean.units <= self._units:
            return None
        channel = np.array([self._channel.get(name, -1) for name in clean.names], np.int64)
        if (channel < 0).any() or (self._zone_of[channel] != np.repeat(np.array(zones), clean.sizes)).any():
            return None
        sizes[:] = clean.sizes
        return channel, np.minimum(np.rint(clean.times * 1000.0), END_OF_TIME).astype(np.int64), clean.values


try:
    from sensors._packs import Scanner
except ImportError:
    Scanner = PythonScanner  # type: ignore[assignment, misc]


def scan(scanner: Scanner | PythonScanner, records: Sequence[Record]) -> Scanned:
    """What a scanner finds in records, as arrays. It may be called in any thread; columns of records keep what was
    found for the next time.
    """
    if not isinstance(records, Records) or isinstance(scanner, PythonScanner):
        return _as_arrays(scanner.scan(records))
    if records.scanned[0] is not scanner:
        found = _as_arrays(scanner.scan_text(records.text, records.spans, records.stamp))
        records.scanned = scanner, found
    scanned: Scanned = records.scanned[1]
    return scanned


def _as_arrays(found: tuple[Any, ...]) -> Scanned:
    stamps, sizes, channel, time, value = found
    return Scanned(
        np.frombuffer(stamps, np.int64),
        np.frombuffer(sizes, np.int64),
        np.frombuffer(channel, np.int64),
        np.frombuffer(time, np.int64),
        np.frombuffer(value, np.float64),
    )
