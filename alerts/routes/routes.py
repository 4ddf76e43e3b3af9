"""The routes: which alert is told to which groups, step by step. What the fold of cases asks is answered here.

**Every route that matches applies**, each with its own chain: a route added above another takes nobody away from it.
The one route with ``otherwise = true`` is for alerts that would be told to nobody else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from alerts.cases.routing import Route, Step
from alerts.levels import LEVEL_NAMES
from alerts.parameters import Duration, Id, Level
from alerts.routes.directory import Directory
from alerts.routes.duty import Duty
from alerts.routes.rota import Part
from alerts.source import Source, first_problem
from sensors.errors import RunError

SHIPPED = Path(__file__).with_name("routes.toml")
MOST_REPEATS = 5
_VERSION = 1
MATCHED = ("kind", "rule", "type", "district", "zone", "site")
_BLANK = re.compile(r"\{([^{}]*)\}")
_ID = re.compile(r"[A-Za-z0-9._:-]+")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _group(value: Any) -> Any:
    """A group's id, or a template of ids."""
    if not isinstance(value, str):
        raise ValueError("is to be a group's id")
    for blank in _BLANK.findall(value):
        if blank not in MATCHED:
            raise ValueError(f"{value!r}: there is no {{{blank}}}; there are {', '.join(f'{{{f}}}' for f in MATCHED)}")
    if not _ID.fullmatch(_BLANK.sub("x", value)):
        raise ValueError(f"{value!r} cannot be a group's id; letters, digits and . _ : - only")
    return value


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
LevelName = Annotated[Level, PlainSerializer(lambda level: LEVEL_NAMES[level], when_used="json")]
Levels = Annotated[tuple[LevelName, ...], BeforeValidator(_listed)]
Wait = Annotated[Duration, PlainSerializer(lambda ms: f"{ms}ms", when_used="json")]
Groups = Annotated[tuple[Annotated[str, BeforeValidator(_group)], ...], BeforeValidator(_listed)]


class StepSpec(Part):
    """``tell``: these groups together; ``also``: those of these that there are (not every home has relatives).

    ``wait``: with no answer for so long, the next step is taken.
    """

    tell: Annotated[Groups, Field(min_length=1)]
    also: Groups = ()
    wait: Wait


class RouteSpec(Part):
    """A route as it is written. A matching field that is not given is any; ``*`` stands for anything in one.

        [[route]]
        id = "flood"
        rule = ["flood-depth", "waterlog-risk"]
        level = ["orange", "red"]
        steps = [{ tell = ["drainage-{district}", "traffic-{district}"], wait = "10m" }]
        repeat = 2
        last_resort = ["flood-control"]

    ``{kind}``, ``{rule}``, ``{type}``, ``{district}``, ``{zone}`` and ``{site}`` in a group are the alert's own, the
    district as ``[districts]`` writes it. ``repeat`` (0 to 5): so often the chain is gone through again before
    ``last_resort`` is told, for red again every ``again``. ``by_person``: only a person closes its cases.
    """

    id: Id
    kind: Words = ()
    rule: Words = ()
    type: Words = ()
    district: Words = ()
    zone: Words = ()
    site: Words = ()
    level: Levels = ()
    steps: Annotated[tuple[StepSpec, ...], Field(min_length=1)]
    repeat: Annotated[int, Field(strict=True, ge=0, le=MOST_REPEATS)] = 0
    last_resort: Annotated[Groups, Field(min_length=1)]
    again: Wait = 600_000
    by_person: bool = False
    otherwise: bool = False

    @model_validator(mode="after")
    def _otherwise_is_for_all(self) -> RouteSpec:
        if self.otherwise and (self.level or any(getattr(self, field) for field in MATCHED)):
            raise ValueError("a route with `otherwise` is for whatever no other route tells: it matches on nothing")
        return self

    def matches(self, alert: dict[str, Any], level: int) -> bool:
        """Whether it is written for such an alert; ``otherwise`` is for none."""
        if self.otherwise or (self.level and level not in self.level):
            return False
        return all(named(getattr(self, field), str(alert[field])) for field in MATCHED)

    def is_for(self, kind: str, rule: str, rule_type: str) -> bool:
        """Whether it is written for alerts of a rule, somewhere and at some level."""
        return named(self.kind, kind) and named(self.rule, rule) and named(self.type, rule_type)

    @property
    def words(self) -> Iterator[tuple[str, str]]:
        """(field, word) of all that it matches on."""
        yield from ((field, word) for field in MATCHED for word in getattr(self, field))

    @property
    def tells_sites_apart(self) -> bool:
        return bool(self.site) or any("{site}" in group for group, _ in self.templates)

    @property
    def templates(self) -> Iterator[tuple[str, bool]]:
        """(group, whether it has to be there)."""
        for step in self.steps:
            yield from ((group, True) for group in step.tell)
            yield from ((group, False) for group in step.also)
        yield from ((group, True) for group in self.last_resort)


