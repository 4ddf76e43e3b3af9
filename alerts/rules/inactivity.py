"""No motion in a home for too long: somebody who cannot get up, or who did not come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alerts import parameters
from alerts.levels import NEVER
from alerts.presence import Presence, PresenceParameters, PresenceRule


class Inactivity(PresenceRule):
    """A timer per home: the time since the last motion in any room.

    ``away_levels`` take the place of ``levels`` while nobody is in; without them no timer runs then, and someone
    who does not come back is not missed.

        [[rule]]
        id = "home-inactivity"
        kind = "infrared"
        type = "inactivity"
        levels = {yellow = "12h", red = "24h"}
        away_room = "entrance"
        away_levels = {yellow = "24h", red = "48h"}
    """

    type = "inactivity"
    restarts = True
    words = ("已 {wait} 没有活动", "no motion for {wait}")

    class Parameters(PresenceParameters):
        levels: parameters.Waits
        away_levels: parameters.Waits | None = None

    def waits(self) -> Iterator[dict[int, int]]:
        yield from self.tables
        yield self.rule.away_levels or {}

    def wait(self, site: int, home: Presence) -> tuple[int, dict[int, int]] | None:
        waits = self.rule.away_levels if home.away else self.tables[site]
        return None if waits is None or home.last == NEVER else (home.last, waits)

    @classmethod
    def warnings(cls, rule: Any) -> list[str]:
        if rule.away_room is None or rule.away_levels is not None:
            return []
        return ["has an `away_room` and no `away_levels`: someone who goes out and does not come back is not missed"]
