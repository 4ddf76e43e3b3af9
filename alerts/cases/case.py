"""A case: what is being done about one alert, from its opening to its closing. Topic ``cases``, key ``rule/site``."""

from __future__ import annotations

from typing import Literal

from alerts.cases.message import Message, Time
from alerts.parameters import Id

State = Literal["open", "notified", "acknowledged", "closed"]


class Case(Message):
    """The whole case after one change of it; the newest of a case's records is the case.

    ``id`` is ``rule/site/onset`` of the episode that opened it; ``seq`` counts its changes from 0. ``change`` says
    what changed and ``reason`` why it was decided so, in one line for people. ``level`` is the alert's level now (0:
    resolved), ``highest`` its highest. ``state`` is as the case went; ``told`` are the people told so far.
    ``resolved`` and ``no_data``: the alert is at 0, or was said to be while its sensors were silent. ``due`` is when
    the next step is taken if nobody answers.
    """

    id: str
    seq: int
    key: str
    rule: Id
    site: Id
    kind: str
    zone: str
    district: str
    state: State
    change: str
    reason: str
    by: Id | None = None
    text: str | None = None
    at: Time
    level: int
    highest: int
    alert: dict[str, object]
    opened: Time
    notified: Time | None = None
    acknowledged: Time | None = None
    acknowledged_by: Id | None = None
    resolved: Time | None = None
    no_data: bool = False
    closed: Time | None = None
    closed_by: Id | None = None
    outcome: str | None = None
    satisfaction: int | None = None
    told: tuple[Id, ...] = ()
    step: int = 0
    round: int = 0
    due: Time | None = None
    exercise: bool = False
