"""Cases, from readings to who is told: exact to the millisecond."""

from __future__ import annotations

import json

import pytest
from examples import CALL, DEPTH, ms
from strategies import rules_file
from timelines import Timeline, Town, route

from alerts.cases.desk import Desk

FLOOD = rules_file([DEPTH | {"id": "flood-depth"}], grace="0s")
BUTTON = rules_file([CALL | {"id": "call"}], grace="0s")
CREW = Town(flood=route("crew", "boss"))


def flood(**options) -> Timeline:
    return Timeline(FLOOD, options.pop("routing", CREW), **options)


# The chain


def test_nobody_answers_and_the_whole_chain_hears_of_it():
    story = flood().reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:15").expect("escalated red flood-depth/F1 to cat")
    story.at("02:20").expect("repeated red flood-depth/F1 to ann bob")
    story.at("02:25").expect("repeated red flood-depth/F1 to cat")
    story.at("02:30").expect("last_resort red flood-depth/F1 to dan")
    story.at("02:40").expect("last_resort red flood-depth/F1 to dan")
    story.at("02:50").expect("last_resort red flood-depth/F1 to dan")
    story.run(until="02:55")


def test_below_red_the_last_resort_is_told_once():
    story = flood().reads("F1/depth", ("02:10", 0.22))
    story.at("02:10").expect("opened yellow flood-depth/F1 to ann bob")
    story.at("02:15").expect("escalated yellow flood-depth/F1 to cat")
    story.at("02:20").expect("repeated yellow flood-depth/F1 to ann bob")
    story.at("02:25").expect("repeated yellow flood-depth/F1 to cat")
    story.at("02:30").expect("last_resort yellow flood-depth/F1 to dan")
    story.run(until="06:00")
    assert story.case("flood-depth/F1").due is None


def test_steps_are_taken_when_they_are_due_however_late_the_tick():
    story = flood(tick_ms=7_000_000).reads("F1/depth", ("02:10:00.125", 0.30))
    story.at("02:10:00.125").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:15:00.125").expect("escalated red flood-depth/F1 to cat")
    story.run(until="02:18")


def test_several_routes_go_their_own_ways_and_nobody_is_told_twice_at_once():
    routes = route("crew", "boss", name="drainage"), route("police", "chief", name="traffic", wait=7, last="boss")
    story = flood(routing=Town(flood=routes)).reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob pat")
    story.at("02:15").expect("escalated red flood-depth/F1 to cat")
    story.at("02:17").expect("escalated red flood-depth/F1 to dan")
    story.at("02:19").acks("pat")
    story.run(until="03:00")
    by_route = {n.to: n.route for n in story.notifications}
    assert by_route == {"ann": "drainage", "bob": "drainage", "cat": "drainage", "pat": "traffic", "dan": "traffic"}


def test_groups_of_one_step_are_told_together():
    story = flood(routing=Town(flood=route("crew+police", "boss"))).reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob pat")
    story.at("02:11").acks("ann")
    story.run(until="03:00")


def test_where_nobody_is_on_duty_the_next_step_is_taken_at_once():
    town = Town(flood=route("crew", "boss", repeat=0))
    town.shifts["crew"] = (0, ms("02:00"))
    story = flood(routing=town).reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to cat")
    story.at("02:12").acks("cat")
    story.run(until="03:00")


def test_where_nobody_at_all_is_on_duty_it_is_tried_again():
    town = Town(flood=route("crew", "boss", repeat=0))
    town.shifts |= dict.fromkeys(("crew", "boss", "chief"), (ms("02:25"), 1 << 60))
    story = flood(routing=town).reads("F1/depth", ("02:10", 0.22))
    story.at("02:30").expect("escalated yellow flood-depth/F1 to ann bob")
    story.at("02:31").acks("ann")
    story.run(until="03:00")
    assert story.changes()[:2] == ["02:10:00 opened open", "02:20:00 escalated open"]


