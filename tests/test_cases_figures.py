"""The figures of 有呼必应, by hand and from a simulated month."""

from __future__ import annotations

import json
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from examples import DEPTH, sites
from strategies import rules_file
from timelines import Timeline, Town, route

from alerts.cases import schemas
from alerts.cases.figures import by_day_and_district, by_district, figures
from alerts.routes.routes import Routes
from bench.month import Month
from sensors.catalogue import SHIPPED, Catalogue

MINUTE = 60_000


def test_figures_by_hand():
    city = sites()
    next(f for f in city["features"] if f["properties"]["id"] == "F2")["properties"]["district"] = "荔湾区"
    story = Timeline(rules_file([DEPTH | {"id": "depth"}], grace="0s"), Town(flood=route("crew")), city)
    story.reads("F1/depth", ("02:00", 0.15), ("02:20", 0), ("17:00", 0.15)).reads("F2/depth", ("03:00", 0.3))
    story.at("16:00").silences("ann", "23:00", site=["F1"])
    story.at("02:04").acks("ann", "depth/F1")
    story.at("02:30").closes("ann", "depth/F1", satisfaction=5)
    story.at("03:01").acks("bob", "depth/F2")
    story.play("18:00")
    newest = {case.id: case for case in story.cases}.values()
    tianhe, liwan = by_district(newest).values()
    assert list(by_district(newest)) == ["天河区", "荔湾区"]
    assert (tianhe.cases, tianhe.answered, tianhe.closed, tianhe.held, tianhe.unnotified) == (2, 1, 1, 1, 0)
    assert (tianhe.to_answer, tianhe.to_close, tianhe.satisfaction, tianhe.asked) == (4 * MINUTE, 30 * MINUTE, 5, 1)
    assert (tianhe.share_answered, tianhe.share_closed) == (1, 0.5)
    assert (liwan.to_answer, liwan.to_answer_p90, liwan.to_close, liwan.satisfaction) == (MINUTE, MINUTE, None, None)
    # 17:00 in UTC is the next day in Guangzhou
    fourth, fifth = date(2024, 5, 4), date(2024, 5, 5)
    for timezone, days in ("Asia/Shanghai", [(fourth, 1), (fifth, 1)]), ("UTC", [(fourth, 2)]):
        found = by_day_and_district(newest, ZoneInfo(timezone))
        assert {key: of.cases for key, of in found.items()} == {
            **{(day, "天河区"): cases for day, cases in days},
            (fourth, "荔湾区"): 1,
        }
        assert list(found) == sorted(found)


def test_figures_of_nothing():
    nothing = figures([])
    assert (nothing.cases, nothing.to_answer, nothing.share_answered, nothing.share_closed) == (0, None, None, None)


@pytest.mark.parametrize("name", schemas.MESSAGES)
def test_the_schemas_in_the_docs_are_those_of_the_messages(name):
    text = (schemas.FOLDER / f"{name}.json").read_text()
    assert text == schemas.schema(name), "run python -m alerts.cases.schemas"


def part_of_the_city(*zones: str) -> Catalogue:
    city = json.loads(SHIPPED.read_bytes())
    city["features"] = [f for f in city["features"] if f["properties"]["zone"] in zones]
    return Catalogue.parse(json.dumps(city, ensure_ascii=False).encode())


def test_a_month_of_storms_homes_and_rushes_leaves_nobody_unnotified_and_every_case_closed():
    """Staff answer late or never; some cannot be reached. The whole city: python -m bench month."""
    month = Month(part_of_the_city("TH-01", "HP-01", "TH-C01", "GZ-STATION"), Routes.shipped(), seed=3)
    month.live(days=30, scale=0.34, step_ms=10 * MINUTE)
    found = figures(month.cases.values())
    assert found.cases > 100
    assert [case.key for case in month.cases.values() if case.state != "closed"] == []
    assert (found.unnotified, found.held, found.share_closed) == (0, 0, 1)
    assert min(month.whys[why] for why in ("opened", "escalated", "repeated", "resolved", "closed")) > 0
