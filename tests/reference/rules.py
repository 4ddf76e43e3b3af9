"""The nine rule types (contract, 4), each at one site."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from .readings import QUANTITIES, Graded, round6

LEVELS = {"blue": 1, "yellow": 2, "orange": 3, "red": 4}
MINUTE = 60_000
Group = list[tuple[dict, Graded]]


def duration(text: str) -> int:
    """In ms."""
    found = re.fullmatch(r"(\d+)(s|m|h)", text)
    assert found, text
    return int(found[1]) * {"s": 1000, "m": 60_000, "h": 3_600_000}[found[2]]


def iso(ms: int) -> str:
    whole = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def kept(rain: float) -> float:
    """What is added up of it."""
    return round(rain * 1000) / 1000


class Watch:
    """A rule at a site: its level, and what is common to all types."""

    def __init__(self, rule: dict, site: dict, grace: int, tz: ZoneInfo) -> None:
        self.rule, self.site, self.grace, self.tz = rule, site, grace, tz
        self.kinds = {rule["kind"]}
        self.table = site.get("overrides", {}).get(rule["id"])
        self.hysteresis = rule.get("hysteresis", 0)
        self.level = 0
        self.seq = -1
        self.onset = 0
        self.changed: int | None = None  # the `at` of the previous change
        self.used: int | None = None  # the time of the latest reading used
        self.alerts: list[dict] = []
        self.prepare()

    # What a type says of itself.
    unit: str | None = None

    def prepare(self) -> None:
        self.levels = {LEVELS[name]: c for name, c in (self.table or self.rule["levels"]).items()}
        self.unit = QUANTITIES[self.rule["kind"]][self.rule["quantity"]]

    def uses(self, quantity: str, grade: str) -> bool:
        return quantity == self.rule["quantity"] and grade == "good"

    def due(self) -> int | None:
        """The time of the next thing that happens by itself."""
        return None

    def happen(self, time: int) -> None:
        raise NotImplementedError

    def apply(self, time: int, group: Group) -> None:
        raise NotImplementedError

    def zone_seen(self, time: int) -> None:
        """A reading of the site's zone, or a tick."""

    # The same for all types.
    def readings(self, time: int, group: Group) -> None:
        self.happen_until(time)
        self.apply(time, group)
        self.used = time if self.used is None else max(self.used, time)

    def tick(self, kind: str, time: int) -> None:
        self.zone_seen(time)
        self.happen_until(time - self.grace)

    def happen_until(self, limit: int) -> None:
        while (time := self.due()) is not None and time <= limit:
            self.happen(time)

    def step(self, x: float, time: int, up: int | None = None) -> None:
        x = round6(x)
        if up is None:
            up = max((i for i, c in self.levels.items() if x >= round6(c)), default=0)
        down = max((i for i, c in self.levels.items() if x >= round6(c - self.hysteresis)), default=0)
        level = min(max(self.level, up), down)
        if level != self.level:
            self.change(level, time, x, self.levels[max(level, self.level)])

    def change(self, level: int, time: int, value: float, threshold: float) -> None:
        if level == self.level:
            return
        at = max(t for t in (time, self.used, self.changed) if t is not None)
        if self.level == 0:
            self.seq = self.seq + 1 if at == self.changed else 0
            self.onset = at
        else:
            self.seq += 1
        rule, site = self.rule, self.site
        self.alerts.append(
            {
                "id": f"{rule['id']}/{site['id']}/{iso(self.onset)}/{self.seq}",
                "rule": rule["id"],
                "type": rule["type"],
                "kind": rule["kind"],
                "site": site["id"],
                "zone": site["zone"],
                "district": site["district"],
                "level": level,
                "previous": self.level,
                "status": "firing" if level else "resolved",
                "onset": iso(self.onset),
                "at": iso(at),
                "seq": self.seq,
                "value": round6(value),
                "threshold": threshold,
                "unit": self.unit,
            }
        )
        self.level = level
        self.changed = at


