"""The board as one scope may see it, in the shapes that the page gets (JSON; times in ms)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.desk import AHEAD_MS
from alerts.cases.message import time_ms
from alerts.cases.notification import Notification, Receipt
from alerts.console.board import Board, Body
from alerts.console.login import Scope
from alerts.console.reckoned import Points, present, sums
from alerts.message import title
from alerts.rules import TYPES
from alerts.rules.window_sum import WindowSum
from sensors.catalogue import Place, Sensor

CLOSED_SHOWN, CLOSED_MS = 100, 24 * 3_600_000  # of the closed cases, the newest of the last day
_SENSORS = 12  # of one place, in its detail
_PLAIN = ("level", "waterlog_risk")  # rules whose thresholds are amounts of the quantity that is drawn
_DEPTH = "depth"
_ORDER = ("case", "told", "receipt")
_TIMELINE = dict(zip((Case, Notification, Receipt), _ORDER, strict=True))

Item = dict[str, Any]
Site = Sensor | Place


class View:
    """Everything is filtered here. A site that is not seen is not told from one that does not exist."""

    def __init__(self, board: Board, scope: Scope) -> None:
        self.board, self.scope = board, scope

    def site(self, site_id: str) -> Site | None:
        """A sensor or place by its id, where it may be seen."""
        catalogue = self.board.catalogue
        site = catalogue.sensors.get(site_id) or catalogue.places.get(site_id)
        return site if site is not None and self.scope.sees(site.kind, site.zone, site.district) else None

    def city(self) -> dict[str, Any]:
        """What stands where, which does not change: sites to draw, communities by their number of homes."""
        catalogue, sites = self.board.catalogue, []
        ends: dict[str, list[tuple[float, float]]] = {}
        for sensor in catalogue.sensors.values():
            if sensor.kind == "crowd" and sensor.lon is not None and sensor.lat is not None:
                ends.setdefault(sensor.place, []).append((sensor.lon, sensor.lat))
            elif sensor.kind in ("flood", "rain") and self._sees(sensor):
                sites.append(_drawn(sensor, sensor.kind))
        communities: dict[str, Item] = {}
        for place in catalogue.places.values():
            if place.kind == "infrared" and self.scope.counts(place.zone, place.district):
                entry = {"zone": place.zone, "district": place.district, "at": [place.lon, place.lat], "homes": 0}
                communities.setdefault(place.zone, entry)["homes"] += 1
            elif place.kind == "crowd" and self._sees(place):
                line = ends.get(place.id, [])
                segment = len(line) == 2 and line[0] != line[1]  # two mats: a part of a course
                sites.append(_drawn(place, "segment" if segment else "venue") | ({"line": line} if segment else {}))
            elif place.kind != "infrared" and self._sees(place):
                sites.append(_drawn(place, "catchment"))
        rules = [
            {"id": rule.id, "kind": rule.kind, **{lang: title(rule.type, rule.name, rule.id, lang) for lang in _LANGS}}
            for rule in self.board.rulebook.rules
        ]
        return {"sites": sites, "communities": list(communities.values()), "rules": rules}

    def whole(self) -> dict[str, Any]:
        """All that changes."""
        board = self.board
        closed = sorted((c for c in board.cases.values() if c.closed is not None), key=_closed, reverse=True)
        recent = [c for c in closed if _closed(c) > board.clock_ms - CLOSED_MS and self._sees(c)][:CLOSED_SHOWN]
        shown = [c for c in board.cases.values() if c.closed is None and self._sees(c)] + recent
        items = [self.case(c) for c in shown]
        items += [self.alert(body) for key in board.alerts if (body := board.uncased(key)) and self._sees_body(body)]
        sites = {site: level for site, level in board.levels() if self._on_map(site)}
        return {"items": items, "levels": sites, "homes": self.homes(), "quiet": self.quiet()}

    def part(self, cases: Iterable[str], keys: Iterable[str], quiet: bool) -> dict[str, Any]:
        """What has become of these cases and alerts."""
        board = self.board
        gone: list[str] = []
        seen = [case for case_id in cases if (case := board.cases.get(case_id)) and self._sees(case)]
        items = [self.case(case) for case in seen]
        levels: dict[str, int] = {}
        homes = False
        for key in {*keys, *(case.key for case in seen)}:
            site_id = key.partition("/")[2]
            site = board.catalogue.sensors.get(site_id) or board.catalogue.places.get(site_id)
            if site is None:
                continue
            homes |= site.kind == "infrared" and self.scope.counts(site.zone, site.district)
            if self._on_map(site_id):
                levels[site_id] = board.level(site_id)
            if self._sees(site):
                body = board.uncased(key)
                if body is None:
                    gone.append(_bare(key))
                else:
                    items.append(self.alert(body))
        part: dict[str, Any] = {"items": items, "gone": gone, "levels": levels}
        return part | ({"homes": self.homes()} if homes else {}) | ({"quiet": self.quiet()} if quiet else {})

    def homes(self) -> dict[str, list[int]]:
        """Community → number of homes at level 1, 2, 3, 4."""
        worst: dict[str, int] = {}
        catalogue = self.board.catalogue
        for site_id, level in self.board.levels():
            sensor = catalogue.sensors.get(site_id)
            place = catalogue.places.get(sensor.place if sensor else site_id)
            if place and place.kind == "infrared" and self.scope.counts(place.zone, place.district):
                worst[place.id] = max(worst.get(place.id, 0), level)
        counts: dict[str, list[int]] = {}
        for home, level in worst.items():
            counts.setdefault(catalogue.places[home].zone, [0, 0, 0, 0])[level - 1] += 1
        return counts

    def quiet(self) -> list[Item]:
        """Silences and maintenance now and to come, where any of what they name may be seen."""
        now = self.board.clock_ms
        shown = [a for a in self.board.quiet.values() if (a.until or 0) > now and self._sees_quiet(a)]
        return [_dump(action) for action in sorted(shown, key=lambda a: a.until or 0)]

    def case(self, case: Case) -> Item:
        """A line of the list."""
        item = self._line(case.alert) | {
            "id": case.id,
            "key": case.key,
            "state": case.state,
            "level": case.level,
            "highest": case.highest,
            "opened": case.opened,
            "changed": case.at,
            "seq": case.seq,
        }
        more = _dump(case)
        fields = ("acknowledged", "acknowledged_by", "resolved", "no_data", "closed", "closed_by", "due", "exercise")
        more_fields = (*fields, "unwatched", "flapping", "silenced", "group", "change", "reason", "outcome")
        return item | {field: more[field] for field in more_fields if more.get(field)}

    def alert(self, body: Body) -> Item:
        """A line of the list for an alert that has no case (yet): nothing can be done about it here but look."""
        opened, changed = time_ms(body["onset"]), time_ms(body["at"])
        level = body["level"]
        return self._line(body) | {
            "id": _bare(f"{body['rule']}/{body['site']}"),
            "key": f"{body['rule']}/{body['site']}",
            "state": "alert",
            "level": level,
            "highest": level,
            "opened": opened,
            "changed": changed,
            "seq": body["seq"],
        }

    def detail(self, site: Site) -> dict[str, Any]:
        """A site: its alerts, and the last readings of its sensors against their thresholds."""
        catalogue = self.board.catalogue
        if isinstance(site, Sensor):
            sensors = [site]
        else:
            sensors = [s for s in catalogue.sensors.values() if s.place == site.id][:_SENSORS]
        known = {"id": site.id, "kind": site.kind, "zone": site.zone, "name": site.name, "district": site.district}
        capacity = getattr(site, "capacity", None)
        return {
            "site": known | ({"capacity": capacity} if capacity else {}),
            "alerts": [self._line(body) | {"level": body["level"]} for body in self.board.alerts_at(site.id)],
            "series": [*self._present(site), *(one for sensor in sensors for one in self._series(sensor, site))],
        }

    def timeline(self, case: Case) -> list[Item]:
        """What happened to a case: of one time what was decided, then who was told, then with what success; people by
        their ids.
        """
        hidden = {"alert", "detail"}  # the alert is shown above; a channel's own words may name an address
        entries = self.board.timeline(case.id)
        told = {one.id: one.at for one in entries if isinstance(one, Notification)}
        shown = []
        for entry in entries:
            at = entry.at
            if isinstance(entry, Receipt) and at > self.board.clock_ms + AHEAD_MS:
                # delivery goes by its own clock: in the demo, or behind a replay, that is another day than the log's
                at = told.get(entry.notification, self.board.clock_ms)
            line = {k: v for k, v in _dump(entry).items() if k not in hidden}
            shown.append(line | {"what": _TIMELINE[type(entry)], "at": at})
        return sorted(shown, key=lambda line: (line["at"], _ORDER.index(line["what"])))

    def _line(self, body: Body) -> Item:
        rule_type, rule_id = str(body["type"]), str(body["rule"])
        names = next((rule.name for rule in self.board.rulebook.rules if rule.id == rule_id), {})
        site_id = str(body["site"])
        site = self.board.catalogue.sensors.get(site_id) or self.board.catalogue.places.get(site_id)
        fields = ("rule", "type", "kind", "site", "zone", "district", "value", "threshold", "unit", "message", "reason")
        line = {field: body[field] for field in fields if body.get(field) is not None}
        what = {lang: title(rule_type, names, rule_id, lang) for lang in _LANGS}
        return line | {"what": what, "name": site.name if site else site_id}

    def _series(self, sensor: Sensor, site: Site) -> Iterable[Item]:
        for quantity, points in self.board.readings_of(sensor.id).items():
            if not points:
                continue
            lines: dict[int, float] = {}
            for rule in self.board.rulebook.rules:
                of = site if rule.type == "waterlog_risk" else sensor
                measured = getattr(rule, "quantity", _DEPTH)
                if (
                    rule.type in _PLAIN
                    and measured == quantity
                    and TYPES[rule.type].applies(rule, of, self.board.catalogue)
                ):
                    lines |= TYPES[rule.type].table(rule, of)
            known = {"sensor": sensor.id, "name": f"{sensor.name} {sensor.room or ''}".strip(), "quantity": quantity}
            yield from self._sums(sensor, known, points)
            yield known | {"points": points, "thresholds": lines}

    def _sums(self, sensor: Sensor, known: Item, points: Points) -> Iterable[Item]:
        """The sums over each window of the rules of this sensor, where the readings go back that far."""
        windows: dict[int, dict[int, float]] = {}
        for rule in self.board.rulebook.rules:
            if not isinstance(rule, WindowSum.Parameters) or rule.per != "sensor":
                continue
            if rule.quantity == known["quantity"] and WindowSum.applies(rule, sensor, self.board.catalogue):
                for level, limit in WindowSum.table(rule, sensor).items():
                    windows.setdefault(limit.window, {})[level] = limit.sum
        for window, lines in sorted(windows.items()):
            if found := sums(points, window):
                yield known | {"window": window, "points": found, "thresholds": lines}

    def _present(self, site: Site) -> Iterable[Item]:
        """The people in a venue while it is crowded, reckoned from what the alert says."""
        capacity = getattr(site, "capacity", None)
        for body in self.board.alerts_at(site.id) if capacity else ():
            rule = next((rule for rule in self.board.rulebook.rules if rule.id == body["rule"]), None)
            if rule is None or rule.type != "occupancy":
                continue
            counters = (s.id for s in self.board.catalogue.sensors.values() if s.place == site.id)
            readings = [self.board.readings_of(counter) for counter in counters]
            if found := present(time_ms(body["at"]), body["value"] * capacity, readings):
                lines = {level: c * capacity for level, c in TYPES[rule.type].table(rule, site).items()}
                known = {"sensor": site.id, "name": site.name, "quantity": "present"}
                yield known | {"points": found, "thresholds": lines}

    def _sees(self, what: Site | Case) -> bool:
        return self.scope.sees(what.kind, what.zone, what.district)

    def _sees_body(self, body: Body) -> bool:
        return self.scope.sees(body["kind"], body["zone"], body["district"])

    def _on_map(self, site_id: str) -> bool:
        site = self.site(site_id)
        return site is not None and site.kind != "infrared"

    def _sees_quiet(self, action: Action) -> bool:
        matcher = action.matcher
        if matcher is None:
            return False
        if matcher.site:
            return any(self.site(site) for site in matcher.site)
        if self.scope.role == "carer":
            return False
        if set(matcher.kind) == {"infrared"} and self.scope.role == "viewer":
            return False
        wanted, mine = set(matcher.district), self.scope.districts
        return not mine or not wanted or self.scope.role == "admin" or bool(wanted & mine)


_LANGS = ("zh", "en")


def _bare(key: str) -> str:
    """The id on the list of an alert without a case."""
    return f"alert:{key}"


def _closed(case: Case) -> int:
    return case.closed or 0


def _drawn(site: Site, shape: str) -> Item:
    return {
        "id": site.id,
        "shape": shape,
        "kind": site.kind,
        "name": site.name,
        "district": site.district,
        "at": [site.lon, site.lat],
    }


def _dump(message: Case | Notification | Receipt | Action) -> Item:
    """As pydantic has it, times in ms: a page reckons with them."""
    return message.model_dump(by_alias=True, exclude_none=True)
