"""From the bytes of a record to readings that are good, held, late or rejected (contract, 2)."""

from __future__ import annotations

import base64
import json
import math
from typing import NamedTuple

from sensors.record import partition_of

QUANTITIES: dict[str, dict[str, str | None]] = {
    "flood": {"depth": "m"},
    "rain": {"rain": "mm"},
    "infrared": {"motion": None, "button": None},
    "crowd": {"in": "count", "out": "count", "count": "count"},
}
TEXTS, NUMBERS = ("bn", "bu", "n", "u", "vs", "vd"), ("bt", "bv", "bs", "bver", "v", "s", "t", "ut")
TYPES_OF_FIELDS = dict.fromkeys(TEXTS, str) | dict.fromkeys(NUMBERS, float) | {"vb": bool}
BASE = {"bn", "bt", "bu", "bv", "bs", "bver"}
END_OF_TIME = 253_402_300_799_999  # the last ms of the year 9999


class Resolved(NamedTuple):
    """One SenML record with its base fields worked in; ``value`` is a float, a bool, or None for text or data."""

    name: str
    time: int  # ms
    unit: str | None
    value: float | bool | None


class Accepted(NamedTuple):
    time: int
    sensor: str
    quantity: str
    value: float


class Graded(NamedTuple):
    time: int
    sensor: str
    quantity: str
    value: float
    grade: str  # good, held, late


def partition(zone: str, partitions: int) -> int:
    return partition_of(zone.encode(), partitions)


def round6(x: float) -> float:
    return round(x, 6)


def number(x: float) -> float:
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def entries(value: bytes | None) -> list | None:
    """The array of a pack, None if it is not one."""

    def no_constant(name: str):
        raise ValueError(name)

    try:
        pack = json.loads((value or b"").decode("utf-8"), parse_constant=no_constant)
    except ValueError:
        return None
    return pack if isinstance(pack, list) else None


def resolve(pack: list, clock_record: bool) -> list[tuple[object, Resolved | str]]:
    """Each entry with what it says, or with ``malformed``; entries that only set base fields are left out."""
    base: dict = {}
    result: list[tuple[object, Resolved | str]] = []
    for entry in pack:
        if not isinstance(entry, dict) or not well_typed(entry) or not any(k in TYPES_OF_FIELDS for k in entry):
            result.append((entry, "malformed"))
            continue
        fields = {k: v for k, v in entry.items() if k in TYPES_OF_FIELDS}
        new_base = base | {k: v for k, v in fields.items() if k in BASE}
        if fields.keys() <= BASE:
            base = new_base
            continue
        name = new_base.get("bn", "") + fields.get("n", "")
        seconds = number(new_base.get("bt", 0)) + number(fields.get("t", 0))
        is_tick = clock_record and name == "@clock"
        has_value = any(k in fields for k in ("v", "vb", "vs", "vd"))
        if math.isnan(seconds) or seconds < 2**28 or not (is_tick or (has_value and "/" in name)):
            result.append((entry, "malformed"))
            continue
        base = new_base
        time = round(seconds * 1000) if math.isfinite(seconds * 1000) else END_OF_TIME + 1
        value: float | bool | None = None
        if "v" in fields:
            value = number(fields["v"]) + number(base.get("bv", 0))
        elif "vb" in fields:
            value = fields["vb"]
        result.append((entry, Resolved(name, time, fields.get("u", base.get("bu")), value)))
    return result


def well_typed(entry: dict) -> bool:
    for name, kind in TYPES_OF_FIELDS.items():
        if name in entry:
            given = entry[name]
            is_number = isinstance(given, int | float) and not isinstance(given, bool)
            if not (is_number if kind is float else isinstance(given, kind)):
                return False
    return True