class Level(Watch):
    def prepare(self) -> None:
        super().prepare()
        self.run_needed = duration(self.rule.get("for", "0s"))
        self.run_start: dict[int, int] = {}

    def apply(self, time: int, group: Group) -> None:
        x = group[0][1].value
        up = 0
        for i, c in self.levels.items():
            if round6(x) >= round6(c):
                start = self.run_start.setdefault(i, time)
                if time - start >= self.run_needed:
                    up = max(up, i)
            else:
                self.run_start.pop(i, None)
        self.step(x, time, up)


class Rise(Watch):
    def prepare(self) -> None:
        super().prepare()
        self.window = duration(self.rule["window"])
        self.history: list[tuple[int, float]] = []

    def apply(self, time: int, group: Group) -> None:
        x = group[0][1].value
        self.history.append((time, x))
        self.step(x - min(v for t, v in self.history if time - self.window <= t <= time), time)


class WindowSum(Watch):
    def prepare(self) -> None:
        self.levels = {LEVELS[name]: c["sum"] for name, c in (self.table or self.rule["levels"]).items()}
        self.windows = {
            LEVELS[name]: duration(c["window"]) // MINUTE for name, c in (self.table or self.rule["levels"]).items()
        }
        self.unit = QUANTITIES[self.rule["kind"]][self.rule["quantity"]]
        self.minutes: dict[int, list[float]] = defaultdict(list)
        self.reached: int | None = None

    def uses(self, quantity: str, grade: str) -> bool:
        return quantity == self.rule["quantity"] and (
            grade == "good" or (grade == "late" and self.rule.get("per") != "place")
        )

    def due(self) -> int | None:
        return None if self.reached is None else (self.reached + 1) * MINUTE

    def happen(self, time: int) -> None:
        self.reached = time // MINUTE
        self.evaluate(time)

    def tick(self, kind: str, time: int) -> None:
        if self.reached is None:
            self.reached = (time - self.grace) // MINUTE
        super().tick(kind, time)

    def apply(self, time: int, group: Group) -> None:
        minute = time // MINUTE
        if self.reached is None:
            self.reached = minute
        for _, reading in group:
            if reading.grade == "good" or not self.minutes.get(minute):
                self.minutes[minute].append(kept(reading.value) if reading.quantity == "rain" else reading.value)
        self.evaluate(time)

    def evaluate(self, time: int) -> None:
        assert self.reached is not None
        if not self.minutes and self.level == 0:
            return
        sums = {i: self.sum_of(self.reached - w + 1, self.reached) for i, w in self.windows.items()}
        up = max((i for i, c in self.levels.items() if sums[i] >= round6(c)), default=0)
        falls = {i: round6(c * (1 - self.hysteresis)) for i, c in self.levels.items()}
        down = max((i for i, c in falls.items() if sums[i] >= c), default=0)
        level = min(max(self.level, up), down)
        if level != self.level:
            of = max(level, self.level)
            self.change(level, time, sums[of], self.levels[of])

    def sum_of(self, first: int, last: int) -> float:
        # In whole millionths, so that the order of adding does not matter.
        return sum(round(v * 1e6) for m, vs in self.minutes.items() if first <= m <= last for v in vs) / 1e6


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


class Press(Watch):
    unit = "/"

    def prepare(self) -> None:
        self.pressed: int | None = None  # last

    def uses(self, quantity: str, grade: str) -> bool:
        return quantity == "button" and grade == "good"

    def due(self) -> int | None:
        return None if self.level == 0 or self.pressed is None else self.pressed + duration(self.rule["reset"])

    def happen(self, time: int) -> None:
        self.change(0, time, 0, 1)

    def apply(self, time: int, group: Group) -> None:
        if any(reading.value for _, reading in group):
            self.pressed = time if self.pressed is None else max(self.pressed, time)
            self.change(LEVELS[self.rule["level"]], time, 1, 1)


