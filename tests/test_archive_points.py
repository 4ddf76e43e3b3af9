"""What a record becomes in the archive: its points, judged as the workers do."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.edition import Edition
from alerts.judgement import Judgement
from alerts.succession import GENERATION_ROW
from sensors.announcement import Announcement, announcement
from sensors.clock import CLOCK_KEY, tick
from sensors.quantities import KINDS
from sensors.record import Record
from sensors.seal import Seal
from streams.archive.points import Pile, Points, Readings, Starts

START_MS = 1714800000000


def feature(site: str, role: str, kind: str, **more: str) -> dict[str, object]:
    known = {"id": site, "role": role, "kind": kind, "zone": "Z", "name": site, "district": "天河 a"}
    return {"properties": known | ({"place": "P"} if role == "sensor" else {}) | more}


def edition(*features: dict[str, object], rules: str = "[quantity.depth]\nmax_step = 1.5\nmax = 10") -> Edition:
    return Edition(rules.encode(), json.dumps({"features": list(features)}).encode())


KINDS_OF = {"g1": "flood", "r": "rain", "i": "infrared", "c": "crowd"}
SMALL = edition(
    feature("P", "place", "flood"),
    *(feature(s, "sensor", kind, **({"room": "bed"} if s == "i" else {})) for s, kind in KINDS_OF.items()),
)


class Judged:
    """One partition's judgement, and the points that come of it."""

    def __init__(self, editions: dict[int, Edition] | None = None, seal: Seal | None = None) -> None:
        self.points, self.pile = Points(), Pile()
        self.judgement = Judgement(editions or {0: SMALL}, 0, 0, 1, self._take, seal)
        self._offsets = dict.fromkeys(KINDS, 0)

    def _take(self, batch: Any, roster: Any) -> None:
        self.pile.add(self.points.readings(batch, roster))

    def feed(self, kind: str, *values: bytes | None, key: bytes = b"Z") -> list[str]:
        """The new lines, those of a series together."""
        self.apply(kind, *values, key=key)
        return [line for lines in self.pile.batches(2) for line in lines]

    def apply(self, kind: str, *values: bytes | None, key: bytes = b"Z") -> None:
        records = []
        for value in values:
            records.append(Record(f"readings.{kind}", 0, self._offsets[kind], START_MS, key, value))
            self._offsets[kind] += 1
        self.judgement.apply(kind, records)


def depth(seconds: float, value: float) -> bytes:
    return json.dumps([{"n": "g1/depth", "t": START_MS / 1000 + seconds, "v": value}]).encode()


@pytest.mark.parametrize(
    ("kind", "entries", "points"),
    [
        ("flood", '{"n":"g1/depth","t":1714800000,"v":0.23}', ["depth,sensor=g1,zone=Z value=0.23"]),
        ("flood", '{"n":"g1/depth","u":"m","t":1714800000,"v":1}', ["depth,sensor=g1,zone=Z value=1.0"]),
        ("rain", '{"n":"r/rain","t":1714800000,"v":1e-3}', ["rain,sensor=r,zone=Z value=0.001"]),
        ("infrared", '{"n":"i/motion","t":1714800000,"vb":true}', ["motion,room=bed,sensor=i,zone=Z value=1.0"]),
        ("infrared", '{"n":"i/button","u":"x","t":1714800000,"v":0}', ["button,room=bed,sensor=i,zone=Z value=0.0"]),
        (
            "crowd",
            '{"bn":"c/","bt":1714800000,"n":"in","v":5},{"n":"out","v":2},{"bver":5},{"n":"count","v":40}',
            [f"{q},sensor=c,zone=Z value={v}" for q, v in (("in", 5.0), ("out", 2.0), ("count", 40.0))],
        ),
    ],
)
def test_readings_become_points_with_what_the_catalogue_knows(kind: str, entries: str, points: list[str]) -> None:
    known = f"readings,district=天河\\ a,kind={kind},place=P,quality=good,quantity="
    assert Judged().feed(kind, f"[{entries}]".encode()) == [f"{known}{point} {START_MS}" for point in points]


