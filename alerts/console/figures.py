"""有呼必应, every call answered: the figures of the cases that the board keeps, by local day and district."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

from alerts.cases.case import Case
from alerts.cases.figures import day_of
from alerts.cases.figures import figures as of_cases
from alerts.console.board import Board
from alerts.console.login import Scope

FROM_LEVEL = 3  # orange and red: blue and yellow close by themselves, and say nothing of those on call


def figures(board: Board, scope: Scope) -> list[dict[str, Any]]:
    """Newest day first; a case counts on the day and in the district in which it was opened. Times in ms.

    A viewer's figures count homes too: numbers by district tell of nobody.
    """
    groups: dict[tuple[date, str], list[Case]] = defaultdict(list)
    for case in board.cases.values():
        home = case.kind == "infrared" and scope.counts(case.zone, case.district)
        if case.highest >= FROM_LEVEL and (home or scope.sees(case.kind, case.zone, case.district)):
            groups[day_of(case, board.rulebook.timezone), case.district].append(case)
    return [
        {"day": day.isoformat(), "district": district, **of_cases(groups[day, district])._asdict()}
        for day, district in sorted(groups, reverse=True)
    ]
