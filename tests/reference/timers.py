"""The types that are timers: dwell, inactivity, silence (contract, 4)."""

from __future__ import annotations

from .watch import LEVELS, Group, Watch, duration


class Presence:
    """Whether somebody is in: `away_room` and `away_return`."""

    def __init__(self, rule: dict) -> None:
        self.away_room = rule.get("away_room")
        back = rule.get("away_return", {"motions": 1, "within": "1s"})
        self.needed, self.within = back["motions"], duration(back["within"])
        self.last: int | None = None  # motion
        self.away = False
        self.ignored: list[int] = []

    def motion(self, time: int, room: str) -> bool:
        """Whether it counts as a motion."""
        if self.last is not None and time < self.last:
            return False
        if self.away and room != self.away_room:
            self.ignored.append(time)
            if sum(time - self.within < t <= time for t in self.ignored) < self.needed:
                return False
        self.ignored = []
        self.last = time
        self.away = room == self.away_room
        return True


class Timer(Watch):
    """A wait that began at ``start``: level i falls due at ``start`` + its duration in ``waits``."""

    unit = "s"
    start: int | None = None
    waits: dict[int, int]  # level -> ms

    def prepare(self) -> None:
        self.waits = {}
        self.pending: list[int] = []  # due times

    def begin(self, start: int | None, waits: dict[int, int]) -> None:
        self.start, self.waits = start, waits
        self.pending = [] if start is None else sorted({start + wait for wait in waits.values()})

    def due(self) -> int | None:
        return self.pending[0] if self.pending else None

    def happen(self, time: int) -> None:
        self.pending.pop(0)
        assert self.start is not None
        level = max(i for i, wait in self.waits.items() if self.start + wait <= time)
        self.change(level, time, (time - self.start) / 1000, self.waits[level] / 1000)

    def end(self, time: int, start: int | None, waits: dict[int, int]) -> None:
        """The wait that began at ``start`` is over."""
        if self.level:
            assert start is not None
            self.change(0, time, (time - start) / 1000, waits[self.level] / 1000)


def waits_of(table: dict[str, str]) -> dict[int, int]:
    return {LEVELS[name]: duration(text) for name, text in table.items()}


class Dwell(Timer):
    def prepare(self) -> None:
        super().prepare()
        self.rooms = {room: waits_of(table) for room, table in (self.table or self.rule["rooms"]).items()}
        self.presence = Presence(self.rule)
        self.room: str | None = None  # of the stay

    def uses(self, quantity: str, grade: str) -> bool:
        return quantity == "motion" and grade == "good"

    def apply(self, time: int, group: Group) -> None:
        before = (self.start, self.waits)
        broken = False
        for sensor, reading in group:
            if reading.value and self.presence.motion(time, sensor["room"]):
                room = None if self.presence.away else sensor["room"]
                if room != self.room:
                    broken = True
                    self.room = room
                    self.begin(None if room is None else time, self.rooms.get(room, {}))
        if broken:
            self.end(time, *before)


class Inactivity(Timer):
    def prepare(self) -> None:
        super().prepare()
        self.usual = waits_of(self.table or self.rule["levels"])
        self.while_away = waits_of(self.rule.get("away_levels", {}))
        self.presence = Presence(self.rule)

    def uses(self, quantity: str, grade: str) -> bool:
        return quantity == "motion" and grade == "good"

    def apply(self, time: int, group: Group) -> None:
        before = (self.start, self.waits)
        broken = False
        for sensor, reading in group:
            if reading.value and self.presence.motion(time, sensor["room"]):
                waits = self.while_away if self.presence.away else self.usual
                if (time, waits) != (self.start, self.waits):
                    broken = True
                    self.begin(time, waits)
        if broken:
            self.end(time, *before)


class Silence(Timer):
    def prepare(self) -> None:
        super().prepare()
        self.limits = waits_of(self.table or self.rule["levels"])

    def uses(self, quantity: str, grade: str) -> bool:
        return grade in ("good", "held")

    def tick(self, kind: str, time: int) -> None:
        if self.start is None:
            self.begin(time, self.limits)
        super().tick(kind, time)

    def apply(self, time: int, group: Group) -> None:
        if self.start is None or time > self.start:
            before = (self.start, self.waits)
            self.begin(time, self.limits)
            self.end(time, *before)
