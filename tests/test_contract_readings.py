"""What gateways rely on: what a reading is, what becomes of it, and of a capture; and what is in an alert."""

from __future__ import annotations

import json

import pytest
from examples import CALL, DEAD, DEPTH, STEP, ms, readings, senml, series, story, tick
from strategies import line

pytest_plugins = ["examples"]


# An alert


def test_an_alert_has_every_field(replay):
    rule = DEPTH | {"id": "flood-depth", "levels": {"blue": 0.1, "orange": 0.4}}
    alerts, _ = replay(series("F1/depth", ("05:20", 0.15), ("05:31", 0.41), ("05:40:00.250", 0.05)), rule)
    common = {"rule": "flood-depth", "type": "level", "kind": "flood", "site": "F1", "zone": "TH-03",
              "district": "天河区", "onset": "2024-05-04T05:20:00.000Z", "unit": "m"}  # fmt: skip
    assert alerts == [
        common | {"id": "flood-depth/F1/2024-05-04T05:20:00.000Z/0", "at": "2024-05-04T05:20:00.000Z", "seq": 0,
                  "previous": 0, "level": 1, "status": "firing", "value": 0.15, "threshold": 0.1},
        common | {"id": "flood-depth/F1/2024-05-04T05:20:00.000Z/1", "at": "2024-05-04T05:31:00.000Z", "seq": 1,
                  "previous": 1, "level": 3, "status": "firing", "value": 0.41, "threshold": 0.4},
        common | {"id": "flood-depth/F1/2024-05-04T05:20:00.000Z/2", "at": "2024-05-04T05:40:00.250Z", "seq": 2,
                  "previous": 3, "level": 0, "status": "resolved", "value": 0.05, "threshold": 0.4},
    ]  # fmt: skip


def test_a_new_episode_counts_from_0_and_one_at_the_same_time_counts_on(replay):
    # The second press falls on the very moment of the reset.
    lines = [readings((t, "Bath/button", 1)) for t in ("05:10", "05:11", "05:30")]
    alerts, _ = replay(lines, CALL)
    found = [(a["at"][11:16], a["level"], a["onset"][11:16], a["seq"], a["id"][-6:]) for a in alerts]
    assert found == [
        ("05:10", 4, "05:10", 0, "000Z/0"),
        ("05:11", 0, "05:10", 1, "000Z/1"),
        ("05:11", 4, "05:11", 2, "000Z/2"),
        ("05:12", 0, "05:11", 3, "000Z/3"),
        ("05:30", 4, "05:30", 0, "000Z/0"),
        ("05:31", 0, "05:30", 1, "000Z/1"),
    ]


@pytest.mark.parametrize(
    ("rule", "lines", "unit"),
    [
        (DEPTH, series("F1/depth", ("05:10", 1)), "m"),
        (DEPTH | {"type": "rise", "window": "5m"}, series("F1/depth", ("05:10", 0), ("05:11", 1)), "m"),
        ({"type": "window_sum", "kind": "rain", "quantity": "rain", "levels": {"red": {"window": "5m", "sum": 1}}},
         series("R1/rain", ("05:10", 1)), "mm"),
        ({"type": "dwell", "kind": "infrared", "rooms": {"bathroom": {"red": "5m"}}},
         series("Bath/motion", ("05:10", 1)), "s"),
        ({"type": "inactivity", "kind": "infrared", "levels": {"red": "5m"}}, series("Bath/motion", ("05:10", 1)), "s"),
        ({"type": "silence", "kind": "rain", "levels": {"red": "5m"}}, series("R1/rain", ("05:10", 1)), "s"),
        (CALL, series("Bath/button", ("05:10", 1)), "/"),
        ({"type": "occupancy", "kind": "crowd", "levels": {"red": 0.5}, "reset": "03:00"},
         series("K1/count", ("05:10", 60)), "/"),
        ({"type": "waterlog_risk", "kind": "flood", "levels": {"red": 0.5}}, series("F1/depth", ("05:10", 1)), "m"),
    ],
)  # fmt: skip
def test_the_unit_says_what_value_and_threshold_are(replay, rule, lines, unit):
    alerts, rejected = replay(lines, rule)
    assert not rejected
    assert {alert["unit"] for alert in alerts} == {unit}