def test_when_nobody_of_a_step_can_be_reached_the_next_is_told_at_once():
    town = Town(flood=route("crew", "boss", repeat=0))
    story = flood(routing=town, unreachable={"ann": 1000, "bob": 2500}).reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:10:02.500").expect("escalated red flood-depth/F1 to cat")
    story.at("02:15:02.500").expect("last_resort red flood-depth/F1 to dan")
    story.run(until="02:20")
    assert story.changes()[:2] == ["02:10:00 opened open", "02:10:02.500 escalated open"]


def test_when_one_of_a_step_can_be_reached_it_waits_for_them():
    story = flood(unreachable=["ann"]).reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:14").acks("bob")
    story.run(until="03:00")


def test_when_nobody_at_all_can_be_reached_the_chain_begins_anew():
    town = Town(flood=route("crew", "boss", repeat=0))
    story = flood(routing=town, unreachable=["ann", "bob", "cat", "dan"]).reads("F1/depth", ("02:10", 0.22))
    for clock in ("02:10", "02:20"):
        story.at(clock).expect(
            f"{'opened' if clock == '02:10' else 'escalated'} yellow flood-depth/F1 to ann bob",
            "escalated yellow flood-depth/F1 to cat",
            "last_resort yellow flood-depth/F1 to dan",
        )
    story.run(until="02:25")


def test_escalation_does_not_wait_for_receipts():
    story = flood(silent_delivery=True).reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:15").expect("escalated red flood-depth/F1 to cat")
    story.run(until="02:18")
    assert story.case("flood-depth/F1").state == "open"  # nobody is known to have heard of it


def test_when_the_routes_are_changed_the_chain_begins_anew_by_the_new_ones():
    story = flood().reads("F1/depth", ("02:10", 0.30))
    new = Town({"divers": "tom"}, flood=route("divers", "crew", name="new"))
    story.on(ms("02:12"), lambda: story.desk.configure(new, *story.settings))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:15").expect("escalated red flood-depth/F1 to tom")
    story.at("02:20").expect("escalated red flood-depth/F1 to ann bob")
    story.run(until="02:21")


# Answering and closing


def test_somebody_answers_it_is_over_and_the_case_closes():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:30", 0.05))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").acks("bob")
    story.at("02:30").expect("resolved normal flood-depth/F1 to ann bob")
    story.run(until="03:30")
    assert story.changes() == [
        "02:10:00 opened open",
        "02:10:00 notified notified",
        "02:12:00 acknowledged acknowledged",
        "02:30:00 resolved acknowledged",
        "03:00:00 closed closed",
    ]
    case = story.case("flood-depth/F1")
    assert (case.acknowledged_by, case.closed_by, case.answered) == ("bob", None, ms("02:12"))
    assert case.reason.zh == "解除后30分钟未再触发，自动结案"
    assert case.reason.en == "over for 30 min, and somebody had answered"


def test_blue_and_yellow_close_without_an_answer():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:12", 0.05))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").expect("resolved normal flood-depth/F1 to ann bob")
    story.run(until="04:00")
    assert story.changes()[-1] == "02:42:00 closed closed"


def test_a_red_alert_that_was_over_at_once_is_told_and_asked_after_until_somebody_answers():
    story = flood(routing=Town(flood=route("crew", "boss", repeat=0)))
    story.reads("F1/depth", ("02:10", 0.30), ("02:10:00.500", 0.0))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:10:00.500").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("02:40:00.500").expect("escalated red flood-depth/F1 to cat")
    story.at("02:45:00.500").expect("last_resort red flood-depth/F1 to dan")
    story.at("02:55:00.500").expect("last_resort red flood-depth/F1 to dan")
    story.at("02:56").acks("dan")
    story.run(until="05:00")
    assert story.changes()[-1] == "03:26:00 closed closed"


