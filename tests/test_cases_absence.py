"""On-call was away, or the clock was: whoever can only be told now has the whole wait to answer."""

from __future__ import annotations

import pytest
from examples import ms
from hypothesis import given
from hypothesis import strategies as st
from strategies import EVENING
from test_cases import BUTTON, flood
from test_cases_properties import Night, fold
from timelines import MINUTE, Timeline, Town, route

from alerts.cases.desk import Desk
from alerts.cases.duty import LATE_MS
from alerts.cases.notification import Notification

OPENED = "opened red flood-depth/F1 to ann bob"
OVER = ("resolved", "no_data", "closed", "watched")


def parse(value: bytes) -> Notification | None:
    try:
        return Notification.parse(value)
    except ValueError:
        return None


def test_the_first_are_told_when_on_call_is_back_and_have_their_wait_then():
    story = flood().reads("F1/depth", ("02:10", 0.30)).away("02:00", "03:00")
    story.at("02:10").expect(OPENED)
    story.at("03:05").expect("escalated red flood-depth/F1 to cat")
    story.at("03:10").expect("repeated red flood-depth/F1 to ann bob")
    story.at("03:12").acks("ann")
    story.run(until="04:00")
    assert story.cases[0].due == ms("03:05")  # on record from the first
    assert story.case("flood-depth/F1").opened == ms("02:10")


def test_whoever_was_told_before_had_their_time_and_the_next_have_theirs():
    story = flood().reads("F1/depth", ("01:58", 0.30)).away("02:00", "03:00")
    story.at("01:58").expect(OPENED)
    story.at("02:03").expect("escalated red flood-depth/F1 to cat")  # told at 03:00
    story.at("03:05").expect("repeated red flood-depth/F1 to ann bob")
    story.at("03:10").expect("repeated red flood-depth/F1 to cat")
    story.at("03:11").acks("cat")
    story.run(until="04:00")


def test_an_answer_from_elsewhere_during_the_outage_holds():
    story = flood().reads("F1/depth", ("02:10", 0.30)).away("02:00", "03:00")
    story.at("02:10").expect(OPENED)
    story.at("02:50").acks("ann")
    story.run(until="04:00")


def test_a_moment_of_absence_shifts_nothing():
    story = flood().reads("F1/depth", ("02:10:00.125", 0.30)).away("02:09:30", "02:10:50")
    story.at("02:10:00.125").expect(OPENED)
    story.at("02:15:00.125").expect("escalated red flood-depth/F1 to cat")
    story.run(until="02:18")


def test_who_is_told_is_who_is_on_duty_when_on_call_is_back():
    town = Town({"night": "ann", "day": "bob"}, flood=route("night+day", "boss"))
    town.shifts |= {"night": (0, ms("02:30")), "day": (ms("02:30"), 1 << 60)}
    story = flood(routing=town).reads("F1/depth", ("02:10", 0.30)).away("02:00", "03:00")
    story.at("02:10").expect("opened red flood-depth/F1 to bob")
    story.at("03:01").acks("bob")
    story.run(until="04:00")


def test_a_level_that_rose_meanwhile_is_told_and_the_wait_is_still_from_now():
    story = flood().reads("F1/depth", ("02:10", 0.22), ("02:40", 0.30)).away("02:00", "03:00")
    story.at("02:10").expect("opened yellow flood-depth/F1 to ann bob")
    story.at("02:40").expect("raised red flood-depth/F1 to ann bob")
    story.at("03:05").expect("escalated red flood-depth/F1 to cat")
    story.at("03:06").acks("cat")
    story.run(until="04:00")


def test_red_that_was_over_before_anybody_heard_of_it_is_asked_after_half_an_hour_later():
    story = flood().reads("F1/depth", ("02:10", 0.30), ("02:15", 0.01)).away("02:00", "03:00")
    story.at("02:10").expect(OPENED)
    story.at("02:15").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("03:30").expect("escalated red flood-depth/F1 to cat")
    story.at("03:31").acks("cat")
    story.run(until="04:30")
    assert story.case("flood-depth/F1").state == "closed"


def test_the_clock_stood_still_and_on_call_did_not():
    """Workers were away: what they find in the readings afterwards comes before the first tick, or just after it."""
    story = flood().reads("F1/depth", ("01:50", 0.01), ("02:10", 0.30)).no_ticks("02:00", "03:00")
    story.at("02:01").expect(OPENED)  # a minute ahead of the clock is all that an alert is believed
    story.at("03:05").expect("escalated red flood-depth/F1 to cat")
    story.at("03:06").acks("cat")
    story.run(until="04:00")


