"""The figures of 有呼必应 (every call is answered): how soon cases are answered and closed, by district and day."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from alerts.cases.case import Case


class Figures(NamedTuple):
    """Of some cases. Times in ms from the opening, None where there are none; ``p90``: nine of ten were as fast.

    ``answered``: somebody acknowledged or closed it. ``unnotified``: it is not known that any channel took a
    notification, and nobody answered either; ``held``: a silence held all of it back, so nobody was to hear of it.
    ``satisfaction`` is the mean of those who were asked (``asked``), 1 to 5.
    """

    cases: int
    answered: int
    closed: int
    unnotified: int
    held: int
    to_answer: int | None
    to_answer_p90: int | None
    to_close: int | None
    to_close_p90: int | None
    satisfaction: float | None
    asked: int

    @property
    def share_answered(self) -> float | None:
        """Of those that anybody was told of."""
        told = self.cases - self.held
        return self.answered / told if told else None

    @property
    def share_closed(self) -> float | None:
        return self.closed / self.cases if self.cases else None


def figures(cases: Iterable[Case]) -> Figures:
    """Of the newest record of each case."""
    newest = list(cases)
    answers = sorted(c.answered - c.opened for c in newest if c.answered is not None)
    ends = sorted(c.closed - c.opened for c in newest if c.closed is not None)
    said = [c.satisfaction for c in newest if c.satisfaction is not None]
    return Figures(
        cases=len(newest),
        answered=len(answers),
        closed=len(ends),
        unnotified=sum(bool(c.told) and c.notified is None and c.answered is None for c in newest),
        held=sum(not c.told for c in newest),
        to_answer=_median(answers),
        to_answer_p90=_p90(answers),
        to_close=_median(ends),
        to_close_p90=_p90(ends),
        satisfaction=round(statistics.fmean(said), 3) if said else None,
        asked=len(said),
    )


def by_district(cases: Iterable[Case]) -> dict[str, Figures]:
    """District → its figures, in order of the names."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        found[case.district].append(case)
    return {district: figures(found[district]) for district in sorted(found)}


def by_day_and_district(cases: Iterable[Case], timezone: ZoneInfo) -> dict[tuple[date, str], Figures]:
    """(local day on which it opened, district) → figures, in order."""
    found: dict[tuple[date, str], list[Case]] = defaultdict(list)
    for case in cases:
        day = datetime.fromtimestamp(case.opened / 1000, timezone).date()
        found[day, case.district].append(case)
    return {key: figures(found[key]) for key in sorted(found)}


def _median(times: list[int]) -> int | None:
    return round(statistics.median(times)) if times else None


def _p90(times: list[int]) -> int | None:
    """The smallest that at least nine of ten are not above."""
    return times[(9 * len(times) + 9) // 10 - 1] if times else None