def named(words: tuple[str, ...], text: str) -> bool:
    """Whether one of the words, in which ``*`` is anything, is the text; no words are any text."""
    return not words or any(word == text or ("*" in word and fnmatchcase(text, word)) for word in words)


class RoutesFile(Part):
    """``districts``: what stands for a district in a group's id; one that is not there stands for itself."""

    districts: dict[str, Id] = Field(default_factory=dict)
    route: tuple[RouteSpec, ...] = ()

    @classmethod
    def parse(cls, source: Source) -> RoutesFile:
        """Checks the text of a ``routes.toml``; InputError says what is wrong where."""
        document = source.document()
        for key in document.keys() - {"districts", "route"}:
            raise source.error(
                f"unknown setting {key!r}", source.line_of(key), "the file has [districts] and [[route]]"
            )
        tables = document.get("route", [])
        if not isinstance(tables, list):
            raise source.error("`route` is not a list", hint="start each route with [[route]]")
        routes: list[RouteSpec] = []
        for number, table in enumerate(tables):
            line, name = source.line_of_item("route", number), f"route {table.get('id', number + 1)}"
            try:
                route = RouteSpec.model_validate(table)
            except ValidationError as error:
                field, what = first_problem(error)
                raise source.error(f"{name}: {what}", source.line_of(field, after=line) or line) from error
            if route.id in {other.id for other in routes}:
                raise source.error(f"{name}: the id is there twice", line, "give each route its own id")
            routes.append(route)
        try:
            return cls(districts=document.get("districts", {}), route=tuple(routes))
        except ValidationError as error:
            raise source.error(first_problem(error)[1], source.line_of("districts")) from error

    @model_validator(mode="after")
    def _one_otherwise(self) -> RoutesFile:
        if len([route for route in self.route if route.otherwise]) != 1:
            raise ValueError("one route has to have `otherwise = true`: it tells what no other route tells to somebody")
        return self

    def group(self, template: str, alert: dict[str, Any]) -> str:
        """The group's id for this alert."""

        def blank(found: re.Match[str]) -> str:
            text = str(alert[found[1]])
            return self.districts.get(text, text) if found[1] == "district" else text

        return _BLANK.sub(blank, template)


class Routes:
    """Routes and duty together: the ``Routing`` that cases are folded with. Nothing in it but ids."""

    def __init__(self, file: RoutesFile, duty: Duty, source: Source | None = None) -> None:
        self.file, self.duty, self.source = file, duty, source or Source("", None)
        self._people = frozenset(duty.people)
        self._otherwise = [spec for spec in file.route if spec.otherwise]

    @classmethod
    def shipped(cls) -> Routes:
        """The routes and the example of a directory that come with kapok."""
        return cls.load(SHIPPED, Directory.shipped().duty)

    @classmethod
    def load(cls, path: str | Path, duty: Duty) -> Routes:
        """Reads and checks a ``routes.toml``; InputError names the file, the line and what to do."""
        source = Source.read(path, "the routes")
        return cls(RoutesFile.parse(source), duty, source)

    def routes(self, alert: dict[str, Any]) -> tuple[Route, ...]:
        """Every route that an alert goes by at its level, in the file's order; none for level 0.

        Where the groups of none of them are in the directory, also the one for everything else: never nobody.
        """
        level = int(alert["level"])
        if level == 0:
            return ()
        found = [self._route(spec, alert) for spec in self.file.route if spec.matches(alert, level)]
        if not any(group in self.duty.groups for route in found for step in route.steps for group in step.groups):
            found += [self._route(spec, alert) for spec in self._otherwise]
        return tuple(found)

    def on_duty(self, group: str, at_ms: int) -> tuple[str, ...]:
        """The people (ids) of a group at a time."""
        return self.duty.on_duty(group, at_ms)

    def knows(self, person: str) -> bool:
        """Whether there is such a person (id) in the directory."""
        return person in self._people

    def _route(self, spec: RouteSpec, alert: dict[str, Any]) -> Route:
        steps = []
        for step in spec.steps:
            groups = [self.file.group(name, alert) for name in step.tell]
            groups += [name for name in (self.file.group(n, alert) for n in step.also) if name in self.duty.groups]
            steps.append(Step(tuple(dict.fromkeys(groups)), step.wait))
        last = tuple(self.file.group(name, alert) for name in spec.last_resort)
        return Route(spec.id, tuple(steps), spec.repeat, last, spec.again, spec.by_person)

    def pack(self) -> bytes:
        """For the log: the same routes and duty are the same bytes; no comment, name or address of the files is in."""
        body = {
            "version": _VERSION,
            "routes": self.file.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "duty": self.duty.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }
        return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, value: bytes) -> Routes:
        """What ``pack`` gave; RunError where it is something else."""
        try:
            body = json.loads(value)
            if body["version"] != _VERSION:
                raise RunError(f"the routes have version {body['version']}, which this kapok does not know")
            return cls(RoutesFile.model_validate(body["routes"]), Duty.model_validate(body["duty"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"routes in the log cannot be read: {type(error).__name__}") from error
