"""A capture of what the archive has: last year's storm, to be replayed.

The archive knows when a reading was measured, not when and in which record it came. So the capture is in the order of
the events: nothing in it is late, and readings of one time and zone are one pack. It promises the same rules on the
same readings, not the same bytes as on the day.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import urllib3.exceptions
from influxdb_client import Dialect
from influxdb_client.rest import ApiException

from alerts.batch import GRADES
from sensors.capture import Writer
from sensors.errors import RunError
from sensors.quantities import KINDS, QUANTITIES, topic
from sensors.senml import encode
from streams.archive.database import INFRARED, NO_ACCESS, READINGS, Database, reason_of

Reading = tuple[int, str, str, str, int, int, float]  # time in ms, kind, zone, sensor, quantity, grade, value

_PACK = 500  # readings
_FEW, _MANY = 20_000, 200_000  # rows in an answer
_SHORTEST_MS, _LONGEST_MS = 1_000, 86_400_000
_PLAIN = Dialect(header=True, annotations=[], delimiter=",", comment_prefix="#", date_time_format="RFC3339")


def record_history(
    database: Database,
    out: Path,
    from_ms: int,
    until_ms: int,
    *,
    kinds: Collection[str] = KINDS,
    zones: Collection[str] = (),
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Writes a capture of the readings in [from_ms, until_ms) and returns the number of its records.

    ``zones``: only of these, or of all. Where a sensor has several readings of one time the good one is taken, else the
    suspect one. RunError where the database cannot be read.
    """
    written = 0
    try:
        with database.client() as client, Writer(out) as capture:
            query = client.query_api()
            for readings in _windows(lambda flux: _rows(query, flux), database, from_ms, until_ms, kinds, zones):
                for (time_ms, kind, zone), group in groupby(_once(readings), itemgetter(0, 1, 2)):
                    quantities, members = list(QUANTITIES[kind]), list(group)
                    for start in range(0, len(members), _PACK):
                        entries = [
                            (sensor, quantities[quantity], time_ms, bool(value) if kind == "infrared" else value)
                            for _, _, _, sensor, quantity, _, value in members[start : start + _PACK]
                        ]
                        capture.write(topic(kind), zone, encode(entries), timestamp=time_ms)
                        written += 1
                if progress and readings:
                    progress(written, readings[-1][0])
    except ApiException as error:
        if error.status in NO_ACCESS:
            raise database.turned_away(reason_of(error)) from error
        raise RunError(f"the InfluxDB at {database.url} failed: {reason_of(error)}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise RunError(f"no InfluxDB that can be used at {database.url}: {error}") from error
    return written


def _windows(
    ask: Callable[[str], Iterator[Reading]],
    database: Database,
    from_ms: int,
    until_ms: int,
    kinds: Collection[str],
    zones: Collection[str],
) -> Iterator[list[Reading]]:
    """The readings in order, a span of time after another, each about as long as an answer may be."""
    buckets = {INFRARED: {"infrared"} & set(kinds), READINGS: set(kinds) - {"infrared"}}
    start, span = from_ms, 60_000
    while start < until_ms:
        end = min(start + span, until_ms)
        readings: list[Reading] = []
        for bucket, some in buckets.items():
            if some:
                readings += ask(_flux(database.bucket(bucket), start, end, some, zones))
        readings.sort()
        yield readings
        start = end
        span = min(2 * span, _LONGEST_MS) if len(readings) < _FEW else span
        span = max(span // 2, _SHORTEST_MS) if len(readings) > _MANY else span


def _flux(bucket: str, start: int, end: int, kinds: Collection[str], zones: Collection[str]) -> str:
    wanted = [" or ".join(f"r.kind == {json.dumps(kind)}" for kind in sorted(kinds))]
    wanted += [" or ".join(f"r.zone == {json.dumps(zone)}" for zone in sorted(zones))] if zones else []
    return f"""
        from(bucket: {json.dumps(bucket)})
        |> range(start: time(v: {start}000000), stop: time(v: {end}000000))
        |> filter(fn: (r) => r._measurement == "readings" and r._field == "value")
        {"".join(f"|> filter(fn: (r) => {one})" for one in wanted)}
        |> keep(columns: ["_time", "_value", "kind", "quality", "quantity", "sensor", "zone"])
        |> group()
    """


def _rows(query: Any, flux: str) -> Iterator[Reading]:
    text = query.query_raw(flux, dialect=_PLAIN).data.decode()
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        return
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    times = np.array([time.removesuffix("Z") for time in columns["_time"]], "datetime64[ms]").astype(np.int64)
    number = {quantity: n for known in QUANTITIES.values() for n, quantity in enumerate(known)}
    grades = {grade: n for n, grade in enumerate(GRADES)}
    yield from zip(
        times.tolist(),
        columns["kind"],
        columns["zone"],
        columns["sensor"],
        (number[quantity] for quantity in columns["quantity"]),
        (grades[quality] for quality in columns["quality"]),
        map(float, columns["_value"]),
        strict=True,
    )


def _once(readings: list[Reading]) -> Iterator[Reading]:
    """Of several of one time, sensor and quantity the best one."""
    for _, same in groupby(readings, itemgetter(0, 1, 2, 3, 4)):
        yield next(same)
