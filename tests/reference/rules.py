"""The types whose x is a number, and the call button (contract, 4); ``TYPES`` has all nine."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from datetime import time as time_of_day

from .readings import QUANTITIES, Graded, round6
from .timers import Dwell, Inactivity, Silence
from .watch import LEVELS, MINUTE, Group, Watch, duration


def kept(rain: float) -> float:
    """What is added up of it."""
    return round(rain * 1000) / 1000


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
