"""A home and a city's pedestrians as they were recorded: long stays, empty days, crowds and dead counters."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from recordings import Alert, catalogue, compare, folder, kapok, replayed, site

from sensors import capture

pytestmark = pytest.mark.recordings


@pytest.fixture(scope="module")
def recordings() -> Path:
    return folder()


# -- one home, a week, empty for three days --------

HOME_RULES = """
grace = "30s"
[[rule]]
id = "stay"
kind = "infrared"
type = "dwell"
rooms = {bathroom = {orange = "30m"}}
"""
AWAY = """
away_room = "entrance"
away_return = {motions = 3, within = "10m"}
"""


@pytest.fixture(scope="module")
def home(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source = recordings / "elder/casas-cil-tm000/tm000.multiday_absence.txt"
    rooms = {"Bathroom": "bathroom", "Bedroom": "bed", "LivingRoom": "living", "MainEntryway": "entrance"}
    sites = [site("home", "place", "infrared", "CASAS")]
    for sensor in sorted({line.split("\t")[1] for line in source.read_text().splitlines()}):
        part = re.match("|".join(rooms), sensor)
        room = rooms[part[0]] if part else sensor
        sites.append(site(sensor, "sensor", "infrared", "CASAS", place="home", room=room))
    path = catalogue(tmp_path_factory.mktemp("home"), sites)
    out = path.parent / "home.jsonl"
    layout = (
        "--no-header",
        "--delimiter",
        "tab",
        "--time",
        1,
        "--sensor",
        2,
        "--value",
        3,
        "--tz",
        "US/Pacific",
    )
    words = ("--word", "ON=1", "--word", "OFF=0")
    kapok("import", source, "--kind", "infrared", *layout, *words, "--sites", path, "--out", out)
    return out, path


def test_one_long_stay_in_the_bathroom(home: tuple[Path, Path]) -> None:
    alerts, rejected = replayed(*home, HOME_RULES + AWAY)
    assert [(a["at"][:19], a["previous"], a["level"]) for a in alerts] == [
        ("2016-07-17T14:58:04", 0, 3),
        ("2016-07-17T15:01:24", 3, 0),
    ]
    assert alerts[0]["value"] == 1800
    assert rejected == []
    compare(*home, HOME_RULES + AWAY, alerts, rejected)


def test_without_away_return_phantom_motions_would_raise_alarms(home: tuple[Path, Path]) -> None:
    alerts, _ = replayed(*home, HOME_RULES)
    assert [a["onset"][:16] for a in alerts if a["previous"] == 0] == [
        "2016-07-14T16:43",  # a lone trigger at 09:13:56 local, nobody home
        "2016-07-15T08:43",
        "2016-07-17T14:58",
    ]


# -- pedestrian counters, three of them at stations --------

CROWD_RULES = """
timezone = "Australia/Melbourne"
[[rule]]
id = "rush"
kind = "crowd"
type = "level"
quantity = "in"
levels = {orange = 7000}
[[rule]]
id = "three-hours"
kind = "crowd"
type = "window_sum"
quantity = "in"
per = "place"
levels = {red = {window = "3h", sum = 15000}}
hysteresis = 0.5
[[rule]]
id = "silent"
kind = "crowd"
type = "silence"
levels = {yellow = "3h"}
"""
FLAGSTAFF, NEW_QUAY, BIRRARUNG = "MEL-13", "MEL-12", "MEL-7"


@pytest.fixture(scope="module")
def counters(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with open(recordings / "crowd/melbourne-pedestrian/pedestrian_trimmed.csv") as file:
        numbers = sorted({row[3] for row in csv.reader(file) if row[3]}, key=int)
    sites = []
    for number in numbers:
        sites.append(site(f"V{number}", "place", "crowd", f"V{number}", capacity=10000))
        sites.append(site(f"MEL-{number}", "sensor", "crowd", f"V{number}", place=f"V{number}"))
    return catalogue(tmp_path_factory.mktemp("melbourne"), sites)


def counted(recordings: Path, sites: Path, month: str) -> tuple[list[Alert], str]:
    """The alerts of one month (in the file a day's rows may come a day or two late), and what import said."""
    source, out = sites.parent / "month.csv", sites.parent / "month.jsonl"
    lines = (recordings / "crowd/melbourne-pedestrian/pedestrian_trimmed.csv").read_text().splitlines(True)
    source.write_text("".join(line for line in lines if line[4:12] == month))
    layout = ("--no-header", "--time", 1, "--time-format", "%d-%b-%Y %H:%M", "--tz", "Australia/Melbourne")
    columns = ("--sensor", 4, "--prefix", "MEL-", "--value", "6=in")
    said = kapok("import", source, "--kind", "crowd", *layout, *columns, "--sites", sites, "--out", out)
    return replayed(out, sites, CROWD_RULES)[0], said


def test_a_fun_run_and_a_rush_hour(recordings: Path, counters: Path) -> None:
    alerts, said = counted(recordings, counters, "APR-2012")
    up = [(a["site"], a["at"][:16], a["value"]) for a in alerts if a["rule"] == "rush" and a["level"] == 3]
    assert (NEW_QUAY, "2012-04-01T00:00", 11284) in up  # 10:00 local, 266 on other Sundays
    assert (FLAGSTAFF, "2012-04-23T22:00", 7456) in up  # 08:00 local
    assert len(up) == 3  # and Waterfront City, on the way of the same run
    sums = [(a["site"], a["at"][:16], a["value"], a["level"]) for a in alerts if a["rule"] == "three-hours"]
    assert sums[:2] == [("V12", "2012-04-01T02:00", 15019, 4), ("V12", "2012-04-01T03:00", 3735, 0)]
    assert "9 times are in an hour that the clock change in Australia/Melbourne repeats or skips" in said


def test_a_dead_counter_that_still_reports_is_not_silent(recordings: Path, counters: Path) -> None:
    """30 hours of zeros from 2012-11-22 08:00 local: a report is a report, even of nobody."""
    alerts, _ = counted(recordings, counters, "NOV-2012")
    assert [a for a in alerts if a["site"] == BIRRARUNG] == []
    zeros = [
        line
        for line in capture.read(counters.parent / "month.jsonl")
        if line.key == "V7" and b'"v":0}' in bytes(line.value or b"")
    ]
    assert len(zeros) >= 30


def test_counters_that_stop_are_silent(recordings: Path, counters: Path) -> None:
    alerts, said = counted(recordings, counters, "JUL-2014")
    assert [(a["site"], a["at"][:16]) for a in alerts if a["rule"] == "silent"] == [
        (BIRRARUNG, "2014-07-20T17:01"),  # not one reading in these days: silent since the first tick
        ("MEL-4", "2014-07-23T16:00"),
    ]
    assert "empty values: 1 left out" in said
