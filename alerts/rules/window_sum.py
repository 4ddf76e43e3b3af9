"""What has come down, or gone through, within the last hours: the rainstorm signals, runners on a segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from alerts import parameters
from alerts.batch import GOOD, LATE, Batch
from alerts.levels import NEVER, round6
from alerts.roster import Sites
from alerts.rules.rule import PlaceRule, SensorRule, Site, Tick
from alerts.table import Table
from sensors.catalogue import Catalogue
from sensors.quantities import QUANTITIES
from sensors.record import Record

MINUTE_MS = 60_000
_NOTHING = np.iinfo(np.int64).min  # in a minute in which nothing was reported
_MOST = 1e12  # of a quantity in one reading; keeps sums within int64

Source = Callable[[int], Record]  # of a site


class Window(BaseModel):
    """A level's own window (whole minutes) and the sum in it from which the level is up."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    window: parameters.Minutes
    sum: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


def _rising(table: dict[int, Window]) -> dict[int, Window]:
    """Levels with one window are compared by their sums; with another one, readings below 0 may make up for it."""
    for window in {one.window for one in table.values()}:
        parameters.rising({level: one.sum for level, one in table.items() if one.window == window})
    return table


Windows = Annotated[
    dict[int, Window], parameters.BeforeValidator(parameters.level_table), parameters.AfterValidator(_rising)
]


