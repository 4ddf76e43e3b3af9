"""A notification: one person is to be told one thing. Topics ``notifications`` and ``receipts``, key ``rule/site``."""

from __future__ import annotations

from typing import Literal

from alerts.cases.message import Message, Time, Words
from alerts.parameters import Id

Why = Literal[
    "opened",  # the case is new
    "raised",  # its level went up
    "reopened",  # it fires again
    "pressed",  # the call button, once more
    "escalated",  # nobody answered: the next in the chain
    "asked",  # somebody asked for the next in the chain
    "repeated",  # nobody answered the whole chain: once more
    "last_resort",  # nobody answered at all
    "unwatched",  # no activity, and all the sensors of the home are silent: it can no longer be watched
    "watched",  # they speak again, and still nobody has moved
    "resolved",  # for those who were told
    "no_data",  # it resolved while its sensors are silent: closes nothing
    "closed",  # by a person, for the others who were told
]


class Notification(Message):
    """``id`` is ``<case>/<n>``, n counting the case's notifications from 0: the same decision has the same id.

    ``to`` is a person's id of the directory; their addresses are known to delivery alone. ``group`` is the one they
    were told as part of, ``step`` the place in the route's chain from 0, ``round`` how many times the chain was begun
    anew. ``at`` is when it was decided, by the log's clock, and ``reason`` why. ``alert`` is the alert's body as it was
    then. ``exercise``: from a replay, nobody is to act on it.

    Of many silent sensors a person has one message (gathering.py): it has ``count``, how many sites it is of, and the
    ``names`` of the first of them. The notifications of the others have its id as ``within``: they are told with it,
    and its receipts are theirs.
    """

    id: str
    case: str
    key: str
    to: Id
    group: Id
    route: Id
    step: int
    round: int
    why: Why
    reason: Words
    level: int
    at: Time
    alert: dict[str, object]
    exercise: bool = False
    count: int | None = None
    names: tuple[str, ...] | None = None
    within: str | None = None


class Receipt(Message):
    """What became of a notification. ``id`` is ``<notification>/<channel>/<attempt>``.

    ``delivered``: the channel took it. ``failed``: this attempt did not, another follows. ``gave_up``: no channel of
    this person took it in all its attempts. ``detail`` says why; no address is in it.
    """

    id: str
    notification: str
    case: str
    to: Id
    channel: str
    attempt: int
    status: Literal["delivered", "failed", "gave_up"]
    at: Time
    detail: str | None = None
