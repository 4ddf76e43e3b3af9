"""Rules that change in the midst of a log: at one place, whatever the pace of the topics, and with what they knew."""

from __future__ import annotations

import gc
import json
from random import Random
from typing import Any
from weakref import ref

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.edition import Edition
from alerts.fold import Fold, Outcome
from alerts.rulebook import Rulebook
from alerts.succession import GENERATION_ROW, Succession, generation_of
from sensors.announcement import RULES_KEY, Announcement, announced, announcement
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from sensors.quantities import KINDS, topic
from sensors.record import Record
from sensors.senml import encode

START = 1_714_800_000_000
MINUTE = 60_000


def sites(*gauges: str, **more: Any) -> bytes:
    """A catchment with flood gauges and a rain station, a home and a venue, all in partition 0 of 1."""

    def feature(role: str, kind: str, site: str, zone: str, **fields: Any) -> dict[str, Any]:
        known = {"id": site, "role": role, "kind": kind, "zone": zone, "name": site, "district": "天河区", **fields}
        return {"type": "Feature", "geometry": None, "properties": known}

    water = {
        "area_km2": 1,
        "runoff": 0.9,
        "interception_mm": 1,
        "storage_mm": 2,
        "drainage_mm_h": 20,
        "hollow_ratio": 9,
    }
    features = [feature("place", "flood", "C", "Z", **water), feature("sensor", "rain", "R", "Z", place="C")]
    features += [feature("sensor", "flood", gauge, "Z", place="C", **more) for gauge in gauges]
    features += [
        feature("place", "infrared", "H", "Y"),
        feature("sensor", "infrared", "H-b", "Y", place="H", room="bathroom"),
    ]
    features += [feature("place", "crowd", "V", "X", capacity=100), feature("sensor", "crowd", "V-1", "X", place="V")]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


DEPTH = """
[[rule]]
id = "depth"
kind = "flood"
type = "level"
quantity = "depth"
levels = {blue = %s, red = 0.5}
hysteresis = 0.02
"""
OTHERS = """
[[rule]]
id = "bathroom"
type = "dwell"
rooms = {bathroom = {orange = "%s"}}
[[rule]]
id = "risk"
kind = "flood"
type = "waterlog_risk"
levels = {blue = %s}
[[rule]]
id = "crowding"
type = "occupancy"
levels = {yellow = 0.5}
[[rule]]
id = "rain"
kind = "rain"
type = "window_sum"
quantity = "rain"
levels = {blue = {window = "30m", sum = %s}}
[[rule]]
id = "quiet"
kind = "flood"
type = "silence"
levels = {yellow = "5m"}
"""
EDITIONS = {
    3: Edition((DEPTH % 0.1 + OTHERS % ("20m", 0.05, 10)).encode(), sites("G1", "G2")),
    5: Edition((DEPTH % 0.2 + OTHERS % ("30m", 0.02, 15)).encode(), sites("G1", "G3")),
    8: Edition((OTHERS % ("20m", 0.05, 10)).encode(), sites("G1", "G2", "G3")),
}


def pack_of(rng: Random, kind: str, time: int, gauges: tuple[str, ...] = ("G1", "G2", "G3")) -> Record:
    stamp = time + rng.choice((0, 0, 0, -3 * MINUTE))
    entries: dict[str, list[tuple[str, str, int, float | bool]]] = {
        "flood": [(g, "depth", stamp, round(rng.uniform(0, 0.6), 3)) for g in gauges],
        "rain": [("R", "rain", stamp, round(rng.uniform(0, 4), 1))],
        "infrared": [("H-b", "motion", stamp, rng.random() < 0.1)],
        "crowd": [("V-1", "count", stamp, rng.randrange(100))],
    }
    zone = {"flood": b"Z", "rain": b"Z", "infrared": b"Y", "crowd": b"X"}[kind]
    return Record(topic(kind), 0, 0, time, zone, encode(entries[kind]))


def change(generation: int, time: int) -> Record:
    said = Announcement(generation, EDITIONS[generation].ruleset, time)
    return Record("", 0, 0, time, RULES_KEY, announcement(said))


