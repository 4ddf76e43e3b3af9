"""The invented Guangzhou that comes with kapok; ``python -m sensors.city`` writes ``guangzhou.geojson`` anew.

Districts, streets, roads, stations and the marathon course have real names; every gauge, threshold,
capacity and home is made up, from a seed. Same seed, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sensors.districts import COURSE, DISTRICTS, FLOOD_SPOTS, MARATHON_KM, SEGMENT_KM, VENUES, District

SEED = 20240504
FLOOD_POINTS, RAIN_STATIONS = 495, 395
COMMUNITIES, HOMES = 30, 300
ROOMS = {"bed": "卧室", "living": "客厅", "bathroom": "卫生间", "entrance": "门口", "call": "呼叫按钮"}
# for a few who bathe slowly, with a helper
SLOW = {"bathroom": {"orange": "90m", "red": "3h"}, "living": {"orange": "3h", "red": "5h"}}

Feature = dict[str, Any]


def geojson(seed: int = SEED) -> bytes:
    """The catalogue as a FeatureCollection, a feature a line."""
    features = (msgspec.json.encode(feature) for feature in _features(np.random.default_rng(seed)))
    return b'{"type":"FeatureCollection","features":[\n' + b",\n".join(features) + b"\n]}\n"


def _features(rng: np.random.Generator) -> Iterator[Feature]:
    sizes = [len(district.areas) for district in DISTRICTS]
    points = FLOOD_POINTS // sum(sizes)
    # towns are larger than streets, and have more stations
    stations = _shares(RAIN_STATIONS, [len(d.areas) * (1.5 - d.built_up / 2) for d in DISTRICTS])
    for district, size, rain in zip(DISTRICTS, sizes, stations, strict=True):
        yield from _catchments(rng, district, points * size, rain)
    yield from _homes(rng)
    yield from _venues()
    yield from _marathon()


def _catchments(rng: np.random.Generator, district: District, points: int, stations: int) -> Iterator[Feature]:
    """A district's catchments, each with flood points and rain stations; lengths in mm, areas in km²."""
    count = len(district.areas)
    floods = 2 + _spread(rng, points - 2 * count, count, most=3)
    rains = 1 + _spread(rng, stations - count, count, most=3)
    names = _flood_names(rng, district, points)
    flood = rain = 0
    for number, (area, (lon, lat)) in enumerate(district.areas.items(), 1):
        zone = f"{district.code}-{number:02d}"
        common: dict[str, Any] = {"zone": zone, "district": district.name}
        area_km2 = float(np.clip(rng.lognormal(math.log(0.9 / district.built_up), 0.4), 0.3, 6.0))
        sealed = float(np.clip(district.built_up + rng.normal(0, 0.06), 0.25, 0.95))
        yield _feature(
            zone, "place", "flood", lon, lat, **common,
            name=f"{area}排水片区",
            area_km2=round(area_km2, 2),
            runoff=round(0.15 + 0.75 * sealed, 2),  # GB 50014: sealed ground 0.85–0.95, green 0.10–0.20
            interception_mm=round(1.0 + 4.0 * (1 - sealed), 1),
            storage_mm=round(float(rng.uniform(4, 9)) + 10 * (1 - sealed), 1),
            drainage_mm_h=round(float(rng.uniform(26, 42)), 1),
            hollow_ratio=round(float(rng.uniform(6, 16)), 1),
        )  # fmt: skip
        radius = 0.4 * math.sqrt(area_km2) / 111.0  # degrees
        for _ in range(floods[number - 1]):
            flood += 1
            where = _near(rng, lon, lat, radius)
            overrides = {}
            if flood % 60 == 7:  # a deep underpass is closed sooner
                overrides = {"flood-depth": {"blue": 0.05, "yellow": 0.12, "red": 0.20}}
            yield _feature(
                f"GZ-{district.code}-{flood:04d}", "sensor", "flood", *where, **common, place=zone,
                name=names[flood - 1], overrides=overrides,
            )  # fmt: skip
        for letter in "ABCDEFG"[: rains[number - 1]]:
            rain += 1
            where = _near(rng, lon, lat, radius)
            name = f"{area}雨量站" + (letter if rains[number - 1] > 1 else "")
            yield _feature(f"GZ-{district.code}-R{rain:03d}", "sensor", "rain", *where, **common, place=zone, name=name)


def _flood_names(rng: np.random.Generator, district: District, count: int) -> list[str]:
    """Different names, mostly of the deep kinds of spots."""
    names = [f"{road}{spot}" for spot in FLOOD_SPOTS for road in district.roads]
    weight = np.repeat(np.linspace(3, 1, len(FLOOD_SPOTS)), len(district.roads))
    return [names[i] for i in rng.choice(len(names), count, replace=False, p=weight / weight.sum())]


