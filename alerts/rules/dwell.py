"""Too long in one room: a fall in the bathroom, a whole day in the living-room chair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from alerts import parameters
from alerts.levels import NEVER
from alerts.presence import Presence, PresenceParameters, PresenceRule

Rooms = Annotated[dict[str, parameters.Waits], Field(min_length=1)]


class Dwell(PresenceRule):
    """A timer per home: the length of the stay in the room of the last motion, which began at the first motion of
    the unbroken run there. Motion elsewhere ends it. ``rooms``: room → level → wait.

        [[rule]]
        id = "home-dwell"
        kind = "infrared"
        type = "dwell"
        rooms = {bathroom = {orange = "1h"}, living = {orange = "3h", red = "5h"}}
        away_room = "entrance"
        away_return = {motions = 3, within = "10m"}
    """

    type = "dwell"
    restarts = False
    words = ("在同一房间已停留 {wait}", "in the same room for {wait}")

    class Parameters(PresenceParameters):
        table = "rooms"
        rooms: Rooms

    def waits(self) -> Iterator[dict[int, int]]:
        return (waits for rooms in self.tables for waits in rooms.values())

    def wait(self, site: int, home: Presence) -> tuple[int, dict[int, int]] | None:
        return None if home.away or home.since == NEVER else (home.since, self.tables[site].get(home.room, {}))
