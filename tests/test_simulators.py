"""The simulators: seeded, honest about what they send, and their truth is what the rules then say.

The last is the key test: truth comes from the simulators' own noise-free state, alerts from the fold over the
noisy readings; where they differ, one of the two is wrong.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerts.rulebook import Rulebook
from sensors import capture, senml
from sensors.catalogue import SHIPPED, Catalogue
from sensors.errors import InputError
from sensors.quantities import QUANTITIES, topic
from sensors.simulators import SCENARIOS, Run, simulate, truth_path
from sensors.simulators.packs import HOUR
from sensors.simulators.truth import Expected, Span
from streams.commands.simulate import Rules
from streams.replay import Replayed, replay

FOREVER = 1 << 62
SETTLED_MS = 120_000  # what happens so shortly before the end may still wait for a tick
# hours and scale are chosen for speed
ALONE = {
    "storm": {},
    "homes": {"hours": 18, "scale": 0.5},
    "rush": {"start_ms": 1_777_604_400_000, "hours": 10, "scale": 0.5},
    "marathon": {},
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """Three districts of the shipped one, and all of its crowds."""
    features = msgspec.json.decode(SHIPPED.read_bytes())["features"]
    some = ("天河区", "海珠区", "白云区")
    kept = [f for f in features if f["properties"]["kind"] == "crowd" or f["properties"]["district"] in some]
    return Catalogue.parse(msgspec.json.encode({"type": "FeatureCollection", "features": kept}))


def run_of(scenario: str, catalogue: Catalogue, **options: Any) -> Run:
    return simulate(scenario, catalogue, rules=Rules(Rulebook.shipped()), **options)


@pytest.fixture(scope="module", params=ALONE)
def told(request: pytest.FixtureRequest, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(run, capture, what its replay gave) of each scenario."""
    path = tmp_path_factory.mktemp(request.param) / f"{request.param}.jsonl"
    run = run_of(request.param, catalogue, seed=3, **ALONE[request.param])
    run.write(path)
    return run, path, replay(path, catalogue, Rulebook.shipped())


def readings(pack: bytes | None) -> Iterator[tuple[str, int, float]]:
    """(name, time in ms, value) of each reading."""
    for _, reading in senml.resolve(senml.load(pack)):
        yield reading.name, reading.time_ms, reading.value


def digest(run: Run) -> str:
    sha = hashlib.sha256()
    for pack in run.packs():
        sha.update(repr(pack).encode())
    return sha.hexdigest()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_seed_same_packs(scenario: str, catalogue: Catalogue) -> None:
    options = {"start_ms": 1_777_618_800_000, "hours": 0.4}  # 15:00 local time, when all are under way
    runs = [run_of(scenario, catalogue, seed=seed, **options) for seed in (5, 5, 6)]
    one, same, other = [digest(run) for run in runs]
    assert one == same != other
    assert runs[0].truth.expected() == runs[1].truth.expected()


def test_a_capture_is_in_order_and_every_reading_is_good(told: Any, catalogue: Catalogue) -> None:
    run, path, replayed = told
    timestamps = [line.timestamp for line in capture.read(path)]
    assert timestamps == sorted(timestamps)
    assert run.setting.start_ms <= timestamps[0]
    assert replayed.rejected == []
    assert replayed.duplicates == 0
    last: dict[str, int] = {}
    for line in capture.read(path):
        for name, time, _ in readings(line.payload()):
            sensor, _, quantity = name.rpartition("/")
            known = catalogue.sensors[sensor]
            assert (topic(known.kind), known.zone) == (line.topic, line.key)
            assert quantity in QUANTITIES[known.kind]
            assert last.get(name, 0) < time <= line.timestamp
            last[name] = time


def test_quiet_sensors_report_too(told: Any, catalogue: Catalogue) -> None:
    """Nobody is silent, but for the gauge that died."""
    run, _, replayed = told
    dead = {event["site"] for event in run.truth.events if event["event"] == "gauge dead"}
    assert {body["site"] for body in replayed.bodies() if body["type"] == "silence"} == dead


def test_the_truth_is_written_beside_the_capture(told: Any) -> None:
    run, path, _ = told
    lines = [msgspec.json.decode(line) for line in truth_path(path).read_bytes().splitlines()]
    events = [line for line in lines if "event" in line]
    expected = [line for line in lines if "rule" in line]
    assert events == run.truth.events != []
    assert [(e["rule"], e["site"], e["level"]) for e in expected] == [e[:3] for e in run.truth.expected()]
    for line in expected:
        early, late = line["possible"]
        for begin, end in line["certain"]:
            assert early <= line["from"] <= begin
            assert late is None or (end is not None and end <= line["to"] <= late)
    assert any(line["certain"] for line in expected)


def test_the_rules_say_what_the_truth_says(told: Any) -> None:
    run, _, replayed = told
    assert differences(run, replayed) == []


