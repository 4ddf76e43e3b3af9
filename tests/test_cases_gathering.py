"""A network goes down, and hundreds of sensors are silent at once: one message to each of their people."""

from __future__ import annotations

from collections import Counter

from examples import CATCHMENT, DEPTH, ms
from strategies import collection, feature, rules_file
from test_cases_properties import fold
from timelines import Timeline, Town, route

from alerts.cases.notification import Notification, Receipt
from alerts.console.board import Board
from alerts.delivery.text import words

GAUGES = [f"F{n:02}" for n in range(60)]


def city(gauges: int, homes: bool) -> dict:
    home = [feature("HOME", "place", "infrared", "YX-1", district="越秀区")]
    home += [feature(name, "sensor", "infrared", "YX-1", place="HOME", room="bed") for name in ("Bed", "Bath")]
    return collection(
        feature("CATCH", "place", "flood", "TH-03", **CATCHMENT),
        *(feature(name, "sensor", "flood", "TH-03", place="CATCH") for name in GAUGES[:gauges]),
        *(home if homes else ()),
    )


QUIET = {"type": "silence", "levels": {"yellow": "15m", "orange": "2h", "red": "6h"}}
RULES = rules_file(
    [
        DEPTH | {"id": "flood-depth"},
        {"id": "silent", "kind": "flood"} | QUIET,
        {"id": "home-silent", "kind": "infrared"} | QUIET,
    ],
    grace="0s",
)
TOWN = Town(silence=route("crew", "boss"), flood=route("police"), infrared=route("carers"))


def outage(gauges: int = 60, homes: bool = False, **options) -> Timeline:
    """Every gauge reports at 02:05, and is silent from then on."""
    story = Timeline(RULES, TOWN, city(gauges, homes), **options)
    for name in GAUGES[:gauges]:
        story.reads(f"{name}/depth", ("02:05", 0.01))
    return story


def sent(story: Timeline, *to: str) -> list[tuple[str, str, str, int | None]]:
    """What really goes out: (time, why, level, how many sensors)."""
    made = [n for n in story.notifications if n.within is None and n.to in (to or ("ann",))]
    return [(f"{(n.at - ms('00:00')) // 60_000}", n.why, str(n.level), n.count) for n in made]


def test_sixty_silent_gauges_are_one_message_to_each():
    story = outage().play("02:40")
    minutes = 2 * 60 + 21
    assert sent(story) == [(str(minutes), "opened", "2", 60), (str(minutes + 12), "repeated", "2", 60)]
    assert sent(story, "cat") == [(str(minutes + 6), "escalated", "2", 60), (str(minutes + 18), "repeated", "2", 60)]


def test_each_case_has_its_own_timeline_and_its_own_notifications():
    story = outage().play("02:30")
    told = [n for n in story.notifications if n.to == "ann"]
    assert len({n.case for n in told}) == 60
    first = next(n for n in told if n.within is None)
    assert {n.within for n in told} == {None, first.id}
    assert Counter(case.change for case in story.cases)["opened"] == 60
    assert Counter(case.change for case in story.cases)["notified"] == 60  # by the receipt of the one message
    assert {case.state for case in story.cases if case.at >= ms("02:23")} == {"notified"}


def test_the_wait_is_from_the_message():
    story = outage(gauges=1)
    story.at("02:21").expect("opened yellow silent/F00 to ann bob")
    story.at("02:25").acks("ann")
    story.run(until="03:00")
    assert story.cases[0].opened == ms("02:20")
    assert story.cases[0].due == ms("02:26")


def test_nobody_is_reached_by_the_one_message_so_the_next_hear_of_all_cases_at_once():
    story = outage(unreachable=("ann", "bob")).play("02:24")
    assert [(why, count) for _, why, _, count in sent(story, "cat")] == [("escalated", 60)]


def test_what_speaks_again_is_one_message_too():
    story = outage()
    for number, name in enumerate(GAUGES):
        story.reads(f"{name}/depth", (ms("02:23") + number * 500, 0.01))
    story.play("02:35")
    assert [(why, count) for _, why, _, count in sent(story)] == [("opened", 60), ("resolved", 60)]


def test_longer_silence_is_another_message_and_red_and_homes_are_told_one_by_one():
    story = outage(gauges=3, homes=True).reads("Bed/motion", ("02:00", 0)).reads("Bath/motion", ("02:00", 0))
    story.play("08:30")
    assert ("opened", "2", 3) in {row[1:] for row in sent(story)}
    assert ("raised", "3", 3) in {row[1:] for row in sent(story)}
    red = [n for n in story.notifications if n.level == 4 and n.why == "raised" and n.to == "ann"]
    assert len({n.case for n in red}) == 5
    assert all(n.within is None and n.count is None for n in red)
    homes = [n for n in story.notifications if n.key.startswith("home-silent/")]
    assert len({n.case for n in homes}) == 2
    assert all(n.within is None and n.count is None for n in homes)
    assert min(n.at for n in homes) == ms("02:15")


def test_a_flood_among_them_is_told_at_once():
    story = outage().reads("F07/depth", ("02:20:30", 0.30)).play("02:22")
    flood = [n for n in story.notifications if n.key == "flood-depth/F07"]
    assert {(n.to, n.at, n.within) for n in flood} == {(who, ms("02:20:30"), None) for who in ("pat", "ann")}


def test_a_restart_anywhere_in_it_changes_nothing():
    story = outage(gauges=12).play("02:40")
    assert fold(story, story.entries, frozenset(range(len(story.entries)))) == fold(story, story.entries)


def test_the_message_says_how_many_and_names_the_first():
    story = outage().play("02:22")
    first = next(n for n in story.notifications if n.within is None)
    zh, en = (words(first, lang, "https://oncall.example") for lang in ("zh", "en"))
    assert zh.body.startswith("[黄色] 60个传感器失联：")
    assert "等，05-04 10:20起。请检查设备和供电。" in zh.body
    assert "60 sensors silent: " in en.body
    assert "and 57 more" in en.body
    assert len(en.body) < 268
    assert Notification.parse(first.value) == first


def test_the_console_shows_the_one_receipt_with_every_case():
    story = outage(gauges=4).play("02:30")
    told = [n for n in story.notifications if n.to == "ann" and n.why == "opened"]
    receipts = [Receipt.parse(e.value) for e in story.entries if e.kind == "receipt" and isinstance(e.value, bytes)]
    for order in (told + receipts, receipts + told):
        board = Board(*story.settings)
        for one in order:
            board.take(one)
        for n in told:
            found = [e for e in board.timeline(n.case) if isinstance(e, Receipt)]
            assert [(e.to, e.status, e.notification) for e in found if e.to == "ann"] == [("ann", "delivered", n.id)]
