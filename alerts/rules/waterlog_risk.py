"""Will the hollow fill? Rain, what the ground lets run off, and what the drains take, minute by minute."""

from __future__ import annotations

from typing import Any

import numpy as np

from alerts import parameters
from alerts.batch import GOOD, Batch
from alerts.levels import round6
from alerts.roster import Sites
from alerts.rules.rule import Rule, Site, Tick
from sensors.catalogue import Catalogue, Place
from sensors.record import Record

MINUTE_MS = 60_000
STORM_ENDS_AFTER = 360  # minutes without rain
RECENT = 15  # minutes over which the rain to come is judged
AHEAD = 30  # minutes for which it is taken to go on
_NEEDED = ("runoff", "interception_mm", "storage_mm", "drainage_mm_h", "hollow_ratio")


class Catchment:
    """The water balance of one catchment: what it has caught, what lies in it, and what is coming (mm)."""

    __slots__ = (
        *("runoff", "interception", "storage", "drained", "hollow_ratio"),
        *("caught", "depths", "dry", "next_minute", "rain", "recent", "water"),
    )

    def __init__(self, place: Place) -> None:
        self.runoff, self.interception = place.runoff or 0.0, place.interception_mm or 0.0
        self.storage, self.drained = place.storage_mm or 0.0, (place.drainage_mm_h or 0.0) / 60  # per minute
        self.hollow_ratio = place.hollow_ratio or 0.0
        self.water = 0.0
        self.caught = 0.0  # of this storm's rain, lost to interception
        self.dry = STORM_ENDS_AFTER  # minutes since it last rained
        self.recent = [0.0] * RECENT
        self.next_minute: int | None = None
        self.rain: dict[int, dict[str, int]] = {}  # minute → station id → thousandths of a mm
        self.depths: dict[int, dict[str, float]] = {}  # minute → gauge id → last depth in m

    def pending(self, default: int) -> int:
        """The earliest minute that has a reading waiting."""
        return min((*self.rain, *self.depths), default=default)

    @property
    def idle(self) -> bool:
        """Nothing is in it, and nothing has come of late: without readings a minute changes nothing."""
        return not self.water and self.dry > RECENT

    def minute(self, number: int) -> float:
        """Takes one minute's step; the predicted depth in m, the larger of now and half an hour ahead.

        The steps are those of docs/rules.md, "waterlog_risk".
        """
        stations, gauges = self.rain.pop(number, None), self.depths.pop(number, None)
        rain = sum(stations.values()) / 1000 / len(stations) if stations else 0.0
        if rain > 0:
            if self.dry >= STORM_ENDS_AFTER:
                self.caught = 0.0
            self.dry = 0
        else:
            self.dry += 1
        lost = min(rain, self.interception - self.caught)
        self.caught += lost
        self.water = max(0.0, self.water + self.runoff * (rain - lost) - self.drained)
        depth = max(gauges.values()) if gauges else None
        if self.idle and not rain and not depth:
            return 0.0
        if depth is not None:
            if depth > 0:
                self.water = self.storage + 1000 * depth / self.hollow_ratio
            else:
                self.water = min(self.water, self.storage)
        mean = 0.0
        if self.dry <= RECENT:  # after that many dry minutes all of them are 0
            self.recent = [*self.recent[1:], rain]
            mean = sum(self.recent) / RECENT
        ahead = max(0.0, self.water + AHEAD * (self.runoff * mean - self.drained))
        return max(self._depth(self.water), self._depth(ahead))

    def _depth(self, water: float) -> float:
        return max(0.0, water - self.storage) * self.hollow_ratio / 1000


