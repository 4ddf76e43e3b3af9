"""有呼必应, every call answered: the figures of the cases that the board keeps, by local day and district."""

from __future__ import annotations

from typing import Any

from alerts.cases.case import Case
from alerts.cases.figures import by_day_and_district
from alerts.console.board import Board
from alerts.console.login import Scope

FROM_LEVEL = 3  # orange and red: blue and yellow close by themselves, and say nothing of those on call


def figures(board: Board, scope: Scope) -> list[dict[str, Any]]:
    """Newest day first; a case counts on the day and in the district in which it was opened. Times in ms.

    A viewer's figures count homes too: numbers by district tell of nobody.
    """

    def counts(case: Case) -> bool:
        home = case.kind == "infrared" and scope.counts(case.zone, case.district)
        return case.highest >= FROM_LEVEL and (home or scope.sees(case.kind, case.zone, case.district))

    found = by_day_and_district(filter(counts, board.cases.values()), board.rulebook.timezone)
    return [
        {"day": day.isoformat(), "district": district, **of_cases._asdict()}
        for (day, district), of_cases in reversed(found.items())
    ]
