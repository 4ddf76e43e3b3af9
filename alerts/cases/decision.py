"""A decision about an action that leaves no trace on a case. Topic ``decisions``, key as the action's."""

from __future__ import annotations

from alerts.cases.action import Action
from alerts.cases.message import Message, Time, Words


class Decision(Message):
    """Whether a silence, a maintenance or a lift holds (``accepted``), and why; or that there is no such case.

    ``at`` is when it was decided, by the log's clock. What was decided about an action on a case is on ``cases``.
    """

    action: Action
    accepted: bool
    at: Time
    reason: Words
