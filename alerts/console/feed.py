"""What the console is given, and the one thing it gives back: an action. Moving both is up to whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from alerts.cases.action import Action
from alerts.console.board import Board
from alerts.parameters import Id
from alerts.routes.residents import Audit, Residents


class Person(NamedTuple):
    """One of the directory. ``name`` is what colleagues call them; it goes no further than the page."""

    id: Id
    name: str


class Duty(NamedTuple):
    """Who is to be told now as this group; ``until_ms`` is the next hand-over of its rota, None where it has none."""

    group: Id
    name: str
    people: tuple[Person, ...]
    until_ms: int | None = None


class Feed(Protocol):
    """All calls are made on the console's event loop, and ``board`` is written to on it alone.

    What is on the topics is given to ``board``: every new record of ``alerts``, ``cases``, ``notifications``,
    ``receipts`` and ``actions`` by ``take``, records of the reading topics by ``readings`` (in batches, as fetched),
    and ticks by ``tick``. At the start the feed reads back far enough for the open cases and ``board.KEEP_MS``.
    """

    @property
    def board(self) -> Board: ...

    def duty(self) -> Sequence[Duty]:
        """Who is on call at the board's time, by group."""
        ...

    def names(self) -> Mapping[Id, str]:
        """What colleagues call each other, on duty now or not; nobody of a home's own groups is among them."""
        ...

    def residents(self, audit: Audit) -> Residents:
        """Who lives where, by the directory as it is now."""
        ...

    async def submit(self, action: Action) -> None:
        """Writes an action to its topic, and returns once the broker has it; RunError where it has not.

        What becomes of it shows on the board when the fold has decided, and not before. The key is the case's
        ``rule/site``; a silence's is ``silence/<id>``.
        """
        ...
