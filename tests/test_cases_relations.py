"""What cases have to do with one another: silent sensors, homes that cannot be watched, the street's gauges."""

from __future__ import annotations

from examples import DEPTH, ms, sites
from strategies import rules_file
from timelines import MINUTE, Timeline, Town, route

DAY = 24 * 60 * MINUTE
STORM = {"id": "rainstorm", "type": "window_sum", "kind": "rain", "quantity": "rain",
         "levels": {"red": {"window": "1h", "sum": 20}}}  # fmt: skip
TOWN = Town(
    {"technician": "tom"},
    flood=route("crew", "boss"),
    rain=route("crew", "boss"),
    infrared=route("carers", "boss"),
    silence=route("technician"),
)


def silence(kind: str, **levels: str) -> dict:
    return {"id": f"{kind}-silence", "type": "silence", "kind": kind, "levels": levels or {"yellow": "15m"}}


def timeline(*rules: dict, grace: str = "0s", catalogue: dict | None = None, **options) -> Timeline:
    return Timeline(rules_file(list(rules), grace=grace), TOWN, catalogue, **options)


def without_technician(story: Timeline) -> list[str]:
    return [line for line in story.told() if "tom" not in line and "-silence/" not in line]


# No data


def test_a_sum_that_falls_because_its_station_is_silent_is_no_all_clear():
    story = timeline(STORM, silence("rain")).every(1, "R1/rain", 1, "02:00", "02:31")
    story.at("02:30").acks("ann")
    # 20 mm at 02:19; silent since 02:30, told at 02:45; at 03:11 less than 20 mm are in the last hour
    story.play("06:00")
    assert without_technician(story) == [
        "02:19:00 opened red rainstorm/R1 to ann bob",
        "02:24:00 escalated red rainstorm/R1 to cat",
        "02:29:00 repeated red rainstorm/R1 to ann bob",
        "03:11:10 no_data red rainstorm/R1 to ann bob cat",
    ]
    case = story.case("rainstorm/R1")
    assert (case.state, case.level, case.no_data, case.resolved) == ("acknowledged", 4, True, None)


def test_it_is_over_when_the_sensor_speaks_again_and_the_rule_does_not_fire():
    story = timeline(STORM, silence("rain")).every(1, "R1/rain", 1, "02:00", "02:31")
    story.every(1, "R1/rain", 0, "04:00:30", "05:00")
    story.at("02:20").acks("ann")
    story.play("06:00")
    assert without_technician(story) == [
        "02:19:00 opened red rainstorm/R1 to ann bob",
        "03:11:10 no_data red rainstorm/R1 to ann bob",
        "04:05:30 resolved normal rainstorm/R1 to ann bob",
    ]
    assert story.changes("rainstorm/R1")[-1] == "04:35:30 closed closed"


def test_it_fires_again_when_the_sensor_speaks_again():
    story = timeline(STORM, silence("rain")).every(1, "R1/rain", 1, "02:00", "02:31")
    story.reads("R1/rain", ("04:00:30", 10), ("04:01:30", 12))
    for clock in ("02:20", "04:02"):
        story.at(clock).acks("ann", "rainstorm/R1")
    story.play("04:20")
    assert without_technician(story)[2:] == ["04:01:30 reopened red rainstorm/R1 to ann bob"]


def test_a_gauge_that_comes_back_low_is_over_at_once():
    story = timeline(DEPTH | {"id": "depth"}, silence("flood"))
    story.reads("F1/depth", ("02:10", 0.30), ("04:00:07.250", 0.0))
    story.at("02:11").acks("ann")
    story.play("04:10")
    assert without_technician(story) == [
        "02:10:00 opened red depth/F1 to ann bob",
        "04:00:07.250 resolved normal depth/F1 to ann bob",
    ]


