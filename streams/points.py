"""Readings and alerts as InfluxDB's line protocol.

A point is known by its measurement, tags and time, so writing one twice changes nothing:

    flood,sensor=GZ-TH-0012,zone=TH-03 depth=0.23 1714800000000
    alerts,kind=flood,rule=flood-depth,seq=2,site=GZ-TH-0012,zone=TH-03 level=3i,value=0.41,… 1714800660000

A reading's measurement is its kind and its field the quantity (truth values are 1 and 0). Every reading of
its topic is kept, whatever the rules then say to its value; of two at one time the later one stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from sensors.announcement import RULES_KEY
from sensors.catalogue import ID
from sensors.clock import CLOCK_KEY
from sensors.quantities import KINDS, QUANTITIES, topic
from sensors.senml import Malformed, Reading, columns, load, resolve, to_ms
from streams import topics

LATEST_MS = 2**63 // 10**6 - 1  # InfluxDB keeps nanoseconds in 64 bits: up to the year 2262


class Points:
    """Makes line protocol of records; ``skipped`` counts by reason what is no point."""

    def __init__(self, prefix: str = "") -> None:
        self.skipped: Counter[str] = Counter()
        self._kinds = {prefix + topic(kind): kind for kind in KINDS}
        self._alerts = prefix + topics.ALERTS
        self._starts: dict[tuple[str, bytes, str], str | None] = {}  # of a line, up to the value

    @property
    def topics(self) -> list[str]:
        """The topics that it understands."""
        return [*self._kinds, self._alerts]

    def lines(self, name: str, records: Sequence[ConsumerRecord]) -> Iterator[str]:
        """The points of records of one topic, in their order; none of a tick or an announcement. Never raises."""
        records = [record for record in records if record.key not in (CLOCK_KEY, RULES_KEY)]
        if name == self._alerts:
            for record in records:
                yield from self._alert(record)
        elif records:
            yield from self._readings(self._kinds[name], records)

    def _readings(self, kind: str, records: Sequence[ConsumerRecord]) -> Iterator[str]:
        unit = next(iter(QUANTITIES[kind].values()))
        clean = columns([record.value or b"" for record in records])
        if clean is not None and (unit is None or clean.units <= {None, unit}):
            keys = [record.key or b"" for record in records]
            zones = (zone for zone, size in zip(keys, clean.sizes.tolist(), strict=True) for _ in range(size))
            for zone, name, time, value in zip(
                zones, clean.names, clean.times.tolist(), clean.values.tolist(), strict=True
            ):
                yield from self._reading(kind, zone, name, to_ms(time), value)
        elif len(records) > 1:
            for record in records:
                yield from self._readings(kind, [record])
        else:
            yield from self._unclean(kind, unit, records[0])

    def _unclean(self, kind: str, unit: str | None, record: ConsumerRecord) -> Iterator[str]:
        try:
            readings = resolve(load(record.value))
        except Malformed:
            self.skipped["malformed records"] += 1
            return
        for _, reading in readings:
            if not isinstance(reading, Reading) or isinstance(reading.value, str):
                self.skipped["malformed readings"] += 1
            elif unit is not None and reading.unit not in (None, unit):
                self.skipped["readings in another unit"] += 1
            else:
                yield from self._reading(kind, record.key or b"", reading.name, reading.time_ms, float(reading.value))

    def _reading(self, kind: str, zone: bytes, name: str, time_ms: int, value: float) -> Iterator[str]:
        key = (kind, zone, name)
        if key not in self._starts:
            if len(self._starts) > 1_000_000:  # a gateway that invents names cannot fill the memory
                self._starts.clear()
            self._starts[key] = _start(kind, zone, name)
        start = self._starts[key]
        if start is None:
            self.skipped["readings of no such sensor, zone or quantity"] += 1
        elif time_ms > LATEST_MS or value - value != 0:
            self.skipped["readings that no point can hold"] += 1
        else:
            yield f"{start}{value!r} {time_ms}"

    def _alert(self, record: ConsumerRecord) -> Iterator[str]:
        try:
            alert = msgspec.json.decode(record.value or b"", type=dict[str, Any])
            tags = {tag: str(alert[tag]) for tag in ("kind", "rule", "seq", "site", "zone")}
            if not all(ID.fullmatch(text) for text in tags.values()):
                raise ValueError("not an id")
            at_ms = round(datetime.fromisoformat(alert["at"]).timestamp() * 1000)
            fields = [f"{name}={int(alert[name])}i" for name in ("level", "previous")]
            numbers = {name: alert.get(name) for name in ("value", "threshold")}
            fields += [f"{name}={float(number)!r}" for name, number in numbers.items() if number is not None]
            texts = {name: str(alert[name]) for name in ("id", "status", "onset")}
            fields += [f"{name}={_quoted(text)}" for name, text in texts.items()]
            fields.append(f"body={_quoted((record.value or b'').decode())}")
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, OverflowError):
            self.skipped["malformed alerts"] += 1
            return
        yield f"alerts,{','.join(f'{tag}={text}' for tag, text in tags.items())} {','.join(fields)} {at_ms}"


def _start(kind: str, zone: bytes, name: str) -> str | None:
    sensor, _, quantity = name.rpartition("/")
    zone_id = zone.decode(errors="replace")
    if quantity not in QUANTITIES[kind] or not ID.fullmatch(sensor) or not ID.fullmatch(zone_id):
        return None
    return f"{kind},sensor={sensor},zone={zone_id} {quantity}="


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
