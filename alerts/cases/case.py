"""A case: what is being done about one alert, from its opening to its closing. Topic ``cases``, key ``rule/site``."""

from __future__ import annotations

from typing import Literal

from alerts.cases.message import Message, Time, Words
from alerts.parameters import Id

State = Literal["open", "notified", "acknowledged", "closed"]

Change = Literal[
    "opened",
    "notified",  # a channel took a first notification
    "raised",  # the alert's level went up
    "lowered",  # it went down, and not to 0
    "reopened",  # it fires again
    "pressed",  # the call button, once more
    "reset",  # of the call button: nobody is told, nothing is over
    "escalated",  # the next in the chain was told
    "asked",  # somebody asked for that
    "repeated",  # the chain was begun anew
    "last_resort",
    "acknowledged",
    "noted",
    "resolved",
    "no_data",  # resolved, while its sensors were silent
    "unwatched",  # all the sensors of the home are silent
    "watched",  # they speak again
    "flapping",  # changes of level are told no longer, while it is blue or yellow
    "damped",  # one of those
    "calm",  # it has been steady since
    "silenced",  # a decision that a silence held back
    "unsilenced",
    "grouped",  # for the view: under a red waterlogging risk
    "ungrouped",
    "closed",
    "refused",  # an action that could not be done
]


class Case(Message):
    """The whole case after one change of it; the newest of a case's records is the case.

    ``id`` is ``rule/site/onset`` of the episode that opened it; ``seq`` counts its changes from 0. ``change`` says
    what changed, ``reason`` why it was decided so, ``by``, ``action`` and ``text`` whose action it was, and ``tells``
    who is told of it. ``alert`` is the newest body, ``level`` the alert's level now (0: resolved), ``highest`` its
    highest.

    ``state``: ``open`` until a channel has taken a first notification (``notified``: somebody can know of it), then
    until somebody answers (``acknowledged``), then until it is ``closed``. ``told`` are the people told so far.
    ``answered`` is when somebody first answered; ``acknowledged`` and ``acknowledged_by`` the answer that holds now: a
    higher level, a second press or a new episode asks for a new one. ``resolved``: since when the alert is at 0.
    ``no_data``: it went there while its sensors were silent, so ``level`` stays. ``closed_by`` is None where the case
    closed by itself. ``step``, ``round`` and ``due``: the place in the chain, and when the next step is taken if nobody
    answers. ``silenced`` is the id of the silence that holds it back, ``group`` the case of the red waterlogging risk
    that it is shown under.
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
    change: Change
    reason: Words
    by: Id | None = None
    action: Id | None = None
    text: str | None = None
    tells: tuple[Id, ...] = ()
    at: Time
    level: int
    highest: int
    alert: dict[str, object]
    opened: Time
    notified: Time | None = None
    answered: Time | None = None
    acknowledged: Time | None = None
    acknowledged_by: Id | None = None
    resolved: Time | None = None
    no_data: bool = False
    unwatched: bool = False
    flapping: bool = False
    silenced: Id | None = None
    group: str | None = None
    closed: Time | None = None
    closed_by: Id | None = None
    outcome: str | None = None
    satisfaction: int | None = None
    told: tuple[Id, ...] = ()
    step: int = 0
    round: int = 0
    due: Time | None = None
    exercise: bool = False
