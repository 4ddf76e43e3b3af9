"""A call button: an alert at once, and a new one for a second press later on."""

from __future__ import annotations

from typing import Any

import numpy as np

from alerts import parameters
from alerts.batch import Batch
from alerts.levels import FOREVER, NEVER, Ladder
from alerts.rules.rule import PlaceRule, Tick
from alerts.table import Table
from sensors.quantities import QUANTITIES
from sensors.record import Record

_BUTTON = list(QUANTITIES["infrared"]).index("button")


class Press(PlaceRule):
    """``button`` = 1 in a home puts it at ``level`` at once; back to 0 ``reset`` after the last press.

    [[rule]]
    id = "call-button"
    kind = "infrared"
    type = "press"
    level = "red"
    reset = "1m"
    """

    type = "press"
    unit = "/"
    words = ("呼叫按钮被按下", "the call button was pressed")

    class Parameters(parameters.Parameters):
        kinds = ("infrared",)
        table = "level"
        level: parameters.Level = 4
        reset: parameters.Duration = 60_000

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.last = Table(len(self.sites), press=np.int64)

    def ladder(self, table: Any) -> Ladder:
        return Ladder({table: 1.0})

    def readings(self, batch: Batch) -> None:
        rows = batch.good(_BUTTON)
        if not len(rows):
            return
        site, time = self.place_of[batch.sensor[rows]], batch.time[rows]
        busy = (batch.value[rows] != 0) | (self.step.level[site] > 0)
        if busy.any():
            homes = np.zeros(len(self.sites), bool)
            homes[site[busy]] = True
            for row in np.flatnonzero(homes[site]).tolist():
                number = int(rows[row])
                self._apply(
                    int(site[row]),
                    int(time[row]),
                    batch.value[number] != 0,
                    batch.records[batch.record[number]],
                )
        np.maximum.at(self.step.used, site, time)

    def _apply(self, site: int, time: int, pressed: bool, source: Record) -> None:
        self._fall_due(site, time, source)
        if pressed:
            self.last.press[site] = max(int(self.last.press[site]), time)
            self.step_to(site, 1.0, time, source)
        self.step.used[site] = max(int(self.step.used[site]), time)

    def due(self, tick: Tick) -> None:
        for site in np.flatnonzero(self.step.level > 0).tolist():
            self._fall_due(site, tick.now, tick.record)

    def _fall_due(self, site: int, now: int, source: Record) -> None:
        last = int(self.last.press[site])
        due = last + self.rule.reset if last != NEVER else FOREVER
        if self.step.level[site] > 0 and due <= now:
            self.step_to(site, 0.0, due, source)

    def dump(self, zone: int) -> dict[str, Any]:
        return super().dump(zone) | self.last.dump(self.sites.of_zone[zone])

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        super().load(saved, old, new)
        self.last.load(saved, old, new)