def test_an_orange_alert_that_nobody_answered_closes_when_everybody_was_told():
    rules = rules_file([DEPTH | {"id": "flood-depth", "levels": {"orange": 0.2}}], grace="0s")
    story = Timeline(rules, Town(flood=route("crew", "boss", repeat=0)))
    story.reads("F1/depth", ("02:10", 0.30), ("02:11", 0.0))
    story.at("02:10").expect("opened orange flood-depth/F1 to ann bob")
    story.at("02:11").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("02:41").expect("escalated orange flood-depth/F1 to cat")
    story.at("02:46").expect("last_resort orange flood-depth/F1 to dan")
    story.run(until="05:00")
    assert story.changes()[-1] == "03:16:00 closed closed"


def test_a_person_closes_it_and_the_others_hear_of_that():
    story = flood().reads("F1/depth", ("02:10", 0.22))
    story.at("02:10").expect("opened yellow flood-depth/F1 to ann bob")
    story.at("02:13").closes("ann", outcome="false_alarm", satisfaction=4, text="a bottle on the sensor")
    story.at("02:13").expect("closed yellow flood-depth/F1 to bob")
    story.run(until="03:00")
    case = story.case("flood-depth/F1")
    assert (case.closed_by, case.outcome, case.satisfaction, case.text) == (
        "ann", "false_alarm", 4, "a bottle on the sensor",
    )  # fmt: skip


def test_an_outcome_may_be_told_after_a_case_has_closed_by_itself():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:12", 0.05))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("03:00").closes("ann", outcome="no_help_needed")
    story.at("03:01").closes("bob")
    story.run(until="04:00")
    assert story.changes()[-2:] == ["03:00:00 noted closed", "03:01:00 refused closed"]
    assert story.case("flood-depth/F1").outcome == "no_help_needed"


def test_somebody_may_ask_for_the_next_even_where_they_have_answered():
    story = flood().reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:11").acks("ann")
    story.at("02:12").does("escalate", "ann").expect("asked red flood-depth/F1 to cat")
    story.at("02:13").does("note", "cat", text="on my way")
    story.run(until="04:00")
    assert story.changes()[-2:] == ["02:12:00 asked acknowledged", "02:13:00 noted acknowledged"]


def test_what_cannot_be_done_is_on_the_case_or_refused_and_stops_nothing():
    story = flood().reads("F1/depth", ("02:10", 0.15))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:11").acks("nobody")
    story.at("02:12").acks("ann", "flood-depth/F1").does("ack", "ann", case="flood-depth/F9/2024-05-04T02:10:00.000Z")
    story.on(ms("02:13"), lambda: story.enter("action", b'{"id": "x1", "do": "dance"}'))
    story.on(ms("02:13"), lambda: story.enter("action", b"\xff\x00"))
    story.on(ms("02:13"), lambda: story.enter("alert", b'{"rule": "flood-depth"}'))
    story.on(ms("02:13"), lambda: story.enter("alert", b'{"rule": "a/b", "level": 9}'))
    story.on(ms("02:13"), lambda: story.enter("receipt", b"[]"))
    story.at("02:13").does("lift", "ann", lifts="s1").does("silence", "nobody", **_silence("02:13", "02:20"))
    story.run(until="02:14")
    assert story.changes()[-2:] == ["02:11:00 refused notified", "02:12:00 acknowledged acknowledged"]
    reasons = [which for which, _ in story.refused]
    assert reasons == ["unknown_case", *["malformed"] * 5, "unknown_silence", "unknown_person"]
    assert [(one.accepted, one.action.do, one.reason.en) for one in story.decisions] == [
        (False, "ack", "there is no case flood-depth/F9/2024-05-04T02:10:00.000Z"),
        (False, "lift", "there is no silence s1"),
        (False, "silence", "nobody is not in the directory"),
    ]


def _silence(begin: str, end: str, **matcher) -> dict:
    return {"from": ms(begin), "until": ms(end), "matcher": matcher or {"kind": ["flood"]}, "text": "road works"}


