"""A plugin for examples worked out by hand: a small city, its readings, and what the rules make of them.

Each one runs through the fold and through the naive reference. A change of level reads
``time site previous>level value/threshold``; sensors F1 F2 (flood), R1 R2 (rain) are in one catchment,
Bath, Living, Bed, Door (infrared) in one home, K1 K2 (crowd) in one venue for 100 people.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from engines import by_fold, by_reference
from strategies import Scenario, collection, feature, line, rules_file

Replay = Callable[..., list[str]]

ZONES = {"F1": "TH-03", "F2": "TH-03", "R1": "TH-03", "R2": "TH-03", "K1": "EAST", "K2": "EAST"}
TOPICS = {"depth": "flood", "rain": "rain", "motion": "infrared", "button": "infrared"}
CATCHMENT = {"area_km2": 1.2, "runoff": 0.5, "interception_mm": 2, "storage_mm": 10, "drainage_mm_h": 60,
             "hollow_ratio": 100}  # fmt: skip


def sites(overrides: dict[str, dict] | None = None, **catchment: float) -> dict:
    """The catalogue, with overrides by site and other properties of the catchment."""
    rooms = {"Bath": "bathroom", "Living": "living", "Bed": "bed", "Door": "entrance"}
    features = [
        feature("CATCH", "place", "flood", "TH-03", **CATCHMENT | catchment),
        *(feature(f, "sensor", "flood", "TH-03", place="CATCH") for f in ("F1", "F2")),
        *(feature(r, "sensor", "rain", "TH-03", place="CATCH") for r in ("R1", "R2")),
        feature("HOME", "place", "infrared", "YX-1", district="越秀区"),
        *(feature(s, "sensor", "infrared", "YX-1", place="HOME", room=room) for s, room in rooms.items()),
        feature("VENUE", "place", "crowd", "EAST", capacity=100),
        *(feature(k, "sensor", "crowd", "EAST", place="VENUE") for k in ("K1", "K2")),
    ]
    for site in features:
        site["properties"] |= {"overrides": (overrides or {}).get(site["properties"]["id"], {})}
    return collection(*features)


def ms(clock: str, day: int = 4) -> int:
    parts = [float(part) for part in clock.split(":")]
    hours, minutes, seconds = parts if len(parts) == 3 else [*parts, 0]
    midnight = datetime.fromisoformat(f"2024-05-{day:02}T00:00:00+00:00").timestamp()
    return round((midnight + hours * 3600 + minutes * 60 + seconds) * 1000)


def senml(clock: str | int, name: str, value: object) -> dict:
    seconds = (ms(clock) if isinstance(clock, str) else clock) / 1000
    return {"n": name, "t": seconds} | ({"vb": value} if isinstance(value, bool) else {"v": value})


def readings(*entries: tuple[str | int, str, object] | dict, **rest: object) -> str:
    """A line with one pack, ``(time, sensor/quantity, value)`` or a SenML record each."""
    pack = [senml(*entry) if isinstance(entry, tuple) else entry for entry in entries]
    names = [entry["n"] for entry in pack if "/" in str(entry.get("n"))] or ["F1/depth"]
    sensor, quantity = names[0].split("/")
    topic, key = rest.pop("topic", TOPICS.get(quantity, "crowd")), rest.pop("key", ZONES.get(sensor, "YX-1"))
    return line(f"readings.{topic}", key, pack, **rest)  # type: ignore[arg-type]


def series(name: str, *values: tuple[str | int, object]) -> list[str]:
    """A line for each reading."""
    return [readings((clock, name, value)) for clock, value in values]


def tick(clock: str | int, *kinds: str, **rest: object) -> list[str]:
    seconds = (ms(clock) if isinstance(clock, str) else clock) / 1000
    pack = [{"n": "@clock", "t": seconds}]
    return [line(f"readings.{k}", "@clock", pack, **rest) for k in kinds or ("flood", "rain", "infrared", "crowd")]


@pytest.fixture(params=[by_fold, by_reference])
def engine(request: pytest.FixtureRequest) -> Callable[[Scenario], tuple[list[dict], list[dict]]]:
    return request.param


@pytest.fixture
def replay(engine: Callable) -> Callable[..., tuple[list[dict], list[dict]]]:
    """Alerts and rejected of a capture under one rule (a dict) or several."""

    def run(lines, rule, *, until="06:00", grace="0s", quantities=None, catalogue=None, partitions=8, **head):
        rules = [{"id": "rule"} | r for r in ([rule] if isinstance(rule, dict) else rule)]
        text = rules_file(rules, quantities, grace=grace, **head)
        end = None if until is None else ms(until) if isinstance(until, str) else until
        return engine(Scenario(catalogue or sites(), text, lines, partitions, end))

    return run


@pytest.fixture
def changes(replay: Callable) -> Replay:
    return lambda *args, **rest: [story(alert) for alert in replay(*args, **rest)[0]]


def story(alert: dict) -> str:
    time = alert["at"][11:-5] if alert["at"].endswith(".000Z") else alert["at"][11:-1]
    numbers = f"{alert['value']:.9g}/{alert['threshold']:.9g}"
    return f"{time} {alert['site']} {alert['previous']}>{alert['level']} {numbers}"


DEPTH = {"type": "level", "kind": "flood", "quantity": "depth", "levels": {"blue": 0.1, "yellow": 0.2, "red": 0.27}}
CALL = {"type": "press", "kind": "infrared", "level": "red", "reset": "1m"}
DEAD = {"type": "silence", "kind": "crowd", "levels": {"yellow": "15m", "orange": "2h"}}
STEP = {"depth": {"max_step": 0.5}}
