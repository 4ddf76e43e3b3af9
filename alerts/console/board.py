"""What the city looks like now, gathered from the topics: cases and their timelines, alerts, levels, readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from alerts.cases.message import time_ms
from alerts.cases.notification import Notification, Receipt
from alerts.console.recent import Recent
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.record import Record

KEEP_MS = 7 * 86_400_000  # of a case after it was closed: as far back as the figures go

Body = dict[str, Any]
Entry = Case | Notification | Receipt
Listener = Callable[["Case | Body | Action"], None]


class Board:
    """Written to by the feed, read by the page. The same record again changes nothing, in whatever order keys come;
    within a key they come as on the topic.
    """

    def __init__(self, catalogue: Catalogue, rulebook: Rulebook) -> None:
        self.catalogue, self.rulebook = catalogue, rulebook
        self.edition = 0  # how many times rules or catalogue were changed
        self.clock_ms = 0  # of the log: "now" on the page, for a replay too
        self.cases: dict[str, Case] = {}  # the newest of each, by its id
        self.case_of: dict[str, str] = {}  # rule/site → id of its newest case
        self.alerts: dict[str, Body] = {}  # those above level 0, by rule/site
        self.quiet: dict[str, Action] = {}  # silences and maintenance that have not been lifted, by id
        self._lifted: set[str] = set()
        self._timelines: dict[str, dict[tuple[str, str | int], Entry]] = {}
        self._within: dict[str, list[Notification]] = {}  # id of a notification → those that are told with it
        self._seen: dict[str, tuple[str, int]] = {}  # rule/site → (at, seq) of its newest alert
        self._at_site: dict[str, dict[str, int]] = {}  # site → rule → level
        self._recent = Recent(catalogue, rulebook.limits)
        self._listeners: list[Listener] = []
        self._swept_ms = 0

    def take(self, message: Case | Notification | Receipt | Decision | Action | Body) -> None:
        """One record's value; an alert as its decoded body. An action: one that was accepted."""
        match message:
            case Case():
                self._take_case(message)
            case Notification():
                self._take_entry("notification", message)
                if message.within is not None:
                    self._take_within(message, message.within)
            case Receipt():
                self._take_entry("receipt", message)
                for one in self._within.get(message.notification, ()):
                    self._take_entry("receipt", _of(message, one))
            case Decision():
                if message.accepted:
                    self._take_action(message.action)
            case Action():
                self._take_action(message)
            case _:
                self._take_alert(message)

    def readings(self, kind: str, records: Sequence[Record]) -> None:
        """The next records of ``readings.<kind>``."""
        self._recent.take(kind, records)

    def tick(self, now_ms: int) -> None:
        """Time only moves forward."""
        self.clock_ms = max(self.clock_ms, now_ms)
        if self.clock_ms - self._swept_ms > 3_600_000:
            self._swept_ms = self.clock_ms
            self._forget()

    def configure(self, catalogue: Catalogue, rulebook: Rulebook) -> None:
        """Goes on under other rules or sites; the readings of the channels that there are still are kept."""
        recent = Recent(catalogue, rulebook.limits)
        recent.carry_over(self._recent)
        self.catalogue, self.rulebook, self._recent = catalogue, rulebook, recent
        self.edition += 1

    def level(self, site: str) -> int:
        """The highest level of any rule at a site, 0 to 4."""
        return max(self._at_site.get(site, {}).values(), default=0)

    def levels(self) -> Iterator[tuple[str, int]]:
        """Sites above level 0, and their level."""
        return ((site, max(rules.values())) for site, rules in self._at_site.items())

    def alerts_at(self, site: str) -> list[Body]:
        """The alerts above level 0 at a site, the highest first."""
        rules = self._at_site.get(site, {})
        return sorted((self.alerts[f"{rule}/{site}"] for rule in rules), key=lambda a: (-a["level"], a["at"]))

    def uncased(self, key: str) -> Body | None:
        """The alert of a rule/site that is above level 0 and has no case (yet): nobody is to miss it for that."""
        body, case = self.alerts.get(key), self.cases.get(self.case_of.get(key, ""))
        if body is None or (case and (case.closed is None or case.alert["onset"] == body["onset"])):
            return None
        return body

    def readings_of(self, sensor: str) -> dict[str, list[tuple[int, float]]]:
        """Quantity → (time in ms, value) of the last readings, oldest first; {} of a sensor that nobody knows."""
        known = self.catalogue.sensors.get(sensor)
        return {} if known is None else self._recent.of(sensor, known.kind)

    def timeline(self, case: str) -> list[Entry]:
        """Everything that happened to a case, in order of time."""
        return sorted(self._timelines.get(case, {}).values(), key=lambda entry: entry.at)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls it with each case that changed (its timeline too), alert and silence; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, what: Case | Body | Action) -> None:
        for listener in tuple(self._listeners):
            listener(what)

    def _take_case(self, case: Case) -> None:
        known = self.cases.get(case.id)
        self._timelines.setdefault(case.id, {}).setdefault(("case", case.seq), case)
        if known is None or case.seq > known.seq:
            self.cases[case.id] = case
            newest = self.cases.get(self.case_of.get(case.key, ""))
            if newest is None or newest.opened <= case.opened:
                self.case_of[case.key] = case.id
            self._tell(case)

    def _take_entry(self, kind: str, entry: Notification | Receipt) -> None:
        self._timelines.setdefault(entry.case, {}).setdefault((kind, entry.id), entry)
        if known := self.cases.get(entry.case):
            self._tell(known)

    def _take_within(self, notification: Notification, first: str) -> None:
        """It is told with another one, whose receipts are its own; they may have come before it."""
        self._within.setdefault(first, []).append(notification)
        case = first.rpartition("/")[0]
        for entry in list(self._timelines.get(case, {}).values()):
            if isinstance(entry, Receipt) and entry.notification == first:
                self._take_entry("receipt", _of(entry, notification))

    def _take_action(self, action: Action) -> None:
        if action.do in ("silence", "maintenance") and action.id not in self._lifted:
            self.quiet[action.id] = action
        elif action.do == "lift" and action.lifts:
            self._lifted.add(action.lifts)
            self.quiet.pop(action.lifts, None)
        else:
            return
        self._tell(action)

    def _take_alert(self, body: Body) -> None:
        site, rule = body["site"], body["rule"]
        key, order = f"{rule}/{site}", (body["at"], body["seq"])
        if self._seen.get(key, ("", -1)) >= order:
            return
        self._seen[key] = order
        if body["level"]:
            self.alerts[key] = body
            self._at_site.setdefault(site, {})[rule] = body["level"]
        else:
            self.alerts.pop(key, None)
            self._at_site.get(site, {}).pop(rule, None)
            if not self._at_site.get(site, True):
                del self._at_site[site]
        with suppress(ValueError):
            self.clock_ms = max(self.clock_ms, time_ms(body["at"]))
        self._tell(body)

    def _forget(self) -> None:
        before = self.clock_ms - KEEP_MS
        for case in [c for c in self.cases.values() if c.closed is not None and c.closed < before]:
            del self.cases[case.id]
            if self.case_of.get(case.key) == case.id:
                del self.case_of[case.key]
            self._timelines.pop(case.id, None)
        for case_id, entries in list(self._timelines.items()):
            if case_id not in self.cases and max(entry.at for entry in entries.values()) < before:
                del self._timelines[case_id]
        self._within = {key: of for key, of in self._within.items() if of[0].at >= before}
        for action in [a for a in self.quiet.values() if (a.until or 0) < before]:
            del self.quiet[action.id]


def _of(receipt: Receipt, notification: Notification) -> Receipt:
    """The receipt of a notification that was told with the one that it is of."""
    return receipt.model_copy(update={"notification": notification.id, "case": notification.case})
