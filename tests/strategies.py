"""Small catalogues, rules files and captures, drawn at random: clean ones, and ones with every kind of dirt.

Everything is drawn from a ``random.Random``: a seeded one for bulk tests, or one that hypothesis steers (and
can shrink).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

UNITS = {"depth": "m", "rain": "mm", "motion": None, "button": None, "in": "count", "out": "count", "count": "count"}
OF_KIND = {"flood": ["depth"], "rain": ["rain"], "infrared": ["motion", "button"], "crowd": ["in", "out", "count"]}
LEVEL_NAMES = ["blue", "yellow", "orange", "red"]
EVENING = 1_714_846_800_000  # 2024-05-04T18:20:00Z, 40 min before 03:00 in Guangzhou


@dataclass(frozen=True)
class Scenario:
    """What ``kapok replay`` gets; ``lines`` are the capture's."""

    sites: dict
    rules: str
    lines: list[str]
    partitions: int = 8
    until: int | None = None

    def show(self) -> str:
        properties = "\n".join(json.dumps(f["properties"], ensure_ascii=False) for f in self.sites["features"])
        body = "\n".join(self.lines)
        return f"{properties}\n{self.rules}\n{body}\npartitions={self.partitions} until={self.until}"


@dataclass
class Event:
    """A reading on its way: ``arrival`` is when it is published (ms), ``extra`` goes into its SenML record."""

    time: int
    arrival: int
    kind: str
    zone: str
    name: str
    value: Any
    unit: str | None = None
    extra: dict = field(default_factory=dict)


# Catalogue -----------------------------------------------------------------------------------------------


def feature(site_id: str, role: str, kind: str, zone: str, **properties: Any) -> dict:
    properties = {"id": site_id, "role": role, "kind": kind, "zone": zone, "name": f"{site_id}号"} | properties
    properties.setdefault("district", "天河区")
    point = {"type": "Point", "coordinates": [113.3, 23.1]}
    return {"type": "Feature", "geometry": point, "properties": properties}


def collection(*features: dict) -> dict:
    return {"type": "FeatureCollection", "features": list(features)}


def catalogue(rng: Random, size: int) -> dict:
    features = []
    for c in range(rng.randint(1, size)):
        zone = f"C-{c}"
        hollow = {"hollow_ratio": rng.choice([5, 20, 50.5])} if rng.random() < 0.9 else {}
        features.append(
            feature(f"catch{c}", "place", "flood", zone, area_km2=1.5, runoff=rng.choice([0.5, 0.85, 1]),
                    interception_mm=rng.choice([0, 0.5, 2]), storage_mm=rng.choice([0, 1, 2.5]),
                    drainage_mm_h=rng.choice([0, 6, 36]), **hollow)
        )  # fmt: skip
        features += [feature(f"F{c}-{i}", "sensor", "flood", zone, place=f"catch{c}") for i in range(rng.randint(1, 2))]
        features += [feature(f"R{c}-{i}", "sensor", "rain", zone, place=f"catch{c}") for i in range(rng.randint(0, 3))]
    for h in range(rng.randint(1, size)):
        zone = f"H-{rng.randint(0, h)}"
        features.append(feature(f"home{h}", "place", "infrared", zone))
        for room in rng.sample(["entrance", "bathroom", "living", "bed"], rng.randint(2, 4)):
            features.append(feature(f"{room}{h}", "sensor", "infrared", zone, place=f"home{h}", room=room))
    for v in range(rng.randint(1, size)):
        zone = f"V-{v}"
        features.append(feature(f"venue{v}", "place", "crowd", zone, capacity=rng.choice([4, 10, 30])))
        features += [feature(f"K{v}-{i}", "sensor", "crowd", zone, place=f"venue{v}") for i in range(rng.randint(1, 2))]
    return collection(*features)


