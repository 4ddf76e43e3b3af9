"""What stands beside a case in the console: its readings against the thresholds, what happened, by whose names."""

from __future__ import annotations

import json

import pytest

from alerts.cases.notification import Receipt
from alerts.console.login import Scope
from alerts.console.reckoned import present, sums
from alerts.console.view import View
from tests.consoles import City, console
from tests.test_console import HOME, START, flood, logged_in, press

MINUTE = 60_000
VENUE = "GZ-STATION-SOUTH"


def city_view(city: City) -> View:
    return View(city.board, Scope("admin"))


def test_of_one_time_the_decision_comes_before_those_who_are_told_and_they_before_the_receipts() -> None:
    city = City()
    case = flood(city, 0.3)
    city.tick(START + 30 * MINUTE)
    lines = city_view(city).timeline(city.board.cases[case])
    decided = [line.get("change") for line in lines if line["what"] == "case" and line["change"] != "notified"]
    assert decided[:2] == ["opened", "escalated"]
    for at in (START, START + 5 * MINUTE):
        of_then = [line["what"] for line in lines if line["at"] == at and line.get("change") != "notified"]
        assert of_then[0] == "case"
        assert of_then == sorted(of_then, key=["case", "told", "receipt"].index)
        assert {"told", "receipt"} <= set(of_then)


def test_receipts_stand_with_what_they_are_of_also_where_the_log_is_of_another_day() -> None:
    """In the demo, and behind a replay, delivery's clock is not the log's."""
    city = City()
    case = flood(city, 0.3)
    told = next(line for line in city_view(city).timeline(city.board.cases[case]) if line["what"] == "told")
    months = 200 * 86_400_000
    late = Receipt(
        id=f"{told['id']}/sms/9", notification=told["id"], case=case, to=told["to"], channel="sms", attempt=9,
        status="failed", at=START + months,
    )  # fmt: skip
    city.board.take(late)
    lines = city_view(city).timeline(city.board.cases[case])
    assert [line["at"] for line in lines if line.get("attempt") == 9] == [START]
    city.tick(START + months)
    lines = city_view(city).timeline(city.board.cases[case])
    assert [line["at"] for line in lines if line.get("attempt") == 9] == [START + months]


async def test_colleagues_are_named_on_duty_or_not_and_nobody_elses_relatives() -> None:
    async with console(City()) as running:
        directory = running.city.directory
        now = {one for group in directory.duty.groups for one in directory.duty.on_duty(group, START)}
        async with await logged_in(running, "viewer") as browser:
            names = (await browser.whole())["me"]["names"]
        off_duty = {one for group in directory.duty.groups for one in directory.duty.everybody(group)} - now
        homes = {f"relatives-{home}" for home in directory.homes} & directory.duty.groups.keys()
        relatives = {one for group in homes for one in directory.duty.everybody(group)}
        assert off_duty
        assert names.keys() >= off_duty - relatives
        assert relatives
        assert not relatives & names.keys()


# Readings against thresholds


def test_sums_are_those_of_whole_windows() -> None:
    points = [(START + n * MINUTE, float(n)) for n in range(10)]
    assert sums(points, 3) == [(START + n * MINUTE, 3.0 * n - 3) for n in range(3, 10)]
    assert sums(points, 60) == []
    assert sums([], 60) == []


def test_rain_is_shown_as_the_sum_that_the_warning_is_about() -> None:
    city = City()
    station = next(s for s in city.catalogue.sensors.values() if s.kind == "rain")
    for n in range(200):
        at = START + n * MINUTE
        pack = json.dumps([{"n": f"{station.id}/rain", "t": at / 1000, "v": 0.4}]).encode()
        city.readings("rain", station.zone, pack, at)
    found = {one.get("window"): one for one in city_view(city).detail(station)["series"]}
    assert set(found) == {None, 180}  # of six and of twelve hours there are no readings yet
    assert found[180]["thresholds"] == {3: 50, 4: 100}
    alert = city.board.alerts[f"rainstorm/{station.id}"]
    assert alert["level"] == 3
    summed = dict(found[180]["points"])
    assert summed[START + 199 * MINUTE] == pytest.approx(72)


def count(city: City, at: int, **values: int) -> None:
    pack = json.dumps([{"n": f"{VENUE}-01/{q.strip('_')}", "t": at / 1000, "v": v} for q, v in values.items()]).encode()
    city.readings("crowd", VENUE, pack, at)


def test_people_in_a_crowded_venue_are_reckoned_as_the_rule_does_it() -> None:
    city = City()
    venue = city.catalogue.places[VENUE]
    capacity = round(venue.capacity or 0)
    count(city, START, count=round(0.75 * capacity), in_=0, out=0)
    count(city, START + MINUTE, in_=round(0.2 * capacity))
    assert city.board.alerts[f"crowd-occupancy/{VENUE}"]["level"] == 3
    count(city, START + 2 * MINUTE, in_=200, out=500)
    shown = next(one for one in city_view(city).detail(venue)["series"] if one["quantity"] == "present")
    start, here = round(0.75 * capacity), round(0.75 * capacity) + round(0.2 * capacity)
    assert shown["points"] == [(START, start), (START + MINUTE, here), (START + 2 * MINUTE, here - 300)]
    assert shown["thresholds"] == {2: 0.8 * capacity, 3: 0.9 * capacity, 4: capacity}
    count(city, START + 3 * MINUTE, out=capacity)
    assert "present" not in {one["quantity"] for one in city_view(city).detail(venue)["series"]}


def test_nobody_is_reckoned_from_before_the_readings_are_known() -> None:
    later = {"in": [(START + MINUTE, 5.0)], "out": [(START + 2 * MINUTE, 2.0)]}
    assert present(START, 100, [later]) == []
    assert present(START + 3 * MINUTE, 100, [later]) == [(START + 2 * MINUTE, 100.0)]
    assert present(START, 100, []) == []


def test_a_homes_detail_has_its_rooms_and_its_button() -> None:
    city = City()
    press(city, START)
    shown = city_view(city).detail(city.catalogue.places[HOME])["series"]
    assert ("button", [(START, 1.0)]) in [(one["quantity"], one["points"]) for one in shown]