def test_the_same_action_counts_once():
    story = flood().reads("F1/depth", ("02:10", 0.15))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:11").does("note", "ann", id="n-1", text="seen").does("note", "ann", id="n-1", text="seen")
    story.run(until="02:12")
    assert story.changes()[2:] == ["02:11:00 noted notified"]


# What the alert does


def test_a_higher_level_is_told_at_once_and_wants_a_new_answer():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:20", 0.22), ("02:21:00.004", 0.30))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:15").expect("escalated blue flood-depth/F1 to cat")
    story.at("02:16").acks("cat")
    story.at("02:20").expect("raised yellow flood-depth/F1 to ann bob cat")
    story.at("02:21:00.004").expect("raised red flood-depth/F1 to ann bob cat")
    story.at("02:26:00.004").expect("escalated red flood-depth/F1 to cat")
    story.run(until="02:28")


def test_a_level_that_was_answered_before_is_told_and_the_answer_stands():
    story = flood().reads("F1/depth", ("02:10", 0.30), ("02:20", 0.15), ("02:30", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:12").acks("bob")
    story.at("02:30").expect("raised red flood-depth/F1 to ann bob")
    story.run(until="03:30")
    assert story.changes()[-2:] == ["02:20:00 lowered acknowledged", "02:30:00 raised acknowledged"]


def test_it_fires_again_before_it_is_closed_and_is_the_same_case():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:20", 0.0), ("02:40", 0.15), ("02:44", 0.0))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").acks("bob")
    story.at("02:20").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("02:40").expect("reopened blue flood-depth/F1 to ann bob")
    story.at("02:44").expect("resolved normal flood-depth/F1 to ann bob")
    story.run(until="04:00")
    assert {case.id for case in story.cases} == {"flood-depth/F1/2024-05-04T02:10:00.000Z"}
    assert story.changes()[-1] == "03:14:00 closed closed"


def test_it_fires_again_later_and_is_a_new_case():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:11", 0.0), ("02:50", 0.15))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:11").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("02:50").expect("opened blue flood-depth/F1 to ann bob")
    story.run(until="02:52")
    assert len({case.id for case in story.cases}) == 2


def test_a_closed_case_whose_alert_goes_up_is_told_again():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:20", 0.30), ("02:30", 0.0))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").closes("bob").expect("closed blue flood-depth/F1 to ann")
    story.at("02:20").expect("raised red flood-depth/F1 to ann bob")
    story.at("02:22").closes("bob").expect("closed red flood-depth/F1 to ann")
    story.run(until="03:00")
    assert story.changes()[-1] == "02:30:00 resolved closed"


def test_repeated_alerts_are_ignored_and_one_after_a_gap_opens_a_case():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:12", 0.30))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").expect("raised red flood-depth/F1 to ann bob")
    story.run(until="02:13")
    alerts = [entry for entry in story.entries if entry.kind == "alert"]
    late = Timeline(FLOOD, CREW)
    late.play("02:13")
    for entry in (alerts[1], alerts[0], alerts[1]):
        late.enter("alert", entry.value)
    assert late.told() == ["02:13:00 opened red flood-depth/F1 to ann bob"]


# A call for help


def test_a_call_for_help_is_closed_by_a_person_only():
    story = Timeline(BUTTON, Town(infrared=route("carers", "boss", repeat=0)))
    story.reads("Bath/button", ("02:10", 1), ("02:30", 1))
    story.at("02:10").expect("opened red call/HOME to eve fay")
    story.at("02:12").acks("eve")
    story.at("02:30").expect("pressed red call/HOME to eve fay")
    story.at("02:35").expect("escalated red call/HOME to cat")
    story.at("02:36").closes("eve", satisfaction=5).expect("closed red call/HOME to fay cat")
    story.run(until="04:00")
    assert story.changes() == [
        "02:10:00 opened open",
        "02:10:00 notified notified",
        "02:11:00 reset notified",
        "02:12:00 acknowledged acknowledged",
        "02:30:00 pressed notified",
        "02:31:00 reset notified",
        "02:35:00 escalated notified",
        "02:36:00 closed closed",
    ]