def test_a_catchment_without_any_rain_station_that_speaks_gets_no_all_clear():
    risk = {"id": "risk", "type": "waterlog_risk", "kind": "flood", "levels": {"red": 0.27}}
    catalogue = sites(interception_mm=0, storage_mm=1, drainage_mm_h=60, runoff=1)
    story = timeline(risk, silence("rain"), catalogue=catalogue)
    for station in ("R1", "R2"):
        story.every(1, f"{station}/rain", 3, "02:00", "02:20")
    story.at("02:05").acks("ann")
    story.play("06:00")
    told = [line.split(" ", 1)[1] for line in without_technician(story)]
    assert told == ["opened red risk/CATCH to ann bob", "no_data red risk/CATCH to ann bob"]


def test_with_one_station_that_speaks_it_is_an_all_clear():
    risk = {"id": "risk", "type": "waterlog_risk", "kind": "flood", "levels": {"red": 0.27}}
    catalogue = sites(interception_mm=0, storage_mm=1, drainage_mm_h=60, runoff=1)
    story = timeline(risk, silence("rain"), catalogue=catalogue)
    for station in ("R1", "R2"):
        story.every(1, f"{station}/rain", 3, "02:00", "02:20")
    story.every(1, "R2/rain", 0, "02:20", "06:00").every(1, "F1/depth", 0, "02:20", "06:00")
    story.at("02:05").acks("ann")
    story.play("06:00")
    told = [line.split(" ", 1)[1] for line in without_technician(story)]
    assert told == ["opened red risk/CATCH to ann bob", "resolved normal risk/CATCH to ann bob"]


# Homes

IDLE = {"id": "idle", "type": "inactivity", "kind": "infrared", "levels": {"yellow": "2h", "red": "4h"}}
ROOMS = ("Bath", "Living", "Bed", "Door")


def home(*rules: dict, speaks: tuple[str, str], grace: str = "0s") -> Timeline:
    """A home whose sensors report each five minutes in that time, without any motion."""
    story = timeline(*(rules or (IDLE,)), silence("infrared"), grace=grace)
    for room in ROOMS:
        story.every(5, f"{room}/motion", 0, *speaks)
    return story


def test_a_home_that_fell_silent_is_told_when_and_to_whom_inactivity_would():
    story = home(speaks=("02:00", "03:00")).reads("Bed/motion", ("02:07", 1))
    story.play("06:30")
    assert without_technician(story)[:2] == [
        "04:07:00 unwatched yellow idle/HOME to eve fay",
        "04:12:00 escalated yellow idle/HOME to cat",
    ]
    assert "06:07:00 unwatched red idle/HOME to eve fay cat dan" in story.told()
    reason = next(n.reason for n in story.notifications if n.why == "unwatched")
    assert reason.zh == "该户所有传感器失联，已无法看护，黄色"
    assert story.case("idle/HOME").unwatched


def test_a_home_with_one_sensor_that_speaks_is_watched():
    story = home(speaks=("02:00", "03:00")).reads("Bed/motion", ("02:07", 1))
    story.every(5, "Door/motion", 0, "03:00", "04:10")
    story.at("04:08").acks("eve", "idle/HOME")
    story.play("04:10")
    assert without_technician(story) == ["04:07:00 opened yellow idle/HOME to eve fay"]


def test_when_the_sensors_speak_again_and_nobody_moves_those_who_were_told_hear_of_it():
    story = home(speaks=("02:00", "03:00")).reads("Bed/motion", ("02:07", 1), ("05:10", 1))
    story.every(5, "Bath/motion", 0, "04:30:20", "05:10")
    story.at("04:09").acks("eve")
    story.play("06:00")
    assert without_technician(story) == [
        "04:07:00 unwatched yellow idle/HOME to eve fay",
        "04:30:30 watched yellow idle/HOME to eve fay",
        "05:10:00 resolved normal idle/HOME to eve fay",
    ]


