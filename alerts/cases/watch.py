"""Which sensors are silent, and what that means for a site: told from the alerts of the ``silence`` rules."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from alerts.cases.message import time_ms
from alerts.rulebook import Rulebook
from alerts.rules import TYPES
from sensors.catalogue import Catalogue, Sensor


class Watch:
    """``silent``: sensor → silence rule that fires there → time of its last reading (ms)."""

    def __init__(self, catalogue: Catalogue, rulebook: Rulebook) -> None:
        self.catalogue, self.rulebook = catalogue, rulebook
        self.silent: dict[str, dict[str, int]] = {}
        self._at: dict[tuple[str, str], list[str]] = defaultdict(list)  # place, kind
        self._rain: dict[str, list[str]] = defaultdict(list)  # zone
        for sensor in catalogue.sensors.values():
            self._at[sensor.place, sensor.kind].append(sensor.id)
            if sensor.kind == "rain":
                self._rain[sensor.zone].append(sensor.id)

    def note(self, alert: dict[str, Any]) -> Sensor | None:
        """Takes in an alert of a silence rule (its body); the sensor, if it is silent or speaks since now."""
        site, rule = alert["site"], alert["rule"]
        before = site in self.silent
        if alert["level"]:
            self.silent.setdefault(site, {})[rule] = time_ms(alert["at"]) - round((alert["value"] or 0) * 1000)
        elif before:
            self.silent[site].pop(rule, None)
            if not self.silent[site]:
                del self.silent[site]
        return self.catalogue.sensors.get(site) if before != (site in self.silent) else None

    def blind(self, alert: dict[str, Any]) -> bool:
        """Whether a resolve of this alert (its body) is no news: the sensors that it is told from are silent."""
        if alert["type"] in ("silence", "press") or "reason" in alert:
            return False
        site, kind = alert["site"], alert["kind"]
        if site in self.catalogue.sensors:
            return site in self.silent
        if self._all(self._at.get((site, kind), [])):
            return True
        return alert["type"] == "waterlog_risk" and self._all(self._rain.get(alert["zone"], []))

    def unwatched_since(self, home: str) -> int | None:
        """The time of the last reading of a home all of whose sensors are silent, else None."""
        sensors = self._at.get((home, "infrared"), [])
        if not self._all(sensors):
            return None
        return max(max(self.silent[sensor].values()) for sensor in sensors)

    def inactivity(self, home: str) -> list[tuple[str, dict[int, int]]]:
        """Each inactivity rule, and its waits there (level → ms). While nobody is in a rule's ``away_levels`` hold, and
        whether anybody is in cannot be told of a silent home: where a rule has them, they are the ones.
        """
        place = self.catalogue.places[home]
        return [
            (rule.id, getattr(rule, "away_levels", None) or TYPES[rule.type].table(rule, place))
            for rule in self.rulebook.rules
            if rule.type == "inactivity"
        ]

    def _all(self, sensors: list[str]) -> bool:
        return bool(sensors) and all(sensor in self.silent for sensor in sensors)