def test_quality_and_lateness_are_judged_by_sensor_and_quantity() -> None:
    judged = Judged()
    packs = [depth(0, 0.1), depth(60, 0.2), depth(20, 0.15), depth(60, 0.3), depth(120, 5.0), depth(180, 0.2)]
    lines = judged.feed("flood", *packs)
    told = [re.fullmatch(r".*quality=(\w+),.* value=([\d.]+)(?:,lateness=(\d+)i)? (\d+)", line) for line in lines]
    assert [(t[1], t[2], t[3], (int(t[4]) - START_MS) // 1000) for t in told if t] == [
        ("good", "0.1", None, 0),
        ("good", "0.2", None, 60),
        ("good", "0.2", None, 180),
        ("suspect", "5.0", None, 120),
        ("late", "0.15", "40000", 20),  # 40 s before the last accepted; the duplicate at 60 s is dropped
    ]
    assert judged.points.skipped == {"duplicates": 1, "readings after the year 2262": 0}


def test_the_points_of_a_series_are_written_together_in_batches_and_as_they_came() -> None:
    judged, times = Judged(), [0, 60, 120, 30, 30, 180]
    for number, seconds in enumerate(times):  # twice late at one time: what came last is what counts
        pack = [{"n": f"c/{q}", "t": START_MS / 1000 + seconds, "v": number} for q in ("in", "out")]
        judged.apply("crowd", json.dumps(pack).encode())
    assert len(judged.pile) == 12
    batches = list(judged.pile.batches(5))
    assert len(judged.pile) == 0
    assert [len(lines) for lines in batches] == [5, 5, 2]
    told = [
        re.fullmatch(r".*quality=(\w+),quantity=(\w+),.* value=(\d)\.0.*", line) for lines in batches for line in lines
    ]
    assert [(t[1], t[2], int(t[3])) for t in told if t] == [
        (quality, quantity, number)
        for quantity in ("in", "out")
        for quality, numbers in (("good", [0, 1, 2, 5]), ("late", [3, 4]))
        for number in numbers
    ]


@pytest.mark.parametrize("cut", range(1, 6))
def test_from_its_written_state_it_gives_the_same_points(cut: int) -> None:
    packs = [depth(0, 0.1), depth(60, 2.0), depth(60, 1.9), depth(30, 0.15), depth(120, 2.1), depth(180, 0.2)]
    whole = Judged().feed("flood", *packs)
    first, second = Judged(), Judged()
    lines = first.feed("flood", *packs[:cut])
    rows = {key: row for key, row in first.judgement.checkpoint().items() if row is not None}
    rows.pop(GENERATION_ROW)
    second.judgement.fold.restore(rows)
    lines += second.feed("flood", *packs)  # those it has judged already are passed over
    assert sorted(lines) == sorted(whole)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"Z", b"not json"),
        (b"Z", None),
        (b"Z", b'[{"n":"g1/depth","v":1}]'),
        (b"Z", b'[{"n":"g1/depth","u":"cm","t":1714800000,"v":1}]'),
        (b"Z", b'[{"n":"g1/rain","t":1714800000,"v":1}]'),
        (b"Z", b'[{"n":"a b,c=d\\n/depth","t":1714800000,"v":1}]'),
        (b"Y", b'[{"n":"g1/depth","t":1714800000,"v":1}]'),
        (b"Z", b'[{"n":"g1/depth","t":1714800000,"v":1e999}]'),
        (b"Z", b'[{"n":"g1/depth","t":1714800000,"v":11}]'),
        (CLOCK_KEY, tick(START_MS)),
    ],
)
def test_what_the_workers_reject_is_no_point(key: bytes, value: bytes | None) -> None:
    judged = Judged()
    assert judged.feed("flood", value, key=key) == []
    assert len(judged.feed("flood", depth(0, 0.1))) == 1