class WaterlogRisk(Rule):
    """x is the depth in m that is predicted for the hollow of a catchment, once for each minute whose end both the
    flood and the rain clock (minus grace) have reached. See ``Catchment.minute`` for the model.

        [[rule]]
        id = "waterlog-risk"
        kind = "flood"
        type = "waterlog_risk"
        levels = {yellow = 0.15, orange = 0.27, red = 0.50}
        hysteresis = 0.05
    """

    type = "waterlog_risk"
    unit = "m"
    words = (
        "预计积水 {value} m，阈值 {threshold} m",
        "water is expected to reach {value} m, threshold {threshold} m",
    )

    class Parameters(parameters.Parameters):
        kinds = ("flood", "rain")
        levels: parameters.Thresholds
        hysteresis: parameters.Hysteresis = 0.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.catchments = [Catchment(site) for site in self.sites.all if isinstance(site, Place)]
        self._now: dict[str, int | None] = {"flood": None, "rain": None}
        self._lowest = [min(c for _, c in ladder.up_from) for ladder in self.ladders]
        of_zone = {site.zone: row for row, site in enumerate(self.sites.all)}
        self._ids = {kind: [s.id for s in self.roster.kinds[kind].sensors.all] for kind in self.kinds}
        self._site_of = {
            kind: np.array([of_zone.get(s.zone, -1) for s in self.roster.kinds[kind].sensors.all], np.int64)
            for kind in self.kinds
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("flood", "rain")

    def choose_sites(self) -> Sites:
        return Sites((p for p in self.roster.places if p.hollow_ratio is not None), self.roster.zone)

    @classmethod
    def applies(cls, rule: Any, site: Site, catalogue: Catalogue) -> bool:
        return isinstance(site, Place) and site.hollow_ratio is not None

    @classmethod
    def check(cls, rule: Any, site: Site, catalogue: Catalogue) -> None:
        super().check(rule, site, catalogue)
        if cls.applies(rule, site, catalogue):
            for field in _NEEDED:
                value = getattr(site, field)
                if value is None or value < 0 or (field == "hollow_ratio" and value == 0):
                    raise ValueError(f"the catchment {site.id} needs a `{field}` that is not negative; it has {value}")

    def readings(self, batch: Batch) -> None:
        rows = np.flatnonzero(batch.grade == GOOD)
        sensor, minute = batch.sensor[rows], batch.time[rows] // MINUTE_MS
        site = self._site_of[batch.kind][sensor]
        now = self._now[batch.kind]
        # the minutes that this topic's own clock has closed take nothing more
        wanted = (site >= 0) & (minute >= (now // MINUTE_MS if now is not None else 0))
        rain = batch.kind == "rain"
        columns = (site[wanted], minute[wanted], sensor[wanted], batch.value[rows][wanted])
        ids = self._ids[batch.kind]
        for s, m, row, value in zip(*(column.tolist() for column in columns), strict=True):
            catchment, who = self.catchments[s], ids[row]
            if rain:
                stations = catchment.rain.setdefault(m, {})
                stations[who] = stations.get(who, 0) + round(value * 1000)
            else:
                catchment.depths.setdefault(m, {})[who] = value

    def due(self, tick: Tick) -> None:
        before = self._closed()
        now = self._now[tick.kind]
        self._now[tick.kind] = tick.now if now is None else max(now, tick.now)
        closed = self._closed()
        if closed is None or closed == before:
            return
        for site, catchment in enumerate(self.catchments):
            self._take(site, catchment, closed, tick.record)

    def _closed(self) -> int | None:
        """The first minute whose end the two clocks have not both reached."""
        flood, rain = self._now["flood"], self._now["rain"]
        return None if flood is None or rain is None else min(flood, rain) // MINUTE_MS

    def _take(self, site: int, catchment: Catchment, closed: int, source: Record) -> None:
        """All minutes before ``closed`` that this catchment has not taken yet."""
        minute = catchment.next_minute
        minute = min(catchment.pending(closed), closed) if minute is None else minute
        while minute < closed:
            if catchment.idle and self._lowest[site] > 0 and not self.step.level[site]:
                skipped = min(catchment.pending(closed), closed) - minute
                catchment.dry += skipped
                minute += skipped
                if minute == closed:
                    break
            x = round6(catchment.minute(minute))
            minute += 1
            if x >= self._lowest[site] or self.step.level[site] > 0:
                self.step_to(site, x, minute * MINUTE_MS, source)
        catchment.next_minute = minute

    def resume(self, tick: Tick) -> None:
        self.due(tick)

    def dump(self, zone: int) -> dict[str, Any]:
        catchments = self.catchments[self.sites.of_zone[zone]]
        saved = []
        for c in catchments:
            rain = [[minute, list(stations.items())] for minute, stations in c.rain.items()]
            depths = [[minute, list(gauges.items())] for minute, gauges in c.depths.items()]
            saved.append([c.water, c.caught, c.dry, c.recent, c.next_minute, rain, depths])
        return super().dump(zone) | {"catchments": saved}

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        for i, site in zip(old, new, strict=True):
            c = self.catchments[site]
            c.water, c.caught, c.dry, recent, c.next_minute, rain, depths = saved["catchments"][i]
            c.recent = list(recent)
            c.rain = {minute: dict(stations) for minute, stations in rain}
            c.depths = {minute: dict(gauges) for minute, gauges in depths}
