"""A rota: people who are on duty in turn, to the millisecond of the hand-over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from alerts.parameters import Id

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIME = r"([01]\d|2[0-3]):([0-5]\d)"
_DAY = "|".join(DAYS)
_HANDOVER = re.compile(rf"(?:({_DAY}) )?{_TIME}")
_HOURS = re.compile(rf"(?:({_DAY})(?:-({_DAY}))? )?{_TIME}-{_TIME}")
_WEEK_MIN, _DAY_MIN = 7 * 1440, 1440


def _people(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _local(value: Any) -> Any:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise ValueError("is to be a local time, such as 2024-05-04T08:30:00")
    if value.microsecond % 1000:
        raise ValueError("is finer than a millisecond, and so is no alert")
    return value


Text = Annotated[str, Field(min_length=1)]
Turn = Annotated[tuple[Id, ...], BeforeValidator(_people), Field(min_length=1)]
Turns = Annotated[tuple[Turn, ...], Field(min_length=1)]
Local = Annotated[datetime, BeforeValidator(_local), PlainSerializer(datetime.isoformat, when_used="json")]


class Part(BaseModel):
    """A table of the directory or the routes. Unknown settings are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Private(Part):
    """A table about people. It shows nothing of itself in a log or a traceback."""

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return []


class Holiday(Part):
    """The duty days that begin on the days ``from`` to ``until`` (both included) go in turn to ``turns``, a day each.

    The order of the rota goes on below it: who would have had the week after, has it.
    """

    since: Annotated[date, Field(alias="from")]
    until: date
    turns: Turns

    @model_validator(mode="after")
    def _ordered(self) -> Holiday:
        if self.until < self.since:
            raise ValueError("a holiday's `until` is before its `from`")
        return self


class Swap(Part):
    """In the local time from ``from`` up to ``until``, ``person`` and ``with`` stand in for each other."""

    since: Annotated[Local, Field(alias="from")]
    until: Local
    person: Id
    other: Annotated[Id, Field(alias="with")]

    @model_validator(mode="after")
    def _ordered(self) -> Swap:
        if self.until <= self.since:
            raise ValueError("a swap's `until` is not after its `from`")
        return self


class Rota(Part):
    """People in ``turns``, one turn after another for ever; a turn is a person or several together.

    ``handover``: ``"Mon 08:30"``, then a turn is a week; ``"08:30"``, then it is a day. On the day ``since`` the first
    turn is on duty (from the hand-over); before it the order goes on backwards, so somebody always is. ``hours``, such
    as ``["Mon-Fri 08:30-17:30"]``, or ``["22:00-06:00"]`` past midnight: on duty then only. Times are local.

    A duty day lasts from the time of the hand-over on that day to the same time on the next. ``holidays`` replace the
    turns, ``swaps`` then exchange two people, ``days`` (day → who) have the last word.

        [rota.drainage-tianhe]
        turns = ["p-101", "p-102", ["p-103", "p-104"]]
        handover = "Mon 08:30"
        since = 2026-01-05
        holidays = [{ from = 2026-02-16, until = 2026-02-22, turns = ["p-101", "p-103"] }]
        swaps = [{ from = 2026-03-02T08:30:00, until = 2026-03-03T08:30:00, person = "p-101", with = "p-102" }]
        days = { 2026-05-01 = "p-104" }
    """

    turns: Turns
    handover: str
    since: date
    hours: tuple[str, ...] = ()
    holidays: tuple[Holiday, ...] = ()
    swaps: tuple[Swap, ...] = ()
    days: dict[date, Turn] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _written_well(self) -> Rota:
        _ = self._handover, self._windows
        for before, after in pairwise(sorted(self.holidays, key=lambda holiday: holiday.since)):
            if after.since <= before.until:
                raise ValueError(f"two holidays have the day {after.since}; let one end before the other")
        return self

    @cached_property
    def _handover(self) -> tuple[int | None, time]:
        """Weekday (None: each day) and time of day."""
        found = _HANDOVER.fullmatch(self.handover)
        if found is None:
            raise ValueError(f'`handover` {self.handover!r} is not one; write "Mon 08:30", or "08:30" for each day')
        return DAYS.index(found[1]) if found[1] else None, time(int(found[2]), int(found[3]))

    @cached_property
    def _windows(self) -> tuple[tuple[int, int], ...]:
        """(begin, end) in minutes since Monday 00:00; the end may lie in the week after."""
        windows = []
        for text in self.hours:
            found = _HOURS.fullmatch(text)
            if found is None:
                raise ValueError(
                    f'`hours` {text!r} are none; write "Mon-Fri 08:30-17:30", or "22:00-06:00" for each day'
                )
            first = DAYS.index(found[1]) if found[1] else 0
            last = 6 if not found[1] else DAYS.index(found[2]) if found[2] else first
            begin, end = (int(found[n]) * 60 + int(found[n + 1]) for n in (3, 5))
            for number in range((last - first) % 7 + 1):
                midnight = (first + number) % 7 * _DAY_MIN
                windows.append((midnight + begin, midnight + end + (_DAY_MIN if end <= begin else 0)))
        return tuple(windows)

    def on_duty(self, at: datetime) -> tuple[str, ...]:
        """The people on duty at a local time (without zone); none outside ``hours``."""
        if self._windows and not self._in_hours(at):
            return ()
        weekday, handover = self._handover
        day = (at - timedelta(hours=handover.hour, minutes=handover.minute)).date()
        if day in self.days:
            return self.days[day]
        people = self._turn(day, weekday)
        for swap in self.swaps:
            if swap.since <= at < swap.until:
                exchange = {swap.person: swap.other, swap.other: swap.person}
                people = tuple(exchange.get(person, person) for person in people)
        return people

    def _turn(self, day: date, weekday: int | None) -> tuple[str, ...]:
        for holiday in self.holidays:
            if holiday.since <= day <= holiday.until:
                return holiday.turns[(day - holiday.since).days % len(holiday.turns)]
        if weekday is None:
            return self.turns[(day - self.since).days % len(self.turns)]
        first = self.since - timedelta(days=(self.since.weekday() - weekday) % 7)
        return self.turns[(day - first).days // 7 % len(self.turns)]

    def _in_hours(self, at: datetime) -> bool:
        """A window's begin belongs to it, its end does not."""
        minute = at.weekday() * _DAY_MIN + at.hour * 60 + at.minute
        return any(begin <= minute < end or begin <= minute + _WEEK_MIN < end for begin, end in self._windows)

    def changes(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """The local times in [since, until) at which somebody else may come on duty, in no order."""
        _, handover = self._handover
        for number in range((until - since).days + 2):
            day = since.date() + timedelta(days=number)
            midnight = datetime.combine(day, time())
            yield from (t for t in (datetime.combine(day, handover),) if since <= t < until)
            for begin, end in self._windows:
                for minute in (begin, end % _WEEK_MIN):
                    at = midnight + timedelta(minutes=minute % _DAY_MIN)
                    if minute // _DAY_MIN == day.weekday() and since <= at < until:
                        yield at
        for swap in self.swaps:
            yield from (t for t in (swap.since, swap.until) if since <= t < until)

    @property
    def people(self) -> set[str]:
        """Everybody who is in it in some way."""
        turns = [*self.turns, *self.days.values(), *(turn for holiday in self.holidays for turn in holiday.turns)]
        swapped = {person for swap in self.swaps for person in (swap.person, swap.other)}
        return swapped.union(*turns)