# Rules ---------------------------------------------------------------------------------------------------


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def rules_file(rules: list[dict], quantities: dict | None = None, **head: Any) -> str:
    text = [f"{key} = {toml(value)}" for key, value in ({"grace": "30s"} | head).items()]
    for name, limits in (quantities or {}).items():
        text += [f"[quantity.{name}]", *(f"{key} = {toml(value)}" for key, value in limits.items())]
    for rule in rules:
        text += ["[[rule]]", *(f"{key} = {toml(value)}" for key, value in rule.items())]
    return "\n".join(text) + "\n"


def some_levels(rng: Random, values: list) -> dict:
    names = sorted(rng.sample(range(4), rng.randint(1, 3)))
    chosen = sorted(rng.sample(range(len(values)), len(names)))
    return {LEVEL_NAMES[n]: values[v] for n, v in zip(names, chosen, strict=True)}


WAITS = ["30s", "1m", "2m", "5m", "12m", "1h"]
DEPTHS = [0.05, 0.1, 0.15, 0.2, 0.27, 0.35, 0.5]
SUMS = [0.2, 0.5, 1, 1.5, 3, 8]


def away(rng: Random) -> dict:
    if rng.random() < 0.3:
        return {}
    rule: dict = {"away_room": "entrance"}
    if rng.random() < 0.7:
        rule["away_return"] = {"motions": rng.randint(2, 3), "within": rng.choice(["30s", "1m", "3m"])}
    return rule


def windows(rng: Random) -> dict:
    return {n: {"window": rng.choice(["1m", "2m", "5m", "15m"]), "sum": s} for n, s in some_levels(rng, SUMS).items()}


def rooms(rng: Random) -> dict:
    chosen = rng.sample(["bathroom", "living", "bed", "entrance"], rng.randint(1, 3))
    return {room: some_levels(rng, WAITS) for room in chosen}


def a_rule(rng: Random, rule_type: str) -> dict:
    """Its own parameters; id, kind and type are added by ``rules``."""
    if rule_type in ("level", "rise"):
        kind, quantity, values, steps = rng.choice(
            [
                ("flood", "depth", DEPTHS, [0, 0.03, 0.05]),
                ("flood", "depth", DEPTHS, [0, 0.03, 0.05]),
                ("rain", "rain", SUMS, [0, 0.1]),
                ("crowd", "count", [2, 5, 8, 12], [0, 1]),
            ]
        )
        rule = {"kind": kind, "quantity": quantity, "levels": some_levels(rng, values), "hysteresis": rng.choice(steps)}
        if rule_type == "rise":
            rule["window"] = rng.choice(WAITS)
        elif rng.random() < 0.5:
            rule["for"] = rng.choice(WAITS[:4])
        return rule
    if rule_type == "window_sum":
        kind, quantity = rng.choice([("rain", "rain"), ("rain", "rain"), ("crowd", "in")])
        rule = {"kind": kind, "quantity": quantity, "levels": windows(rng), "hysteresis": rng.choice([0, 0.1, 0.5])}
        return rule | ({"per": "place"} if rng.random() < 0.4 else {})
    if rule_type == "dwell":
        return {"kind": "infrared", "rooms": rooms(rng)} | away(rng)
    if rule_type == "inactivity":
        rule = {"kind": "infrared", "levels": some_levels(rng, WAITS)} | away(rng)
        if "away_room" in rule and rng.random() < 0.6:
            rule["away_levels"] = some_levels(rng, WAITS)
        return rule
    if rule_type == "press":
        return {"kind": "infrared", "level": rng.choice(["red", "orange"]), "reset": rng.choice(["30s", "1m", "5m"])}
    if rule_type == "silence":
        return {"kind": rng.choice(list(OF_KIND)), "levels": some_levels(rng, WAITS)}
    if rule_type == "occupancy":
        levels = some_levels(rng, [0.25, 0.5, 0.8, 1, 1.2])
        reset = rng.choice(["03:00", "03:00", "02:30", "12:00"])
        return {"kind": "crowd", "levels": levels, "hysteresis": rng.choice([0, 0.1]), "reset": reset}
    assert rule_type == "waterlog_risk"
    return {"kind": "flood", "levels": some_levels(rng, DEPTHS), "hysteresis": rng.choice([0, 0.03])}


