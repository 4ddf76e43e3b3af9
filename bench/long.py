"""A day of event time for 10,000 sensors through the folds of one process: does its memory stay flat?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from alerts.fold import Fold
from alerts.rulebook import Rulebook
from sensors.catalogue import SHIPPED, Catalogue
from sensors.clock import CLOCK_KEY, MINUTE_MS, log
from sensors.record import Record

PARTITIONS = 8
WARM_UP_H = 2.0
MAY_GROW = 0.05  # of the memory after warm-up; a storm comes in the afternoon, and its alerts are open then
_HOUR_MS = 3_600_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """At a time of the day, in h: memory of the process in MB, the rows of state in bytes."""

    hours: float
    memory: float
    state: int


class Grown(AssertionError):
    """The process takes more memory at the end than after warm-up."""


def write_city(folder: Path, sensors: int) -> Path:
    """The shipped city several times over, zone by zone, until it has that many sensors."""
    zones: dict[str, list[dict]] = defaultdict(list)
    for feature in json.loads(SHIPPED.read_bytes())["features"]:
        zones[feature["properties"]["zone"]].append(feature)
    features: list[dict] = []
    copy = count = 0
    while count < sensors:
        copy += 1
        for zone in zones.values():
            if count < sensors:
                features += [_copied(feature, copy) for feature in zone]
                count += sum(feature["properties"]["role"] == "sensor" for feature in zone)
    path = folder / "sites.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False))
    return path


def _copied(feature: dict, copy: int) -> dict:
    properties = feature["properties"]
    names = {field: f"{properties[field]}.{copy}" for field in ("zone", "place") if field in properties}
    return feature | {"id": f"{feature['id']}.{copy}", "properties": properties | names}


def through_folds(capture: Path, sites: Path) -> tuple[list[Sample], int, int, float]:
    """All partitions' folds, a minute at a time, each with a checkpoint: (samples by the hour, readings, alerts,
    seconds of CPU).
    """
    catalogue, rulebook = Catalogue.load(sites), Rulebook.shipped()
    folds = [Fold(catalogue, rulebook, partition=p, partitions=PARTITIONS) for p in range(PARTITIONS)]
    state: list[dict[bytes, bytes]] = [{} for _ in folds]
    runs: dict[tuple[int, str], list[Record]] = defaultdict(list)
    samples: list[Sample] = []
    readings = alerts = written = start = now = 0
    began = time.process_time()

    def fold_minute() -> None:
        nonlocal readings, alerts, written
        for (partition, name), run in runs.items():
            outcome = folds[partition].apply(name.removeprefix("readings."), run)
            readings, alerts = readings + outcome.readings, alerts + len(outcome.alerts)
            written += sum(len(one.value) for one in (*outcome.alerts, *outcome.rejected))
        runs.clear()
        for fold, rows in zip(folds, state, strict=True):
            rows |= fold.checkpoint()

    for record in log(capture, PARTITIONS):
        if record.key == CLOCK_KEY and record.timestamp != now:
            fold_minute()
            now = record.timestamp or 0
            start = start or now - MINUTE_MS
            if (now - start) % _HOUR_MS == 0:
                samples.append(_sample((now - start) / _HOUR_MS, state))
        runs[record.partition, record.topic].append(record)
    fold_minute()
    samples.append(_sample((now - start + MINUTE_MS) / _HOUR_MS, state))
    return samples, readings, alerts, time.process_time() - began


def _sample(hours: float, state: list[dict[bytes, bytes]]) -> Sample:
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6
    return Sample(hours, memory, sum(len(row) for rows in state for row in rows.values()))


def rows(sensors: int = 10_000, hours: float = 24.0, seed: int = 1) -> dict[str, str]:
    """What was measured, by name; Grown where memory did."""
    with tempfile.TemporaryDirectory() as name:
        sites, capture = write_city(Path(name), sensors), Path(name, "day.jsonl.zst")
        command = [sys.executable, "-m", "streams", "simulate", "day", "--sites", str(sites), "--out", str(capture)]
        # in a process of its own: this one is to hold nothing but the folds
        subprocess.run([*command, "--hours", f"{hours:g}", "--seed", str(seed)], check=True, stdout=sys.stderr)
        samples, readings, alerts, seconds = through_folds(capture, sites)
        count = len(Catalogue.load(sites).sensors)
    warm = next(sample for sample in samples if sample.hours >= WARM_UP_H)
    last, most = samples[-1], max(sample.memory for sample in samples if sample.hours >= WARM_UP_H)
    if most > warm.memory * (1 + MAY_GROW):
        raise Grown("\n".join(f"{s.hours:4.0f} h {s.memory:8.1f} MB, state {s.state:,} bytes" for s in samples))
    return {
        "sensors, hours of event time": f"{count:,}, {hours:g}",
        "readings": f"{readings:,}",
        "alerts": f"{alerts:,}",
        f"memory after {warm.hours:g} h": f"{warm.memory:,.1f} MB",
        f"memory after {last.hours:.0f} h, the most on the way": f"{last.memory:,.1f} MB, {most:,.1f} MB",
        f"state of a sensor after {warm.hours:g} h": f"{warm.state / count:,.0f} bytes",
        f"state of a sensor after {last.hours:.0f} h": f"{last.state / count:,.0f} bytes",
        "readings/s of CPU, decoding, state and all": f"{readings / seconds:,.0f}",
    }