class Occupancy(Watch):
    unit = "/"

    def prepare(self) -> None:
        self.levels = {LEVELS[name]: c for name, c in (self.table or self.rule["levels"]).items()}
        self.people = 0.0
        self.next_reset: int | None = None

    def uses(self, quantity: str, grade: str) -> bool:
        return quantity in ("in", "out", "count") and grade == "good"

    def zone_seen(self, time: int) -> None:
        if self.next_reset is None and "reset" in self.rule:
            self.next_reset = self.reset_after(time)

    def reset_after(self, time: int) -> int:
        hour, minute = map(int, self.rule["reset"].split(":"))
        day = datetime.fromtimestamp(time // 1000, self.tz).date() - timedelta(days=1)
        while True:
            local = datetime.combine(day, time_of_day(hour, minute), self.tz)
            if round(local.timestamp() * 1000) > time:
                return round(local.timestamp() * 1000)
            day += timedelta(days=1)

    def due(self) -> int | None:
        return self.next_reset

    def happen(self, time: int) -> None:
        self.next_reset = self.reset_after(time)
        self.people = 0
        self.step(0, time)

    def apply(self, time: int, group: Group) -> None:
        counts = [r.value for _, r in group if r.quantity == "count"]
        if counts:
            self.people = counts[-1]
        else:
            moved = sum(r.value if r.quantity == "in" else -r.value for _, r in group)
            self.people = max(0, self.people + moved)
        self.step(self.people / self.site["capacity"], time)


class WaterlogRisk(Watch):
    unit = "m"

    def prepare(self) -> None:
        self.kinds = {"flood", "rain"}
        self.levels = {LEVELS[name]: c for name, c in (self.table or self.rule["levels"]).items()}
        self.clocks: dict[str, int] = {}
        self.next_minute: int | None = None
        self.rain: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.depths: dict[int, dict[str, float]] = defaultdict(dict)
        self.water = 0.0  # W, mm
        self.intercepted = 0.0  # of this storm, mm
        self.dry = 0  # minutes
        self.past: list[float] = []  # r, one per minute

    def collect(self, kind: str, reading: Graded, clock: int | None) -> None:
        minute = reading.time // MINUTE
        if clock is not None and clock - self.grace >= (minute + 1) * MINUTE:
            return
        if reading.quantity == "rain":
            self.rain[minute][reading.sensor].append(kept(reading.value))
        else:
            self.depths[minute][reading.sensor] = reading.value

    def tick(self, kind: str, time: int) -> None:
        self.clocks[kind] = time
        if len(self.clocks) < 2:
            return
        last = (min(self.clocks.values()) - self.grace) // MINUTE - 1
        if self.next_minute is None:
            self.next_minute = min([last, *self.rain, *self.depths])
        while self.next_minute <= last:
            self.minute(self.next_minute)
            self.next_minute += 1

    def minute(self, m: int) -> None:
        place = self.site
        sums = [round6(sum(values)) for values in self.rain.pop(m, {}).values()]
        r = sum(sums) / len(sums) if sums else 0.0
        # 1
        lost = min(r, place["interception_mm"] - self.intercepted)
        self.intercepted += lost
        r_left = r - lost
        self.dry = self.dry + 1 if r == 0 else 0
        if self.dry >= 360:
            self.intercepted = 0.0
        # 2
        drained = place["drainage_mm_h"] / 60
        self.water = max(0.0, self.water + place["runoff"] * r_left - drained)
        # 3
        depths = self.depths.pop(m, {})
        if depths:
            d = max(depths.values())
            if d > 0:
                self.water = place["storage_mm"] + 1000 * d / place["hollow_ratio"]
            else:
                self.water = min(self.water, place["storage_mm"])
        # 5
        self.past.append(r)
        mean = sum(self.past[-15:]) / 15
        later = max(0.0, self.water + 30 * (place["runoff"] * mean - drained))
        # 6
        self.step(max(self.depth(self.water), self.depth(later)), (m + 1) * MINUTE)

    def depth(self, water: float) -> float:
        return max(0.0, water - self.site["storage_mm"]) * self.site["hollow_ratio"] / 1000


TYPES = {
    "level": Level,
    "rise": Rise,
    "window_sum": WindowSum,
    "dwell": Dwell,
    "inactivity": Inactivity,
    "press": Press,
    "silence": Silence,
    "occupancy": Occupancy,
    "waterlog_risk": WaterlogRisk,
}