TYPES = ["level", "rise", "window_sum", "dwell", "inactivity", "press", "silence", "occupancy", "waterlog_risk"]


def rules(rng: Random, sites: dict, kinds: list[str], count: int) -> str:
    """A rules file for those kinds of sensors; adds overrides to the sites."""
    drawn: list[dict] = []
    while len(drawn) < count:
        rule_type = rng.choice(TYPES)
        rule = {"id": f"{rule_type}-{len(drawn)}", "type": rule_type} | a_rule(rng, rule_type)
        if rule["kind"] in kinds:
            drawn.append(rule)
    for rule in drawn:
        for site in sites["features"]:
            properties = site["properties"]
            if properties["kind"] != rule["kind"] or rng.random() < 0.8 or rule["type"] == "press":
                continue
            own_site = "sensor" if rule["type"] in ("level", "rise", "silence") else "place"
            if rule["type"] == "window_sum" and rule.get("per") != "place":
                own_site = "sensor"
            if properties["role"] != own_site:
                continue
            again: dict = {}
            while again.get("kind") != rule["kind"] or again.get("quantity") != rule.get("quantity"):
                again = a_rule(rng, rule["type"])
            table = again["rooms" if rule["type"] == "dwell" else "levels"]
            properties.setdefault("overrides", {})[rule["id"]] = table
    quantities: dict = {}
    if rng.random() < 0.7:
        quantities["depth"] = {"min": -0.05, "max": 2}
        if rng.random() < 0.6:
            quantities["depth"]["max_step"] = rng.choice([0.15, 0.3])
    if rng.random() < 0.7:
        quantities["rain"] = {"min": 0, "max": 30}
    if rng.random() < 0.5:
        quantities["count"] = {"min": 0, "max_step": 5}
        quantities["in"] = {"min": 0, "max": 50}
    head: dict = {"grace": rng.choice(["0s", "10s", "30s", "2m"])}
    if rng.random() < 0.5:
        head["timezone"] = rng.choice(["Asia/Shanghai", "Europe/London", "UTC"])
    return rules_file(drawn, quantities, **head)


# Readings ------------------------------------------------------------------------------------------------


def a_value(rng: Random, quantity: str, before: float) -> Any:
    if quantity == "depth":
        value = min(max(before + rng.choice([-0.1, -0.05, 0, 0, 0.05, 0.1, 0.07]), -0.05), 0.7)
        return round(value + rng.choice([0, 0, 0, 0.03, 4e-7, -4e-7, 6e-7]), 7)
    if quantity == "rain":
        return rng.choice([0, 0, 0.1, 0.2, 0.5, 0.5, 1.2, 2, 0.125, 0.4996, 0.0004])
    if quantity == "motion":
        return rng.choice([0, 0, 1, 1, True, False, 0.5])
    if quantity == "button":
        return rng.choice([0, 0, 0, 1, True, False])
    if quantity == "count":
        return rng.choice([0, 1, 3, 5, 8, 10, 13])
    return rng.choice([0, 0, 1, 2, 3])