# A reading


def test_the_contracts_own_pack_is_two_readings(changes):
    text = """[{"bn": "F1/", "bt": 1714800000, "n": "depth", "u": "m", "v": 0.23},
               {"bn": "F2/", "n": "depth", "u": "m", "v": 0.12, "t": 30}]"""
    pack = line("readings.flood", "TH-03", json.loads(text))
    assert changes([pack], DEPTH) == ["05:20:00 F1 0>2 0.23/0.2", "05:20:30 F2 0>1 0.12/0.1"]


def test_base_fields_alone_are_no_reading_and_hold_for_the_rest(replay):
    pack = readings({"bn": "F", "bt": ms("05:20") / 1000, "bu": "m", "bv": 0.1}, {"n": "1/depth", "v": 0.1},
                    topic="flood", key="TH-03")  # fmt: skip
    alerts, rejected = replay([pack], DEPTH)
    assert [story(a) for a in alerts] == ["05:20:00 F1 0>2 0.2/0.2"]
    assert rejected == []


def test_a_malformed_readings_base_fields_are_ignored_a_rejected_ones_are_kept(replay):
    seconds = ms("05:20") / 1000
    pack = readings(
        {"bn": "F1/", "bt": seconds, "n": "depth", "v": 0.15},
        {"bn": "F2/", "n": "depth", "v": "0.5"},
        {"n": "depth", "t": 60, "v": 0.22},
        {"bn": "nobody/", "n": "depth", "v": 0.5},
        {"n": "depth", "t": 120, "v": 0.3},
        topic="flood",
    )
    alerts, rejected = replay([pack], DEPTH)
    assert [story(a) for a in alerts] == ["05:20:00 F1 0>1 0.15/0.1", "05:21:00 F1 1>2 0.22/0.2"]
    assert sorted(r["reason"] for r in rejected) == ["malformed", "unknown_sensor", "unknown_sensor"]


T0 = ms("05:20") / 1000