def logs(seed: int, generations: tuple[int, ...]) -> dict[str, list[Record]]:
    """The four logs of a partition over two hours, with changes at places of their own in each of them."""
    rng, found = Random(seed), {}
    for kind in KINDS:
        records = []
        for minute in range(120):
            time = START + minute * MINUTE
            records.append(Record(topic(kind), 0, 0, time, CLOCK_KEY, tick(time)))
            if rng.random() < 0.6:
                records.append(pack_of(rng, kind, time))
        places = sorted(rng.sample(range(10, len(records)), len(generations)), reverse=True)
        for place, generation in zip(places, sorted(generations, reverse=True), strict=True):
            records.insert(place, change(generation, START + 30 * generation * MINUTE // 10))
        found[kind] = [record._replace(topic=topic(kind), offset=offset) for offset, record in enumerate(records)]
    return found


class Taken:
    """What came out, put in an order that does not depend on which topic was read first."""

    def __init__(self) -> None:
        self.alerts: dict[str, bytes] = {}
        self.rejected: list[bytes] = []

    def add(self, outcome: Outcome) -> None:
        self.alerts |= {alert.id: alert.value for alert in outcome.alerts}
        self.rejected += [rejected.value for rejected in outcome.rejected]

    def same(self) -> tuple[list[bytes], list[bytes]]:
        return sorted(self.alerts.values()), sorted(self.rejected)

    def bodies(self, rule: str) -> list[dict[str, Any]]:
        found = (msgspec.json.decode(value) for value in self.alerts.values())
        return sorted((b for b in found if b["rule"] == rule), key=lambda b: (b["at"], b["site"]))


def folded(by_kind: dict[str, list[Record]], order: Random | None = None, restarts: bool = False) -> Taken:
    """All of it, a topic after the other or (``order``) in runs of any length from any topic."""
    one, taken = Succession(EDITIONS, 3, 0, 1), Taken()
    done = dict.fromkeys(KINDS, 0)
    rows: dict[bytes, bytes] = {}
    while any(done[kind] < len(by_kind[kind]) for kind in KINDS):
        kind = order.choice(KINDS) if order else next(k for k in KINDS if done[k] < len(by_kind[k]))
        end = len(by_kind[kind]) if order is None else done[kind] + order.randrange(1, 40)
        taken.add(one.apply(kind, by_kind[kind][done[kind] : end]))
        done[kind] = min(end, len(by_kind[kind]))
        if order and restarts and order.random() < 0.2:
            for key, row in one.checkpoint().items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            one = Succession(EDITIONS, generation_of(rows[GENERATION_ROW]), 0, 1)
            one.fold.restore({key: row for key, row in rows.items() if key != GENERATION_ROW})
            done = {kind: offset + 1 for kind, offset in one.fold.offsets.items()}
    taken.add(one.release())
    return taken


@given(st.integers(0, 10_000), st.sampled_from([(), (5,), (8,), (5, 8)]), st.booleans())
def test_the_pace_of_the_topics_and_restarts_change_nothing(
    seed: int, changes: tuple[int, ...], restarts: bool
) -> None:
    by_kind = logs(seed, changes)
    expected = folded(by_kind)
    assert expected.alerts
    assert folded(by_kind, Random(seed), restarts).same() == expected.same()
    held = {json.loads(value)["ruleset"] for value in expected.alerts.values()}
    assert held <= {EDITIONS[generation].ruleset for generation in (3, *changes)}


@given(st.integers(0, 10_000))
def test_an_announcement_that_comes_again_or_too_late_changes_nothing(seed: int) -> None:
    rng, by_kind = Random(seed), logs(seed, (5, 8))
    again = {}
    for kind, records in by_kind.items():
        found, heard = [], 3
        for record in records:
            said = announced(record)
            heard = max(heard, said.generation if said else 0)
            found.append(record)
            if rng.random() < 0.05:
                found.append(change(rng.choice([g for g in (3, 5, 8) if g <= heard]), START))
        again[kind] = [record._replace(topic=topic(kind), offset=n) for n, record in enumerate(found)]
    assert folded(again).same()[0] == folded(by_kind).same()[0]


def flood(*depths: tuple[str, float], minute: int) -> Record:
    entries = [(gauge, "depth", START + minute * MINUTE, depth) for gauge, depth in depths]
    return Record("", 0, 0, START + minute * MINUTE, b"Z", encode(entries))


def changed(*records: Record, to: int) -> Taken:
    """A flood log whose rules change to those at minute 30; the other topics hold nothing but the announcement."""
    by_kind: dict[str, list[Record]] = {kind: [change(to, START + 30 * MINUTE)] for kind in KINDS}
    by_kind["flood"] = [*records]
    placed = {k: [r._replace(topic=topic(k), offset=n) for n, r in enumerate(rs)] for k, rs in by_kind.items()}
    return folded(placed)


def test_a_rule_with_other_thresholds_goes_on_where_it_was() -> None:
    before, after = flood(("G1", 0.15), minute=1), flood(("G1", 0.19), minute=40)
    found = changed(before, change(5, START + 30 * MINUTE), after, to=5).bodies("depth")
    assert [(b["level"], b["at"][11:16], b["seq"], b["ruleset"]) for b in found] == [
        (1, "05:21", 0, EDITIONS[3].ruleset),
    ], "0.19 m is within the hysteresis of the new threshold of 0.2 m: the alert stands"
    found = changed(before, change(5, START), flood(("G1", 0.17), minute=40), to=5).bodies("depth")
    assert [(b["level"], b["threshold"], b["ruleset"]) for b in found][1:] == [(0, 0.2, EDITIONS[5].ruleset)]


def test_alerts_of_rules_and_sites_that_are_gone_are_resolved_with_the_reason() -> None:
    before = flood(("G1", 0.15), ("G2", 0.6), minute=1)
    found = changed(before, change(5, START + 30 * MINUTE), to=5).bodies("depth")
    over = [b for b in found if b["status"] == "resolved"]
    assert [(b["site"], b["reason"], b["at"], b["previous"], b["seq"]) for b in over] == [
        ("G2", "site_removed", "2024-05-04T05:50:00.000Z", 4, 1)
    ]
    assert (over[0]["value"], over[0]["threshold"], over[0]["ruleset"]) == (None, None, EDITIONS[5].ruleset)
    assert over[0]["message"] == {
        "zh": "天河区G2：水位超限已解除（点位已撤除）",
        "en": "天河区 G2: level is over (the site was removed)",
    }
    found = changed(before, change(8, START), to=8).bodies("depth")
    assert [(b["site"], b["reason"], b["at"]) for b in found if b["status"] == "resolved"] == [
        ("G1", "rule_removed", "2024-05-04T05:21:00.000Z"),
        ("G2", "rule_removed", "2024-05-04T05:21:00.000Z"),
    ]


def test_an_edition_that_is_not_known_yet_is_waited_for() -> None:
    by_kind = {kind: [change(5, START)._replace(topic=topic(kind))] for kind in KINDS}
    known = {3: EDITIONS[3]}
    one = Succession(known, 3, 0, 1)
    for kind, records in by_kind.items():
        one.apply(kind, records)
    one.apply("flood", [flood(("G3", 0.3), minute=1)._replace(topic=topic("flood"), offset=1)])
    assert (one.generation, one.fold.offsets["flood"]) == (3, -1)
    known[5] = EDITIONS[5]
    assert [alert.key for alert in one.look_again().alerts] == ["depth/G3"]
    assert (one.generation, one.fold.offsets["flood"]) == (5, 1)


@pytest.mark.parametrize("value", [b"[]", b"nothing", b'[{"n":"@rules","t":1,"vs":"x/y"}]', None])
def test_what_only_has_the_key_is_a_record_like_others(value: bytes | None) -> None:
    record = Record(topic("flood"), 0, 0, START, RULES_KEY, value)
    outcome = Succession(EDITIONS, 3, 0, 1).apply("flood", [record])
    assert [r.reason for r in outcome.rejected] == ([] if value == b"[]" else ["malformed"])


def test_what_was_measured_where_there_is_no_hollow_any_more_is_let_go() -> None:
    """A minute is under way, with rain in two catchments, when one of them loses its ``hollow_ratio``."""

    def catchments(*hollows: str) -> Catalogue:
        features = []
        for zone in ("Y", "Z"):
            water = {"runoff": 1, "interception_mm": 0, "storage_mm": 0, "drainage_mm_h": 0}
            water |= {"hollow_ratio": 10} if zone in hollows else {}
            common = {"zone": zone, "district": "天河区"}
            features += [
                common | {"id": f"C-{zone}", "role": "place", "kind": "flood", "name": "C", **water},
                common | {"id": f"R-{zone}", "role": "sensor", "kind": "rain", "name": "R", "place": f"C-{zone}"},
            ]
        whole = [{"type": "Feature", "geometry": None, "properties": site} for site in features]
        return Catalogue.parse(json.dumps({"type": "FeatureCollection", "features": whole}).encode())

    def of_rain(offset: int, zone: str, value: float) -> Record:
        return Record(topic("rain"), 0, offset, START, zone.encode(), encode([(f"R-{zone}", "rain", START, value)]))

    def minutes(fold: Fold, begin: int, end: int) -> list[Any]:
        ticks = [(kind, n) for n in range(begin, end) for kind in ("flood", "rain")]
        found = [
            fold.apply(kind, [Record(topic(kind), 0, 10 + n, START + n * MINUTE, CLOCK_KEY, tick(START + n * MINUTE))])
            for kind, n in ticks
        ]
        return [msgspec.json.decode(alert.value) for outcome in found for alert in outcome.alerts]

    rules = Rulebook.parse('[[rule]]\nid = "risk"\nkind = "flood"\ntype = "waterlog_risk"\nlevels = {blue = 0.05}')
    before, after = Fold(catchments("Y", "Z"), rules), Fold(catchments("Z"), rules)
    assert minutes(before, 0, 1) == []
    before.apply("rain", [of_rain(20, "Y", 900.0), of_rain(21, "Z", 20.0)])
    after.follow(before, START, Record(topic("flood"), 0, 30, START, RULES_KEY, b""))
    alerts = [(alert["site"], alert["value"]) for alert in minutes(after, 1, 4)]
    assert alerts[0] == ("C-Z", 0.6)  # 20 mm, and half an hour at a fifteenth of them a minute


def test_a_fold_that_is_let_go_of_is_gone_at_once() -> None:
    """A worker keeps what it has loaded out of the collection of garbage."""
    succession = Succession(EDITIONS, 3, 0, 1)
    gone = ref(succession.fold)
    gc.disable()
    try:
        del succession
        assert gone() is None
    finally:
        gc.enable()
