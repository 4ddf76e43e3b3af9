"""有呼必应, every call answered: how soon cases are answered and closed, by district and local day."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from statistics import fmean, quantiles
from typing import Any

from alerts.cases.case import Case
from alerts.console.board import Board
from alerts.console.login import Scope

FROM_LEVEL = 3  # orange and red: blue and yellow close by themselves, and say nothing of those on call


def figures(board: Board, scope: Scope) -> list[dict[str, Any]]:
    """The days that the board keeps, newest first; those of a case count on the day and in the district it was opened.

    ``answer_s`` and ``close_s`` are [median, 95th percentile] in s of those answered and closed, None where none are.
    A viewer's figures count homes too: numbers by district tell of nobody.
    """
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in board.cases.values():
        counted = scope.counts(case.zone, case.district) if case.kind == "infrared" else None
        if case.highest >= FROM_LEVEL and (counted or scope.sees(case.kind, case.zone, case.district)):
            day = datetime.fromtimestamp(case.opened / 1000, UTC).astimezone(board.rulebook.timezone).date()
            groups[day.isoformat(), case.district].append(case)
    return [_row(*key, groups[key]) for key in sorted(groups, reverse=True)]


def _row(day: str, district: str, cases: list[Case]) -> dict[str, Any]:
    stars = [case.satisfaction for case in cases if case.satisfaction is not None]
    return {
        "day": day,
        "district": district,
        "cases": len(cases),
        "answered": sum(case.answered is not None for case in cases),
        "closed": sum(case.closed is not None for case in cases),
        "answer_s": _times([(c.answered - c.opened) / 1000 for c in cases if c.answered is not None]),
        "close_s": _times([(c.closed - c.opened) / 1000 for c in cases if c.closed is not None]),
        "satisfaction": round(fmean(stars), 2) if stars else None,
        "told_us": len(stars),
    }


def _times(seconds: list[float]) -> list[float] | None:
    if not seconds:
        return None
    if len(seconds) == 1:
        return [round(seconds[0], 1)] * 2
    cuts = quantiles(seconds, n=20, method="inclusive")
    return [round(cuts[9], 1), round(cuts[18], 1)]
