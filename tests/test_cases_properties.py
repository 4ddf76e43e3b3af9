"""The Desk under random weather: cut, restored, repeated, and never silent about anybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EVENING, scenario
from test_cases_relations import home
from timelines import MINUTE, Timeline, Town, route

from alerts.alert import Source
from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.desk import Desk
from alerts.cases.entry import Entry, Outcome
from alerts.cases.message import time_ms
from sensors.errors import RunError

PEOPLE = ["ann", "bob", "cat", "dan", "eve", "fay", "tom"]


class Night(Timeline):
    """Random readings, rules, staff and delivery, until hours after the last reading."""

    def __init__(self, seed: int, readings: int = 250) -> None:
        rng = self.rng = Random(seed)
        drawn = replace(scenario(rng, readings=readings, size=2, dirty=False), partitions=1)
        steps = [f"{g}+police" if rng.random() < 0.2 else g for g in rng.sample(["crew", "boss", "carers"], 2)]
        chain = route(*steps, wait=rng.choice([1, 3, 7]), repeat=rng.randint(0, 2), by_person=rng.random() < 0.1)
        other = route("technician", name="other", wait=2, repeat=0, last=rng.choice(["", "chief"]))
        town = Town({"technician": "tom"}, silence=other, **dict.fromkeys(("flood", "crowd"), (chain, other)))
        if rng.random() < 0.3:
            town.shifts["crew"] = (0, EVENING + rng.randint(-60, 120) * MINUTE)
        unreachable = {who: rng.choice([0, 700, 90_000]) for who in PEOPLE if rng.random() < 0.2}
        super().__init__(drawn.rules, town, drawn.sites, unreachable, tick_ms=MINUTE)
        self.lines = [(n, text) for n, text in enumerate(drawn.lines)]
        self.sites = drawn.sites

    def live(self) -> Night:
        self.play(EVENING + self.rng.randint(30, 600) * MINUTE)
        return self

    def enter(self, kind: Any, value: bytes | int) -> Outcome:
        out = super().enter(kind, value)
        if kind == "alert" and self.rng.random() < 0.7:
            for case in out.cases:
                at = case.at + round(self.rng.expovariate(1 / 400_000))
                self.on(at, lambda case=case, at=at: self._somebody(case, at))  # type: ignore[misc]
        return out

    def _somebody(self, case: Case, at: int) -> None:
        rng = self.rng
        do = rng.choice(["ack", "ack", "ack", "note", "escalate", "close", "silence", "maintenance", "lift"])
        fields: dict[str, Any] = {"case": case.id}
        if do in ("silence", "maintenance"):
            matcher = {rng.choice(["zone", "site"]) if do == "silence" else "site": [case.site]}
            until = at + rng.randint(1, 200) * MINUTE
            fields = {"matcher": matcher, "from": at, "until": until, "text": "repair"}
        elif do == "lift":
            fields = {"lifts": f"a{rng.randint(1, 200)}"}
        elif do == "close":
            fields["outcome"] = "helped"
        self._counter += 1
        by = rng.choice([*PEOPLE, "stranger"])
        action = {"id": f"a{self._counter}", "do": do, "by": by, "at": at + rng.randint(-5, 5) * 1000} | fields
        self.enter("action", Action.model_validate(action).value)


NIGHTS: dict[int, Night] = {}


def night(seed: int) -> Night:
    if seed not in NIGHTS:
        NIGHTS[seed] = Night(seed).live()
    return NIGHTS[seed]


def fold(story: Timeline, entries: list[Entry], restarts: frozenset[int] = frozenset()) -> list[bytes]:
    """The bytes that come of these entries, with a restart before each of those."""
    desk = Desk(story.routing, *story.settings)
    values = []
    for number, entry in enumerate(entries):
        if number in restarts:
            desk = Desk.restore(desk.checkpoint(), story.routing, *story.settings)
        out = desk.apply(entry)
        values += [message.value for message in (*out.cases, *out.notifications, *out.decisions)]
        values += [f"{refusal.reason} {refusal.action}".encode() for refusal in out.rejected]
    return values


seeds = st.integers(0, 15)


@given(seeds, st.data())
def test_a_restart_anywhere_changes_nothing(seed, data):
    story = night(seed)
    places = st.sets(st.integers(0, len(story.entries)), max_size=10)
    assert fold(story, story.entries, frozenset(data.draw(places))) == fold(story, story.entries)


@pytest.mark.parametrize("seed", range(3))
def test_a_restart_everywhere_changes_nothing(seed):
    story = night(seed)
    assert fold(story, story.entries, frozenset(range(len(story.entries)))) == fold(story, story.entries)


@pytest.mark.parametrize("speaks_again", [False, True])
def test_nor_does_one_while_a_home_cannot_be_watched(speaks_again):
    story = home(speaks=("02:00", "02:30"))
    if speaks_again:
        story.reads("Bed/motion", ("02:07", 1)).every(5, "Bath/motion", 0, "04:30:20", "05:10")
    story.play("06:40")
    whys = {n.why for n in story.notifications}
    assert ("unwatched" in whys, "watched" in whys) == (True, speaks_again)
    assert fold(story, story.entries, frozenset(range(len(story.entries)))) == fold(story, story.entries)


@given(seeds, st.randoms(use_true_random=False))
def test_what_is_copied_twice_counts_once(seed, rng):
    story = night(seed)
    entries: list[Entry] = []
    for entry in story.entries:
        entries.append(entry._replace(offset=len(entries)))
        if rng.random() < 0.3:  # the intake before this one had copied some of it already
            again = rng.randint(max(0, len(entries) - 20), len(entries) - 1)
            entries += [e._replace(offset=len(entries) + n) for n, e in enumerate(entries[again:])]
    assert fold(story, entries) == fold(story, story.entries)
    assert fold(story, [e for e in story.entries for _ in range(2)]) == fold(story, story.entries)


@given(seeds)
def test_the_same_alerts_and_actions_written_twice_count_once(seed):
    """Workers repeat alerts and consoles repeat actions, as records of their own."""
    story = night(seed)
    entries: list[Entry] = []
    for entry in story.entries:
        for again in range(2 if entry.kind in ("alert", "action") else 1):
            number = len(entries)
            source = None if entry.source is None else Source(entry.kind, again, number)
            entries.append(Entry(number, entry.kind, entry.value, source))
    written = [v for v in fold(story, entries) if not v.startswith(b"malformed")]
    assert written == fold(story, story.entries)


@given(seeds)
def test_nobody_is_left_unnotified(seed):
    """Whenever a case opens or rises somebody is told at once, or it is tried again, or a silence says why not."""
    story = night(seed)
    last: dict[str, Case] = {}
    for case in story.cases:
        last[case.id] = case
        if case.change in ("opened", "raised", "reopened", "pressed"):
            assert case.tells or case.due is not None or case.silenced
        if case.silenced:
            assert case.alert["type"] != "press"
            assert case.level < 4 or case.alert["kind"] != "infrared"
        if case.change == "damped":
            assert case.highest <= 2
    for d in story.desk.cases.values():  # what is over comes to its end
        assert d.resolved is None or d.state == "closed" or d.by_person or d.next_due is not None
    for case in last.values():
        assert case.told or case.due is not None or case.silenced or case.state in ("closed", "acknowledged")


@given(seeds)
def test_a_case_goes_on_record_without_a_gap_and_in_order(seed):
    story = night(seed)
    seen: dict[str, list[Case]] = {}
    for case in story.cases:
        seen.setdefault(case.id, []).append(case)
    for cases in seen.values():
        assert [c.seq for c in cases] == list(range(len(cases)))
        assert [c.at for c in cases] == sorted(c.at for c in cases)
        assert Case.parse(cases[-1].value) == cases[-1]
    numbers: dict[str, list[str]] = {}
    made = [*story.notifications, *story.waiting()]
    for n in made:
        numbers.setdefault(n.case, []).append(int(n.id.rpartition("/")[2]))
    assert all(sorted(found) == list(range(len(found))) for found in numbers.values())
    told = {(n.case, n.to) for n in made}
    assert {(case_id, who) for case_id, cases in seen.items() for who in cases[-1].told} == told


@given(seeds)
def test_every_alert_of_the_highest_levels_is_told_at_its_time(seed):
    story = night(seed)
    told = {(n.key, time_ms(n.alert["at"]), n.level) for n in story.notifications}
    opened = [c for c in story.cases if c.change in ("opened", "raised") and c.level >= 3 and not c.silenced]
    for case in opened:
        if case.tells:
            assert (case.key, time_ms(case.alert["at"]), case.level) in told


def test_a_state_of_another_version_is_refused():
    story = night(0)
    state = Desk(story.routing, *story.settings).checkpoint()
    with pytest.raises(RunError, match="version 2"):
        Desk.restore(state.replace(b"version\x01", b"version\x02"), story.routing, *story.settings)
    with pytest.raises(RunError, match="cannot be read"):
        Desk.restore(b"\x00", story.routing, *story.settings)


def changes(stories: list[Night]) -> Iterator[str]:
    for story in stories:
        yield from (case.change for case in story.cases)


def test_the_nights_are_eventful():
    seen = set(changes([night(seed) for seed in range(16)]))
    assert seen >= {
        "opened", "notified", "raised", "lowered", "reopened", "pressed", "reset", "escalated", "asked", "repeated",
        "last_resort", "acknowledged", "noted", "resolved", "silenced", "unsilenced", "closed", "refused",
        "grouped", "flapping", "damped", "calm",
    }, seen  # fmt: skip