def truth_of(rng: Random, sites: dict, kinds: list[str], start: int, length: int, readings: int) -> list[Event]:
    """What the sensors of those kinds measure, each at its own interval."""
    sensors = [f["properties"] for f in sites["features"] if f["properties"]["role"] == "sensor"]
    sensors = [sensor for sensor in sensors if sensor["kind"] in kinds]
    events = []
    for sensor in sensors:
        interval = rng.choice([10, 20, 30, 60, 60, 120, 300]) * 1000
        interval = max(interval, -(-length * len(sensors) // readings // 10_000) * 10_000)
        time = start + rng.choice([0, 0, rng.randint(0, interval)])
        gap = start + rng.randint(0, length) if rng.random() < 0.4 else start + length
        gap_end = gap + rng.choice([60_000, 600_000, length])
        before = dict.fromkeys(OF_KIND[sensor["kind"]], 0.0)
        while time < start + length:
            # On a grid, so that sensors meet and windows are met to the millisecond; and now and then off it.
            time += rng.choice([interval] * 16 + [10_000, 30_000, 60_000, rng.randint(1, interval)])
            if gap <= time < gap_end:
                continue
            for quantity in before:
                if len(before) == 1 or rng.random() < 0.6:
                    value = a_value(rng, quantity, before[quantity])
                    before[quantity] = float(value)
                    name = f"{sensor['id']}/{quantity}"
                    events.append(Event(time, time, sensor["kind"], sensor["zone"], name, value, UNITS[quantity]))
    return sorted(events, key=lambda e: e.time)


def later(event: Event, by: int) -> Event:
    return replace(event, time=event.time + by, arrival=event.arrival + by)


def disturb(rng: Random, events: list[Event], sites: dict) -> list[Event]:
    """Lags, late and re-sent readings, spikes, and readings to be rejected."""
    lags = {
        f["properties"]["id"]: rng.choice([0, 0, 0, 5_000, 90_000, 400_000, -30_000])
        for f in sites["features"]
    }  # fmt: skip
    # Some minutes of some sensors are held up at the gateway while newer readings get through.
    first, last = (events[0].time, events[-1].time) if events else (0, 0)
    begins = {sensor: rng.randint(first, last) for sensor in lags if rng.random() < 0.4}
    held_up = rng.choice([60_000, 300_000])
    spikes: dict[str, float] = {}
    result = []
    for event in events:
        sensor = event.name.split("/")[0]
        event = replace(event, arrival=event.arrival + lags[sensor])
        luck = rng.random()
        if sensor in begins and begins[sensor] <= event.time < begins[sensor] + held_up:
            event = replace(event, arrival=event.arrival + held_up + 60_000)
            result += [event] if luck < 0.5 else []
        elif luck < 0.03:
            event = replace(event, arrival=event.arrival + rng.choice([20_000, 120_000, 1_500_000]))
        elif event.kind in ("flood", "crowd") and luck < (0.5 if event.name in spikes else 0.06):
            step = rng.choice([0, 0.1, 0.4, 0.4, 1, -1, 1.5]) * (1 if event.kind == "flood" else 10)
            spikes[event.name] = spikes.get(event.name, 0) + step
            event = replace(event, value=event.value + spikes[event.name])
        elif luck < 0.11:
            result.append(replace(event, arrival=event.arrival + rng.choice([0, 1000, 70_000, 700_000])))
        elif luck < 0.18:
            event = spoil(rng, event)
        else:
            spikes.pop(event.name, None)
        result.append(event)
    return sorted(result, key=lambda e: e.arrival)


def spoil(rng: Random, event: Event) -> Event:
    sensor, quantity = event.name.split("/")
    choice = rng.randint(0, 9)
    if choice == 0:
        return replace(event, name=f"nobody/{quantity}")
    if choice == 1:
        return replace(event, name=f"{sensor}/{rng.choice(['depth', 'rain', 'motion', 'in', 'what'])}")
    if choice == 2:
        return replace(event, unit=rng.choice(["mm", "cm", "lx", ""]))
    if choice == 3:
        return replace(event, value=rng.choice([float("inf"), -float("inf"), 10**400]))
    if choice == 4:
        return replace(event, value=rng.choice([-400.7, 99]))
    if choice == 5:
        return replace(event, time=event.time + rng.choice([599_999, 600_000, 600_001, 700_000, 1_300_000]))
    if choice == 6:
        return replace(event, value=None, extra=rng.choice([{"vs": "wet"}, {"vd": "AA"}, {"vb": True}, {"s": 3}, {}]))
    if choice == 7:
        return replace(
            event, extra=rng.choice([{"ut": "x"}, {"bs": None}, {"n": 5}, {"bv": "1"}, {"u": None}, {"t": True}])
        )
    if choice == 8:
        return replace(event, name=rng.choice(["noslash", f"a/b/{event.name}", f"/{quantity}", "@clock"]))
    return replace(event, time=rng.choice([0, 2**28 * 1000 - 1, -5_000, 253_402_300_800_000, 10**18]))


# Packs ---------------------------------------------------------------------------------------------------


def number(x: float) -> int | float:
    return int(x) if x == int(x) and abs(x) < 2**53 else x


def pack(rng: Random, events: list[Event]) -> list:
    """SenML with base fields in all their forms."""
    base: dict = {}
    entries: list = []
    for event in events:
        if rng.random() < 0.03:
            entries.append(junk(rng, event))
        changes: dict = {}
        stem = base.get("bn", "")
        if not event.name.startswith(stem) or rng.random() < 0.3:
            cut = rng.choice([0, event.name.find("/") + 1, len(event.name), rng.randint(0, len(event.name))])
            changes["bn"] = event.name[:cut]
        if "bt" not in base or rng.random() < 0.2:
            # A float of a time is exact to the millisecond only beside a base in whole seconds.
            changes["bt"] = rng.choice([0, event.time // 1000, event.time // 1000 - 100, event.time / 1000])
        if rng.random() < 0.1:
            changes["bv"] = rng.choice([0, 0.1, -2, 5])
        if rng.random() < 0.1:
            changes["bu"] = rng.choice(["m", "mm", "count"])
        if changes and rng.random() < 0.2:
            entries.append(dict(changes))
            base |= changes
            changes = {}
        entry, after = dict(changes), base | changes
        name = event.name[len(after.get("bn", "")) :]
        if name or not after.get("bn"):
            entry["n"] = name
        seconds = round(event.time / 1000 - after.get("bt", 0), 3)
        if seconds != 0 or rng.random() < 0.3:
            entry["t"] = number(seconds)
        unit_needed = event.unit not in UNITS.values() or after.get("bu") not in (None, event.unit)
        if event.unit is not None and (unit_needed or rng.random() < 0.3):
            entry["u"] = event.unit
        if isinstance(event.value, bool):
            entry["vb"] = event.value
        elif isinstance(event.value, float) and abs(event.value) != float("inf"):
            entry["v"] = round(event.value - after.get("bv", 0), 7)
        elif event.value is not None:
            entry["v"] = event.value if abs(event.value) > 10**9 else event.value - after.get("bv", 0)
        if rng.random() < 0.02:
            entry["foo"] = rng.choice([1, None, [{}]])
        malformed = event.extra.keys() & {"n", "t", "u", "bs", "bv", "ut"} or event.name in ("noslash", "@clock")
        no_value = event.value is None and not event.extra.keys() & {"vs", "vd", "vb"}
        if not (malformed or no_value or event.time < 2**28 * 1000):
            base = after
        entries.append(entry | event.extra)
    return entries


def junk(rng: Random, event: Event) -> Any:
    seconds = event.time // 1000
    return rng.choice(
        [
            5, None, "text", [], {}, {"foo": 1}, True,
            {"bn": "zz/", "bt": 5, "v": 1},
            {"bn": "", "n": event.name, "bt": 0, "t": 30, "v": 1},
            {"bn": "", "n": event.name, "bt": seconds, "t": "0", "v": 1},
            {"bn": "", "n": event.name, "bt": seconds, "t": 0, "v": "1"},
            {"bn": "", "n": event.name, "bt": seconds, "t": 0, "vb": 1},
            {"bn": "", "n": event.name, "bt": seconds, "t": 0},
            {"bn": 3, "bt": seconds},
        ]
    )  # fmt: skip


def line(topic: str, key: str | None, value: Any = None, raw: bytes | None = None, **rest: Any) -> str:
    record: dict = {"topic": topic, "key": key}
    if raw is None:
        record["value"] = value
    else:
        record["raw"] = base64.b64encode(raw).decode()
    record |= {name: item for name, item in rest.items() if item is not None}
    # JSON has no infinity; what overflows is one.
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text.replace("-Infinity", "-1e999").replace("Infinity", "1e999")


BROKEN = [
    b"not json",
    b"\xff\xfe[",
    b"[1,",
    b"{}",
    b"null",
    b"7",
    b'"x"',
    b"",
    b'[{"n":"F0-0/depth","v":NaN}]',
    b"[] []",
]


def tick(time: int, timestamp: int | None = None, kind: str | None = None, partition: int | None = None) -> list[str]:
    """Lines of a clock tick: for one topic or all."""
    value = [{"n": "@clock", "t": number(time / 1000)}]
    kinds = [kind] if kind else list(OF_KIND)
    return [line(f"readings.{k}", "@clock", value, timestamp=timestamp, partition=partition) for k in kinds]


def capture(
    rng: Random,
    events: list[Event],
    partitions: int,
    dirty: bool,
    until: int,
    ticks: str | None = None,
    stamps: str | None = None,
    plain: bool = False,
) -> list[str]:
    """Packs of the events in the order of their arrival, with the capture's own ticks or none.

    ``plain``: each reading has its whole name and time.
    """
    stamps = stamps or rng.choice(["all", "none", "some"])
    ticks = ticks or rng.choice(["none", "none", "regular", "irregular", "partitions"])
    most = rng.choice([1, 3, 12, 40])
    open_packs: dict[tuple[str, str], list[Event]] = {}
    lines: list[str] = []

    def stamp(time: int) -> int | None:
        if dirty and rng.random() < 0.03:
            time += rng.choice([-3_600_000, -300_000, 200_000])
        return time if stamps == "all" or (stamps == "some" and rng.random() < 0.5) else None

    def flush(now: int, only: tuple[str, str] | None = None) -> None:
        for kind, zone in [only] if only else list(open_packs):
            waiting = open_packs.pop((kind, zone), [])
            if not waiting:
                continue
            if rng.random() < 0.2:
                rng.shuffle(waiting)
            key: str | None = zone
            if dirty and rng.random() < 0.02:
                key = rng.choice([None, "V-0", "nowhere"])
            if dirty and rng.random() < 0.01:
                kind = rng.choice(list(OF_KIND))
            value: Any = [{"n": e.name, "t": e.time / 1000, "v": float(e.value)} for e in waiting] if plain else None
            value = value or pack(rng, waiting)
            # The line's time without a timestamp is the largest in its pack: a wild one would be minutes for ages.
            wild = any(e.time > e.arrival + 2_000_000 and e.time < 10**15 for e in waiting)
            timestamp = now if wild else stamp(now)
            lines.append(line(f"readings.{kind}", key, value, timestamp=timestamp))

    interval = rng.choice([10_000, 60_000, 61_500, 300_000])
    next_tick = events[0].arrival + interval if events else until
    for event in events:
        while ticks != "none" and next_tick <= event.arrival:
            if rng.random() < 0.5:
                flush(next_tick)
            lines += own_ticks(rng, ticks, next_tick, stamp(next_tick), partitions, dirty)
            next_tick += interval if ticks == "regular" else rng.randint(1, 3 * interval)
        if rng.random() < 0.02:
            flush(event.arrival)
        if dirty and rng.random() < 0.01:
            broken = rng.choice(BROKEN)
            key = rng.choice([None, event.zone, event.zone if ticks == "none" else "@clock"])
            lines.append(line(f"readings.{event.kind}", key, raw=broken, timestamp=stamp(event.arrival)))
        queue = (event.kind, event.zone)
        open_packs.setdefault(queue, []).append(event)
        if len(open_packs[queue]) >= most or rng.random() < 0.1:
            flush(event.arrival, queue)
    flush(events[-1].arrival if events else until)
    if ticks != "none" and rng.random() < 0.8:
        lines += tick(until, until)
    return lines


def own_ticks(rng: Random, mode: str, time: int, timestamp: int | None, partitions: int, dirty: bool) -> list[str]:
    if dirty and rng.random() < 0.05:
        time += rng.choice([-3_600_000, -60_000, 60_000, 60_001, 3_600_000])
    if dirty and rng.random() < 0.05:
        bad = rng.choice([{"n": "@clock"}, {"n": "@clock", "t": 5}, {"n": "x/y", "t": time / 1000, "v": 1}, 7])
        return [line("readings.crowd", "@clock", [bad, {"n": "@clock", "t": time / 1000}], timestamp=timestamp)]
    if mode == "partitions":
        each = [(kind, p) for kind in OF_KIND for p in range(partitions)]
        return [text for kind, p in each if rng.random() < 0.8 for text in tick(time, timestamp, kind, p)]
    return tick(time, timestamp)


def scenario(rng: Random, readings: int = 400, dirty: bool = True, size: int = 2, **style: Any) -> Scenario:
    """A catalogue, rules and a capture of about that many readings; ``style`` is for ``capture``."""
    sites = catalogue(rng, size)
    # Few kinds and rules at a time: as much can go wrong with them as with all, and more happens to each.
    kinds = rng.choice([["flood"], ["rain"], ["infrared"], ["crowd"], ["flood", "rain"], list(OF_KIND)])
    text = rules(rng, sites, kinds, rng.randint(1, 4) if readings < 100 else rng.randint(3, 8))
    length = rng.choice([600_000, 1_800_000, 7_200_000])
    start = EVENING + rng.choice([0, 1, 1_800_000, rng.randint(0, 60_000)])
    events = truth_of(rng, sites, kinds, start, length, readings)
    partitions = rng.choice([1, 1, 1, 2, 3, 8])
    if partitions == 1 and rng.random() < 0.1:  # nothing for hours, from everywhere
        break_from = start + rng.randint(0, length)
        events = [later(event, 7 * 3_600_000) if event.time > break_from else event for event in events]
        length += 7 * 3_600_000
    if dirty:
        events = disturb(rng, events, sites)
    until = start + length + rng.choice([0, 90_000, 3_600_000])
    lines = capture(rng, events, partitions, dirty, until, **style)
    return Scenario(sites, text, lines, partitions, until if rng.random() < 0.7 else None)


def scenarios(**parameters: Any) -> st.SearchStrategy[Scenario]:
    """Small scenarios for hypothesis."""
    parameters = {"readings": 40, "size": 1} | parameters
    return st.builds(lambda rng: scenario(rng, **parameters), st.randoms(use_true_random=False))


def smallest(drawn: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """A scenario that still fails, with as few rules, lines, readings and sites as can be left away one by one."""
    head, *rule_texts = drawn.rules.split("[[rule]]")
    kept = fewer(rule_texts, lambda few: fails(replace(drawn, rules="[[rule]]".join([head, *few]))))
    drawn = replace(drawn, rules="[[rule]]".join([head, *kept]))
    drawn = replace(drawn, lines=fewer(drawn.lines, lambda few: fails(replace(drawn, lines=few))))
    for number in range(len(drawn.lines)):
        drawn = with_fewer_readings(drawn, number, fails)
    features = fewer(drawn.sites["features"], lambda few: fails(replace(drawn, sites=collection(*few))))
    return replace(drawn, sites=collection(*features))


def with_fewer_readings(drawn: Scenario, number: int, fails: Callable[[Scenario], bool]) -> Scenario:
    record = json.loads(drawn.lines[number])

    def with_pack(few: list) -> Scenario:
        shorter = line(record["topic"], **{k: v for k, v in record.items() if k != "topic"} | {"value": few})
        return replace(drawn, lines=[*drawn.lines[:number], shorter, *drawn.lines[number + 1 :]])

    if not isinstance(record.get("value"), list) or not fails(with_pack(record["value"])):
        return drawn
    return with_pack(fewer(record["value"], lambda few: fails(with_pack(few))))


def fewer(items: list, fails: Callable[[list], bool]) -> list:
    """Delta debugging: halves, quarters and so on are left away as long as it still fails."""
    size = max(1, len(items) // 2)
    while True:
        start = 0
        while start < len(items):
            few = items[:start] + items[start + size :]
            if fails(few):
                items = few
            else:
                start += size
        if size == 1:
            return items
        size //= 2
