"""What cases want to know of routes: who is told, in what order, how long one waits for them."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Step(NamedTuple):
    """These groups are told together; ``wait_ms`` later, with no answer, the next step is taken."""

    groups: tuple[str, ...]
    wait_ms: int


class Route(NamedTuple):
    """One way by which an alert is told.

    ``repeat`` (at most 5): how many times the whole chain is gone through again before ``last_resort`` is told, for
    red again and again every ``again_ms``. ``by_person``: only a person closes its cases.
    """

    id: str
    steps: tuple[Step, ...]
    repeat: int
    last_resort: tuple[str, ...]
    again_ms: int = 600_000
    by_person: bool = False


class Routing(Protocol):
    """Given to the fold of cases; a pure function of the routes' text and its arguments."""

    def routes(self, alert: dict[str, object]) -> tuple[Route, ...]:
        """Every route that an alert (its body) goes by at its level, in the order of the file; never none for a level
        above 0.
        """
        ...

    def on_duty(self, group: str, at_ms: int) -> tuple[str, ...]:
        """The people (ids) of a group at that time, those of a rota by its hand-overs, holidays and swaps."""
        ...

    def knows(self, person: str) -> bool:
        """Whether there is such a person (id) in the directory."""
        ...
