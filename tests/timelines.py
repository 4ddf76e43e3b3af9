"""Timelines: readings in, and who is told what at which millisecond; through the real fold of readings and the Desk.

    story = Timeline(rules=FLOOD, routing=Town(flood=route("crew", "boss")))
    story.reads("F1/depth", ("02:10", 0.30))
    story.at("02:10").expect("opened red flood-depth/F1 to ann bob")
    story.at("02:12").acks("ann")
    story.run(until="03:00")

``run`` holds everything that was told against everything that was expected: what is not expected may not be told.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from engines import lines_of, settings_of
from examples import ms, readings, sites
from strategies import Scenario

from alerts.alert import Source, iso
from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from alerts.cases.desk import Desk
from alerts.cases.entry import Entry, Outcome
from alerts.cases.notification import Notification, Receipt
from alerts.cases.routing import Route, Step
from alerts.fold import Fold
from alerts.levels import LEVEL_NAMES
from sensors.clock import CLOCK_KEY, log

MINUTE = 60_000


def route(
    *groups: str, name: str = "route", wait: int = 5, repeat: int = 1, last: str = "chief", by_person: bool = False
) -> Route:
    """A chain of one group a step (``a+b``: told together), ``wait`` in minutes."""
    steps = tuple(Step(tuple(group.split("+")), wait * MINUTE) for group in groups)
    return Route(name, steps, repeat, (last,) if last else (), by_person=by_person)


class Town:
    """Routing for tests: a kind of site has its routes, a group its people, some of them from when to when."""

    def __init__(self, groups: dict[str, str] | None = None, **routes: Route | tuple[Route, ...]) -> None:
        people = {"crew": "ann bob", "boss": "cat", "chief": "dan", "police": "pat ann", "carers": "eve fay"}
        self.groups: dict[str, Any] = {name: tuple(who.split()) for name, who in (people | (groups or {})).items()}
        self.by_kind = {kind: one if type(one) is tuple else (one,) for kind, one in routes.items()}
        self.shifts: dict[str, tuple[int, int]] = {}

    def routes(self, alert: dict[str, object]) -> tuple[Route, ...]:
        for name in (alert["rule"], alert["type"], alert["kind"]):
            if name in self.by_kind:
                return self.by_kind[name]
        return (route("crew", "boss", name="any"),)

    def on_duty(self, group: str, at_ms: int) -> tuple[str, ...]:
        begin, end = self.shifts.get(group, (0, 1 << 60))
        return self.groups.get(group, ()) if begin <= at_ms < end else ()

    def knows(self, person: str) -> bool:
        return person == "admin" or any(person in people for people in self.groups.values())


class Moment:
    """What happens, or is expected, at one time."""

    def __init__(self, story: Timeline, at: int) -> None:
        self.story, self.time = story, at

    def expect(self, *told: str) -> Moment:
        """``why level rule/site to person person``, in the order told."""
        self.story.expected += [f"{show(self.time)} {line}" for line in told]
        return self

    def does(self, do: str, by: str, key: str | None = None, **fields: Any) -> Moment:
        self.story.does(self.time, do, by, key, fields)
        return self

    def acks(self, by: str, key: str | None = None) -> Moment:
        return self.does("ack", by, key)

    def closes(self, by: str, key: str | None = None, outcome: str = "helped", **fields: Any) -> Moment:
        return self.does("close", by, key, outcome=outcome, **fields)

    def silences(self, by: str, until: str | int, do: str = "silence", **matcher: Any) -> Moment:
        end = until if isinstance(until, int) else ms(until)
        fields = {"from": self.time, "until": end, "matcher": matcher, "text": "road works"}
        return self.does(do, by, **fields)


class Timeline:
    """``unreachable``: people whose notifications are given up (at once, or ms later); others' are delivered at once.
    ``silent_delivery``: no receipts at all.
    """

    def __init__(
        self,
        rules: str,
        routing: Any,
        catalogue: dict | None = None,
        unreachable: Iterable[str] | dict[str, int] = (),
        silent_delivery: bool = False,
        tick_ms: int = MINUTE,
    ) -> None:
        self.rules, self.routing, self.sites = rules, routing, catalogue or sites()
        self._sensors = {f.get("id", f["properties"].get("id")): f["properties"] for f in self.sites["features"]}
        self.unreachable = unreachable if isinstance(unreachable, dict) else dict.fromkeys(unreachable, 0)
        self.silent_delivery, self.tick_ms = silent_delivery, tick_ms
        self.absences: list[tuple[int, int]] = []
        self.standstills: list[tuple[int, int]] = []
        self.lines: list[tuple[int, str]] = []
        self.expected: list[str] = []
        self.cases: list[Case] = []
        self.notifications: list[Notification] = []
        self.refused: list[tuple[str, str]] = []
        self.decisions: list[Decision] = []
        self.entries: list[Entry] = []
        self._doings: list[tuple[int, int, Callable[[], None]]] = []
        self._counter = 0

    # -- the story --------------------------------------------------------------------------------------------

    def reads(self, name: str, *values: tuple[str | int, object]) -> Timeline:
        for clock, value in values:
            time = clock if isinstance(clock, int) else ms(clock)
            sensor = self._sensors[name.partition("/")[0]]
            text = readings((time, name, value), topic=sensor["kind"], key=sensor["zone"])
            self.lines.append((time, text))
        return self

    def every(self, minutes: float, name: str, value: object, begin: str | int, end: str | int) -> Timeline:
        """A reading so often, from begin to before end."""
        first, last = (t if isinstance(t, int) else ms(t) for t in (begin, end))
        return self.reads(name, *((t, value) for t in range(first, last, round(minutes * MINUTE))))

    def at(self, clock: str | int, day: int = 4) -> Moment:
        return Moment(self, clock if isinstance(clock, int) else ms(clock, day))

    def does(self, time: int, do: str, by: str, key: str | None, fields: dict[str, Any]) -> None:
        self._counter += 1
        number = f"a{self._counter}"

        def write() -> None:
            values = {"id": number, "do": do, "by": by, "at": time} | fields
            if do in ("ack", "note", "escalate", "close") and "case" not in fields:
                values["case"] = self.desk.cases[key or next(reversed(self.desk.cases))].id
            self.enter("action", Action.model_validate(values).value)

        self.on(time, write)

    def on(self, time: int, what: Callable[[], None]) -> None:
        self._counter += 1
        heapq.heappush(self._doings, (time, self._counter, what))

    def away(self, begin: str | int, end: str | int) -> Timeline:
        """Nobody copies to the log meanwhile; all of that comes into it at the end, in its order."""
        self.absences.append((begin if isinstance(begin, int) else ms(begin), end if isinstance(end, int) else ms(end)))
        return self

    def no_ticks(self, begin: str, end: str) -> Timeline:
        """The clock stands still meanwhile; alerts come all the same."""
        self.standstills.append((ms(begin), ms(end)))
        return self

    # -- how it goes ------------------------------------------------------------------------------------------

    def run(self, until: str | int) -> Timeline:
        """Plays it, and compares."""
        self.play(until)
        assert self.told() == self.expected
        return self

    def play(self, until: str | int) -> Timeline:
        end = until if isinstance(until, int) else ms(until)
        scenario = Scenario(
            self.sites, self.rules, [text for _, text in sorted(self.lines, key=lambda x: x[0])], 1, end
        )
        self.settings = settings_of(scenario)
        self.desk = Desk(self.routing, *self.settings)
        fold = Fold(*self.settings)
        for record in log(lines_of(scenario), 1, end):
            now = record.timestamp or 0
            if record.key == CLOCK_KEY:
                self._until(now)
            for alert in fold.apply(record.topic.removeprefix("readings."), [record]).alerts:
                self._until(now)
                self.enter("alert", alert.value)
        self._until(end)
        return self

    def _until(self, time: int) -> None:
        """The clock goes on, and what people and delivery do by then is done at its time."""
        while self._doings and self._doings[0][0] <= time:
            at, _, what = heapq.heappop(self._doings)
            self._tick(at)
            what()
        self._tick(time)

    def _tick(self, time: int) -> None:
        if self.desk.clock is not None:
            for step in range((self.desk.clock // self.tick_ms + 1) * self.tick_ms, time, self.tick_ms):
                self._tick_at(step)
        if self.desk.clock is None or self.desk.clock < time:
            self._tick_at(time)

    def _tick_at(self, time: int) -> None:
        if not any(begin < time < end for begin, end in self.standstills):
            self.enter("tick", time)

    def enter(self, kind: Any, value: bytes | int) -> Outcome:
        number = len(self.entries)
        source = None if kind == "tick" else Source(kind, 0, number)
        now = value if isinstance(value, int) else (self.desk.clock or 0)
        back = next((end for begin, end in self.absences if begin < now < end), 0)
        self.entries.append(Entry(number, kind, value, source, max(back, now) or None))
        out = self.desk.apply(self.entries[-1])
        self.cases += out.cases
        self.notifications += out.notifications
        self.decisions += out.decisions
        self.refused += [(refusal.reason, refusal.detail) for refusal in out.rejected]
        if not self.silent_delivery:
            for one in [one for one in out.notifications if one.within is None]:
                status = "gave_up" if one.to in self.unreachable else "delivered"
                at = max(one.at, back) + self.unreachable.get(one.to, 0)
                self.on(at, lambda one=one, status=status, at=at: self._receipt(one, status, at))  # type: ignore[misc]
        return out

    def _receipt(self, one: Notification, status: str, at: int) -> None:
        receipt = {"id": f"{one.id}/sms/1", "notification": one.id, "case": one.case, "to": one.to, "channel": "sms"}
        self.enter("receipt", Receipt.model_validate(receipt | {"attempt": 1, "status": status, "at": at}).value)

    # -- what came of it --------------------------------------------------------------------------------------

    def told(self) -> list[str]:
        """A line for all who were told one thing at one time."""
        lines: list[str] = []
        before = None
        for one in self.notifications:
            head = f"{show(one.at)} {one.why} {LEVEL_NAMES[one.level]} {one.key} to"
            if (head, one.reason) == before:
                lines[-1] += f" {one.to}"
            else:
                lines.append(f"{head} {one.to}")
            before = (head, one.reason)
        return lines

    def waiting(self) -> list[Notification]:
        """What waits for others of its kind, to be told with them."""
        windows = self.desk._duty.gathering.windows.values()
        return [Notification.parse(value) for window in windows for value in window.notifications]

    def changes(self, key: str | None = None) -> list[str]:
        """``time change state`` of each case record (of one key)."""
        return [f"{show(c.at)} {c.change} {c.state}" for c in self.cases if key in (None, c.key)]

    def case(self, key: str) -> Case:
        """The newest of a key."""
        return [c for c in self.cases if c.key == key][-1]


def show(time: int) -> str:
    """The time, with the day where it is not the first, and ms where there are any."""
    text = iso(time)
    clock = text[11:19] if text.endswith(".000Z") else text[11:23]
    return clock if text[8:10] == "04" else f"{text[8:10]}T{clock}"