def test_a_call_for_help_goes_on_until_somebody_answers():
    story = Timeline(BUTTON, Town(infrared=route("carers", repeat=0))).reads("Bath/button", ("02:10", 1))
    story.at("02:10").expect("opened red call/HOME to eve fay")
    for clock in ("02:15", "02:25", "02:35", "02:45"):
        story.at(clock).expect("last_resort red call/HOME to dan")
    story.at("02:50").acks("dan")
    story.run(until="04:49")
    assert story.case("call/HOME").state == "acknowledged"


def test_a_call_for_help_that_was_answered_and_never_closed_is_told_again():
    story = Timeline(BUTTON, Town(infrared=route("carers", repeat=0))).reads("Bath/button", ("02:10", 1))
    story.at("02:10").expect("opened red call/HOME to eve fay")
    story.at("02:12").acks("eve")
    story.at("04:12").expect("repeated red call/HOME to eve fay")
    story.at("04:13").closes("fay").expect("closed red call/HOME to eve")
    story.run(until="09:00")
    assert story.cases[-2].reason.en == "eve answered 2 h ago and has not closed it: told again"


def test_a_call_for_help_of_any_level_goes_on():
    blue = rules_file([CALL | {"id": "call", "level": "blue"}], grace="0s")
    story = Timeline(blue, Town(infrared=route("carers", repeat=0))).reads("Bath/button", ("02:10", 1))
    story.at("02:10").expect("opened blue call/HOME to eve fay")
    story.at("02:15").expect("last_resort blue call/HOME to dan")
    story.at("02:25").expect("last_resort blue call/HOME to dan")
    story.run(until="02:30")


def test_a_route_may_leave_closing_to_people():
    story = flood(routing=Town(flood=route("crew", "boss", repeat=0, by_person=True)))
    story.reads("F1/depth", ("02:10", 0.15), ("02:12", 0.0))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("02:20").acks("ann")
    story.at("04:20").expect("repeated blue flood-depth/F1 to ann bob")
    story.at("04:21").closes("bob").expect("closed normal flood-depth/F1 to ann")
    story.run(until="05:00")


def test_an_orange_alert_that_was_over_is_not_closed_while_nobody_can_be_reached():
    rules = rules_file([DEPTH | {"id": "flood-depth", "levels": {"orange": 0.2}}], grace="0s")
    story = Timeline(rules, Town(flood=route("crew", repeat=0)), unreachable=["ann", "bob", "dan"])
    story.reads("F1/depth", ("02:10", 0.30), ("02:10:30", 0.0))
    story.play("04:00")
    assert story.case("flood-depth/F1").state == "open"
    assert "last_resort orange flood-depth/F1 to dan" in story.told()[-1]


# Silences and maintenance


def test_a_silence_holds_back_and_what_still_fires_at_its_end_is_told():
    story = flood().reads("F1/depth", ("02:10", 0.15))
    story.at("02:00").silences("ann", "03:00", district=["天河区"])
    story.at("03:00").expect("opened blue flood-depth/F1 to ann bob")
    story.run(until="03:01")
    assert story.changes() == ["02:10:00 opened open", "03:00:00 unsilenced open", "03:00:00 notified notified"]
    assert story.cases[0].silenced == "a1"
    assert story.cases[0].reason.en == "held back by ann (road works) until 2024-05-04T03:00:00.000Z"


