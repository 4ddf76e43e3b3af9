"""Gathering: when a network goes down hundreds of sensors are silent at once, and their people want one message of it.

What a person is to be told of silent sensors, for the same reason and at the same level, waits a minute from the first
on and is then told in one. Each case keeps its own notification and timeline: the first one of a message stands for
all of them, the others are told with it (``within``).
"""

from __future__ import annotations

import msgspec

from alerts.cases.dossier import Dossier
from alerts.cases.notification import Notification, Why
from sensors.catalogue import Catalogue

GATHER_MS = 60_000
NAMED = 3  # sites by name in a message
_RED = 4


class Window(msgspec.Struct):
    """``notifications``: their JSON, told together at ``due`` (ms)."""

    due: int
    notifications: list[bytes] = msgspec.field(default_factory=list)


class Sent(msgspec.Struct):
    """``members``: ids of the notifications that were told with one, at that time (ms)."""

    at: int
    members: list[str]


def gathers(d: Dossier) -> bool:
    """Silent sensors, outside of homes and below red. All else is told at once and by itself."""
    return d.alert["type"] == "silence" and d.alert["kind"] != "infrared" and d.weight < _RED


class Gathering:
    """``windows``: those that are open, by person, reason and level. ``sent``: by the id of what stands for the others,
    whose receipt is theirs too.
    """

    def __init__(self) -> None:
        self.windows: dict[str, Window] = {}
        self.sent: dict[str, Sent] = {}

    @property
    def due(self) -> int | None:
        """When the next one is told."""
        return min((window.due for window in self.windows.values()), default=None)

    def add(self, notification: Notification, at: int) -> None:
        """Has it wait for others like it."""
        why: Why = notification.why
        key = f"{notification.to} {why} {notification.level}"
        window = self.windows.setdefault(key, Window(at + GATHER_MS))
        window.notifications.append(notification.value)

    def take(self, at: int, catalogue: Catalogue) -> list[Notification]:
        """What is to be told at that time."""
        told: list[Notification] = []
        for key in sorted(key for key, window in self.windows.items() if window.due <= at):
            waiting = [Notification.parse(value) for value in self.windows.pop(key).notifications]
            first = waiting[0].model_copy(update={"at": at})
            sites = list(dict.fromkeys(str(one.alert["site"]) for one in waiting))
            if len(sites) > 1:
                known = catalogue.sensors
                names = tuple(known[site].name if site in known else site for site in sites[:NAMED])
                first = first.model_copy(update={"count": len(sites), "names": names})
            told.append(first)
            if len(waiting) > 1:
                told += [one.model_copy(update={"at": at, "within": first.id}) for one in waiting[1:]]
                self.sent[first.id] = Sent(at, [one.id for one in waiting[1:]])
        return told

    def forget(self, before: int) -> None:
        """Receipts of what was told by then come no more."""
        self.sent = {key: sent for key, sent in self.sent.items() if sent.at > before}