def test_under_new_rules_it_judges_by_them_from_where_they_are_announced() -> None:
    wider = edition(
        feature("P", "place", "flood"), feature("g1", "sensor", "flood"), rules="[quantity.depth]\nmax = 99"
    )
    judged = Judged({0: SMALL, 1: wider})
    said = announcement(Announcement(1, wider.ruleset, START_MS))
    assert judged.feed("flood", depth(0, 50)) == []
    assert judged.feed("flood", said, key=b"@rules") == judged.feed("flood", depth(60, 50)) == []  # it waits
    for kind in ("rain", "infrared"):
        judged.feed(kind, said, key=b"@rules")
    assert ["value=50.0" in line for line in judged.feed("crowd", said, key=b"@rules")] == [True]


def test_what_is_not_sealed_changes_no_rules() -> None:
    other = edition(feature("P", "place", "flood"))
    judged = Judged({0: SMALL, 1: other}, Seal([b"k" * 32]))
    said = announcement(Announcement(1, other.ruleset, START_MS))
    assert judged.feed("flood", said, key=b"@rules") == []
    assert len(judged.feed("flood", depth(0, 0.1))) == 1  # it waits for nothing


ALERT = {
    "id": "r/s/t/2", "rule": "r", "site": "s", "zone": "Z", "kind": "flood", "district": "天河区", "level": 3,
    "previous": 2, "status": "firing", "onset": "2024-05-04T05:20:00.000Z", "at": "2024-05-04T05:20:00.000Z", "seq": 2,
    "value": 0.41, "threshold": None, "message": {"zh": "\"深\""},
}  # fmt: skip
CASE = {
    "id": "r/s/t", "rule": "r", "site": "s", "kind": "flood", "district": "天河区", "level": 3, "state": "open",
    "at": "2024-05-04T05:20:00Z", "unheard_of": [1],
}  # fmt: skip


def of(body: object) -> Record:
    value = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Record("t", 0, 0, 0, b"r/s", value)


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**12), 10**12)), min_size=1),
    st.integers(1, 10**6),
)
def test_each_number_is_written_as_python_writes_it(points: list[tuple[float, int]], late: int) -> None:
    value, time = (np.array(column) for column in zip(*points, strict=True))
    series, lateness = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    lateness[-1] = late
    lines = [*Readings(cast(Starts, {0: b"s value="}), series, time, value, lateness).lines()]
    told = [f"s value={one!r} {at}" for one, at in points]
    told[-1] = f"s value={points[-1][0]!r},lateness={late}i {points[-1][1]}"
    assert lines == told


def test_alerts_and_cases_become_points() -> None:
    points, at = Points(), 1714800000000
    (alert,) = points.alerts([of(ALERT)])
    assert alert.startswith(
        "alerts,district=天河区,kind=flood,rule=r,seq=2,site=s,zone=Z level=3i,previous=2i,value=0.41,"
    )
    assert alert.endswith(f" {at}")
    (case,) = points.cases([of(CASE)])
    assert case.startswith("cases,district=天河区,id=r/s/t,kind=flood,rule=r,site=s,state=open level=3i,body=")
    assert case.endswith(f" {at}")
    assert next(iter(points.cases([of(CASE | {"seq": 4})]))).startswith(
        "cases,district=天河区,id=r/s/t,kind=flood,rule=r,seq=4,"
    )


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b"\xff", b'{"kind":"flood","rule":"a b","seq":0}', {**CASE, "rule": 1.5, "at": "x"}]
)
def test_a_malformed_alert_or_case_is_counted(value: object) -> None:
    points = Points()
    assert [*points.alerts([of(value)]), *points.cases([of(value)])] == []
    assert points.skipped == {"malformed alerts": 1, "malformed cases": 1}
