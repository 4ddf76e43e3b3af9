"""What the measurements are made on: a seeded city of gauges and one level rule, and its readings as records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sensors import senml
from sensors.record import Record, partition_of

START_MS = 1_714_800_000_000
TOPIC = "readings.flood"
RULES = """
[[rule]]
id = "depth"
kind = "flood"
type = "level"
quantity = "depth"
levels = {blue = 0.10, yellow = 0.20, red = 0.27}
hysteresis = 0.03
"""


def write_city(folder: Path, sensors: int, zones: int, kind: str = "flood") -> tuple[Path, Path]:
    """A catalogue of so many gauges, or sensors of another kind, and a file with one level rule: (sites, rules)."""

    def feature(role: str, site: str, zone: int, **more: str) -> dict[str, object]:
        known = {
            "id": site,
            "role": role,
            "kind": kind,
            "zone": f"Z{zone:04d}",
            "name": site,
            "district": "天河区",
        }
        return {"type": "Feature", "geometry": None, "properties": known | more}

    features = [feature("place", f"C{zone:04d}", zone) for zone in range(zones)]
    features += [feature("sensor", gauge(n), n % zones, place=f"C{n % zones:04d}") for n in range(sensors)]
    sites, rules = folder / "sites.geojson", folder / "rules.toml"
    sites.write_text(json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False))
    rules.write_text(RULES)
    return sites, rules


def gauge(number: int) -> str:
    return f"G{number:06d}"


def depths(sensors: int, rounds: int, seed: int = 1) -> np.ndarray:
    """(rounds, sensors) depths in m: nearly all dry, one gauge in 200 with a flood that comes and goes."""
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(0.0, 0.01, (rounds, sensors)))
    wet = rng.choice(sensors, max(1, sensors // 200), replace=False)
    phase = rng.uniform(0, 2 * np.pi, len(wet))
    values[:, wet] += np.maximum(0, 0.35 * np.sin(np.arange(rounds)[:, None] / 20 + phase))
    return np.round(values, 3)


def records(sensors: int, zones: int, rounds: int, pack: int, partitions: int, seed: int = 1) -> Iterator[Record]:
    """Each gauge once a minute for so many minutes, in packs of one zone of up to ``pack`` readings."""
    offsets = [0] * partitions
    values = depths(sensors, rounds, seed)
    members = [range(zone, sensors, zones) for zone in range(zones)]
    for round_number in range(rounds):
        time_ms = START_MS + 60_000 * round_number
        for zone, gauges in enumerate(members):
            key = b"Z%04d" % zone
            partition = partition_of(key, partitions)
            for first in range(0, len(gauges), pack):
                value = senml.encode(
                    (gauge(n), "depth", time_ms, float(values[round_number, n])) for n in gauges[first : first + pack]
                )
                yield Record(TOPIC, partition, offsets[partition], time_ms, key, value)
                offsets[partition] += 1
