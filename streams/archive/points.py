"""Readings, alerts and cases as InfluxDB's line protocol.

A point is known by its measurement, tags and time, so writing one twice changes nothing:

    readings,district=天河区,kind=flood,place=TH-03,quality=good,quantity=depth,sensor=GZ-TH-0012,zone=TH-03 value=0.23 1714800000000
    alerts,district=天河区,kind=flood,rule=flood-depth,seq=2,site=GZ-TH-0012,zone=TH-03 level=3i,value=0.41,… 1714800660000
    cases,district=天河区,id=…,kind=flood,rule=flood-depth,seq=1,site=GZ-TH-0012,state=notified level=3i,body="…" 1714800700000
"""  # noqa: E501

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerts.batch import DUPLICATE, GRADES, Batch
from alerts.roster import KindRoster
from sensors.catalogue import ID, Sensor
from sensors.record import Record
from streams.archive.lines import Lines

LATEST_MS = 2**63 // 10**6 - 1  # InfluxDB keeps nanoseconds in 64 bits: up to the year 2262
_IN_TAGS = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ ", "\\": "/", "\n": "\\ "})


class Points:
    """Makes line protocol of what is judged and of records; ``skipped`` counts by reason what is no point."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._starts: WeakKeyDictionary[KindRoster, Starts] = WeakKeyDictionary()

    def readings(self, batch: Batch, roster: KindRoster) -> Readings:
        """Each reading that is not a duplicate, in its order."""
        starts = self._starts.get(roster)
        if starts is None:
            starts = self._starts[roster] = Starts(roster)
        series = batch.channel * len(GRADES) + batch.grade
        found = Readings(starts, series, batch.time, batch.value, batch.lateness)
        left_out = (batch.grade == DUPLICATE) | (batch.time > LATEST_MS)
        if not left_out.any():
            return found
        duplicates = int((batch.grade == DUPLICATE).sum())
        self.skipped["duplicates"] += duplicates
        self.skipped["readings after the year 2262"] += int(left_out.sum()) - duplicates
        return found.take(~left_out)

    def alerts(self, records: Iterable[Record]) -> Lines:
        """A point for each alert."""
        return self._bodies(records, "alerts", _alert)

    def cases(self, records: Iterable[Record]) -> Lines:
        """A point for each record of a case; fields that are not known are kept in ``body``."""
        return self._bodies(records, "cases", _case)

    def _bodies(self, records: Iterable[Record], measurement: str, make: Any) -> Lines:
        points = []
        for record in records:
            try:
                body = msgspec.json.decode(record.value or b"", type=dict[str, Any])
                tags, fields = make(body)
                fields.append(f"body={_quoted((record.value or b'').decode())}")
                at_ms = round(datetime.fromisoformat(body["at"]).timestamp() * 1000)
            except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, OverflowError):
                self.skipped[f"malformed {measurement}"] += 1
            else:
                points.append((_series(measurement, tags), ",".join(fields), at_ms))
        return Lines.of(points)


class Readings(NamedTuple):
    """Readings that are to be points, column by column: series by its number in ``starts``, time and lateness in ms."""

    starts: Starts
    series: NDArray[np.int64]
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    lateness: NDArray[np.int64]

    def take(self, rows: Any) -> Readings:
        """Some of them, by their numbers, a slice or a mask."""
        return Readings(self.starts, self.series[rows], self.time[rows], self.value[rows], self.lateness[rows])

    def lines(self) -> Lines:
        """A line for each; ``lateness`` only of late ones."""
        values = _told(self.value, b"%r ")
        for row in np.flatnonzero(self.lateness).tolist():
            values[row] = b"%s,lateness=%di " % (values[row].rstrip(), self.lateness[row])
        return Lines(map(self.starts.__getitem__, self.series.tolist()), values, _told(self.time, b"%d"))


class Pile:
    """Readings that wait to be written, a great many at once: those of a series next to each other, as they came.

    A database that gets a series' points together finds the series once for all of them.
    """

    def __init__(self) -> None:
        self._parts: dict[int, list[Readings]] = {}  # by the identity of their starts
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, readings: Readings) -> None:
        self._parts.setdefault(id(readings.starts), []).append(readings)
        self._size += len(readings.series)

    def batches(self, size: int) -> Iterator[Lines]:
        """All of them, which then wait no more, as lines, up to so many at a time; made as they are asked for."""
        parts, self._parts, self._size = self._parts, {}, 0
        lines = Lines()
        for some in parts.values():
            whole = Readings(some[0].starts, *map(np.concatenate, zip(*(part[1:] for part in some), strict=True)))
            order, row = np.argsort(whole.series, kind="stable"), 0
            while row < len(order):
                taken = order[row : row + size - len(lines)]
                lines.extend(whole.take(taken).lines())
                row += len(taken)
                if len(lines) == size:
                    yield lines
                    lines = Lines()
        if lines:
            yield lines


class Starts(dict[int, bytes]):
    """channel × grades + grade → the line of such a reading up to its value; made when it is first asked for."""

    def __init__(self, roster: KindRoster) -> None:
        self._kind, self._quantities, self._sensors = roster.kind, roster.quantities, roster.sensors

    def __missing__(self, code: int) -> bytes:
        channel, grade = divmod(code, len(GRADES))
        row, quantity = divmod(channel, len(self._quantities))
        sensor = self._sensors.all[row]
        assert isinstance(sensor, Sensor)
        tags = {
            "district": sensor.district,
            "kind": self._kind,
            "place": sensor.place,
            "quality": GRADES[grade],
            "quantity": self._quantities[quantity],
            "room": sensor.room or "",
            "sensor": sensor.id,
            "zone": sensor.zone,
        }
        self[code] = start = f"{_series('readings', tags)} value=".encode()
        return start


def _told(column: NDArray[Any], form: bytes) -> list[bytes]:
    """Each number as text, made once for all that are the same, as most are."""
    distinct, which = np.unique(column.view(np.int64), return_inverse=True)  # by their bits: -0.0 is not 0.0
    texts = [form % number for number in distinct.view(column.dtype).tolist()]
    return [*map(texts.__getitem__, which.tolist())]


def _alert(body: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    tags = _tags(body, ("kind", "rule", "seq", "site", "zone"))
    fields = [f"{name}={int(body[name])}i" for name in ("level", "previous")]
    numbers = {name: body.get(name) for name in ("value", "threshold")}
    fields += [f"{name}={float(number)!r}" for name, number in numbers.items() if number is not None]
    fields += [f"{name}={_quoted(str(body[name]))}" for name in ("id", "status", "onset")]
    return tags, fields


def _case(body: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    tags = {"id": str(body["id"]), "seq": str(body.get("seq", ""))} | _tags(body, ("kind", "rule", "site", "state"))
    return tags, [f"level={int(body['level'])}i"]


def _tags(body: dict[str, Any], ids: Sequence[str]) -> dict[str, str]:
    tags = {tag: str(body[tag]) for tag in ids}
    if not all(ID.fullmatch(text) for text in tags.values()):
        raise ValueError("not an id")
    return tags | {"district": str(body.get("district", ""))}


def _series(measurement: str, tags: dict[str, str]) -> str:
    """Measurement and tags; sorted, which spares the server the work, and without those that are empty."""
    return ",".join([measurement, *(f"{tag}={tags[tag].translate(_IN_TAGS)}" for tag in sorted(tags) if tags[tag])])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