def test_nor_does_a_chain_that_had_begun_run_on_while_the_clock_stands_still():
    story = flood().reads("F1/depth", ("01:50", 0.01), ("01:58", 0.30)).no_ticks("02:00", "03:00")
    story.at("01:58").expect(OPENED)
    story.at("02:03").expect("escalated red flood-depth/F1 to cat")
    story.at("03:05").expect("repeated red flood-depth/F1 to ann bob")
    story.at("03:06").acks("ann")
    story.run(until="04:00")


def test_red_that_came_and_went_while_the_clock_stood_still():
    story = flood().reads("F1/depth", ("01:50", 0.01), ("02:10", 0.30), ("02:15", 0.01)).no_ticks("02:00", "03:00")
    story.at("02:01").expect(OPENED, "resolved normal flood-depth/F1 to ann bob")
    story.at("03:30").expect("escalated red flood-depth/F1 to cat")
    story.at("03:31").acks("cat")
    story.run(until="03:50")


def test_a_call_for_help():
    town = Town(infrared=route("carers", "boss", by_person=True))
    story = Timeline(BUTTON, town).reads("Bed/button", ("02:10", 1)).away("02:00", "02:30")
    story.at("02:10").expect("opened red call/HOME to eve fay")
    story.at("02:35").expect("escalated red call/HOME to cat")
    story.at("02:36").acks("cat")
    story.run(until="02:50")


@pytest.mark.parametrize("stands", [False, True])
def test_a_restart_anywhere_in_it_changes_nothing(stands):
    story = flood().reads("F1/depth", ("01:58", 0.22), ("02:10", 0.30), ("02:20", 0.01), ("02:25", 0.30))
    (story.no_ticks if stands else story.away)("02:00", "03:00")
    story.play("04:00")
    assert len(story.notifications) > 8
    assert fold(story, story.entries, frozenset(range(len(story.entries)))) == fold(story, story.entries)


def test_an_older_log_says_nothing_of_it_and_is_folded_as_it_was():
    story = flood().reads("F1/depth", ("02:10", 0.30)).away("02:00", "03:00").play("03:30")
    values = fold(story, [entry._replace(taken=None) for entry in story.entries])
    told = [n for n in map(parse, values) if n is not None]
    assert [(n.to, n.at) for n in told[:3]] == [("ann", ms("02:10")), ("bob", ms("02:10")), ("cat", ms("02:15"))]


class Interrupted(Night):
    """A night in which on-call is away now and then."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, readings=120)
        begin = EVENING
        for _ in range(3):
            begin += self.rng.randint(5, 90) * MINUTE
            end = begin + self.rng.randint(2, 60) * MINUTE
            (self.absences if self.rng.random() < 0.7 else self.standstills).append((begin, end))
            begin = end


NIGHTS: dict[int, Interrupted] = {}
seeds = st.integers(0, 9)


def night(seed: int) -> Interrupted:
    if seed not in NIGHTS:
        NIGHTS[seed] = Interrupted(seed)
        NIGHTS[seed].live()
    return NIGHTS[seed]


@given(seeds, st.data())
def test_nights_with_outages_survive_restarts(seed, data):
    story = night(seed)
    places = st.sets(st.integers(0, len(story.entries)), max_size=10)
    assert fold(story, story.entries, frozenset(data.draw(places))) == fold(story, story.entries)


@given(seeds)
def test_nobody_has_less_than_their_wait(seed):
    """From when they could be told to when others are, because they did not answer; a minute is within the rule."""
    story = night(seed)
    desk = Desk(story.routing, *story.settings)
    waits = {route.id: route.steps[0].wait_ms for routes in story.routing.by_kind.values() for route in routes}
    waits["any"] = 5 * MINUTE
    begun: dict[tuple[str, str], int] = {}
    for entry in story.entries:
        out = desk.apply(entry)
        now = max(entry.taken or 0, desk.clock or 0)
        lost = any("无法送达" in n.reason.zh for n in out.notifications)
        for n in out.notifications:
            way = n.case, n.route
            if n.why in ("escalated", "repeated", "last_resort") and way in begun and not lost:
                over = "已解除" in n.reason.zh or "仍未结案" in n.reason.zh
                assert over or max(n.at, now - LATE_MS) - begun[way] >= waits[n.route] - LATE_MS, n
        begun |= {(n.case, n.route): max(n.at, now - LATE_MS) for n in out.notifications if n.why not in OVER}