class WindowSum(PlaceRule):
    """Sums over the minutes (m − window, m], m being the latest minute that the site has reached by a reading used
    or by the clock minus grace. A level is up at its sum, and falls below sum × (1 − ``hysteresis``).

    Per sensor; with ``per = "place"`` over all sensors of a place. Values are kept to 0.001, so sums are exact.
    A late reading counts (per sensor) where its minute still has nothing, so a re-sent one is never counted twice.

        [[rule]]
        id = "rainstorm"
        kind = "rain"
        type = "window_sum"
        quantity = "rain"
        levels = {blue = {window = "12h", sum = 50}, red = {window = "3h", sum = 100}}
        hysteresis = 0.1
    """

    type = "window_sum"
    words = (
        "累计{quantity} {value} {unit}，阈值 {threshold} {unit}",
        "{quantity} adds up to {value} {unit}, threshold {threshold} {unit}",
    )

    class Parameters(parameters.QuantityParameters):
        levels: Windows
        hysteresis: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
        per: Literal["sensor", "place"] = "sensor"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unit = QUANTITIES[self.rule.kind][self.rule.quantity] or "/"
        self._quantity = list(QUANTITIES[self.rule.kind]).index(self.rule.quantity)
        self._levels = sorted({level for table in self.tables for level in table})
        shape = (len(self._levels), len(self.sites))
        self._size = max((w.window for table in self.tables for w in table.values()), default=1)
        self._window = np.full(shape, self._size)
        self._up_from, self._down_from = np.full(shape, np.inf), np.full(shape, np.inf)
        for site, table in enumerate(self.tables):
            for level, window in table.items():
                i = self._levels.index(level)
                self._window[i, site] = window.window
                self._up_from[i, site] = round6(window.sum)
                self._down_from[i, site] = round6(window.sum * (1 - self.rule.hysteresis))
        self._reached = Table(len(self.sites), minute=np.int64)
        self._minutes = np.full((self._size, len(self.sites)), _NOTHING)  # a ring: row = minute mod size
        self._negative = np.zeros(len(self.sites), bool)  # a reading below 0 was seen: sums can rise by themselves
        self._sums = np.zeros(shape, np.int64)  # thousandths, of the window of each level

    def choose_sites(self) -> Sites:
        if self.rule.per == "place":
            return super().choose_sites()
        sensors = self.roster.kinds[self.rule.kind].sensors
        self.place_of = np.arange(len(sensors))
        return sensors

    @classmethod
    def applies(cls, rule: Any, site: Site, catalogue: Catalogue) -> bool:
        return (PlaceRule if rule.per == "place" else SensorRule).applies(rule, site, catalogue)

    def readings(self, batch: Batch) -> None:
        usable = batch.grade == GOOD
        if self.rule.per == "sensor":
            usable |= batch.grade == LATE
        rows = np.flatnonzero(usable & (batch.quantity == self._quantity))
        site = self.place_of[batch.sensor[rows]]
        past = (batch.grade[rows] == LATE) & (batch.time[rows] // MINUTE_MS <= self._reached.minute[site] - self._size)
        if past.any():  # no window can have them any more, and there may be years of them
            rows, site = rows[~past], site[~past]
        if not len(rows):
            return
        order = np.argsort(site, kind="stable")
        rows, site = rows[order], site[order]
        time, record = batch.time[rows], batch.record[rows]
        new_site = np.diff(site, prepend=-1) != 0
        new_group = new_site | (np.diff(time, prepend=-1) != 0) | (np.diff(record, prepend=-1) != 0)
        if self.rule.per == "sensor":
            new_group[:] = True
        group = np.cumsum(new_group) - 1
        # the nth groups of all sites are taken together: within a round no site comes twice
        nth = group - np.repeat(group[new_site], np.diff(np.flatnonzero(new_site), append=len(rows)))
        thousandths = np.rint(np.clip(batch.value[rows], -_MOST, _MOST) * 1000).astype(np.int64)
        late = batch.grade[rows] == LATE
        by_round = np.argsort(nth, kind="stable")
        for part in np.split(by_round, np.flatnonzero(np.diff(nth[by_round])) + 1):
            self._round(site[part], time[part], thousandths[part], late[part], record[part], batch.records)

    def _round(
        self,
        site: NDArray[np.int64],
        time: NDArray[np.int64],
        thousandths: NDArray[np.int64],
        late: NDArray[np.bool_],
        record: NDArray[np.int64],
        records: Sequence[Record],
    ) -> None:
        """The next group of readings of each of these sites; those of one group have one time."""
        minute = time // MINUTE_MS
        groups, first = np.unique(site, return_index=True)

        def source(site: int) -> Record:
            return records[int(record[first[np.searchsorted(groups, site)]])]

        self._advance(groups, minute[first], source)
        reached, slot = self._reached.minute[site], minute % self._size
        empty = self._minutes[slot, site] == _NOTHING
        counts = (minute > reached - self._size) & (~late | empty)
        at, where, amount = slot[counts], site[counts], thousandths[counts]
        self._minutes[at, where] = np.where(empty[counts], 0, self._minutes[at, where])
        np.add.at(self._minutes, (at, where), amount)
        self._negative[where[amount < 0]] = True
        for i in range(len(self._levels)):
            inside = minute[counts] > reached[counts] - self._window[i][where]
            np.add.at(self._sums[i], where[inside], amount[inside])
        self._evaluate(groups, time[first], source)
        used = self.step.used
        used[groups] = np.maximum(used[groups], time[first])

    def due(self, tick: Tick) -> None:
        behind = np.flatnonzero(self._reached.minute < tick.now // MINUTE_MS)
        if len(behind):
            target = np.full(len(behind), tick.now // MINUTE_MS)
            self._advance(behind, target, lambda _: tick.record)

    def _advance(self, site: NDArray[np.int64], target: NDArray[np.int64], source: Source) -> None:
        """Moves sites on to their target minutes; levels fall at the whole minute at which they are due."""
        minute = self._reached.minute
        fresh = minute[site] == NEVER
        minute[site[fresh]] = target[fresh]
        while True:
            behind = minute[site] < target
            site, target = site[behind], target[behind]
            if not len(site):
                return
            far = (target - minute[site] > 8) & (self.step.level[site] == 0)
            far[far] &= ~self._negative[site[far]] | (self._minutes[:, site[far]] == _NOTHING).all(axis=0)
            for s, to in zip(site[far].tolist(), target[far].tolist(), strict=True):
                self._jump(s, to)
            site, target = site[~far], target[~far]
            if not len(site):
                return
            minute[site] += 1
            now = minute[site]
            for i in range(len(self._levels)):
                leaving = self._minutes[(now - self._window[i][site]) % self._size, site]
                self._sums[i][site] -= np.where(leaving == _NOTHING, 0, leaving)
            self._minutes[now % self._size, site] = _NOTHING
            alert = (self.step.level[site] > 0) | self._negative[site]
            if alert.any():
                self._evaluate(site[alert], now[alert] * MINUTE_MS, source)

    def _jump(self, site: int, target: int) -> None:
        """Moves a site at level 0 over many minutes at once: sums only fall, and there is nothing to fall from."""
        minutes = self._minutes[:, site]
        begin = int(self._reached.minute[site]) + 1
        passed = np.arange(max(begin, target - self._size + 1), target + 1)
        minutes[passed % self._size] = _NOTHING
        self._reached.minute[site] = target
        held = np.where(minutes == _NOTHING, 0, minutes)
        age = (target - np.arange(self._size)) % self._size
        for i in range(len(self._levels)):
            self._sums[i, site] = held[age < self._window[i, site]].sum()

    def _evaluate(self, site: NDArray[np.int64], at: NDArray[np.int64], source: Source) -> None:
        """One level step at each of these sites."""
        before = self.step.level[site]
        up, down = np.zeros(len(site), np.int8), np.zeros(len(site), np.int8)
        for i, level in enumerate(self._levels):
            total = self._sums[i][site] / 1000
            up[total >= self._up_from[i][site]] = level
            down[total >= self._down_from[i][site]] = level
        after = np.minimum(np.maximum(before, up), down)
        for n in np.flatnonzero(after != before).tolist():
            s, old, new = int(site[n]), int(before[n]), int(after[n])
            level = max(old, new)
            total = float(self._sums[self._levels.index(level), s] / 1000)
            self.move(s, new, int(at[n]), round6(total), self.tables[s][level].sum, source(s))

    def resume(self, tick: Tick) -> None:
        self.due(tick)

    def dump(self, zone: int) -> dict[str, Any]:
        rows = self.sites.of_zone[zone]
        minutes = np.ascontiguousarray(self._minutes[:, rows].T)
        return super().dump(zone) | self._reached.dump(rows) | {"size": self._size, "minutes": minutes.tobytes()}

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        self._reached.load(saved, old, new)
        size = saved["size"]
        minutes = np.frombuffer(saved["minutes"], np.int64).reshape(-1, size)
        for i, site in zip(old, new, strict=True):
            reached = int(self._reached.minute[site])
            kept = np.arange(reached - min(size, self._size) + 1, reached + 1) if reached != NEVER else np.arange(0)
            self._minutes[:, site] = _NOTHING
            self._minutes[kept % self._size, site] = minutes[i][kept % size]
            self._negative[site] = bool(((minutes[i] < 0) & (minutes[i] != _NOTHING)).any())
            for n in range(len(self._levels)):
                inside = self._minutes[kept[-int(self._window[n, site]) :] % self._size, site]
                self._sums[n, site] = inside[inside != _NOTHING].sum()
