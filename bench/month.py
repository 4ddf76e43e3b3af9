"""A month of a part of the city's on-call: storms, homes and rushes, told to staff who answer late or never.

Readings are simulated day by day and go through the fold of readings and the Desk; people and delivery are drawn
from the seed. At the end nobody may be un-notified, and every case is to be closed.
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.desk import Desk
from alerts.cases.duty import YELLOW
from alerts.cases.entry import Entry, Outcome
from alerts.cases.figures import Figures, by_district, figures
from alerts.cases.notification import Notification, Receipt
from alerts.cases.routing import Routing
from alerts.fold import Fold
from alerts.routes.routes import Routes
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, MINUTE_MS, tick
from sensors.quantities import KINDS, topic
from sensors.record import Record
from sensors.simulators import simulate

DAYS = 30
SCALE = 0.34  # how many times as often as usual sensors report
STORM_EVERY = 3  # days; on the others only the homes have something to tell
_FIRST = 1_777_564_800_000  # 2026-05-01 in Guangzhou
_DAY = 86_400_000
_AFTER_MS = 2 * _DAY  # without new readings, for what is still open


class Manner(NamedTuple):
    """How somebody is: the share of notifications that they answer, after how long on average (min), and the share of
    what they answered that they close.
    """

    answers: float
    after_min: float
    closes: float


MANNERS = (
    (0.5, Manner(0.85, 3, 0.9)),  # prompt
    (0.3, Manner(0.6, 20, 0.7)),  # late
    (0.2, Manner(0.0, 1, 0.0)),  # never
)
UNREACHED = 0.03  # of notifications that no channel takes


class Staff:
    """Everybody's doings, as entries of the log.

    Each is drawn from the seed and the notification's id: it does not depend on anything else that happens.
    """

    def __init__(self, seed: int, desk: Desk) -> None:
        self._seed, self._desk = seed, desk
        self.due: list[tuple[int, int, str, Callable[[int], bytes | None]]] = []
        self._count = 0

    def hear(self, one: Notification) -> None:
        """What comes of a notification: a receipt, perhaps an answer, perhaps an end."""
        rng = self._rng(one.id)
        if rng.random() < UNREACHED:
            self._plan(one.at + 90_000, "receipt", lambda at: self._receipt(one, "gave_up", at))
            return
        reached = one.at + round(rng.uniform(300, 5000))
        self._plan(reached, "receipt", lambda at: self._receipt(one, "delivered", at))
        manner = self._manner(one.to)
        if one.why in ("resolved", "closed", "no_data") or rng.random() >= manner.answers:
            return
        answer = reached + round(rng.expovariate(1 / (manner.after_min * MINUTE_MS)))
        self._plan(answer, "action", lambda at: self._answer(one, at))
        if rng.random() < manner.closes:
            work = answer + round(rng.uniform(10, 90) * MINUTE_MS)
            outcome = rng.choices(["helped", "no_help_needed", "false_alarm", "passed_on"], [5, 2, 2, 1])[0]
            said = rng.choices([None, 5, 4, 3, 2, 1], [6, 5, 3, 1, 0.5, 0.2])[0]
            self._plan(work, "action", lambda at: self._close(one, at, outcome, said))

    def _answer(self, one: Notification, at: int) -> bytes | None:
        d = self._desk.cases.get(one.key)
        if d is None or d.id != one.case or d.state in ("acknowledged", "closed"):
            return None  # somebody else has answered
        return self._action(one, at, "ack")

    def _close(self, one: Notification, at: int, outcome: str, said: int | None) -> bytes | None:
        d = self._desk.cases.get(one.key)
        if d is None or d.id != one.case or d.acknowledged_by != one.to or d.state != "acknowledged":
            return None
        return self._action(one, at, "close", outcome=outcome, satisfaction=said)

    def _action(self, one: Notification, at: int, do: str, **fields: Any) -> bytes:
        values = {"id": f"{do}-{self._count}", "do": do, "by": one.to, "at": at, "case": one.case} | fields
        return Action.model_validate(values).value

    def _receipt(self, one: Notification, status: str, at: int) -> bytes:
        values = {"id": f"{one.id}/sms/1", "notification": one.id, "case": one.case, "to": one.to, "channel": "sms"}
        return Receipt.model_validate(values | {"attempt": 1, "status": status, "at": at}).value

    def _plan(self, at: int, kind: str, what: Callable[[int], bytes | None]) -> None:
        self._count += 1
        heapq.heappush(self.due, (at, self._count, kind, what))

    def _manner(self, person: str) -> Manner:
        manners, shares = [m for _, m in MANNERS], [share for share, _ in MANNERS]
        return self._rng(person).choices(manners, shares)[0]

    def _rng(self, what: str) -> Random:
        return Random(f"{self._seed} {zlib.crc32(what.encode())}")


class Month:
    """``cases``: the newest record of each, by id."""

    def __init__(self, catalogue: Catalogue, routing: Routing, seed: int = 1, rulebook: Rulebook | None = None) -> None:
        self._catalogue, self._seed = catalogue, seed
        self._rulebook = rulebook or Rulebook.shipped()
        self.fold = Fold(catalogue, self._rulebook)
        self.desk = Desk(routing, catalogue, self._rulebook)
        self.staff = Staff(seed, self.desk)
        self.cases: dict[str, Case] = {}
        self.whys: Counter[str] = Counter()
        self.alerts = self.readings = 0
        self._offset = 0

    def live(self, days: int = DAYS, scale: float = 1.0, step_ms: int = 5 * MINUTE_MS) -> Month:
        """``scale``: how many times as often as usual sensors report.

        ``step_ms``: so much is simulated at a time; alerts come at their own time within it.
        """
        for day in range(days):
            for time, records in self._steps(day, scale, step_ms):
                alerts = []
                for kind, run in records.items():
                    outcome = self.fold.apply(kind, run)
                    self.readings += outcome.readings
                    alerts += outcome.alerts
                self.alerts += len(alerts)
                for alert in sorted(alerts, key=lambda alert: alert.at):
                    self._until(max(alert.at, self.desk.clock or 0))
                    self._enter("alert", alert.value)
                self._until(time)
        end = _FIRST + days * _DAY
        self._until(end + _AFTER_MS)
        return self

    def _steps(self, day: int, scale: float, step_ms: int) -> Iterator[tuple[int, dict[str, list[Record]]]]:
        """The end of each few minutes, with what arrived in them and the ticks there."""
        start = _FIRST + day * _DAY
        scenario = "homes" if day % STORM_EVERY else "day"
        run = simulate(scenario, self._catalogue, seed=100 * self._seed + day, start_ms=start, hours=24, scale=scale)
        packs = run.packs()
        waiting = next(packs, None)
        for time in range(start + step_ms, start + _DAY + 1, step_ms):
            records: dict[str, list[Record]] = {kind: [] for kind in KINDS}
            while waiting is not None and waiting.time_ms < time:
                name = topic(waiting.kind)
                record = Record(name, 0, 0, waiting.time_ms, waiting.zone.encode(), waiting.value)
                records[waiting.kind].append(record)
                waiting = next(packs, None)
            for kind, found in records.items():
                found.append(Record(topic(kind), 0, 0, time, CLOCK_KEY, tick(time)))
            yield time, records

    def _until(self, time: int) -> None:
        """What people and delivery do by then, each at its time; the clock ticks with it and each minute."""
        while True:
            clock = self.desk.clock or time - 1
            following = min(time, (clock // MINUTE_MS + 1) * MINUTE_MS)
            if self.staff.due and self.staff.due[0][0] <= following:
                at, _, kind, what = heapq.heappop(self.staff.due)
                self._tick(at)
                value = what(at)
                if value is not None:
                    self._enter(kind, value)
            elif clock < time:
                self._tick(following)
            else:
                return

    def _tick(self, time: int) -> None:
        if self.desk.clock is None or time > self.desk.clock:
            self._enter("tick", time)

    def _enter(self, kind: Any, value: bytes | int) -> Outcome:
        self._offset += 1
        out = self.desk.apply(Entry(self._offset, kind, value))
        assert not out.rejected, out.rejected
        self.cases |= {case.id: case for case in out.cases}
        for one in out.notifications:
            self.whys[one.why] += 1
            self.staff.hear(one)
        return out


def rows(seed: int = 1) -> dict[str, str]:
    """The figures by district; AssertionError where somebody was left un-notified or a case open."""
    month = Month(sample(Catalogue.shipped()), Routes.shipped(), seed).live(scale=SCALE, step_ms=10 * MINUTE_MS)
    found = figures(month.cases.values())
    left = [case.id for case in month.cases.values() if case.state != "closed"]
    assert not left, f"not closed: {', '.join(left[:5])}"
    assert not found.unnotified, f"{found.unnotified} cases of which nobody was told"
    told = ", ".join(f"{count:,} {why}" for why, count in month.whys.most_common())
    return {
        "readings, alerts": f"{month.readings:,}, {month.alerts:,}",
        "told": told,
        **{name: _text(one) for name, one in by_district(month.cases.values()).items()},
        "orange and red": _text(figures(case for case in month.cases.values() if case.highest > YELLOW)),
        "all": _text(found),
    }


def sample(city: Catalogue) -> Catalogue:
    """Of each district two catchments and a community of homes, and all stations."""
    zones: dict[tuple[str, str], set[str]] = defaultdict(set)
    for place in sorted(city.places.values(), key=lambda place: place.zone):
        found = zones[place.district, place.kind]
        if place.kind == "crowd" or len(found) < (2 if place.kind == "flood" else 1):
            found.add(place.zone)
    wanted = set().union(*zones.values())
    sensors = {key: sensor for key, sensor in city.sensors.items() if sensor.zone in wanted}
    places = {key: place for key, place in city.places.items() if place.zone in wanted}
    return Catalogue(sensors, places, city.digest)


def _text(one: Figures) -> str:
    def minutes(*times: int | None) -> str:
        return "/".join("-" if time is None else f"{time / MINUTE_MS:.1f}" for time in times)

    satisfied = "" if one.satisfaction is None else f", satisfaction {one.satisfaction:.2f} of 5 ({one.asked})"
    return (
        f"{one.cases:,} cases, closed {one.share_closed or 0:.1%}, answered {one.share_answered or 0:.1%}, "
        f"min to answer {minutes(one.to_answer, one.to_answer_p90)}, "
        f"to close {minutes(one.to_close, one.to_close_p90)} (p50/p90){satisfied}"
    )