def test_a_silence_that_begins_under_way_stops_the_chain_and_lifting_it_begins_it_anew():
    story = flood().reads("F1/depth", ("02:10", 0.15))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    story.at("02:12").silences("ann", "06:00", site=["F1"])
    story.at("02:40").does("lift", "bob", lifts="a1").expect("repeated blue flood-depth/F1 to ann bob")
    story.at("02:45").expect("escalated blue flood-depth/F1 to cat")
    story.run(until="02:46")
    assert "02:15:00 silenced notified" in story.changes()
    assert [(one.accepted, one.reason.en) for one in story.decisions] == [
        (True, "in force until 2024-05-04T06:00:00.000Z"),
        (True, "lifted: what still fires is told now"),
    ]


def test_no_silence_holds_back_red():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:20", 0.30))
    story.at("02:00").silences("ann", "03:00", site=["F1"], level=[1, 2, 3, 4])
    story.at("02:20").expect("raised red flood-depth/F1 to ann bob")
    story.run(until="02:21")


def test_maintenance_holds_back_a_red_gauge_that_it_names():
    story = flood().reads("F1/depth", ("02:10", 0.30)).reads("F2/depth", ("02:11", 0.30))
    story.at("02:00").silences("ann", "03:00", "maintenance", site=["F1"])
    story.at("02:11").expect("opened red flood-depth/F2 to ann bob")
    story.run(until="02:12")


@pytest.mark.parametrize("do", ["silence", "maintenance"])
def test_nothing_holds_back_a_call_for_help_or_red_in_a_home(do):
    stay = {"id": "stay", "type": "dwell", "kind": "infrared", "rooms": {"bathroom": {"orange": "1h", "red": "2h"}}}
    call = CALL | {"id": "call", "level": "blue"}
    story = Timeline(rules_file([call, stay], grace="0s"), Town(infrared=route("carers")))
    story.at("02:00").silences("eve", "09:00", do, site=["HOME"])
    story.reads("Bath/motion", ("02:10", 1)).reads("Bath/button", ("02:30", 1))
    story.at("02:30").expect("opened blue call/HOME to eve fay")
    story.at("02:31").acks("eve", "call/HOME")
    story.at("04:10").expect("raised red stay/HOME to eve fay")
    story.run(until="04:11")
    assert story.changes("stay/HOME")[0] == "03:10:00 opened open"


def test_a_silence_that_covers_all_of_it_leaves_a_record():
    story = flood().reads("F1/depth", ("02:10", 0.15), ("02:20", 0.0))
    story.at("02:00").silences("ann", "03:00", rule=["flood-depth"])
    story.run(until="04:00")
    assert story.changes() == ["02:10:00 opened open", "02:20:00 resolved open", "02:50:00 closed closed"]


def test_what_is_over_and_unanswered_is_asked_after_when_the_silence_ends():
    rules = rules_file([DEPTH | {"id": "flood-depth", "levels": {"orange": 0.2}}], grace="0s")
    story = Timeline(rules, Town(flood=route("crew", "boss", repeat=0)))
    story.reads("F1/depth", ("02:10", 0.30), ("02:11", 0.0))
    story.at("02:10").expect("opened orange flood-depth/F1 to ann bob")
    story.at("02:10:30").silences("ann", "04:00", site=["F1"])
    story.at("02:11").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("04:00").expect("escalated orange flood-depth/F1 to cat")
    story.at("04:05").expect("last_resort orange flood-depth/F1 to dan")
    story.run(until="05:00")
    assert story.changes()[-1] == "04:35:00 closed closed"


# Flapping


def test_flapping_blue_is_told_no_longer_until_it_is_calm():
    story = flood()
    for minute in range(10, 34, 4):
        story.reads("F1/depth", (f"02:{minute}", 0.15), (f"02:{minute + 2}", 0.0))
    for minute in (10, 14, 18):
        which = "opened" if minute == 10 else "reopened"
        story.at(f"02:{minute}").expect(f"{which} blue flood-depth/F1 to ann bob")
        if minute < 18:
            story.at(f"02:{minute + 2}").expect("resolved normal flood-depth/F1 to ann bob")
    story.at("02:19").acks("ann")
    story.at("02:47").expect("resolved normal flood-depth/F1 to ann bob")
    story.run(until="04:00")
    later = [line for line in story.changes() if line >= "02:20"]
    assert later == [
        "02:20:00 flapping acknowledged",
        *(f"02:{minute}:00 damped acknowledged" for minute in range(20, 33, 2)),
        "02:47:00 calm acknowledged",
        "02:47:00 resolved acknowledged",
        "03:17:00 closed closed",
    ]


