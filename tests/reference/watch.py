"""A rule at a site: its level and what is common to all types (contract, 4 and 5)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
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