def test_a_motion_that_ends_the_silence_is_an_all_clear():
    story = home(speaks=("02:00", "03:00")).reads("Bed/motion", ("02:07", 1), ("04:30:20", 1))
    story.at("04:09").acks("eve")
    story.play("06:00")
    assert without_technician(story) == [
        "04:07:00 unwatched yellow idle/HOME to eve fay",
        "04:30:20 resolved normal idle/HOME to eve fay",
    ]


def test_while_nobody_is_in_it_is_told_when_the_longer_waits_end():
    away = IDLE | {"away_room": "entrance", "away_levels": {"yellow": "3h", "red": "5h"}}
    story = home(away, speaks=("02:00", "03:00")).reads("Door/motion", ("02:07", 1))
    story.at("05:08").acks("eve")
    story.play("06:00")
    assert without_technician(story) == ["05:07:00 unwatched yellow idle/HOME to eve fay"]


def test_a_home_where_nobody_has_moved_yet_is_told_of_too():
    """The rule's timer begins with the first motion; a home that cannot be watched is told of all the same."""
    story = home(speaks=("02:00", "03:00"), grace="30s")
    story.at("04:58").acks("eve")
    story.every(5, "Bed/motion", 0, "05:20:10", "06:00")
    story.play("07:00")
    # silent since 02:55; the rule itself would be here 30 s (its grace) after the wait, at the latest 10 s later
    assert without_technician(story) == [
        "04:55:40 unwatched yellow idle/HOME to eve fay",
        "05:20:10 resolved normal idle/HOME to eve fay",
    ]
    assert story.case("idle/HOME").id == "idle/HOME/2024-05-04T04:55:00.000Z"
    assert story.changes("idle/HOME")[-1] == "05:50:10 closed closed"


def test_the_levels_of_a_home_that_nobody_watches_go_up_too():
    story = home(speaks=("02:00", "03:00"))
    story.at("04:58").acks("eve")
    story.play("06:56")
    assert without_technician(story) == [
        "04:55:10 unwatched yellow idle/HOME to eve fay",
        "06:55:10 unwatched red idle/HOME to eve fay",
    ]


# The street


def test_under_a_red_risk_the_gauges_are_grouped_and_told_of_all_the_same():
    risk = {"id": "risk", "type": "waterlog_risk", "kind": "flood", "levels": {"red": 0.27}}
    story = timeline(DEPTH | {"id": "depth"}, risk)
    story.reads("F1/depth", ("02:10", 0.15)).every(1, "R1/rain", 0, "02:00", "03:00")
    story.every(1, "F1/depth", 0.30, "02:11", "02:20").every(1, "F2/depth", 0.30, "02:15", "02:20")
    story.every(1, "F1/depth", 0, "02:20", "03:00").every(1, "F2/depth", 0, "02:20", "03:00")
    for key in ("depth/F1", "risk/CATCH", "depth/F2"):
        story.at("02:16").acks("ann", key)
    story.play("02:40")
    assert [line for line in story.told() if "to ann bob" in line and "resolved" not in line] == [
        "02:10:00 opened blue depth/F1 to ann bob",
        "02:11:00 raised red depth/F1 to ann bob",
        "02:12:00 opened red risk/CATCH to ann bob",
        "02:15:00 opened red depth/F2 to ann bob",
    ]
    risk_case = story.case("risk/CATCH").id
    groups = [(c.key, c.change, c.group) for c in story.cases if c.change in ("grouped", "ungrouped", "opened")]
    assert groups == [
        ("depth/F1", "opened", None),
        ("risk/CATCH", "opened", None),
        ("depth/F1", "grouped", risk_case),
        ("depth/F2", "opened", risk_case),
        ("depth/F1", "ungrouped", None),
        ("depth/F2", "ungrouped", None),
    ]


def test_the_sensors_that_are_silent_are_cases_of_their_own():
    story = timeline(silence("flood")).reads("F1/depth", ("02:00", 0))
    story.play("02:20")
    assert "02:16:00 opened yellow flood-silence/F1 to tom" in story.told()
    assert ms("02:15") == story.cases[0].opened