def _homes(rng: np.random.Generator) -> Iterator[Feature]:
    """Communities with homes: pseudonyms only, and every point is the community's centre."""
    shares = _shares(COMMUNITIES, [len(d.areas) for d in DISTRICTS])
    districts = [d for d, share in zip(DISTRICTS, shares, strict=True) for _ in range(share)]
    codes = rng.choice(0x10000, HOMES, replace=False)
    sizes = 6 + _spread(rng, HOMES - 6 * COMMUNITIES, COMMUNITIES, most=9)
    counted: dict[str, int] = {}
    home = 0
    for district, size in zip(districts, sizes, strict=True):
        counted[district.code] = number = counted.get(district.code, 0) + 1
        areas = list(district.areas.values())
        lon, lat = _near(rng, *areas[int(rng.integers(len(areas)))], 0.006)
        common: dict[str, Any] = {"zone": f"{district.code}-C{number:02d}", "district": district.name}
        for _ in range(size):
            name = f"H-{codes[home]:04X}"
            home += 1
            overrides = {"home-dwell": SLOW} if home % 75 == 40 else {}
            yield _feature(name, "place", "infrared", lon, lat, **common, name=name, overrides=overrides)
            for room, word in ROOMS.items():
                yield _feature(
                    f"{name}-{room}", "sensor", "infrared", lon, lat, **common, place=name, room=room,
                    name=f"{name} {word}",
                )  # fmt: skip


def _venues() -> Iterator[Feature]:
    for venue, name, district, counters, capacity, lon, lat in VENUES:
        common: dict[str, Any] = {"zone": venue, "district": district}
        place = {**common, "name": name, "capacity": capacity}
        if "AIRPORT" in venue:  # it has halls to move people to, and so warns later
            place["overrides"] = {"crowd-occupancy": {"yellow": 0.85, "orange": 0.95, "red": 1.0}}
        yield _feature(venue, "place", "crowd", lon, lat, **place)
        for number in range(1, counters + 1):
            counter = {**common, "place": venue, "name": f"{name} {number}号口"}
            yield _feature(f"{venue}-{number:02d}", "sensor", "crowd", lon, lat, **counter)


def _marathon() -> Iterator[Feature]:
    """Segments of 3 km, the last to the finish; their capacity is a runner to 3.6 m² of road."""
    for number, ((lon, lat, district, width), finish) in enumerate(pairwise(COURSE), 1):
        start_km = SEGMENT_KM * (number - 1)
        end_km = MARATHON_KM if finish is COURSE[-1] else SEGMENT_KM * number
        segment, name = f"GZ-RUN-{number:02d}", f"广州马拉松 {start_km:g}–{end_km:g} km"
        common: dict[str, Any] = {"zone": segment, "district": district}
        capacity = round((end_km - start_km) * 1000 * width / 3.6, -2)
        yield _feature(segment, "place", "crowd", lon, lat, **common, name=name, capacity=int(capacity))
        for end, word, where in (("IN", "起点", (lon, lat)), ("OUT", "终点", finish[:2])):
            mat = {**common, "place": segment, "name": f"{name} {word}计时毯"}
            yield _feature(f"{segment}-{end}", "sensor", "crowd", *where, **mat)


def _feature(site: str, role: str, kind: str, lon: float, lat: float, **properties: Any) -> Feature:
    properties = {field: value for field, value in properties.items() if value != {}}
    point = {"type": "Point", "coordinates": [round(lon, 5), round(lat, 5)]}
    fields = {"role": role, "kind": kind, **properties}
    return {"type": "Feature", "id": site, "geometry": point, "properties": fields}


def _near(rng: np.random.Generator, lon: float, lat: float, radius: float) -> tuple[float, float]:
    """A point within ``radius`` degrees of latitude."""
    distance, angle = radius * math.sqrt(rng.random()), 2 * math.pi * rng.random()
    return lon + distance * math.cos(angle) / math.cos(math.radians(lat)), lat + distance * math.sin(angle)


def _shares(total: int, weights: list[float]) -> list[int]:
    """``total`` divided in proportion to the weights, whole numbers by the largest remainders."""
    exact = np.array(weights) * total / sum(weights)
    shares = exact.astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: total - shares.sum()]] += 1
    return [int(share) for share in shares]


def _spread(rng: np.random.Generator, total: int, places: int, most: int) -> NDArray[np.int64]:
    """``total`` things put into places at random, no more than ``most`` in one."""
    slots = rng.choice(places * most, total, replace=False)
    return np.bincount(slots // most, minlength=places)


if __name__ == "__main__":
    Path(__file__).with_name("guangzhou.geojson").write_bytes(geojson())
