"""Rotas: who is on duty, to the millisecond, across hand-overs, holidays, swaps and days of their own."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerts.routes.duty import Duty
from alerts.routes.rota import DAYS, Holiday, Rota, Swap

SHANGHAI = ZoneInfo("Asia/Shanghai")
WEEKLY = {"turns": ["a", "b", ["c", "d"]], "handover": "Mon 08:30", "since": date(2024, 1, 1)}


def duty(**settings: object) -> Duty:
    rota = {**WEEKLY, **settings}
    return Duty.model_validate({"groups": {"crew": {"rotas": ["crew"]}}, "rotas": {"crew": rota}})


def ms(text: str) -> int:
    """Local time of Shanghai."""
    return round(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp() * 1000)


def who(found: Duty, text: str, plus_ms: int = 0) -> tuple[str, ...]:
    return found.on_duty("crew", ms(text) + plus_ms)


@pytest.mark.parametrize(
    ("at", "before", "after"),
    [
        ("2024-01-01T08:30", ("c", "d"), ("a",)),
        ("2024-01-08T08:30", ("a",), ("b",)),
        ("2024-01-15T08:30", ("b",), ("c", "d")),
        ("2024-12-30T08:30", ("a",), ("b",)),  # past a new year, with a leap day in it
        ("2023-12-25T08:30", ("b",), ("c", "d")),  # before `since` the order goes on backwards
    ],
)
def test_the_turn_passes_on_at_the_millisecond(at: str, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    assert (who(duty(), at, -1), who(duty(), at)) == (before, after)


def test_a_daily_rota_hands_over_each_day() -> None:
    found = duty(handover="20:00")
    assert [who(found, f"2024-01-0{day}T20:00", plus) for day in (1, 2, 3, 4) for plus in (-1, 0)] == [
        *(("c", "d"), ("a",)),
        *(("a",), ("b",)),
        *(("b",), ("c", "d")),
        *(("c", "d"), ("a",)),
    ]


def test_holidays_last_from_the_hand_over_of_the_first_day_to_that_after_the_last_and_change_no_order() -> None:
    """Spring Festival: days of their own, then the week goes on with who would have had it."""
    holiday = {"from": date(2024, 2, 9), "until": date(2024, 2, 11), "turns": ["x", ["y", "z"]]}
    found = duty(holidays=[holiday])
    assert who(found, "2024-02-09T08:30", -1) == who(duty(), "2024-02-09T08:30", -1) == ("c", "d")
    assert who(found, "2024-02-09T08:30") == ("x",)
    assert (who(found, "2024-02-10T08:30", -1), who(found, "2024-02-10T08:30")) == (("x",), ("y", "z"))
    assert (who(found, "2024-02-12T08:30", -1), who(found, "2024-02-12T08:30")) == (("x",), ("a",))
    assert who(found, "2024-02-19T08:30") == who(duty(), "2024-02-19T08:30")


def test_a_swap_exchanges_two_people_in_both_of_their_weeks_and_in_a_holiday() -> None:
    swap = {"from": datetime(2024, 1, 3, 12), "until": datetime(2024, 1, 10, 12), "person": "a", "with": "b"}
    holiday = {"from": date(2024, 1, 9), "until": date(2024, 1, 9), "turns": ["a"]}
    found = duty(swaps=[swap], holidays=[holiday])
    assert (who(found, "2024-01-03T12:00", -1), who(found, "2024-01-03T12:00")) == (("a",), ("b",))
    assert who(found, "2024-01-08T08:30") == ("a",)
    assert who(found, "2024-01-09T08:30") == ("b",)
    assert (who(found, "2024-01-10T12:00", -1), who(found, "2024-01-10T12:00")) == (("a",), ("b",))


def test_a_day_of_its_own_has_the_last_word() -> None:
    swap = {"from": datetime(2024, 1, 1), "until": datetime(2024, 2, 1), "person": "a", "with": "b"}
    holiday = {"from": date(2024, 1, 3), "until": date(2024, 1, 3), "turns": ["b"]}
    found = duty(days={"2024-01-03": "a"}, swaps=[swap], holidays=[holiday])
    assert (who(found, "2024-01-03T08:30", -1), who(found, "2024-01-03T08:30")) == (("b",), ("a",))
    assert (who(found, "2024-01-04T08:30", -1), who(found, "2024-01-04T08:30")) == (("a",), ("b",))


def test_hours_begin_and_end_at_the_millisecond_also_past_midnight_and_sunday() -> None:
    office, night = duty(turns=["a"], hours=["Mon-Fri 08:30-17:30"]), duty(turns=["a"], hours=["Fri-Sun 22:00-06:00"])
    assert [bool(who(office, f"2024-01-05T{at}", plus)) for at in ("08:30", "17:30") for plus in (-1, 0)] == [
        *(False, True),
        *(True, False),
    ]
    assert not who(office, "2024-01-06T12:00")
    sunday, monday = "2024-01-07T22:00", "2024-01-08T06:00"
    assert [bool(who(night, at, plus)) for at in (sunday, monday) for plus in (-1, 0)] == [False, True, True, False]
    assert who(night, "2024-01-06T05:59")
    assert not who(night, "2024-01-05T05:59")


def test_a_group_has_members_and_rotas_each_person_once() -> None:
    found = Duty.model_validate(
        {
            "groups": {"crew": {"members": ["lead", "a"], "rotas": ["crew"]}, "friends": ["x", "y"]},
            "rotas": {"crew": WEEKLY},
        }
    )
    assert who(found, "2024-01-01T09:00") == ("lead", "a")
    assert who(found, "2024-01-08T09:00") == ("lead", "a", "b")
    assert found.on_duty("friends", 0) == ("x", "y")
    assert found.on_duty("strangers", 0) == ()


people = st.sampled_from("abcde")
turns = st.lists(st.lists(people, min_size=1, max_size=2, unique=True), min_size=1, max_size=4)
days = st.dates(date(2024, 1, 1), date(2024, 3, 1))
times = st.datetimes(datetime(2024, 1, 1), datetime(2024, 3, 1)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, fold=0)
)
clock = st.times().map(lambda time: time.strftime("%H:%M"))


@st.composite
def holidays(draw: st.DrawFn) -> list[Holiday]:
    edges = sorted(draw(st.sets(days, max_size=6)))
    return [Holiday(since=a, until=b, turns=draw(turns)) for a, b in zip(edges[::2], edges[1::2], strict=False)]


@st.composite
def swaps(draw: st.DrawFn) -> Swap:
    since, until = sorted(draw(st.lists(times, min_size=2, max_size=2, unique=True)))
    person, other = draw(st.lists(people, min_size=2, max_size=2, unique=True))
    return Swap(since=since, until=until, person=person, other=other)


rotas = st.builds(
    Rota,
    turns=turns,
    handover=st.one_of(clock, st.builds("{} {}".format, st.sampled_from(DAYS), clock)),
    since=days,
    holidays=holidays(),
    swaps=st.lists(swaps(), max_size=3),
    days=st.dictionaries(days, st.lists(people, min_size=1, max_size=2, unique=True), max_size=3),
)
instants = st.integers(ms("2023-12-01"), ms("2024-04-01"))


@given(rotas, instants)
def test_somebody_is_on_duty_at_every_millisecond(rota: Rota, at: int) -> None:
    found = Duty(groups={"crew": {"rotas": ["crew"]}}, rotas={"crew": rota})
    on_duty = found.on_duty("crew", at)
    assert on_duty
    assert set(on_duty) <= rota.people


hours = st.lists(
    st.sampled_from(["Mon-Fri 08:30-17:30", "Fri-Mon 22:00-06:00", "00:00-12:00", "Sun 12:00-12:00"]), max_size=2
)


@given(rotas, hours, instants)
def test_nobody_comes_or_goes_but_at_a_change(rota: Rota, hours: list[str], at: int) -> None:
    """``changes`` is what `kapok check` walks along: between two of them it is the same people."""
    rota = Rota.model_validate({**rota.model_dump(), "hours": hours})
    found = Duty(groups={"crew": {"rotas": ["crew"]}}, rotas={"crew": rota})
    changes = found.changes("crew", at, at + 10 * 86_400_000)
    assert changes[0] == at
    for begin, end in zip(changes, [*changes[1:], at + 10 * 86_400_000], strict=True):
        assert found.on_duty("crew", begin) == found.on_duty("crew", end - 1)


SHIFTS = [("Mon-Fri 08:30-17:30", "Mon-Fri 17:30-08:30", "Sat-Sun 08:30-08:30"), ("06:00-18:00", "18:00-06:00")]


@given(rotas, st.sampled_from(SHIFTS), instants)
def test_hours_that_follow_each_other_leave_no_gap_and_no_overlap(rota: Rota, hours: tuple[str, ...], at: int) -> None:
    shifts = [Rota.model_validate({**rota.model_dump(), "hours": (text,)}) for text in hours]
    there = [shift for shift in shifts if shift.on_duty(Duty().local(at))]
    assert len(there) == 1


@given(rotas)
def test_a_rota_is_the_same_after_it_was_written_down(rota: Rota) -> None:
    assert Rota.model_validate_json(rota.model_dump_json(by_alias=True)) == rota


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"handover": "Monday 08:30"}, "handover"),
        ({"handover": "Mon 24:00"}, "handover"),
        ({"hours": ["08:30-25:00"]}, "hours"),
        ({"turns": []}, "turns"),
        ({"turns": [[]]}, "turns"),
        ({"holidays": [{"from": date(2024, 2, 2), "until": date(2024, 2, 1), "turns": ["a"]}]}, "before"),
        (
            {
                "holidays": [
                    {"from": date(2024, 2, 1), "until": date(2024, 2, 3), "turns": ["a"]},
                    {"from": date(2024, 2, 3), "until": date(2024, 2, 4), "turns": ["b"]},
                ]
            },
            "2024-02-03",
        ),
        ({"swaps": [{"from": "2024-02-02T00:00", "until": "2024-02-02T00:00", "person": "a", "with": "b"}]}, "until"),
        ({"swaps": [{"from": "2024-02-02T00:00Z", "until": "2024-02-03T00:00", "person": "a", "with": "b"}]}, "local"),
        (
            {"swaps": [{"from": "2024-02-02T00:00:00.0001", "until": "2024-02-03T00:00", "person": "a", "with": "b"}]},
            "finer",
        ),
        ({"days": {"someday": "a"}}, "days"),
        ({"who": "a"}, "who"),
    ],
)
def test_what_is_wrong_with_a_rota_is_said(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        duty(**settings)


def test_in_a_place_with_summer_time_the_hand_over_is_at_the_wall_clock() -> None:
    """Berlin, 2024-03-31: the day has 23 hours."""
    rota = {**WEEKLY, "handover": "08:30", "since": date(2024, 3, 30)}
    found = Duty.model_validate(
        {"timezone": "Europe/Berlin", "groups": {"crew": {"rotas": ["crew"]}}, "rotas": {"crew": rota}}
    )
    at = round(datetime(2024, 3, 30, 8, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    hours_23 = at + round(timedelta(hours=23).total_seconds() * 1000)
    assert [found.on_duty("crew", t) for t in (at - 1, at, hours_23 - 1, hours_23)] == [
        ("c", "d"),
        ("a",),
        ("a",),
        ("b",),
    ]
