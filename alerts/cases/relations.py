"""What cases have to do with one another. Relations hide nothing: they say more, or put things side by side."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from alerts.alert import iso
from alerts.cases.case import Change
from alerts.cases.dossier import Dossier
from alerts.cases.duty import Duty
from alerts.cases.reasons import reason
from alerts.cases.watch import Watch
from alerts.message import duration
from alerts.rulebook import Rulebook, ruleset
from sensors.catalogue import Catalogue

HOLD_MS = 10_000  # alerts of one moment may lie in several partitions: so long until one says how they belong together
DATA_MS = 300_000  # after its sensors speak again, a rule has so long to fire again
_RED = 4


class Relations:
    """``vigils``: ``rule/home`` of a home that cannot be watched → when the rule's next level is told of it."""

    def __init__(self, duty: Duty, cases: dict[str, Dossier], catalogue: Catalogue, rulebook: Rulebook) -> None:
        self._duty, self._cases = duty, cases
        self.watch = Watch(catalogue, rulebook)
        self.vigils: dict[str, int] = {}
        self._zones: dict[str, set[str]] = defaultdict(set)

    def configure(self, catalogue: Catalogue, rulebook: Rulebook) -> None:
        """Goes on under other sites and rules."""
        silent = self.watch.silent
        self.watch = Watch(catalogue, rulebook)
        self.watch.silent = silent
        known = {rule.id for rule in rulebook.rules if rule.type == "inactivity"}
        sites = catalogue.places
        for key in list(self.vigils):
            rule, home = key.split("/")
            if rule not in known or home not in sites:
                del self.vigils[key]

    def add(self, d: Dossier) -> None:
        self._cases[d.key] = d
        self._zones[d.alert["zone"]].add(d.key)

    def drop(self, d: Dossier) -> None:
        del self._cases[d.key]
        self._zones[d.alert["zone"]].discard(d.key)

    def of_zone(self, zone: str) -> list[Dossier]:
        found = (self._cases.get(key) for key in sorted(self._zones.get(zone, ())))
        return [d for d in found if d is not None and d.alert["zone"] == zone]  # a site can have moved

    # -- silent sensors ----------------------------------------------------------------------------------------

    def note(self, alert: dict[str, Any], at: int) -> list[Dossier]:
        """Takes in an alert of a silence rule (its body); the cases that it is news to."""
        sensor = self.watch.note(alert)
        if sensor is None:
            return []
        news = [d for d in self.of_zone(sensor.zone) if d.state != "closed"]
        for d in news:
            blind = self.watch.blind(d.alert)
            if "no_data" in d.timers and not blind:
                self._duty.resolve(d, at, reason("resolved"))
            elif d.no_data and blind:
                d.timers.pop("data", None)
            elif d.no_data:
                d.timers.setdefault("data", at + DATA_MS)
        if sensor.kind == "infrared":
            self._home(sensor.place, at)
        return news

    def _home(self, home: str, at: int) -> None:
        since = self.watch.unwatched_since(home)
        for rule, waits in self.watch.inactivity(home):
            key = f"{rule}/{home}"
            d = self._cases.get(key)
            firing = d if d is not None and d.firing else None
            if since is None:
                self.vigils.pop(key, None)
                if firing and firing.imagined:
                    self._duty.resolve(firing, at, reason("watched_again"))
                elif firing and firing.unwatched:
                    firing.timers["watched"] = at + HOLD_MS
            else:
                if firing and not firing.unwatched:
                    firing.unwatched = True
                    self._duty.record(firing, "unwatched", at, reason("unwatched", level=firing.level))
                if firing:
                    firing.timers.pop("watched", None)
                self.vigils[key] = max(at, since + min(waits.values()) + self._late)

    @property
    def _late(self) -> int:
        """How long after its time the rule's own alert may be here."""
        return self.watch.rulebook.grace_ms + HOLD_MS

    @property
    def next_vigil(self) -> int | None:
        return min(self.vigils.values(), default=None)

    def keep_vigil(self, at: int) -> list[Dossier]:
        """Where the inactivity rule itself says nothing, because nobody has moved there yet or everybody is out, the
        same people hear at the same levels that the home cannot be watched. The cases that were opened or raised.
        """
        changed = []
        for key in sorted(key for key, due in self.vigils.items() if due <= at):
            rule, home = key.split("/")
            since = self.watch.unwatched_since(home)
            waits = next((waits for other, waits in self.watch.inactivity(home) if other == rule), {})
            del self.vigils[key]
            if since is None or not waits:
                continue
            times = {level: since + wait for level, wait in waits.items()}
            level = max(
                level for level, time in times.items() if time + self._late <= at or time == min(times.values())
            )
            later = [time + self._late for reached, time in times.items() if reached > level]
            if later:
                self.vigils[key] = min(later)
            d = self._cases.get(key)
            if d is not None and d.firing and d.level >= level:
                continue
            changed.append(self._imagine(d, key, level, since, waits[level], at))
        return changed

    def _imagine(self, d: Dossier | None, key: str, level: int, since: int, wait: int, at: int) -> Dossier:
        """A case without an alert of the rule, or a higher level of one."""
        rule, home = key.split("/")
        place = self.watch.catalogue.places[home]
        onset = d.alert["onset"] if d is not None and d.firing else iso(since + wait)
        told = [duration(wait / 1000, lang) for lang in ("zh", "en")]
        body = {
            "id": f"{key}/{onset}/unwatched-{level}", "rule": rule, "type": "inactivity", "kind": "infrared",
            "site": home, "zone": place.zone, "district": place.district, "level": level,
            "previous": d.level if d is not None and d.firing else 0, "status": "firing", "onset": onset,
            "at": iso(since + wait), "seq": 0, "value": wait / 1000, "threshold": wait / 1000, "unit": "s",
            "message": {
                "zh": f"{place.district}{place.name}：所有传感器已失联{told[0]}，无法看护",
                "en": f"{place.district} {place.name}: all sensors silent for {told[1]}, it cannot be watched",
            },
            "ruleset": ruleset(self.watch.rulebook, self.watch.catalogue), "reason": "unwatched",
        }  # fmt: skip
        words = reason("unwatched", level=level)
        if d is not None and d.firing:
            d.alert, d.level, d.highest, d.unwatched = body, level, max(level, d.highest), True
            self._duty.begin(d, "unwatched", "raised", at, words)
            return d
        new = Dossier(id=f"{key}/{onset}", key=key, alert=body, opened=at, at=at, level=level, highest=level)
        new.imagined = new.unwatched = True
        if d is not None:
            new.onset, new.alert_seq = d.onset, d.alert_seq
        self.add(new)
        self._duty.begin(new, "unwatched", "opened", at, words)
        return new

    def unwatched(self, d: Dossier) -> bool:
        """Whether "no activity" means here that there is nobody to tell of any."""
        body = d.alert
        return body["type"] == "inactivity" and self.watch.unwatched_since(body["site"]) is not None

    # -- the view ----------------------------------------------------------------------------------------------

    def group_of(self, d: Dossier) -> str | None:
        """The case of the red waterlogging risk that this one is shown under."""
        body = d.alert
        if body["type"] == "waterlog_risk" or body["kind"] not in ("flood", "rain"):
            return None
        risks = (r for r in self.of_zone(body["zone"]) if r.alert["type"] == "waterlog_risk" and r.level >= _RED)
        return next((risk.id for risk in risks), None)

    def regroup(self, d: Dossier) -> None:
        """After a change of a waterlogging risk: what is shown under it."""
        if d.alert["type"] != "waterlog_risk":
            return
        for other in self.of_zone(d.alert["zone"]):
            group = self.group_of(other)
            if other.state != "closed" and group != other.group:
                other.group = group
                change: Change = "grouped" if group else "ungrouped"
                self._duty.record(other, change, d.at, reason(change))
