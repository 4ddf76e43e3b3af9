"""An action: what a person did about a case, or about many to come. Topic ``actions``, key ``rule/site``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from alerts.cases.message import Message, Time
from alerts.parameters import Id

Text = Annotated[str, Field(max_length=2000)]


class Matcher(Message):
    """Which alerts: every field that is given has to name the alert's own; an empty field is any."""

    kind: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    district: tuple[str, ...] = ()
    zone: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    level: tuple[int, ...] = ()

    def matches(self, alert: dict[str, Any]) -> bool:
        """Whether an alert (its body) is meant."""
        fields = ("kind", "rule", "district", "zone", "site", "level")
        return all(not (wanted := getattr(self, field)) or alert[field] in wanted for field in fields)


class Action(Message):
    """One thing that was done.

    ``id`` is unique (whoever writes it makes one; the same id again is the same action, and counts once). ``by`` is a
    person's id of the directory, ``at`` when. ``case`` is a case's id (for all but silences), ``text`` a note in
    their own words. ``outcome`` and ``satisfaction`` (1 to 5, as the caller told) go with ``close``. ``silence`` and
    ``maintenance`` have ``matcher``, ``from``, ``until`` and ``text`` (why), maintenance names its sites; ``lift`` ends
    the one whose id is ``lifts``. What no silence holds back: alerts/cases/silences.py.
    """

    id: Id
    do: Literal["ack", "note", "escalate", "close", "silence", "maintenance", "lift"]
    by: Id
    at: Time
    case: str | None = None
    text: Text | None = None
    outcome: Literal["helped", "no_help_needed", "false_alarm", "passed_on", "other"] | None = None
    satisfaction: Annotated[int, Field(ge=1, le=5)] | None = None
    matcher: Matcher | None = None
    since: Annotated[Time | None, Field(alias="from")] = None
    until: Time | None = None
    lifts: Id | None = None

    @property
    def key(self) -> bytes:
        """The record's key: of an action on a case its ``rule/site``, of a silence and its lift ``silence/<id>``."""
        if self.case is not None:
            return self.case.rpartition("/")[0].encode()
        return f"silence/{self.lifts or self.id}".encode()

    @model_validator(mode="after")
    def _complete(self) -> Action:
        if self.do in ("silence", "maintenance"):
            if self.matcher is None or self.since is None or self.until is None or not self.text:
                raise ValueError(f"{self.do} wants matcher, from, until and text (why)")
            if self.until <= self.since:
                raise ValueError("until is not after from")
            if self.matcher == Matcher():
                raise ValueError(
                    "an empty matcher would silence the whole city: name a kind, rule, district, zone or site"
                )
            if self.do == "maintenance" and not self.matcher.site:
                raise ValueError("maintenance wants matcher.site: the sites that are worked on")
        elif self.do == "lift":
            if self.lifts is None:
                raise ValueError("lift wants lifts, the id of a silence or a maintenance")
        elif self.case is None:
            raise ValueError(f"{self.do} wants case")
        if self.do == "close" and self.outcome is None:
            raise ValueError("close wants outcome")
        return self
