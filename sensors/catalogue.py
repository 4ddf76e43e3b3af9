"""The catalogue: which sensors there are, where they stand, and what they watch over.

A GeoJSON FeatureCollection (RFC 7946). Every feature has ``id``, ``role`` (``sensor`` or ``place``),
``kind``, ``zone``, ``name`` and ``district``; see docs/catalogue.md for the rest. The zone is the partition
key of Kafka: the catchment for flood and rain, the venue for crowds, the community for homes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from sensors.compressed import BOM
from sensors.errors import InputError
from sensors.quantities import KINDS

SHIPPED = Path(__file__).with_name("guangzhou.geojson")
ID = re.compile(r"[A-Za-z0-9._:-]+")
_TINY = math.ulp(0.0)
_FIGURES = {  # of a place: the least, the most, and both in words
    "capacity": (_TINY, math.inf, "above 0"),
    "area_km2": (_TINY, math.inf, "above 0"),
    "hollow_ratio": (_TINY, math.inf, "above 0"),
    "runoff": (0, 1, "from 0 to 1"),
    "interception_mm": (0, math.inf, "0 or above"),
    "storage_mm": (0, math.inf, "0 or above"),
    "drainage_mm_h": (0, math.inf, "0 or above"),
}
_SHARED = ("kind", "zone", "district", "place", "room")
_NO_OVERRIDES: dict[str, Any] = {}


class _Collection(msgspec.Struct):
    features: list[msgspec.Raw]


class _Site(msgspec.Struct, kw_only=True, gc=False):
    id: str
    kind: str
    zone: str
    name: str
    district: str
    overrides: dict[str, Any] = {}
    lon: float | None = None
    lat: float | None = None


class Sensor(_Site, kw_only=True, gc=False):
    """A gauge, station, infrared sensor or counter; ``room`` only for infrared sensors."""

    place: str
    room: str | None = None


class Place(_Site, kw_only=True, gc=False):
    """A catchment, a home or a venue; lengths in mm, areas in km², ``capacity`` in people."""

    capacity: float | None = None
    area_km2: float | None = None
    runoff: float | None = None
    interception_mm: float | None = None
    storage_mm: float | None = None
    drainage_mm_h: float | None = None
    hollow_ratio: float | None = None


class Catalogue:
    """All sensors and places by id.

    ``digest`` is the SHA-256 of the file: it goes into each alert's ``ruleset``.
    """

    def __init__(
        self,
        sensors: dict[str, Sensor],
        places: dict[str, Place],
        digest: bytes,
        file: str | Path | None = None,
    ) -> None:
        self.sensors, self.places, self.digest, self._file = sensors, places, digest, file
        self.kinds_at: dict[str, set[str]] = {}
        for sensor in sensors.values():
            self.kinds_at.setdefault(sensor.place, set()).add(sensor.kind)
        self.zones = tuple(sorted({s.zone for s in (*sensors.values(), *places.values())}))

    @classmethod
    def shipped(cls) -> Catalogue:
        """The invented Guangzhou that comes with kapok."""
        return cls.load(SHIPPED)

    @classmethod
    def load(cls, path: str | Path) -> Catalogue:
        """Reads and checks a ``sites.geojson``; InputError names the file, the line and what to do."""
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the catalogue: {error.strerror}", file=path) from error
        return cls.parse(raw, file=path)

    @classmethod
    def parse(cls, raw: bytes, file: str | Path | None = None) -> Catalogue:
        raw = raw.removeprefix(BOM)
        try:
            features = msgspec.json.decode(raw, type=_Collection).features
        except msgspec.ValidationError as error:
            raise InputError(
                "not a GeoJSON FeatureCollection", file=file, line=1, hint='it needs "features": […]'
            ) from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise InputError(f"not JSON: {error}", file=file, line=_json_error_line(raw, error)) from error
        sensors: dict[str, Sensor] = {}
        places: dict[str, Place] = {}
        for number, text in enumerate(features, 1):
            feature = None
            try:
                feature = msgspec.json.decode(text)  # one at a time: a million of them would take gigabytes
                site = _site(feature)
                if site.id in sensors or site.id in places:
                    raise ValueError(f"the id {site.id!r} is there twice; give each feature its own")
            except ValueError as error:
                site_id = _site_id(feature)
                line = None if site_id is None else _line_of(raw, site_id, last="twice" in str(error))
                line = line or raw.count(b"\n", 0, raw.find(bytes(text))) + 1
                name = f"feature {number}" if site_id is None else f"feature {number} ({site_id})"
                raise InputError(f"{name}: {error}", file=file, line=line) from error
            if isinstance(site, Sensor):
                sensors[site.id] = site
            else:
                places[site.id] = site
        catalogue = cls(sensors, places, hashlib.sha256(raw).digest(), file)
        problem = catalogue._first_problem()
        if problem:
            raise InputError(problem[1], file=file, line=_line_of(raw, problem[0]), hint=problem[2])
        return catalogue

    def error(self, site_id: str, what: str) -> InputError:
        """Says that something is wrong with a site, and where that is: in the file, if it came from one."""
        try:
            line = None if self._file is None else _line_of(Path(self._file).read_bytes(), site_id)
        except OSError:  # gone since it was read
            line = None
        return InputError(what, file=self._file or "the catalogue", line=line)

    def _first_problem(self) -> tuple[str, str, str] | None:
        """(site id, what, what to do) of the first rule between features that is broken."""
        for sensor in self.sensors.values():
            place = self.places.get(sensor.place)
            if place is None:
                what = f"sensor {sensor.id} is in place {sensor.place!r}, which is not in the catalogue"
                return sensor.id, what, "add the place, or correct the sensor's `place`"
            if place.zone != sensor.zone:
                what = f"sensor {sensor.id} is in zone {sensor.zone!r}, its place {place.id} in {place.zone!r}"
                return sensor.id, what, "a sensor stands in its place's zone"
        zones = {s.zone for s in self.sensors.values() if s.kind in ("flood", "rain")}
        catchments = Counter(p.zone for p in self.places.values() if p.kind in ("flood", "rain"))
        for place in self.places.values():
            if place.zone in zones and place.kind in ("flood", "rain") and catchments[place.zone] > 1:
                what = f"zone {place.zone} has {catchments[place.zone]} catchments, {place.id} among them"
                return place.id, what, "a flood or rain zone has one"
        return None


def _site(feature: Any) -> Sensor | Place:
    if not isinstance(feature, dict) or not isinstance(feature.get("properties") or {}, dict):
        raise ValueError("not a GeoJSON Feature with properties")
    fields = dict(feature.get("properties") or {})
    for field in ("id", "role", "kind", "zone", "name", "district"):
        if field in feature and field not in fields:
            fields[field] = feature[field]
        if field not in fields:
            raise ValueError(f"has no `{field}`")
    geometry = feature.get("geometry")
    if isinstance(geometry, dict) and geometry.get("type") == "Point":
        point = geometry.get("coordinates") or [None, None]
        if not isinstance(point, list) or len(point) < 2:
            raise ValueError(f"`coordinates` is {point!r}; a point is [longitude, latitude]")
        fields["lon"], fields["lat"] = point[:2]
    role = fields.pop("role")
    if role not in ("sensor", "place"):
        raise ValueError(f"`role` is {role!r}; it is `sensor` or `place`")
    if role == "sensor" and not fields.get("place"):
        raise ValueError("is a sensor in no place; give it a `place`")
    site = msgspec.convert(fields, Sensor) if role == "sensor" else msgspec.convert(fields, Place)
    return _fit(site)


def _fit(site: Sensor | Place) -> Sensor | Place:
    if site.kind not in KINDS:
        raise ValueError(f"`kind` is {site.kind!r}; it is one of {', '.join(KINDS)}")
    if isinstance(site, Place):
        for field, (least, most, allowed) in _FIGURES.items():
            value = getattr(site, field)
            if value is not None and not least <= value <= most:
                raise ValueError(f"`{field}` is {value:g}; it must be {allowed}")
    elif site.kind == "infrared" and not (site.room or "").strip():
        raise ValueError("is an infrared sensor in no `room`; give it bed, living, bathroom, entrance or another word")
    if abs(site.lon or 0) > 180 or abs(site.lat or 0) > 90:
        raise ValueError(f"`coordinates` is {[site.lon, site.lat]}; a point is [longitude, latitude] in degrees")
    for field in _SHARED:  # many sites have the same: one string for all of them
        if (text := getattr(site, field, None)) is not None:
            setattr(site, field, sys.intern(text))
    site.overrides = site.overrides or _NO_OVERRIDES
    for field in ("id", "zone"):
        if not ID.fullmatch(getattr(site, field)):
            raise ValueError(f"`{field}` is {getattr(site, field)!r}; it may hold A-Z a-z 0-9 . _ : - only")
    return site


def _site_id(feature: Any) -> str | None:
    if not isinstance(feature, dict):
        return None
    properties = feature.get("properties")
    value = feature.get("id", properties.get("id") if isinstance(properties, dict) else None)
    return value if isinstance(value, str) else None


def _line_of(raw: bytes, site_id: str, *, last: bool = False) -> int | None:
    """The line on which a feature gives its id (the last such line, where an id is there twice)."""
    found = list(re.finditer(rb'"id"\s*:\s*' + re.escape(json.dumps(site_id, ensure_ascii=False).encode()), raw))
    return raw.count(b"\n", 0, found[-1 if last else 0].start()) + 1 if found else None


def _json_error_line(raw: bytes, error: Exception) -> int | None:
    at = re.search(r"\(byte (\d+)\)", str(error))
    if at is not None:
        return raw.count(b"\n", 0, int(at[1])) + 1
    try:
        json.loads(raw)
    except json.JSONDecodeError as other:
        return other.lineno
    except (ValueError, RecursionError):
        return None
    return None
