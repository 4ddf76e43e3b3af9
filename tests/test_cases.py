"""Cases, from readings to who is told: exact to the millisecond."""

from __future__ import annotations

from strategies import rules_file
from test_fold_contract import CALL, DEPTH
from timelines import Timeline, Town, route

FLOOD = rules_file([DEPTH | {"id": "flood-depth"}], grace="0s")
BUTTON = rules_file([CALL | {"id": "call"}], grace="0s")


def test_nobody_answers_and_the_whole_chain_hears_of_it():
    story = Timeline(FLOOD, Town(flood=route("crew", "boss", repeat=1)))
    story.reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:15").expect("escalated red flood-depth/F1 to cat")
    story.at("02:20").expect("repeated red flood-depth/F1 to ann bob")
    story.at("02:25").expect("repeated red flood-depth/F1 to cat")
    story.at("02:30").expect("last_resort red flood-depth/F1 to dan")
    story.at("02:40").expect("last_resort red flood-depth/F1 to dan")
    story.at("02:50").expect("last_resort red flood-depth/F1 to dan")
    story.run(until="02:55")


def test_somebody_answers_it_is_over_and_the_case_closes():
    story = Timeline(FLOOD, Town(flood=route("crew", "boss")))
    story.reads("F1/depth", ("02:10", 0.15), ("02:30", 0.05))
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


def test_a_call_for_help_is_closed_by_a_person_only():
    story = Timeline(BUTTON, Town(infrared=route("carers", "boss", repeat=0)))
    story.reads("Bath/button", ("02:10", 1), ("02:30", 1))
    story.at("02:10").expect("opened red call/HOME to eve fay")
    story.at("02:12").acks("eve")
    story.at("02:30").expect("pressed red call/HOME to eve fay")
    story.at("02:35").expect("escalated red call/HOME to cat")
    story.at("02:36").closes("eve", satisfaction=5).expect("closed red call/HOME to fay cat")
    story.run(until="04:00")
    assert story.changes()[-1] == "02:36:00 closed closed"


def test_when_nobody_of_a_step_can_be_reached_the_next_is_told_at_once():
    story = Timeline(FLOOD, Town(flood=route("crew", "boss", repeat=0)), unreachable={"ann": 1000, "bob": 2500})
    story.reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:10:02.500").expect("escalated red flood-depth/F1 to cat")
    story.at("02:15:02.500").expect("last_resort red flood-depth/F1 to dan")
    story.run(until="02:20")
