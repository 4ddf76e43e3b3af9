"""Who is on duty: groups and rotas, by ids alone. It is the part of the directory that goes into the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from alerts.parameters import Id
from alerts.routes.rota import Part, Rota, Text

AHEAD_MS = 8 * 7 * 86_400_000  # so far ahead rotas are looked at
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Group(Part):
    """``members`` always, and whoever is on duty in one of ``rotas``. A list alone is of members."""

    members: tuple[Id, ...] = ()
    rotas: tuple[Id, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _members_alone(cls, value: Any) -> Any:
        return {"members": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _somebody(self) -> Group:
        if not self.members and not self.rotas:
            raise ValueError("a group wants members or rotas")
        return self


class NamedGroup(Group):
    """As the directory has it: ``name`` is what people call it."""

    name: Text | None = None


class Duty(Part):
    """Groups and rotas by id, and the ids of all ``people``. ``timezone``: of all local times."""

    timezone: str = "Asia/Shanghai"
    people: tuple[Id, ...] = ()
    groups: dict[Id, Group] = Field(default_factory=dict)
    rotas: dict[Id, Rota] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_timezone(self) -> Duty:
        _ = self._zone
        return self

    @cached_property
    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f'unknown timezone {self.timezone!r}; write one such as "Asia/Shanghai"') from error

    def on_duty(self, group: str, at_ms: int) -> tuple[str, ...]:
        """The people of a group at a time, members first, each once; nobody in a group that there is not."""
        if group not in self.groups:
            return ()
        at = self.local(at_ms)
        people = list(self.groups[group].members)
        for rota in self.groups[group].rotas:
            if rota in self.rotas:
                people += self.rotas[rota].on_duty(at)
        return tuple(dict.fromkeys(people))

    def until(self, group: str, at_ms: int) -> int | None:
        """When (ms) others than now will be on duty in the group; None where nobody changes for 8 weeks."""
        now = self.on_duty(group, at_ms)
        changes = self.changes(group, at_ms, at_ms + AHEAD_MS) if group in self.groups else []
        return next((at for at in changes if self.on_duty(group, at) != now), None)

    def everybody(self, group: str) -> set[str]:
        """Everybody who is in a group at some time."""
        rotas = (self.rotas[rota].people for rota in self.groups[group].rotas if rota in self.rotas)
        return set(self.groups[group].members).union(*rotas)

    def changes(self, group: str, since_ms: int, until_ms: int) -> list[int]:
        """``since_ms``, and all times (ms) up to ``until_ms`` at which somebody else may come on duty in the group."""
        since, until = self.local(since_ms), self.local(until_ms)
        rotas = [self.rotas[rota] for rota in self.groups[group].rotas if rota in self.rotas]
        found = {at for rota in rotas for at in rota.changes(since, until)}
        return sorted({since_ms, *(self.ms(at) for at in found)})

    def local(self, at_ms: int) -> datetime:
        return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(self._zone).replace(tzinfo=None)

    def ms(self, at: datetime) -> int:
        return (at.replace(tzinfo=self._zone) - _EPOCH) // timedelta(milliseconds=1)