@pytest.mark.parametrize(
    ("reason", "entry"),
    [
        ("malformed", 5),
        ("malformed", None),
        ("malformed", {}),
        ("malformed", {"n": "F1/depth", "t": T0}),
        ("malformed", {"n": "F1/depth", "v": 0.5}),
        ("malformed", {"n": "F1/depth", "t": 2**28 - 1, "v": 0.5}),
        ("malformed", {"n": "depth", "t": T0, "v": 0.5}),
        ("malformed", {"n": "F1/depth", "t": T0, "v": "0.5"}),
        ("malformed", {"n": "F1/depth", "t": T0, "v": True}),
        ("malformed", {"n": "F1/depth", "t": T0, "vb": 1}),
        ("malformed", {"n": "F1/depth", "t": str(T0), "v": 0.5}),
        ("malformed", {"n": ["F1/depth"], "t": T0, "v": 0.5}),
        ("malformed", {"n": "F1/depth", "t": T0, "v": 0.5, "u": 1}),
        ("malformed", {"n": "F1/depth", "t": T0, "v": 0.5, "bu": 1}),
        ("malformed", {"n": "nobody/depth", "t": 30, "v": 0.5}),
        ("unknown_sensor", {"n": "nobody/depth", "t": T0, "v": 0.5}),
        ("unknown_sensor", {"n": "a/F1/depth", "t": T0, "v": 0.5}),
        ("unknown_sensor", {"n": "/depth", "t": T0, "v": 0.5}),
        ("wrong_zone", {"n": "K1/depth", "t": T0, "v": 0.5}),
        ("wrong_zone", {"n": "K1/depth", "t": T0, "vs": "deep"}),
        ("wrong_quantity", {"n": "R1/rain", "t": T0, "v": 0.5}),
        ("wrong_quantity", {"n": "F1/rain", "t": T0, "v": 0.5}),
        ("wrong_quantity", {"n": "F1/level", "t": T0, "v": 0.5}),
        ("wrong_quantity", {"n": "F1/depth", "t": T0, "u": "cm", "v": 50}),
        ("wrong_quantity", {"n": "F1/depth", "t": T0, "bu": "cm", "v": 50}),
        ("wrong_quantity", {"n": "F1/depth", "t": T0, "vs": "deep"}),
        ("wrong_quantity", {"n": "F1/depth", "t": T0, "vb": True}),
        ("wrong_quantity", {"n": "F1/depth", "t": T0, "vd": "AAAA"}),
        ("out_of_range", {"n": "F1/depth", "t": T0, "v": 10.1}),
        ("out_of_range", {"n": "F1/depth", "t": T0, "v": -0.051}),
        ("out_of_range", {"n": "F1/depth", "t": T0, "v": float("inf")}),
        ("out_of_range", {"n": "F1/depth", "t": T0, "v": 10**400}),
        ("out_of_range", {"n": "F1/depth", "t": T0 + 6000, "v": 10.1}),
        ("future", {"n": "F1/depth", "t": T0 + 600.001, "v": 0.5}),
        ("future", {"n": "F1/depth", "t": float("inf"), "v": 0.5}),
    ],
)
def test_a_bad_reading_is_rejected_for_the_first_reason_and_costs_no_other(replay, reason, entry):
    limits = {"depth": {"min": -0.05, "max": 10}}
    around = [senml("05:20", sensor, value) | {"u": "m"} for sensor, value in (("F1/depth", 0.12), ("F2/depth", 0.22))]
    pack = line("readings.flood", "TH-03", [around[0], entry, around[1]], timestamp=ms("05:20"))
    alerts, rejected = replay([pack], DEPTH, quantities=limits, partitions=1)
    assert [story(a) for a in alerts] == ["05:20:00 F1 0>1 0.12/0.1", "05:20:00 F2 0>2 0.22/0.2"]
    assert len(rejected) == 1
    got = rejected[0]
    assert (got["reason"], got["topic"], got["key"]) == (reason, "readings.flood", "TH-03")
    assert (got["partition"], got["offset"]) == (0, 0)
    if "Infinity" not in json.dumps(entry) and entry != {"n": "F1/depth", "t": T0, "v": 10**400}:
        assert got["reading"] == entry


@pytest.mark.parametrize("raw", [b"", b"water", b"[1,", b'{"n":"F1/depth"}', b"null", b"7", b"\xff[]", b'[{"v":NaN}]'])
def test_a_record_that_is_no_pack_is_rejected_whole(replay, raw):
    lines = [*series("F1/depth", ("05:20", 0.12)), line("readings.flood", "TH-03", raw=raw)]
    lines += series("F1/depth", ("05:21", 0.22))
    alerts, rejected = replay(lines, DEPTH)
    assert [story(a) for a in alerts] == ["05:20:00 F1 0>1 0.12/0.1", "05:21:00 F1 1>2 0.22/0.2"]
    assert [r["reason"] for r in rejected] == ["malformed"]
    assert rejected[0]["size"] == len(raw)


