"""The directory: people, how to reach them, and who lives where. Names and addresses are here and nowhere else.

``Directory.duty`` is the part without any: groups and rotas by ids. It alone goes into the log.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from alerts.parameters import Id
from alerts.routes.duty import Duty, Group, NamedGroup
from alerts.routes.residents import Audit, Home, Residents
from alerts.routes.rota import Private, Rota, Text
from alerts.routes.sealed import is_sealed, unseal
from alerts.source import Source, first_problem
from sensors.errors import InputError

SHIPPED = Path(__file__).with_name("directory.toml")
_TABLES = {"person", "group", "rota", "home"}

Entry = TypeVar("Entry")


def _hashed(value: str) -> str:
    if not value.startswith("$argon2"):
        raise ValueError("is not an argon2 hash; `kapok directory password` makes one")
    return value


class Login(Private):
    """For the console. ``districts``: of those only; none given: of all. A carer's ``communities`` are zones.

    ``password``: its argon2 hash, never itself; `kapok directory password` makes one.
    """

    role: Literal["viewer", "oncall", "carer", "admin"]
    districts: tuple[str, ...] = ()
    communities: tuple[Id, ...] = ()
    password: Annotated[str, AfterValidator(_hashed)]


class Person(Private):
    """``contacts``: channel → address as an apprise URL, the best first: the next one is for when one fails."""

    name: Text
    language: Literal["zh", "en"] = "zh"
    contacts: dict[Id, Text] = Field(default_factory=dict)
    login: Login | None = None


class Directory:
    """``people`` by id, ``homes`` the ids of those with a resident, ``names`` of the groups that have one; ``duty`` is
    what may be known to everybody. An error never shows a value.
    """

    def __init__(
        self, people: dict[str, Person], homes: dict[str, Home], names: dict[str, str], duty: Duty, source: Source
    ) -> None:
        self.people, self.homes, self.names, self.duty, self.source = people, homes.keys(), names, duty, source
        self._homes = homes

    @classmethod
    def shipped(cls) -> Directory:
        """The example that comes with kapok: everybody in it is invented."""
        return cls.load(SHIPPED)

    @classmethod
    def load(cls, path: str | Path) -> Directory:
        """Reads and checks a directory, encrypted or not; InputError names the file, the line and what to do."""
        return cls.parse(cls.read(path))

    @classmethod
    def read(cls, path: str | Path) -> Source:
        """The text of a directory, decrypted where it is not plain."""
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the directory: {error.strerror}", file=path) from error
        return Source.decode(unseal(raw, path) if is_sealed(raw) else raw, path, "the directory")

    @classmethod
    def parse(cls, source: Source) -> Directory:
        document = source.document()
        for key in document.keys() - _TABLES - {"timezone"}:
            hint = "the file has timezone, [person], [group], [rota.…] and [home]"
            raise source.error(f"unknown setting {key!r}", source.line_of(key), hint)
        people = _entries(document, "person", Person, source)
        groups = _entries(document, "group", NamedGroup, source)
        rotas = _entries(document, "rota", Rota, source)
        homes = _entries(document, "home", Home, source)
        for home_id, home in homes.items():
            for name, group in home.groups.items():
                group_id = f"{name}-{home_id}"
                if group_id in groups:
                    line = source.line_of_entry("group", group_id)
                    raise source.error(f"group {group_id} is there twice", line, f"home {home_id} makes one, too")
                groups[group_id] = group
        timezone = document.get("timezone", "Asia/Shanghai")
        try:
            members = {name: Group(members=group.members, rotas=group.rotas) for name, group in groups.items()}
            duty = Duty(timezone=timezone, people=tuple(sorted(people)), groups=members, rotas=rotas)
        except ValidationError as error:
            raise source.error(first_problem(error)[1], source.line_of("timezone")) from None
        names = {group_id: group.name for group_id, group in groups.items() if group.name}
        return cls(people, homes, names, duty, source)

    def residents(self, audit: Audit) -> Residents:
        """The only way to who lives in a home: each look-up goes into the audit log."""
        return Residents(self._homes, audit)

    @cached_property
    def colleagues(self) -> dict[str, str]:
        """Person → name of all who are in a group at some time or may log in, but for those of a home's own groups."""
        own = tuple(f"-{home}" for home in self.homes)
        grouped = (self.duty.everybody(group) for group in self.duty.groups if not group.endswith(own))
        known = {one for one, person in self.people.items() if person.login is not None}.union(*grouped)
        return {one: self.people[one].name for one in sorted(known) if one in self.people}

    def line_of_group(self, group: str) -> int | None:
        """Where a group is written: its own line, or its home's."""
        line = self.source.line_of_entry("group", group)
        homes = (home for home in self.homes if group.endswith(f"-{home}"))
        return line or next((self.source.line_of_entry("home", home) for home in homes), None)


def _entries(document: dict[str, Any], table: str, model: type[Entry], source: Source) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    found = document.get(table, {})
    if not isinstance(found, dict):
        raise source.error(f"`{table}` is not a table", source.line_of(table), f"write [{table}] and a line for each")
    adapter = TypeAdapter(model)
    for key, value in found.items():
        try:
            _ID.validate_python(key)
            entries[key] = adapter.validate_python(value)
        except ValidationError as error:  # not as the cause: it would show the values
            (field, what), line = first_problem(error), source.line_of_entry(table, key)
            raise source.error(f"{table} {key}: {what}", source.line_of(field, after=line) or line) from None
    return entries


_ID = TypeAdapter(Id)
