"""What kapok must do, done the slow way: one reading at a time, in plain Python.

An independent second implementation of the fold, written from the contract alone and sharing no code with
``alerts``. The tests compare the two; where they differ, the contract's text decides which one is wrong.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from . import readings
from .log import log
from .rules import TYPES, WaterlogRisk
from .watch import duration

SENSOR_TYPES = {"level", "rise", "silence"}


def run(
    capture_lines: Iterable[str], sites: dict, rules_toml: str, partitions: int = 8, until: int | None = None
) -> tuple[list[dict], list[dict]]:
    """The alerts of a capture (without ``message`` and ``ruleset``), and what was rejected.

    ``until`` is in ms since the epoch. Alerts are sorted by (at, rule, site, seq); rejected ones are in log
    order and have no ``detail``.
    """
    return fold(log(capture_lines, partitions, until), sites, rules_toml, partitions)


def fold(records: Iterable[dict], sites: dict, rules_toml: str, partitions: int) -> tuple[list[dict], list[dict]]:
    """The same for records that are already a log."""
    features = [{"id": f["id"], **f["properties"]} if "id" in f else dict(f["properties"]) for f in sites["features"]]
    sensors = {f["id"]: f for f in features if f["role"] == "sensor"}
    places = {f["id"]: f for f in features if f["role"] == "place"}
    rules = tomllib.loads(rules_toml)
    quantities = rules.get("quantity", {})
    grace = duration(rules["grace"])
    zone_of = ZoneInfo(rules.get("timezone", "Asia/Shanghai"))

    watches = []
    for rule in rules.get("rule", []):
        for site in sites_of(rule, sensors, places):
            watches.append(TYPES[rule["type"]](rule, site, grace, zone_of))

    clocks: dict[tuple[str, int], int] = {}
    quality = readings.Quality(quantities)
    rejected: list[dict] = []
    for record in records:
        kind = record["topic"].removeprefix("readings.")
        place_in_log = (kind, record["partition"])
        ticks, accepted, bad = readings.judge(record, kind, sensors, quantities, clocks.get(place_in_log))
        rejected += bad
        for time in sorted(ticks):
            if place_in_log not in clocks or time > clocks[place_in_log]:
                clocks[place_in_log] = time
                for watch in watches:
                    if (
                        kind in watch.kinds
                        and readings.partition(watch.site["zone"], partitions) == record["partition"]
                    ):
                        watch.tick(kind, time)
        used = quality.grade(accepted)
        for watch in watches:
            if kind in watch.kinds:
                serve(watch, kind, used, sensors, clocks.get(place_in_log))
    alerts = [alert for watch in watches for alert in watch.alerts]
    return sorted(alerts, key=lambda a: (a["at"], a["rule"], a["site"], a["seq"])), rejected


def sites_of(rule: dict, sensors: dict[str, dict], places: dict[str, dict]) -> list[dict]:
    """The sensors of the rule's kind, or the places that have one, or those with a hollow."""
    if rule["type"] == "waterlog_risk":
        return [place for place in places.values() if place.get("hollow_ratio") is not None]
    of_kind = [sensor for sensor in sensors.values() if sensor["kind"] == rule["kind"]]
    if rule["type"] in SENSOR_TYPES or (rule["type"] == "window_sum" and rule.get("per") != "place"):
        return of_kind
    return [place for place in places.values() if any(s["place"] == place["id"] for s in of_kind)]


def serve(watch, kind: str, graded: list[readings.Graded], sensors: dict[str, dict], clock: int | None) -> None:
    """Hand a rule at a site what it uses of one record, all readings of one time together."""
    in_zone = [g for g in graded if sensors[g.sensor]["zone"] == watch.site["zone"]]
    if in_zone:
        watch.zone_seen(in_zone[0].time)
    groups: dict[int, list] = defaultdict(list)
    for g in in_zone:
        sensor = sensors[g.sensor]
        if isinstance(watch, WaterlogRisk):
            if g.grade == "good":
                watch.collect(kind, g, clock)
        elif watch.site["id"] in (g.sensor, sensor["place"]) and watch.uses(g.quantity, g.grade):
            groups[g.time].append((sensor, g))
    for time, group in groups.items():
        watch.readings(time, group)