def test_of_a_large_broken_record_64_kib_are_kept(replay):
    _, rejected = replay([line("readings.flood", "TH-03", raw=b"x" * 100_000, timestamp=ms("05:20"))], DEPTH)
    assert rejected[0]["size"] == 100_000
    assert len(rejected[0]["raw"]) == 4 * -(-65536 // 3)


def test_an_empty_pack_is_nothing(replay):
    assert replay([line("readings.flood", "TH-03", [], timestamp=ms("05:20"))], DEPTH) == ([], [])


@pytest.mark.parametrize("key", [None, "YX-1", "nowhere"])
def test_a_record_with_another_key_is_in_the_wrong_zone(replay, key):
    alerts, rejected = replay([readings(("05:20", "F1/depth", 1), key=key)], DEPTH)
    assert alerts == []
    assert [(r["reason"], r["key"]) for r in rejected] == [("wrong_zone", key)]


def test_10_minutes_ahead_of_the_later_of_clock_and_timestamp_is_still_accepted(changes):
    stamped = {"timestamp": ms("05:10")}
    lines = [
        readings(("05:20", "F1/depth", 0.12), **stamped),
        readings(("05:20:00.001", "F1/depth", 0.22), **stamped),
        *tick("05:10:30", timestamp=ms("05:10")),
        readings(("05:20:30", "F1/depth", 0.3), **stamped),
        readings(("05:20:30.001", "F1/depth", 0), **stamped),
    ]
    assert changes(lines, DEPTH) == ["05:20:00 F1 0>1 0.12/0.1", "05:20:30 F1 1>4 0.3/0.27"]


def test_a_tick_more_than_60_s_ahead_of_its_record_is_rejected(replay):
    rule = {"type": "silence", "kind": "flood", "levels": {"red": "60s"}}
    lines = [*series("F1/depth", ("05:20", 0)), *tick("05:21:00.001", "flood", timestamp=ms("05:20"))]
    alerts, rejected = replay(lines, rule, partitions=1)
    assert alerts == []
    assert [r["reason"] for r in rejected] == ["future"]
    lines[-1:] = tick("05:21", "flood", timestamp=ms("05:20"))
    alerts, rejected = replay(lines, rule, partitions=1)
    assert [story(a) for a in alerts] == ["05:21:00 F1 0>4 60/60"]
    assert rejected == []


def test_a_rejected_tick_is_shown_as_it_was_received(replay):
    entries = [{"bn": "@clock", "bt": ms("05:00") // 1000}, {"t": 1260, "foo": 1}]
    lines = [line("readings.flood", "@clock", entries, timestamp=ms("05:20"), partition=0)]
    _, rejected = replay([*lines, readings(("05:20", "F1/depth", 0))], DEPTH)
    assert [(r["reason"], r["reading"]) for r in rejected] == []
    lines = [line("readings.flood", "@clock", entries, timestamp=ms("05:19"), partition=0)]
    _, rejected = replay([*lines, readings(("05:20", "F1/depth", 0))], DEPTH)
    assert [(r["reason"], r["reading"]) for r in rejected] == [("future", entries[1])]


@pytest.mark.parametrize(
    "entry", [{"v": 1}, {"v": 0.5}, {"v": -1}, {"vb": True}, {"v": 1, "u": "lx"}, {"v": 0, "bv": 1}]
)
def test_infrared_is_true_in_any_unit_if_not_0(changes, entry):
    pack = readings({"n": "Bath/button", "t": T0} | entry)
    assert changes([pack], CALL) == ["05:20:00 HOME 0>4 1/1", "05:21:00 HOME 4>0 0/1"]


@pytest.mark.parametrize("entry", [{"v": 0}, {"v": 0.0}, {"vb": False}])
def test_infrared_0_is_false(changes, entry):
    assert changes([readings({"n": "Bath/button", "t": T0} | entry)], CALL) == []


def test_times_are_rounded_to_the_millisecond(replay):
    alerts, _ = replay([readings({"n": "F1/depth", "bt": 1714800000.25, "t": 0.0004, "v": 1})], DEPTH)
    assert alerts[0]["at"] == "2024-05-04T05:20:00.250Z"


def test_a_pack_is_sorted_by_time(changes):
    pack = readings(("05:22", "F1/depth", 0.3), ("05:20", "F1/depth", 0.12), ("05:21", "F1/depth", 0.22))
    assert changes([pack], DEPTH) == [
        "05:20:00 F1 0>1 0.12/0.1",
        "05:21:00 F1 1>2 0.22/0.2",
        "05:22:00 F1 2>4 0.3/0.27",
    ]


def test_duplicates_and_late_readings_change_no_level(replay):
    lines = series("F1/depth", ("05:20", 0), ("05:20", 0.3), ("05:25", 0), ("05:25", 0.3), ("05:21", 0.3))
    assert replay(lines, DEPTH) == ([], [])
    assert replay([readings(("05:20", "F1/depth", 0), ("05:20", "F1/depth", 1))], DEPTH) == ([], [])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([5.0], ["05:00:00 0>4"]),  # the first is good
        ([0.0, 0.5], ["05:01:00 0>4"]),
        ([0.0, 0.51], []),
        ([0.0, 0.6, 0.0, 0.6], []),  # a spike is dropped; another one is a new one
        ([0.0, 0.6, 1.1], ["05:02:00 0>4"]),  # near the held one
        ([0.0, 0.6, 5.0], ["05:02:00 0>4"]),  # beyond it
        ([0.0, 2.0, 1.0, 1.2], ["05:03:00 0>4"]),  # neither: now 1.0 is held
        ([0.0, 2.0, -1.0, 2.0], []),  # the other side
        ([0.3, -0.3, -0.9], ["05:00:00 0>4", "05:02:00 4>0"]),
        ([0.0, 0.6, 0.3], ["05:02:00 0>4"]),
    ],
)
def test_a_reading_far_from_the_last_good_one_is_held_back(replay, values, found):
    lines = [readings((ms("05:00") + i * 60_000, "F1/depth", value)) for i, value in enumerate(values)]
    alerts, rejected = replay(lines, DEPTH | {"levels": {"red": 0.27}}, quantities=STEP)
    assert [" ".join(story(a).split()[::2]) for a in alerts] == found
    assert rejected == []


def test_a_held_reading_moves_the_last_accepted_time(changes):
    lines = series("F1/depth", ("05:00", 0), ("05:10", 9), ("05:09", 0.3), ("05:10", 0.3), ("05:11", 0.3))
    assert changes(lines, DEPTH | {"levels": {"red": 0.27}}, quantities=STEP) == ["05:11:00 F1 0>4 0.3/0.27"]


# Captures


def test_a_capture_without_ticks_gets_one_a_minute(changes):
    rule = DEAD | {"kind": "flood", "levels": {"red": "5m"}}
    # The first tick is at 05:01: F2 is silent from then.
    lines = series("F1/depth", ("05:00:30", 0), ("05:06", 0))
    assert changes(lines, rule, until=None) == ["05:05:30 F1 0>4 300/300", "05:06:00 F1 4>0 330/300",
                                                "05:06:00 F2 0>4 300/300"]  # fmt: skip
    # Not so in one with a tick of its own.
    assert changes([*tick("05:00:10", "crowd"), *lines], rule) == ["05:05:30 F1 0>4 300/300", "05:06:00 F1 4>0 330/300"]


def test_the_timestamp_of_a_line_is_its_time_and_without_one_the_capture_goes_on(replay):
    lines = [
        readings(("05:30", "F1/depth", 0.3), timestamp=ms("05:20")),
        readings(("05:30:00.001", "F2/depth", 0.3), timestamp=ms("05:20")),
        readings(("05:19", "F2/depth", 0.3)),  # its time is 05:19, the capture's still 05:20
        readings(("05:31", "F1/depth", 0)),  # its own time counts
    ]
    alerts, rejected = replay(lines, DEPTH, until=None)
    assert [story(a) for a in alerts] == [
        "05:19:00 F2 0>4 0.3/0.27",
        "05:30:00 F1 0>4 0.3/0.27",
        "05:31:00 F1 4>0 0/0.27",
    ]
    assert [r["reason"] for r in rejected] == ["future"]


def test_a_tick_line_without_a_partition_goes_to_all(changes):
    rule = [DEAD | {"kind": kind, "id": kind, "levels": {"red": "5m"}} for kind in ("flood", "crowd")]
    lines = [*tick("05:00", "flood", "crowd"), *tick("05:05", "flood", "crowd")]
    assert [c.split()[1] for c in changes(lines, rule)] == ["K1", "K2", "F1", "F2"]


def test_a_tick_at_or_before_the_clock_changes_nothing(changes):
    rule = DEAD | {"kind": "flood", "levels": {"red": "5m"}}
    lines = [*tick("05:10", "flood"), *tick("05:00", "flood"), *series("F1/depth", ("05:05", 0))]
    # The reading is behind the first tick, from which the sensor is silent.
    assert changes([*lines, *tick("05:15", "flood")], rule) == ["05:15:00 F1 0>4 300/300", "05:15:00 F2 0>4 300/300"]
