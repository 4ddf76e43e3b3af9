"""A dossier: all that the Desk knows of one case, from which its records are made."""

from __future__ import annotations

from typing import Any

import msgspec

from alerts.cases.case import Case, Change, State
from alerts.cases.message import Words


class Way(msgspec.Struct):
    """How far a case has gone along one route. ``step`` -1: not begun; the number of steps: the last resort.

    ``due``: when the next step is taken, after a ``wait`` of so many ms. ``hoped``: the notifications of this step that
    may still reach somebody.
    """

    route: str
    step: int = -1
    round: int = 0
    due: int | None = None
    hoped: list[int] = msgspec.field(default_factory=list)
    wait: int = 0

    def wait_from(self, at: int, wait_ms: int) -> None:
        """The next step is taken so long after that time."""
        self.due, self.wait = at + wait_ms, wait_ms


class Told(msgspec.Struct, frozen=True, array_like=True):
    """As what somebody was told: by which route, as part of which group, at which step and round."""

    route: str
    group: str
    step: int
    round: int


class Dossier(msgspec.Struct):
    """Times in ms. ``onset`` and ``alert_seq`` are of the newest alert (its place among those of its key); ``basis`` is
    the body that the routes were asked for last; ``answered_level`` the highest level that somebody has answered.
    ``timers``: what else falls due, ``calm``, ``close``, ``data``, ``forget``, ``no_data``, ``remind``, ``silence``,
    ``watched``.
    ``resumed``: it is over, and telling goes on because nobody answered. ``imagined``: opened because a home cannot be
    watched, with no alert of a rule.
    """

    id: str
    key: str
    alert: dict[str, Any]
    opened: int
    at: int
    level: int = 0
    highest: int = 0
    seq: int = 0
    onset: int = -1
    alert_seq: int = -1
    state: State = "open"
    basis: dict[str, Any] = msgspec.field(default_factory=dict)
    by_person: bool = False
    notified: int | None = None
    answered: int | None = None
    answered_level: int = 0
    acknowledged: int | None = None
    acknowledged_by: str | None = None
    resolved: int | None = None
    resumed: bool = False
    no_data: bool = False
    unwatched: bool = False
    imagined: bool = False
    flapping: bool = False
    changes: list[int] = msgspec.field(default_factory=list)
    told_level: int = 0
    silenced: str | None = None
    group: str | None = None
    closed: int | None = None
    closed_by: str | None = None
    outcome: str | None = None
    satisfaction: int | None = None
    told: dict[str, Told] = msgspec.field(default_factory=dict)
    notifications: int = 0
    ways: list[Way] = msgspec.field(default_factory=list)
    timers: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def press(self) -> bool:
        return self.alert["type"] == "press"

    @property
    def due(self) -> int | None:
        """When the next step is taken if nobody answers."""
        return min((way.due for way in self.ways if way.due is not None), default=None)

    @property
    def next_due(self) -> int | None:
        """When anything falls due."""
        return min([*self.timers.values(), *([] if self.due is None else [self.due])], default=None)

    @property
    def weight(self) -> int:
        """The level that decides how long one goes on telling: a call for help, and what nobody answered while it
        lasted, count as the highest that they were; what flaps, as what it was told at.
        """
        if self.press or self.resolved is not None:
            return self.highest
        return self.told_level if self.flapping else self.level

    @property
    def firing(self) -> bool:
        return self.state != "closed" and (self.level > 0 or self.press or self.flapping)

    def pause(self) -> None:
        """No further step, for now."""
        for way in self.ways:
            way.due, way.hoped = None, []

    def record(
        self,
        change: Change,
        at: int,
        reason: Words,
        tells: tuple[str, ...],
        by: str | None,
        action: str | None,
        text: str | None,
        exercise: bool,
    ) -> Case:
        """The case's next record."""
        self.at = max(self.at, at)
        body = self.alert
        place = max(((way.step, way.round) for way in self.ways), default=(0, 0))
        case = Case(
            id=self.id, seq=self.seq, key=self.key, rule=body["rule"], site=body["site"], kind=body["kind"],
            zone=body["zone"], district=body["district"], state=self.state, change=change, reason=reason, by=by,
            action=action, text=text, tells=tells, at=self.at, level=self.level, highest=self.highest, alert=body,
            opened=self.opened, notified=self.notified, answered=self.answered, acknowledged=self.acknowledged,
            acknowledged_by=self.acknowledged_by, resolved=self.resolved, no_data=self.no_data,
            unwatched=self.unwatched, flapping=self.flapping, silenced=self.silenced, group=self.group,
            closed=self.closed, closed_by=self.closed_by, outcome=self.outcome, satisfaction=self.satisfaction,
            told=tuple(self.told), step=max(place[0], 0), round=place[1], due=self.due, exercise=exercise,
        )  # fmt: skip
        self.seq += 1
        return case
