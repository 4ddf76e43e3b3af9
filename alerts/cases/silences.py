"""Silences and maintenance: which alerts tell nobody for a while, and what nothing may hold back."""

from __future__ import annotations

from typing import Any

from alerts.cases.action import Action

RED = 4


class Silences:
    """Those that are known, by id.

    What they never hold back: a call for help, at any level; a red alert in a home; and a silence no red alert at all.
    Maintenance, which names its sites, holds back red alerts there other than in homes: a gauge under repair is to
    be quiet, and somebody stands beside it. A case is opened all the same, and what was held back is on ``cases``.
    """

    def __init__(self) -> None:
        self.all: dict[str, Action] = {}

    def holding(self, alert: dict[str, Any], at_ms: int) -> Action | None:
        """The one that holds an alert (its body) back at that time, of several the one that lasts longest."""
        level = alert["level"]
        if alert["type"] == "press" or (level >= RED and alert["kind"] == "infrared"):
            return None
        found = [
            one
            for one in self.all.values()
            if (one.since or 0) <= at_ms < (one.until or 0)
            and (level < RED or one.do == "maintenance")
            and one.matcher is not None
            and one.matcher.matches(alert)
        ]
        return max(found, key=lambda one: (one.until or 0, one.id), default=None)

    def forget(self, now_ms: int) -> None:
        """Those that are over."""
        self.all = {key: one for key, one in self.all.items() if (one.until or 0) > now_ms}
