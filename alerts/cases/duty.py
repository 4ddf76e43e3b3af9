"""How a case is led: whom a decision tells, and what it leaves on record."""

from __future__ import annotations

from alerts.alert import iso
from alerts.cases.action import Action
from alerts.cases.case import Change
from alerts.cases.chain import advance, why
from alerts.cases.dossier import Dossier, Told, Way
from alerts.cases.entry import Outcome
from alerts.cases.gathering import GATHER_MS, Gathering, gathers
from alerts.cases.message import Words
from alerts.cases.notification import Notification, Why
from alerts.cases.reasons import reason
from alerts.cases.routing import Route, Routing
from alerts.cases.silences import RED, Silences

LATE_MS = 60_000  # what is decided later than that after its time has its waits counted from then on
SETTLE_MS = 1_800_000  # a case that is over closes so long after, if it does not fire again
REMIND_MS = 7_200_000  # a case that only a person closes, answered so long ago and not closed, wants a new answer
RETRY_MS = 600_000  # nobody at all could be reached: the chain begins anew
YELLOW = 2


class Duty:
    """Decides for one case at a time; ``out`` gathers the records. ``taken``: the entry's (entry.py)."""

    def __init__(self, routing: Routing, exercise: bool) -> None:
        self.routing, self.exercise = routing, exercise
        self.taken: int | None = None
        self.silences, self.gathering = Silences(), Gathering()
        self.out = Outcome()

    def record(
        self,
        d: Dossier,
        change: Change,
        at: int,
        words: Words,
        tells: tuple[str, ...] = (),
        action: Action | None = None,
    ) -> None:
        """The case's next record; with the action that it comes from."""
        by, number, text = (action.by, action.id, action.text) if action else (None, None, None)
        self.out.cases.append(d.record(change, at, words, tells, by, number, text, self.exercise))

    # -- telling ----------------------------------------------------------------------------------------------

    def heard(self, at: int) -> int:
        """When people can hear of what is decided for that time: much later, where on-call was away."""
        return at if self.taken is None or self.taken - at <= LATE_MS else self.taken

    def catch_up(self, d: Dossier, since: int, now: int) -> None:
        """The clock has stood still from ``since`` to ``now``: waits that began meanwhile begin now."""
        for way in d.ways:
            if way.due is not None and way.due - way.wait >= since:
                way.wait_from(max(way.due - way.wait, now), way.wait)
        close = d.timers.get("close", 0) - SETTLE_MS
        if since <= close < now:
            d.timers["close"] = now + SETTLE_MS

    def begin(self, d: Dossier, why_: Why, change: Change, at: int, words: Words) -> None:
        """Tells the first step of every route at this level, and those told before who are on duty still. A new
        answer is wanted.
        """
        at = max(at, d.at)
        d.pause()
        d.acknowledged = d.acknowledged_by = None
        d.state = "open" if d.notified is None else "notified"
        d.silenced = None
        for timer in ("silence", "remind"):
            d.timers.pop(timer, None)
        d.basis = d.alert if d.alert["level"] else d.basis
        if self._held(d, at):
            d.ways = []
            self.record(d, change, at, self._held_words(d))
            return
        d.ways = [Way(route.id) for route in self._routes(d)]
        d.told_level = max(d.told_level, d.level)
        on_duty, now = self.routing.on_duty, self.heard(at)
        again = {person: told for person, told in d.told.items() if person in on_duty(told.group, now)}
        self.step(d, d.ways, at, why_, change, words, again)

    def step(
        self,
        d: Dossier,
        ways: list[Way],
        at: int,
        why_: Why | None = None,
        change: Change | None = None,
        words: Words | None = None,
        besides: dict[str, Told] | None = None,
        action: Action | None = None,
    ) -> None:
        """Takes the next step of these ways together, so that nobody is told twice at once.

        Without ``why_``, people are told by the place in the chain: escalated, repeated, last resort.
        """
        at = max(at, d.at)
        now = self.heard(at + GATHER_MS if gathers(d) and why_ != "asked" else at)
        routes = {route.id: route for route in self._routes(d)}
        if not ways or any(way.route not in routes for way in ways):  # the routes were changed: from the beginning
            ways = d.ways = [Way(route) for route in routes]
        if why_ is None and self._held(d, at):
            d.pause()
            self.record(d, "silenced", at, self._held_words(d))
            return
        found: dict[str, tuple[Told, Why]] = {p: (told, why_ or "escalated") for p, told in (besides or {}).items()}
        first: Why | None = why_
        by_way = []
        for way in ways:
            people = advance(way, routes[way.route], now, RED if d.press else d.weight, self.routing.on_duty)
            place = why_ or why(way, routes[way.route])
            first = first or (place if people else None)
            by_way.append(people)
            for person, group in people.items():
                found.setdefault(person, (Told(way.route, group, way.step, way.round), place))
        numbers = {}
        words = words or reason(first or "nobody", wait=_longest(d, now))
        for person, (told, place) in found.items():
            numbers[person] = self._notify(d, person, told, place, at, words)
        for way, people in zip(ways, by_way, strict=True):
            way.hoped = [numbers[person] for person in people]
        if d.state == "acknowledged":
            d.pause()
        elif d.resumed and d.due is None and not d.by_person:
            d.timers["close"] = now + SETTLE_MS
        if not found:
            words = reason("nobody", wait=_longest(d, now))
        self.record(d, change or _change(first), at, words, tuple(found), action)

    def tell(self, d: Dossier, why_: Why, at: int, words: Words, but: str | None = None) -> tuple[str, ...]:
        """Tells those who were told so far, and gives who they are."""
        people = tuple(person for person in d.told if person != but)
        for person in people:
            self._notify(d, person, d.told[person], why_, at, words)
        return people

    def _notify(self, d: Dossier, person: str, told: Told, why_: Why, at: int, words: Words) -> int:
        number = d.notifications
        d.told[person] = told
        d.notifications += 1
        level = d.level if why_ in ("resolved", "closed") and not d.press else d.weight
        notification = Notification(
            id=f"{d.id}/{number}", case=d.id, key=d.key, to=person, group=told.group, route=told.route,
            step=max(told.step, 0), round=told.round, why=why_, reason=words, level=level, at=max(at, d.at),
            alert=d.alert, exercise=self.exercise,
        )  # fmt: skip
        if gathers(d) and why_ != "asked":
            self.gathering.add(notification, notification.at)
        else:
            self.out.notifications.append(notification)
        return number

    def _routes(self, d: Dossier) -> tuple[Route, ...]:
        return self.routing.routes(d.basis or d.alert)

    def _held(self, d: Dossier, at: int) -> bool:
        held = self.silences.holding({**d.alert, "level": d.weight}, at)
        if held is not None:
            d.silenced = held.id
            d.timers["silence"] = held.until or at
        return held is not None

    def _held_words(self, d: Dossier) -> Words:
        one = self.silences.all[d.silenced or ""]
        return reason("silenced", by=one.by, text=one.text, until=iso(one.until or 0))

    # -- what happens to the alert -----------------------------------------------------------------------------

    def resolve(self, d: Dossier, at: int, words: Words) -> None:
        """The alert is over: those who were told hear of it, and nobody else is told for now."""
        at = max(at, d.at)
        d.level, d.resolved, d.no_data, d.unwatched, d.flapping = 0, at, False, False, False
        for timer in ("no_data", "data", "watched", "calm", "silence"):
            d.timers.pop(timer, None)
        d.silenced = None
        d.pause()
        d.resumed = False
        if not d.by_person or d.state != "acknowledged":
            d.timers["close"] = self.heard(at) + SETTLE_MS
        self.record(d, "resolved", at, words, self.tell(d, "resolved", at, words))

    def settle(self, d: Dossier, at: int) -> None:
        """So long after it was over: closes a case that closes by itself, or goes on telling."""
        del d.timers["close"]
        if d.state == "acknowledged":
            self._close(d, at, reason("closed_answered", wait=SETTLE_MS))
        elif d.by_person or (d.highest > YELLOW and d.told and not self._all_told(d)):
            d.resumed = True
            self.step(d, d.ways, at, words=reason("resolved_unanswered"))
            d.resumed = d.silenced is None
        else:
            which = "closed_minor" if d.highest <= YELLOW else "closed_told" if d.told else "closed_silenced"
            self._close(d, at, reason(which, wait=SETTLE_MS))

    def _all_told(self, d: Dossier) -> bool:
        """Whether nobody is left whom one could tell of an orange alert that is over; of red there always is."""
        return d.highest < RED and d.resumed and d.notified is not None

    def _close(self, d: Dossier, at: int, words: Words, action: Action | None = None) -> None:
        d.state, d.closed, d.closed_by = "closed", max(at, d.at), action.by if action else None
        d.ways, d.timers, d.silenced, d.flapping = [], {}, None, False
        d.level = d.alert["level"]  # where a resolve was held or doubted
        self.record(d, "closed", at, words, self.tell(d, "closed", at, words, action.by) if action else (), action)

    def gave_up(self, d: Dossier, number: int, at: int) -> None:
        """A notification reached nobody. Where it was the last hope of a step, the next one is taken at once."""
        lost = [way for way in d.ways if number in way.hoped]
        for way in lost:
            way.hoped.remove(number)
        lost = [way for way in lost if not way.hoped]
        last = {route.id: len(route.steps) for route in self._routes(d)}
        for way in lost:
            if way.step >= last.get(way.route, 0) and way.due is None and d.notified is None:
                way.step, way.round = -1, 0
                way.wait_from(self.heard(at), RETRY_MS)
        onward = [way for way in lost if -1 < way.step < last.get(way.route, 0)]
        if onward:
            self.step(d, onward, at, words=reason("unreached"))

    def remind(self, d: Dossier, at: int) -> None:
        """Whoever answered has not closed it: somebody may have been on the way ever since."""
        by = d.acknowledged_by
        self.begin(d, "repeated", "repeated", at, reason("unclosed", by=by, wait=REMIND_MS))

    # -- what people do ----------------------------------------------------------------------------------------

    def act(self, d: Dossier, action: Action, at: int) -> None:
        """An action on a case by a person of the directory."""
        at = max(at, d.at)
        if d.state == "closed" and not (action.do == "note" or (action.do == "close" and d.closed_by is None)):
            self.record(d, "refused", at, reason("already_closed", by=action.by), action=action)
        elif action.do == "ack":
            d.state, d.acknowledged, d.acknowledged_by = "acknowledged", at, action.by
            d.answered = at if d.answered is None else d.answered
            d.answered_level = max(d.answered_level, d.weight)
            d.pause()
            d.silenced = None
            for timer in ("close", "silence"):
                d.timers.pop(timer, None)
            if d.by_person:
                d.timers["remind"] = at + REMIND_MS
            elif d.resolved is not None:
                d.timers["close"] = at + SETTLE_MS
            self.record(d, "acknowledged", at, reason("acknowledged", by=action.by), action=action)
        elif action.do == "note":
            self.record(d, "noted", at, reason("noted", by=action.by), action=action)
        elif action.do == "escalate":
            self.step(d, d.ways, at, "asked", "asked", reason("asked", by=action.by), action=action)
        else:
            late = d.state == "closed"
            d.outcome, d.satisfaction = action.outcome, action.satisfaction
            d.answered = at if d.answered is None else d.answered
            if late:
                d.closed_by = action.by
                self.record(d, "noted", at, reason("outcome", by=action.by), action=action)
            else:
                self._close(d, at, reason("closed", by=action.by), action)


def _change(why_: Why | None) -> Change:
    return why_ if why_ in ("escalated", "repeated", "last_resort") else "escalated"


def _longest(d: Dossier, at: int) -> int:
    return max((way.due - at for way in d.ways if way.due is not None), default=0)