def test_what_flaps_counts_as_firing_so_the_chain_goes_on():
    story = flood(routing=Town(flood=route("crew", "boss", repeat=0, wait=5)))
    for minute in range(10, 30, 4):
        story.reads("F1/depth", (f"02:{minute}", 0.15), (f"02:{minute + 2}", 0.0))
    story.play("02:40")
    assert story.told()[4:] == [
        "02:18:00 reopened blue flood-depth/F1 to ann bob",
        "02:23:00 escalated blue flood-depth/F1 to cat",
        "02:28:00 last_resort blue flood-depth/F1 to dan",
    ]


def test_a_higher_level_is_told_through_flapping_and_red_never_flaps():
    story = flood()
    for minute in range(10, 22, 4):
        story.reads("F1/depth", (f"02:{minute}", 0.15), (f"02:{minute + 2}", 0.0))
    story.at("02:19").acks("ann")
    story.reads("F1/depth", ("02:24", 0.22), ("02:26", 0.30))
    for minute in range(28, 40, 2):
        story.reads("F1/depth", (f"02:{minute}", 0.0), (f"02:{minute + 1}", 0.30))
    story.play("02:40")
    told = [line for line in story.told() if line >= "02:20"]
    assert told[:2] == [
        "02:24:00 raised yellow flood-depth/F1 to ann bob",
        "02:26:00 raised red flood-depth/F1 to ann bob",
    ]
    again = [f"02:{m}:00 {'resolved normal' if m % 2 == 0 else 'reopened red'}" for m in range(28, 40)]
    assert [line.split(" flood")[0] for line in told[2:]] == again


# What is written


def test_what_somebody_says_of_the_time_is_believed_up_to_a_minute_ahead():
    story = flood().reads("F1/depth", ("02:10", 0.15))
    story.at("02:10").expect("opened blue flood-depth/F1 to ann bob")
    for number, ahead in enumerate((20_000, 86_400_000)):
        story.at("02:11").does("note", "ann", id=f"n-{number}", at=ms("02:11") + ahead, text="a clock of its own")
    story.run(until="02:12")
    assert story.changes()[-2:] == ["02:11:20 noted notified", "02:12:00 noted notified"]


def test_an_exercise_says_so():
    story = flood().reads("F1/depth", ("02:10", 0.15))
    story.play("02:11")
    desk = Desk(CREW, *story.settings, exercise=True)
    out = [desk.apply(entry) for entry in story.entries]
    messages = [message for one in out for message in (*one.cases, *one.notifications)]
    assert messages
    assert all(message.exercise for message in messages)


def test_every_message_is_json_with_sorted_keys_that_reads_back():
    story = Timeline(BUTTON, Town(infrared=route("carers", "boss"))).reads("Bath/button", ("02:10", 1))
    story.at("02:12").does("note", "eve", text="on my way")
    story.play("02:30")
    for message in (*story.cases, *story.notifications):
        value = message.value
        assert type(message).parse(value) == message
        assert (
            value == json.dumps(json.loads(value), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        )
    case = json.loads(story.cases[0].value)
    assert case["id"] == "call/HOME/2024-05-04T02:10:00.000Z"
    assert case["due"] == "2024-05-04T02:15:00.000Z"
    assert case["tells"] == ["eve", "fay"]
    assert story.notifications[-1].id == "call/HOME/2024-05-04T02:10:00.000Z/6"
