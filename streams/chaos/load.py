"""What a run feeds: a capture with a canary in every partition, and the alerts that come of it without a broker.

A canary is a flood gauge that is wet at every other reading, so that its partition gives an alert each time it
reports, and it can be seen how long alerts stand still. The canaries are sensors of the catalogue, with a rule
that is out of reach for all others, and their readings are lines of the capture: to the pipeline they are
nothing special.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

from alerts.rulebook import SHIPPED as SHIPPED_RULES
from alerts.rulebook import Rulebook
from sensors import capture, senml
from sensors.capture import Line, Writer
from sensors.catalogue import SHIPPED as SHIPPED_SITES
from sensors.catalogue import Catalogue
from sensors.errors import InputError
from sensors.quantities import topic
from sensors.record import partition_of
from sensors.simulators import simulate
from streams.replay import Replayed, replay

RULE = "chaos-canary"
TOPIC = topic("flood")
_ZONE = "CANARY-"
_WET, _OUT_OF_REACH = 0.01, 1e6  # m
_RULES = f"""
[[rule]]
id = "{RULE}"
kind = "flood"
type = "level"
quantity = "depth"
levels = {{ blue = {_OUT_OF_REACH:.1f} }}
"""
_SQUALL_HOUR = 16.0  # local; about then the simulated day has its rainstorm and its crowds
_DAY_READINGS_H = 150_000  # readings an hour of the simulated day at scale 1, about
_SCALES = 0.3, 1000.0
_HOUR_MS = 3_600_000

Progress = Callable[[str, int], None]  # what is being done, and how far


class Load(NamedTuple):
    """The files of a run, and what comes of them without a broker. ``first_ms``, ``last_ms``: the capture's times."""

    sites: Path
    rules: Path
    capture: Path
    first_ms: int
    last_ms: int
    direct: Replayed


def simulated(readings: int, hours: float, seed: int, sites: Path | None) -> Iterator[Line]:
    """About so many readings of the simulated day's storm, homes and crowds, in so many hours around its squall."""
    catalogue = Catalogue.load(sites or SHIPPED_SITES)
    midnight = simulate("day", catalogue).setting.start_ms
    start_ms = midnight + round(max(0.0, _SQUALL_HOUR - hours / 2) * _HOUR_MS)
    share = len(catalogue.sensors) / len(Catalogue.shipped().sensors)
    scale = min(max(readings / (hours * _DAY_READINGS_H * share), _SCALES[0]), _SCALES[1])
    run = simulate("day", catalogue, seed=seed, start_ms=start_ms, hours=hours, scale=scale)
    for pack in run.packs():
        yield Line(topic(pack.kind), pack.zone, msgspec.Raw(pack.value), timestamp=pack.time_ms)


def load(
    folder: Path,
    lines: Iterable[Line],
    *,
    sites: Path | None,
    rules: Path | None,
    partitions: int,
    every_ms: int,
    seed: int,
    progress: Progress | None = None,
) -> Load:
    """Writes the files of a run into a folder and replays them. ``every_ms``: how often a canary reports.

    ``seed``: of the canaries. InputError where a file cannot be used.
    """
    zones = canary_zones(partitions)
    sites, rules = sites or SHIPPED_SITES, rules or SHIPPED_RULES
    for check, file in ((Catalogue.load, sites), (Rulebook.load, rules)):
        check(file)
    own = Load(folder / "sites.geojson", folder / "rules.toml", folder / "capture.jsonl.zst", 0, 0, Replayed())
    own.sites.write_bytes(_with_canaries(sites.read_bytes(), zones))
    own.rules.write_text(rules.read_text(encoding="utf-8") + _RULES, encoding="utf-8")
    catalogue, rulebook = Catalogue.load(own.sites), Rulebook.load(own.rules)
    rulebook.check(catalogue)

    first = last = None
    with Writer(own.capture) as writer:
        for number, line in enumerate(woven(lines, zones, every_ms, seed)):
            writer.write(
                line.topic,
                line.key,
                line.payload(),
                timestamp=line.timestamp,
                partition=line.partition,
                offset=line.offset,
                headers=line.headers,
            )
            if line.timestamp is not None:
                first = line.timestamp if first is None else min(first, line.timestamp)
                last = line.timestamp if last is None else max(last, line.timestamp)
            if progress is not None and number % 5000 == 0:
                progress("writing the capture, records", number)
    if first is None or last is None:
        raise InputError("the capture has no times")
    direct = replay(
        own.capture,
        catalogue,
        rulebook,
        partitions=partitions,
        progress=progress and (lambda readings, *_: progress("replaying it without a broker, readings", readings)),
    )
    return own._replace(first_ms=first, last_ms=last, direct=direct)


def span(source: Path) -> tuple[int, int]:
    """The first and the largest time of a capture in ms; InputError where there are none."""
    first = last = None
    for line in capture.read(source):
        at = _time(line)
        if at is not None:
            first = at if first is None else first
            last = at if last is None else max(last, at)
    if first is None or last is None or last <= first:
        raise InputError("the capture has no span of time to feed it in", file=source, hint="its lines need times")
    return first, last


def woven(lines: Iterable[Line], zones: list[str], every_ms: int, seed: int) -> Iterator[Line]:
    """The lines of a capture with canary readings between them, from the first line's time to the last line's."""
    rng = Random(seed)
    ahead = [rng.randrange(every_ms) for _ in zones]  # each has a moment of its own
    step, latest = 0, None
    begins = 0
    due: list[tuple[int, int]] = []  # (time, number of the canary), the latest first
    for line in lines:
        at = _time(line)
        if at is not None and (latest is None or at > latest):
            if latest is None:
                begins = at
            latest = at
            while True:
                if not due:
                    due = sorted(((begins + step * every_ms + ahead[n], n) for n in range(len(zones))), reverse=True)
                    step += 1
                if due[-1][0] > latest:
                    break
                time, number = due.pop()
                depth = round(rng.uniform(2, 5) * _WET, 4) if step % 2 else 0.0
                pack = senml.encode([(gauge(zones[number]), "depth", time, depth)])
                yield Line(TOPIC, zones[number], msgspec.Raw(pack), timestamp=time)
        yield line


def canary_zones(partitions: int) -> list[str]:
    """A zone for each partition, in their order."""
    zones: dict[int, str] = {}
    number = 0
    while len(zones) < partitions:
        number += 1
        zone = f"{_ZONE}{number:03d}"
        zones.setdefault(partition_of(zone.encode(), partitions), zone)
    return [zones[partition] for partition in range(partitions)]


def is_canary(key: bytes | None) -> bool:
    """Whether a flood record with this key is a canary's reading."""
    return key is not None and key.startswith(_ZONE.encode())


def gauge(zone: str) -> str:
    """The id of the canary of a zone."""
    return f"{zone}-G"


def _time(line: Line) -> int | None:
    return line.timestamp if line.timestamp is not None else senml.latest_time(line.payload(), line.key == "@clock")


def _with_canaries(raw: bytes, zones: list[str]) -> bytes:
    collection = json.loads(raw)
    for zone in zones:
        about = {"kind": "flood", "zone": zone, "district": "-", "name": zone}
        overrides = {RULE: {"blue": _WET}}
        place = {"id": zone, "role": "place", **about}
        sensor = {"id": gauge(zone), "role": "sensor", "place": zone, "overrides": overrides, **about}
        for properties in (place, sensor):
            collection["features"].append({"type": "Feature", "geometry": None, "properties": properties})
    return json.dumps(collection, ensure_ascii=False).encode()
