"""What the Desk takes and gives: the entries of ``oncall.log``, and what comes of one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from alerts.alert import Source
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from alerts.cases.notification import Notification

Kind = Literal["alert", "action", "receipt", "tick"]


class Entry(NamedTuple):
    """``offset`` is its place in ``oncall.log``. ``value`` is the record's value as it came, of a tick the time in ms.

    ``source``: the record that it is a copy of. One that was copied twice counts once. ``taken``: the newest tick (ms)
    that there was when it came into the log, from when on people could hear of it; None: at its own time.
    """

    offset: int
    kind: Kind
    value: bytes | int
    source: Source | None = None
    taken: int | None = None


class Refusal(NamedTuple):
    """An entry that changed nothing. ``reason`` is ``malformed``, ``unknown_case``, ``unknown_person``,
    ``unknown_notification``, ``unknown_silence``; ``action`` its id, where it has one.
    """

    entry: Entry
    reason: str
    detail: str
    action: str | None = None


class Outcome:
    """What ``Desk.apply`` gave rise to: records for ``cases``, ``notifications`` and ``decisions``, in order, and what
    was refused.
    """

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.notifications: list[Notification] = []
        self.decisions: list[Decision] = []
        self.rejected: list[Refusal] = []

    def add(self, later: Outcome) -> None:
        """Puts what came after it behind it."""
        self.cases += later.cases
        self.notifications += later.notifications
        self.decisions += later.decisions
        self.rejected += later.rejected
