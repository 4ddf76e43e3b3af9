"""On-call without a broker: what was told to whom, by a recorded ``oncall.log``, or what would have been.

Of a capture with an ``oncall.log`` the same log goes through the same fold, so the notifications are those of the
topic, byte for byte. Of any other, or with routes of one's own, the alerts of the replay, and what people did if that
was recorded, go through it by their own times: nobody was told that, so all of it is marked as an exercise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alerts.alert import order
from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.desk import Desk
from alerts.cases.entry import Entry
from alerts.cases.message import time_ms
from alerts.cases.notification import Notification
from alerts.edition import Edition, Editions
from alerts.routes.routes import Routes
from sensors import capture as captures
from sensors.clock import CLOCK_NAME
from sensors.errors import InputError
from sensors.record import Record
from streams.oncall.journal import Config, Journal
from streams.replay import Replayed
from streams.topics import ACTIONS, ONCALL_LOG


class Rehearsed:
    """What came of it, in the order in which it was decided."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        self.cases: list[Case] = []

    def take(self, desk: Desk, entry: Entry) -> None:
        outcome = desk.apply(entry)
        self.notifications += outcome.notifications
        self.cases += outcome.cases

    def lines(self) -> list[bytes]:
        """The notifications' JSON."""
        return [one.value for one in self.notifications]

    def newest(self) -> dict[str, Case]:
        """Each case as it was at last, by its id."""
        return {case.id: case for case in self.cases}


def has_log(capture: Path) -> bool:
    """Whether a capture has an ``oncall.log``."""
    return captures.contains(capture, f'"topic":"{ONCALL_LOG}"'.encode())


def of_log(capture: Path, editions: Editions | None, routes: Routes | None = None) -> Rehearsed:
    """By the recorded log; with ``routes`` as if those had held all along. InputError where the rules are missing."""
    found, reading, desk = Rehearsed(), Journal(), None
    for record in _log(capture):
        taken = reading.take(record)
        if isinstance(taken, Config):
            wanted = routes or Routes.unpack(bytes(taken.routes))
            edition = _edition(editions, taken.generation, capture)
            if desk is None:
                desk = Desk(wanted, edition.catalogue, edition.rulebook, exercise=routes is not None)
            else:
                desk.configure(wanted, edition.catalogue, edition.rulebook)
        elif taken is not None and desk is not None:
            found.take(desk, taken)
    if desk is None:
        hint = "record oncall.log from its beginning: without --from"
        raise InputError("the oncall.log does not say by which routes", file=capture, hint=hint)
    return found


def of_alerts(capture: Path, replayed: Replayed, edition: Edition, routes: Routes, until_ms: int | None) -> Rehearsed:
    """By the alerts of a replay and the actions in the capture, each at its time; and what is due by ``until_ms``."""
    found, desk = Rehearsed(), Desk(routes, edition.catalogue, edition.rulebook, exercise=True)
    offset = 0
    for at, kind, value in sorted(_happened(capture, replayed), key=lambda one: one[0]):
        for entry in (Entry(offset, "tick", at), Entry(offset + 1, kind, value)):
            found.take(desk, entry)
        offset += 2
    if until_ms is not None:
        found.take(desk, Entry(offset, "tick", until_ms))
    return found


def _happened(capture: Path, replayed: Replayed) -> Iterator[tuple[int, Any, bytes]]:
    """(time in ms, kind, value) of alerts, and then of actions: who answers at the time of an alert answers it."""
    for body in sorted(replayed.bodies(), key=order):
        yield time_ms(body["at"]), "alert", replayed.alerts[body["id"]]
    for line in captures.read(capture):
        if line.topic == ACTIONS and line.key != CLOCK_NAME:
            value = line.payload() or b""
            try:
                yield Action.parse(value).at, "action", value
            except ValidationError:  # it changed nothing when it was written, either
                continue


def _log(capture: Path) -> Iterable[Record]:
    for line in captures.read(capture):
        if line.topic == ONCALL_LOG and not line.partition:
            headers = line.headers if isinstance(line.headers, dict) else {}
            key = None if line.key is None else line.key.encode()
            packed: Sequence[tuple[str, bytes]] = [(name, str(value).encode()) for name, value in headers.items()]
            yield Record(line.topic, 0, line.offset or 0, line.timestamp, key, line.payload(), tuple(packed))


def _edition(editions: Editions | None, generation: int, capture: Path) -> Edition:
    if editions is None or generation not in editions.by_generation:
        raise InputError(f"the capture lacks edition {generation} of the rules, by which it was decided", file=capture)
    return editions.by_generation[generation]