@pytest.mark.parametrize("scenario", ["day", "storm"])
def test_truth_holds_at_other_rates_and_from_the_middle(scenario: str, catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl"
    run = run_of(scenario, catalogue, seed=1, scale=1.7, start_ms=1_777_621_217_500, hours=1.5)
    run.write(path)
    assert differences(run, replay(path, catalogue, Rulebook.shipped())) == []


def test_a_storm_has_every_kind_of_flood_alert(catalogue: Catalogue) -> None:
    run = run_of("storm", catalogue, seed=3, scale=0.5)
    for _ in run.packs():
        pass
    certain = {(e.rule, e.level) for e in run.truth.expected() if e.certain}
    assert {("flood-depth", 4), ("waterlog-risk", 1), ("rainstorm", 1), ("rainstorm", 3)} <= certain
    assert ("flood-silence", 3) in certain


def differences(run: Run, replayed: Replayed) -> list[str]:
    """Where what was alerted is not between what is certain and what is possible."""
    end = run.setting.end_ms - SETTLED_MS
    expected: dict[tuple[str, str, int], list[Expected]] = defaultdict(list)
    for one in run.truth.expected():
        expected[one[:3]].append(one)
    alerted = spans_of(replayed.bodies(), set(expected))
    found = []
    for (rule, site, level), spans in alerted.items():
        allowed = [(e.possible, e.tolerance_ms) for e in expected[rule, site, level]]
        found += [
            f"{rule}/{site} is at {level} in {span}, which no truth allows: {allowed}"
            for span in spans
            if span[0] < end and not any(inside(cut(span, end), wider(p, t)) for p, t in allowed)
        ]
    for key, ones in expected.items():
        for e in ones:
            narrow = [cut((begin + e.tolerance_ms, to), end) for begin, to in e.certain]
            found += [
                f"{'/'.join(key[:2])} is to be at {e.level} in {span}: {alerted.get(key)}"
                for span in narrow
                if span[0] < span[1] - e.tolerance_ms
                and not any(inside((span[0], span[1] - e.tolerance_ms), s) for s in alerted.get(key, []))
            ]
    return found


def spans_of(
    bodies: list[dict[str, Any]], expected: set[tuple[str, str, int]]
) -> dict[tuple[str, str, int], list[Span]]:
    """(rule, site, level) → when it was at that level or above; levels expected or stopped at."""
    wanted = expected | {(b["rule"], b["site"], level) for b in bodies for level in (b["level"], b["previous"])}
    spans: dict[tuple[str, str, int], list[Span]] = defaultdict(list)
    for body in bodies:
        at = round(datetime.fromisoformat(body["at"]).timestamp() * 1000)
        for level in range(1, 5):
            key = body["rule"], body["site"], level
            if key in wanted and body["previous"] < level <= body["level"]:
                spans[key].append((at, None))
            elif key in wanted and body["level"] < level <= body["previous"]:
                spans[key][-1] = spans[key][-1][0], at
    return spans


def cut(span: Span, end: int) -> tuple[int, int]:
    return span[0], min(end if span[1] is None else span[1], end)


def wider(span: Span, tolerance_ms: int) -> Span:
    return span[0], None if span[1] is None else span[1] + tolerance_ms


def inside(inner: Span, outer: Span) -> bool:
    ends = [FOREVER if to is None else to for to in (inner[1], outer[1])]
    return outer[0] <= inner[0] and ends[0] <= ends[1]


def stays(path: Path, catalogue: Catalogue, home: str) -> Iterator[tuple[str, int, int]]:
    """(room, first motion, first motion elsewhere), naively, from a capture."""
    zone, moves = catalogue.places[home].zone, []
    for line in capture.read(path):
        if line.topic == "readings.infrared" and line.key == zone:
            for name, time, moved in readings(line.payload()):
                sensor = catalogue.sensors[name.partition("/")[0]]
                if sensor.place == home and sensor.room != "call" and moved:
                    moves.append((time, sensor.room))
    moves.sort()
    room, since = moves[0][1], moves[0][0]
    for time, where in moves:
        if where != room:
            yield room, since, time
            room, since = where, time


def test_a_fall_is_a_long_stay_in_the_bathroom(catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "homes.jsonl.zst"
    run = run_of("homes", catalogue, seed=11, **ALONE["homes"])
    run.write(path)
    events = {event["event"]: event for event in run.truth.events}
    assert set(events) == {"fall", "long sit", "call"}
    falls, sits = events["fall"]["site"], events["long sit"]["site"]
    in_bathroom = sorted(to - since for room, since, to in stays(path, catalogue, falls) if room == "bathroom")
    assert in_bathroom[-1] >= 2 * HOUR
    assert in_bathroom[-2] < HOUR
    in_living = [to - since for room, since, to in stays(path, catalogue, sits) if room == "living"]
    assert max(in_living) >= 3 * HOUR
    dwelling = {(e.site, e.level) for e in run.truth.expected() if e.rule == "home-dwell"}
    assert dwelling >= {(falls, 3), (sits, 3)}


def test_a_full_hall_empties_and_runners_reach_the_finish(catalogue: Catalogue) -> None:
    rush = run_of("rush", catalogue, seed=2, **ALONE["rush"])
    marathon = run_of("marathon", catalogue, seed=2, scale=0.3)
    passed: dict[str, float] = defaultdict(float)
    for run in (rush, marathon):
        for pack in run.packs():
            if pack.kind == "crowd":
                for name, _, value in readings(pack.value):
                    passed[name] += value
    held = next(event for event in rush.truth.events if event["event"] == "trains held")["site"]
    full = [e for e in rush.truth.expected() if e.site == held and e.level == 4]
    assert full
    assert all(e.true is not None and e.true[1] is not None for e in full)
    assert 19_800 <= passed["GZ-RUN-01-IN/in"] <= 20_000
    assert 0.97 <= passed["GZ-RUN-14-OUT/out"] / passed["GZ-RUN-01-IN/in"] <= 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [({"hours": 0.0}, "hours is 0"), ({"scale": 0.0}, "scale is 0"), ({"scenario": "typhoon"}, "typhoon")],
)
def test_what_cannot_be_simulated_is_said_so(catalogue: Catalogue, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(**{"scenario": "storm", "catalogue": catalogue, **options})