def judge(
    record: dict, kind: str, sensors: dict[str, dict], quantities: dict[str, dict], clock: int | None
) -> tuple[list[int], list[Accepted], list[dict]]:
    """The ticks, the readings by time, and what is rejected."""

    def rejection(reason: str, **what) -> dict:
        return {"reason": reason, "topic": record["topic"], "partition": record["partition"],
                "offset": record["offset"], "key": record["key"], **what}  # fmt: skip

    pack = entries(record["value"])
    if pack is None:
        raw = record["value"] or b""
        return [], [], [rejection("malformed", raw=base64.b64encode(raw[:65536]).decode(), size=len(raw))]
    stamp = record["timestamp"]
    ticks, accepted, rejected = [], [], []
    for entry, said in resolve(pack, clock_record=record["key"] == "@clock"):
        if isinstance(said, str):
            rejected.append(rejection(said, reading=entry))
        elif record["key"] == "@clock" and said.name == "@clock":
            if said.time > END_OF_TIME or (stamp is not None and said.time > stamp + 60_000):
                rejected.append(rejection("future", reading=entry))
            else:
                ticks.append(said.time)
        else:
            reason = fault(said, record, kind, sensors, quantities, clock)
            if reason:
                rejected.append(rejection(reason, reading=entry))
            else:
                sensor, quantity = said.name.rsplit("/", 1)
                accepted.append(Accepted(said.time, sensor, quantity, kept(quantity, said.value)))
    return ticks, sorted(accepted, key=lambda a: a.time), rejected


def kept(quantity: str, value: float | bool | None) -> float:
    if quantity in ("motion", "button"):
        return float(bool(value))
    assert value is not None
    return value


def fault(
    said: Resolved, record: dict, kind: str, sensors: dict[str, dict], quantities: dict[str, dict], clock: int | None
) -> str | None:
    sensor_id, quantity = said.name.rsplit("/", 1)
    sensor = sensors.get(sensor_id)
    if sensor is None:
        return "unknown_sensor"
    if sensor["zone"] != record["key"]:
        return "wrong_zone"
    if sensor["kind"] != kind or quantity not in QUANTITIES[kind] or said.value is None:
        return "wrong_quantity"
    unit = QUANTITIES[kind][quantity]
    if unit is not None and (said.unit not in (None, unit) or isinstance(said.value, bool)):
        return "wrong_quantity"
    limits = quantities.get(quantity, {})
    if not math.isfinite(said.value):
        return "out_of_range"
    if "min" in limits and round6(said.value) < round6(limits["min"]):
        return "out_of_range"
    if "max" in limits and round6(said.value) > round6(limits["max"]):
        return "out_of_range"
    now = [t for t in (clock, record["timestamp"]) if t is not None]
    if said.time > END_OF_TIME or (now and said.time > max(now) + 600_000):
        return "future"
    return None


class Quality:
    """Per (sensor, quantity): the last accepted time, the last good value, the value that is held back."""

    def __init__(self, quantities: dict[str, dict]) -> None:
        self.quantities = quantities
        self.last: dict[tuple[str, str], int] = {}
        self.good: dict[tuple[str, str], float] = {}
        self.held: dict[tuple[str, str], float] = {}

    def grade(self, accepted: list[Accepted]) -> list[Graded]:
        graded = []
        for reading in accepted:
            series = (reading.sensor, reading.quantity)
            last = self.last.get(series)
            if last is not None and reading.time == last:
                continue  # a duplicate
            if last is not None and reading.time < last:
                graded.append(Graded(*reading, "late"))
                continue
            self.last[series] = reading.time
            if self.is_good(series, reading.value):
                self.good[series] = reading.value
                self.held.pop(series, None)
                graded.append(Graded(*reading, "good"))
            else:
                self.held[series] = reading.value
                graded.append(Graded(*reading, "held"))
        return graded

    def is_good(self, series: tuple[str, str], value: float) -> bool:
        max_step = self.quantities.get(series[1], {}).get("max_step")
        if max_step is None or series not in self.good:
            return True
        good = self.good[series]
        if round6(abs(value - good)) <= round6(max_step):
            return True
        if series not in self.held:
            return False
        held = self.held[series]
        return round6(abs(value - held)) <= round6(max_step) or value > held > good or value < held < good
