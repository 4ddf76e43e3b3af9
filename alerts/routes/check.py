"""Are routes and directory fit to go live? Whatever the rules can raise in the catalogue has to reach somebody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from alerts.delivery.channel import usable
from alerts.parameters import Parameters
from alerts.routes.directory import Directory
from alerts.routes.duty import AHEAD_MS
from alerts.routes.routes import Routes, named
from alerts.rulebook import Rulebook
from alerts.rules import TYPES
from alerts.rules.rule import Site
from sensors.catalogue import Catalogue
from sensors.errors import InputError


class Findings(NamedTuple):
    """``errors``: somebody would be told of nothing, or nobody of something. ``warnings``: likely to be regretted."""

    errors: list[InputError]
    warnings: list[InputError]


def check(routes: Routes, directory: Directory, rulebook: Rulebook, catalogue: Catalogue, now_ms: int) -> Findings:
    """Looks at every alert that there can be, and at who is on duty from ``now_ms`` on for 8 weeks."""
    found = _Check(routes, directory, rulebook, catalogue, now_ms)
    errors = [
        *found.routes_to_nobody(),
        *found.unreachable(),
        *found.unknown(),
        *found.logins(),
        *found.gaps(),
        *found.no_contact(),
    ]
    return Findings(errors, [*found.only_otherwise(), *found.unused(), *found.nobody_home()])


class _Check:
    def __init__(
        self, routes: Routes, directory: Directory, rulebook: Rulebook, catalogue: Catalogue, now_ms: int
    ) -> None:
        self._routes, self._directory, self._duty = routes, directory, routes.duty
        self._rulebook, self._catalogue, self._now = rulebook, catalogue, now_ms

    @cached_property
    def _alerts(self) -> list[dict[str, Any]]:
        """One for each that routes can tell apart."""
        return list(_alerts(self._routes, self._rulebook, self._catalogue))

    @cached_property
    def _reached(self) -> dict[tuple[int, str], tuple[str, bool, dict[str, Any]]]:
        """By (number of the route, group): the group as it is written, whether it has to be there, and an alert."""
        reached: dict[tuple[int, str], tuple[str, bool, dict[str, Any]]] = {}
        for alert in self._alerts:
            for number, spec in enumerate(self._routes.file.route):
                if spec.matches(alert, alert["level"]) or spec.otherwise:
                    for template, needed in spec.templates:
                        group = self._routes.file.group(template, alert)
                        reached.setdefault((number, group), (template, needed, alert))
        return reached

    @cached_property
    def _groups(self) -> list[str]:
        """The groups that are there and are told of something."""
        return sorted({group for _, group in self._reached} & self._duty.groups.keys())

    def routes_to_nobody(self) -> Iterator[InputError]:
        missing: dict[tuple[int, str], list[tuple[str, dict[str, Any]]]] = {}
        for (number, group), (template, needed, alert) in self._reached.items():
            if needed and group not in self._duty.groups:
                missing.setdefault((number, template), []).append((group, alert))
        for (number, template), groups in missing.items():
            (group, alert), more = groups[0], f" and {len(groups) - 1} more" if len(groups) > 1 else ""
            what = f"group {group}{more} not in the directory, to be told of {alert['rule']} at {alert['site']}"
            hint = "add it below [group], or correct the route"
            if "{district}" in template and alert["district"] not in self._routes.file.districts:
                hint = f"give {alert['district']} a name below [districts], or add it below [group]"
            yield self._route_error(number, what, template, hint)

    def unreachable(self) -> Iterator[InputError]:
        reached = {number for number, _ in self._reached}
        for number, spec in enumerate(self._routes.file.route):
            wrong = [(field, word) for field, word in spec.words if not self._there_is(field, word)]
            for field, word in wrong:
                what = f"`{field}`: nothing in rules and catalogue is {word!r}"
                yield self._route_error(number, what, word, "correct it, or take it out")
            if not wrong and number not in reached:
                hint = "correct what it matches on, or take it out"
                yield self._route_error(number, "no alert of these rules and this catalogue goes by it", "", hint)

    def unknown(self) -> Iterator[InputError]:
        people, source = self._directory.people, self._directory.source
        for name, group in self._duty.groups.items():
            for rota in group.rotas:
                if rota not in self._duty.rotas:
                    what, hint = f"group {name}: there is no rota {rota!r}", f"add [rota.{rota}], or correct it"
                    yield source.error(what, self._directory.line_of_group(name), hint)
            for person in group.members:
                if person not in people:
                    what = f"group {name}: there is no person {person!r}"
                    yield source.error(what, self._directory.line_of_group(name), "add them below [person]")
        for name, rota_ in self._duty.rotas.items():
            for person in sorted(rota_.people - people.keys()):
                what, line = f"rota {name}: there is no person {person!r}", source.line_of_entry("rota", name)
                yield source.error(what, line, "add them below [person]")

    def logins(self) -> Iterator[InputError]:
        """Whoever logs in for a district or a community that there is not sees nothing at all."""
        sites = (*self._catalogue.sensors.values(), *self._catalogue.places.values())
        known = {site.district for site in sites}, {site.zone for site in sites}
        for name, person in self._directory.people.items():
            if person.login is not None:
                given = (*set(person.login.districts) - known[0], *set(person.login.communities) - known[1])
                line = self._directory.source.line_of_entry("person", name)
                for word in sorted(given):
                    what = f"person {name}: `login`: there is no {word} in the catalogue"
                    yield self._directory.source.error(what, line, "correct it, or take it out")

    def gaps(self) -> Iterator[InputError]:
        for group in self._groups:
            until = self._now + AHEAD_MS
            changes = [*self._duty.changes(group, self._now, until), until]
            nobody = [n for n, at in enumerate(changes[:-1]) if not self._duty.on_duty(group, at)]
            if nobody and all(rota in self._duty.rotas for rota in self._duty.groups[group].rotas):
                end = next(n for n in range(nobody[0], len(changes)) if n not in nobody)
                begin, ends = (f"{self._duty.local(changes[n]):%a %Y-%m-%d %H:%M}" for n in (nobody[0], end))
                what = f"group {group}: nobody is on duty from {begin} to {ends}"
                hint = "let the `hours` of its rotas follow each other, or give it members"
                yield self._directory.source.error(what, self._directory.line_of_group(group), hint)

    def no_contact(self) -> Iterator[InputError]:
        told = {person for group in self._groups for person in self._duty.everybody(group)}
        for name, person in self._directory.people.items():
            if name in told and not person.contacts:
                line = self._directory.source.line_of_entry("person", name)
                what = f"person {name} is told of alerts, but has no contact"
                yield self._directory.source.error(what, line, "give `contacts`, or take them out of groups and rotas")
            for channel, url in person.contacts.items():
                if not usable(url):  # which is not shown: it is somebody's address
                    line = self._directory.source.line_of_entry("person", name)
                    what = f"person {name}: the address of {channel} cannot be used"
                    yield self._directory.source.error(what, line, "write it as an apprise URL")

    def only_otherwise(self) -> Iterator[InputError]:
        """Rules at levels that no route is written for."""
        left: dict[tuple[str, int], dict[str, Any]] = {}
        for alert in self._alerts:
            if not any(spec.matches(alert, alert["level"]) for spec in self._routes.file.route):
                left.setdefault((alert["rule"], alert["level"]), alert)
        number = next(n for n, spec in enumerate(self._routes.file.route) if spec.otherwise)
        for (rule, level), alert in left.items():
            what = f"tells of {rule} at level {level} ({alert['site']} for one), which no other route is for"
            yield self._route_error(number, what, "", "write a route for it")

    def unused(self) -> Iterator[InputError]:
        source = self._directory.source
        for group in sorted(self._duty.groups.keys() - set(self._groups)):
            line = self._directory.line_of_group(group)
            yield source.error(f"group {group} is told of nothing", line, "no route leads to it")
        needed = {person for group in self._duty.groups for person in self._duty.everybody(group)}
        for name, person in self._directory.people.items():
            if name not in needed and person.login is None:
                line = source.line_of_entry("person", name)
                hint = "take out whom you do not need to know"
                yield source.error(f"person {name} is in no group and has no login", line, hint)
        for name in self._directory.homes:
            if name not in self._catalogue.places:
                line = source.line_of_entry("home", name)
                hint = "take out whom you do not need to know"
                yield source.error(f"home {name} is not in the catalogue", line, hint)

    def nobody_home(self) -> Iterator[InputError]:
        """Homes whose carers could not look up where to go."""
        homes = [place.id for place in self._catalogue.places.values() if place.kind == "infrared"]
        missing = [home for home in homes if home not in self._directory.homes]
        if missing:
            more = f" and {len(missing) - 1} more of the catalogue are" if len(missing) > 1 else " is"
            hint = "without it nobody finds out where to go"
            line = self._directory.source.line_of("home")
            yield self._directory.source.error(f"home {missing[0]}{more} not below [home]", line, hint)

    def _there_is(self, field: str, word: str) -> bool:
        return any(named((word,), alert[field]) for alert in self._alerts)

    def _route_error(self, number: int, what: str, near: str, hint: str) -> InputError:
        source = self._routes.source
        line = source.line_of_item("route", number)
        return source.error(f"route {self._routes.file.route[number].id}: {what}", source.line_near(near, line), hint)


def _alerts(routes: Routes, rulebook: Rulebook, catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    sites: tuple[Site, ...] = (*catalogue.sensors.values(), *catalogue.places.values())
    for rule in rulebook.rules:
        rule_type, seen = TYPES[rule.type], set()
        by_site = any(
            spec.tells_sites_apart for spec in routes.file.route if spec.is_for(rule.kind, rule.id, rule.type)
        )
        for site in sites:
            if rule_type.applies(rule, site, catalogue):
                levels = frozenset(_levels(rule, site))
                key = site.id if by_site else (site.district, site.zone, levels)
                if key not in seen:
                    seen.add(key)
                    body = {"kind": rule.kind, "rule": rule.id, "type": rule.type, "site": site.id}
                    body |= {"district": site.district, "zone": site.zone}
                    yield from ({**body, "level": level} for level in sorted(levels))


def _levels(rule: Parameters, site: Site) -> Iterable[int]:
    """The levels that a rule has at a site, while nobody is in as well."""
    yield from _numbers(TYPES[rule.type].table(rule, site))
    yield from _numbers(getattr(rule, "away_levels", None) or {})


def _numbers(table: Any) -> Iterator[int]:
    if isinstance(table, int):
        yield table
        return
    for key, value in table.items():
        yield from (key,) if isinstance(key, int) else _numbers(value)
