"""As shipped: the city, its rules, its routes. Who hears of a flood, a long stay, a call for help, and when."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
from timelines import Timeline, show

from alerts.levels import LEVEL_NAMES
from alerts.routes.routes import Routes
from alerts.rulebook import SHIPPED as RULES
from sensors.catalogue import SHIPPED as SITES

HOME = "H-F309"  # in community HP-C01 of Huangpu


@pytest.fixture
def story() -> Timeline:
    """Two zones of the city; nobody answers unless the test says so."""
    city = json.loads(SITES.read_bytes())
    city["features"] = [f for f in city["features"] if f["properties"]["zone"] in ("TH-01", "HP-C01")]
    return Timeline(RULES.read_text(), Routes.shipped(), city)


def heard(story: Timeline, rule: str) -> list[str]:
    """``time why level: groups`` of one rule's notifications."""
    ours = [n for n in story.notifications if n.key.startswith(f"{rule}/")]
    lines = []
    for (at, why, level), found in groupby(ours, key=lambda n: (n.at, n.why, n.level)):
        lines.append(f"{show(at)} {why} {LEVEL_NAMES[level]}: {' '.join(dict.fromkeys(n.group for n in found))}")
    return lines


def test_a_long_stay_tells_the_street_office_then_carers_and_volunteers(story):
    story.reads(f"{HOME}-bathroom/motion", ("02:10", 1)).every(2, f"{HOME}-bathroom/motion", 0, "02:12", "03:50")
    story.reads(f"{HOME}-living/motion", ("03:20", 1)).every(2, f"{HOME}-living/motion", 0, "02:11", "03:50")
    story.play("03:50")
    assert heard(story, "home-dwell") == [
        "03:10:00 opened orange: street-office-huangpu",
        "03:15:00 escalated orange: carers-HP-C01 volunteers-huangpu",
        "03:20:00 resolved normal: street-office-huangpu carers-HP-C01 volunteers-huangpu",
        "03:50:00 repeated orange: street-office-huangpu",
    ]
    assert story.notifications[-1].reason.en == "over, but nobody had answered: telling goes on"


def test_a_call_for_help_tells_carers_relatives_and_the_doctor_at_once(story):
    story.reads(f"{HOME}-call/button", ("02:10:07.125", 1))
    story.play("02:41")
    told = heard(story, "call-button")
    near = [group for group in ("carers-HP-C01", "doctor-HP-C01", f"relatives-{HOME}") if group in told[0]]
    assert told[0] == f"02:10:07.125 opened red: {' '.join(near)}"
    assert near[:2] == ["carers-HP-C01", "doctor-HP-C01"]
    assert told[1:3] == [
        "02:12:07.125 escalated red: street-office-huangpu volunteers-huangpu",
        f"02:15:07.125 repeated red: {' '.join(near)}",
    ]
    assert told[-1] == "02:40:07.125 last_resort red: control-room"


def test_a_flood_tells_the_drainage_crew_and_the_traffic_police_of_its_district(story):
    story.every(1, "GZ-TH-0001/depth", 0.02, "02:00", "02:10").every(1, "GZ-TH-0001/depth", 0.31, "02:10", "02:45")
    story.play("02:45")
    assert heard(story, "flood-depth") == [
        "02:10:00 opened red: drainage-tianhe traffic-tianhe",
        "02:15:00 escalated red: flood-control-tianhe",
        "02:20:00 repeated red: drainage-tianhe traffic-tianhe",
        "02:25:00 repeated red: flood-control-tianhe",
        "02:30:00 repeated red: drainage-tianhe traffic-tianhe",
        "02:35:00 repeated red: flood-control-tianhe",
        "02:40:00 last_resort red: control-room",
    ]


def test_a_home_that_cannot_be_watched_tells_those_who_hear_of_no_activity(story):
    for room in ("bed", "living", "bathroom", "entrance", "call"):
        quantity = "button" if room == "call" else "motion"
        story.every(10, f"{HOME}-{room}/{quantity}", 0, "00:05", "01:00")
    story.reads(f"{HOME}-bed/motion", ("00:02", 1))
    story.play("12:08")
    assert heard(story, "home-inactivity") == [
        "12:03:00 unwatched yellow: street-office-huangpu",
        "12:08:00 escalated yellow: carers-HP-C01 volunteers-huangpu",
    ]
