"""Will the hollow fill? Rain, what the ground lets run off, and what the drains take, minute by minute."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alerts import parameters
from alerts.batch import GOOD, Batch
from alerts.levels import MOST, NEVER, Floats, Times, round6_all
from alerts.roster import Sites
from alerts.rules.rule import Rule, Site, Tick
from alerts.table import Table
from sensors.catalogue import Catalogue, Place
from sensors.record import Record

MINUTE_MS = 60_000
STORM_ENDS_AFTER = 360  # minutes without rain
RECENT = 15  # minutes over which the rain to come is judged
AHEAD = 30  # minutes for which it is taken to go on
_NEEDED = ("runoff", "interception_mm", "storage_mm", "drainage_mm_h")
_MOST = 1e12  # mm in one reading; keeps sums within int64
_ROOM = 10_000  # readings that may wait before those of one minute and sensor are put together

Rows = NDArray[np.intp]


class Catchments:
    """The water balance of catchments: what each has caught, what lies in it, and what is coming (mm)."""

    def __init__(self, places: list[Place]) -> None:
        def column(field: str) -> Floats:
            return np.array([getattr(place, field) or 0.0 for place in places], np.float64)

        self.runoff, self.interception, self.storage = map(column, ("runoff", "interception_mm", "storage_mm"))
        self.hollow_ratio, self.drained = column("hollow_ratio"), column("drainage_mm_h") / 60  # per minute
        # `caught`: of this storm's rain, lost to interception; `dry`: minutes since it last rained
        self.state = Table(len(places), water=np.float64, caught=np.float64, dry=np.int64, recent=(np.float64, RECENT))
        for name, start in (("water", 0.0), ("caught", 0.0), ("dry", STORM_ENDS_AFTER), ("recent", 0.0)):
            getattr(self.state, name)[:] = start

    def idle(self) -> NDArray[np.bool_]:
        """Nothing is in it, and nothing has come of late: without readings a minute changes nothing but ``dry``."""
        return (self.state.water == 0) & (self.state.dry > RECENT)

    def still(self) -> NDArray[np.bool_]:
        """What lies in it stays there: without readings a minute changes nothing but ``dry``, as ``idle``."""
        return (self.drained == 0) & (self.state.dry > RECENT)

    def minute(self, rows: Rows, rain: Floats, gauged: NDArray[np.bool_], depth: Floats) -> Floats:
        """Takes one minute's step at these rows; the predicted depths in m, the larger of now and half an hour ahead.

        ``rain`` in mm; ``depth`` in m, where ``gauged`` says that one was measured. The steps are those of
        docs/rules.md, "waterlog_risk".
        """
        state, storage, ratio = self.state, self.storage[rows], self.hollow_ratio[rows]
        runoff, drained = self.runoff[rows], self.drained[rows]
        dry, caught = state.dry[rows], state.caught[rows]
        caught = np.where((rain > 0) & (dry >= STORM_ENDS_AFTER), 0.0, caught)
        dry = np.where(rain > 0, 0, dry + 1)
        lost = np.minimum(rain, self.interception[rows] - caught)
        state.dry[rows], state.caught[rows] = dry, caught + lost
        water = np.maximum(0.0, state.water[rows] + runoff * (rain - lost) - drained)
        measured = np.where(depth > 0, storage + 1000 * depth / ratio, np.minimum(water, storage))
        state.water[rows] = water = np.where(gauged, measured, water)
        mean = np.zeros(len(rows))
        wet = np.flatnonzero(dry <= RECENT)  # after that many dry minutes all of them are 0
        if len(wet):
            recent = np.column_stack((state.recent[rows[wet], 1:], rain[wet]))
            state.recent[rows[wet]] = recent
            total = np.zeros(len(wet))
            for column in recent.T:  # one after another: numpy's sum would round otherwise
                total += column
            mean[wet] = total / RECENT
        ahead = np.maximum(0.0, water + AHEAD * (runoff * mean - drained))
        now, then = (np.maximum(0.0, w - storage) * ratio / 1000 for w in (water, ahead))
        return np.maximum(now, then)


class Waiting:
    """What was measured in minutes that are not over yet: one amount for each minute and sensor.

    Of several readings the amounts are added up (``sums``), or the last one counts.
    """

    def __init__(self, *, sums: bool) -> None:
        self._sums = sums
        self._parts: list[tuple[Times, Rows, NDArray[Any]]] = []
        self._added = self._kept = 0

    def add(self, minute: Times, sensor: Rows, amount: NDArray[Any]) -> None:
        """Takes readings, in log order."""
        if len(minute):
            self._parts.append((minute, sensor, amount))
            self._added += len(minute)
            if self._added > 2 * self._kept + _ROOM:
                self.rows()

    def rows(self) -> tuple[Times, Rows, NDArray[Any]]:
        """All of them, by minute and sensor: minute, sensor row, amount; one row for each minute and sensor."""
        if self._added or not self._parts:
            none = np.empty(0, np.int64)
            minute, sensor, amount = map(np.concatenate, zip(*(self._parts or [(none, none, none)]), strict=True))
            if len(minute):
                # stable: of one minute and sensor they stay in log order; most come in order, which this sort likes
                order = np.argsort((minute - minute.min()) * (sensor.max() + 1) + sensor, kind="stable")
                minute, sensor, amount = minute[order], sensor[order], amount[order]
                first = np.flatnonzero((np.diff(minute, prepend=-1) != 0) | (np.diff(sensor, prepend=-1) != 0))
                last = np.append(first[1:], len(minute)) - 1
                amount = np.add.reduceat(amount, first) if self._sums else amount[last]
                minute, sensor = minute[first], sensor[first]
            self._parts = [(minute, sensor, amount)]
            self._added, self._kept = 0, len(minute)
        return self._parts[0]

    def take(self, closed: int) -> tuple[Times, Rows, NDArray[Any]]:
        """Those of minutes before ``closed``, which wait no longer."""
        minute, sensor, amount = self.rows()
        over = int(np.searchsorted(minute, closed))
        self._parts = [(minute[over:], sensor[over:], amount[over:])]
        self._kept = len(minute) - over
        return minute[:over], sensor[:over], amount[:over]


class Measured:
    """What was measured in minutes that are over: minute by minute, and when each catchment comes to its next one."""

    def __init__(
        self, by_kind: dict[str, tuple[Times, Rows, NDArray[Any]]], site_of: dict[str, Rows], sites: int, closed: int
    ) -> None:
        """``by_kind``: as ``Waiting.take`` gives them; ``site_of``: the catchment of each sensor; ``sites``: how many
        there are.
        """
        self._by_kind = {
            kind: (minute, site_of[kind][sensor], amount) for kind, (minute, sensor, amount) in by_kind.items()
        }
        minute = np.concatenate([np.full(sites, closed), *(m for m, _, _ in self._by_kind.values())])
        site = np.concatenate([np.arange(sites), *(s for _, s, _ in self._by_kind.values())])
        span, base = closed - int(minute.min()) + 1, int(minute.min())
        stops = np.sort(site * span + minute - base)  # the minutes of each catchment, `closed` the last of them
        stops = stops[np.append(True, stops[1:] != stops[:-1])]
        self._minutes = stops % span + base
        self._at = np.searchsorted(stops // span, np.arange(sites))

    @property
    def first(self) -> Times:
        """Per catchment the first minute left that has a reading, or ``closed``."""
        first: Times = self._minutes[self._at]
        return first

    def of(self, kind: str, number: int) -> tuple[Rows, NDArray[Any]]:
        """Catchments and amounts of one minute."""
        minute, site, amount = self._by_kind[kind]
        begin, end = np.searchsorted(minute, (number, number + 1)).tolist()
        return site[begin:end], amount[begin:end]

    def pass_by(self, number: int) -> None:
        """Goes on to what comes after a minute."""
        self._at += self.first <= number


class WaterlogRisk(Rule):
    """x is the depth in m that is predicted for the hollow of a catchment, once for each minute whose end both the
    flood and the rain clock (minus grace) have reached. See ``Catchments.minute`` for the model.

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
        places = [site for site in self.sites.all if isinstance(site, Place)]
        self.catchments = Catchments(places)
        self._next = Table(len(places), minute=np.int64)  # the first one that was not taken yet
        self._waiting = {kind: Waiting(sums=kind == "rain") for kind in self.kinds}
        self._now: dict[str, int | None] = {"flood": None, "rain": None}
        self._judged = np.zeros(len(places), bool)  # by these thresholds, since the state was loaded
        self._lowest = np.array([min(c for _, c in ladder.up_from) for ladder in self.ladders])
        of_zone = {site.zone: row for row, site in enumerate(self.sites.all)}
        self._sensors = {kind: self.roster.kinds[kind].sensors for kind in self.kinds}
        self._site_of = {
            kind: np.array([of_zone.get(s.zone, -1) for s in sensors.all], np.int64)
            for kind, sensors in self._sensors.items()
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
                if getattr(site, field) is None:
                    raise ValueError(f"the catchment {site.id} has no `{field}`; add it to the catalogue")

    @classmethod
    def warnings(cls, rule: Any) -> list[str]:
        return parameters.regrets(rule.levels, rule.hysteresis)

    def readings(self, batch: Batch) -> None:
        minute = batch.time // MINUTE_MS
        now = self._now[batch.kind]
        # the minutes that this topic's own clock has closed take nothing more
        wanted = (batch.grade == GOOD) & (minute >= (now // MINUTE_MS if now is not None else 0))
        wanted &= self._site_of[batch.kind][batch.sensor] >= 0
        rows = np.flatnonzero(wanted)
        amount = batch.value[rows]
        if batch.kind == "rain":
            amount = np.rint(np.clip(amount, -_MOST, _MOST) * 1000).astype(np.int64)
        self._waiting[batch.kind].add(minute[rows], batch.sensor[rows], amount)

    def due(self, tick: Tick) -> None:
        before = self._closed()
        now = self._now[tick.kind]
        self._now[tick.kind] = tick.now if now is None else max(now, tick.now)
        closed = self._closed()
        if closed is not None and closed != before:
            self._take(closed, tick.record)

    def _closed(self) -> int | None:
        """The first minute whose end the two clocks have not both reached."""
        flood, rain = self._now["flood"], self._now["rain"]
        return None if flood is None or rain is None else min(flood, rain) // MINUTE_MS

    def _take(self, closed: int, source: Record) -> None:
        """All minutes before ``closed`` that a catchment has not taken yet."""
        waiting = {kind: self._waiting[kind].take(closed) for kind in self.kinds}
        measured = Measured(waiting, self._site_of, len(self.sites), closed)
        following, dry, first = self._next.minute, self.catchments.state.dry, measured.first
        following[:] = np.where(following == NEVER, first, following)
        while True:
            # nothing happens in an idle catchment until its next reading, nor where water stands, once that was judged
            quiet = self.catchments.idle() & (self._lowest > 0) & (self.step.level == 0)
            quiet |= self.catchments.still() & self._judged
            skipped = np.maximum(np.where(quiet, first - following, 0), 0)
            dry += skipped
            following += skipped
            minute = int(following.min(initial=closed))
            if minute >= closed:
                return
            here = following == minute
            self._minute(np.flatnonzero(here), minute, measured, source)
            following += here
            measured.pass_by(minute)
            first = measured.first

    def _minute(self, sites: Rows, number: int, measured: Measured, source: Record) -> None:
        """One minute at these catchments, which all have come to it."""
        site, amount = measured.of("rain", number)
        sums, stations = np.zeros(len(self.sites), np.int64), np.bincount(site, minlength=len(self.sites))
        np.add.at(sums, site, amount)
        rain = sums / 1000 / np.maximum(stations, 1)
        site, amount = measured.of("flood", number)
        depth = np.full(len(self.sites), -np.inf)
        np.maximum.at(depth, site, amount)
        gauged = depth[sites] > -np.inf
        with np.errstate(over="ignore"):
            x = self.catchments.minute(sites, rain[sites], gauged, np.where(gauged, depth[sites], 0.0))
            x = np.minimum(round6_all(x), MOST)
        for row in np.flatnonzero((x >= self._lowest[sites]) | (self.step.level[sites] > 0)).tolist():
            self.step_to(int(sites[row]), float(x[row]), (number + 1) * MINUTE_MS, source)
        self._judged[sites] = True

    def resume(self, tick: Tick) -> None:
        self.due(tick)

    def dump(self, zone: int) -> dict[str, Any]:
        rows = self.sites.of_zone[zone]
        waiting = {}
        for kind, sensors in self._sensors.items():
            minute, sensor, amount = self._waiting[kind].rows()
            of_zone = sensors.of_zone[zone]
            here = (sensor >= of_zone.start) & (sensor < of_zone.stop)
            waiting[kind] = {
                "sensors": [site.id for site in sensors.all[of_zone]],
                "minute": minute[here].tobytes(),
                "sensor": (sensor[here] - of_zone.start).tobytes(),
                "amount": amount[here].tobytes(),
            }
        return (
            super().dump(zone) | self.catchments.state.dump(rows) | {"next": self._next.dump(rows), "waiting": waiting}
        )

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        self.catchments.state.load(saved, old, new)
        self._next.load(saved["next"], old, new)
        for kind, waiting in saved["waiting"].items():
            row = self._sensors[kind].row
            now = np.array([row.get(sensor, -1) for sensor in waiting["sensors"]], np.int64)
            sensor = now[np.frombuffer(waiting["sensor"], np.int64)]
            minute = np.frombuffer(waiting["minute"], np.int64)
            amount = np.frombuffer(waiting["amount"], np.int64 if kind == "rain" else np.float64)
            known = sensor >= 0
            known[known] = self._site_of[kind][sensor[known]] >= 0  # its catchment may have no hollow any more
            self._waiting[kind].add(minute[known], sensor[known], amount[known])
