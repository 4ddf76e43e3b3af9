"""The Desk: the fold of cases. (state, entry of ``oncall.log``) → (state, case changes and notifications).

Pure: no wall clock, no I/O, no randomness. Live, replayed, restarted: the same entries give the same bytes.
"""

from __future__ import annotations

import heapq
from typing import Annotated, Any

import msgspec
from pydantic import ValidationError

from alerts.alert import iso
from alerts.cases.action import Action
from alerts.cases.checkpoint import CheckpointState, decode, encode
from alerts.cases.decision import Decision
from alerts.cases.dossier import Dossier
from alerts.cases.duty import LATE_MS, Duty
from alerts.cases.entry import Entry, Outcome, Refusal
from alerts.cases.episode import Episodes
from alerts.cases.message import Words, time_ms
from alerts.cases.notification import Receipt
from alerts.cases.reasons import reason
from alerts.cases.relations import DATA_MS, Relations
from alerts.cases.routing import Routing
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.senml import END_OF_TIME

AHEAD_MS = 60_000  # what is written into an alert, an action or a receipt is believed so far ahead of the log's clock
HOUR_MS = 3_600_000
REMEMBERED_MS = 168 * HOUR_MS  # closed cases and the ids of actions


_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]+$")]


class _Body(msgspec.Struct):
    """What the Desk needs of an alert's body."""

    id: str
    rule: _Id
    type: str
    kind: str
    site: _Id
    zone: str
    district: str
    level: Annotated[int, msgspec.Meta(ge=0, le=4)]
    onset: str
    at: str
    seq: int
    value: float | None


class Desk:
    """All cases of a city. ``exercise``: what comes out is marked as from a replay; nobody is to act on it."""

    def __init__(self, routing: Routing, catalogue: Catalogue, rulebook: Rulebook, exercise: bool = False) -> None:
        self.offset, self.clock = -1, None  # type: int, int | None
        self.cases: dict[str, Dossier] = {}  # by key, the newest of each
        self._sources: dict[str, int] = {}
        self._actions: dict[str, int] = {}  # id → when it counted
        self._due: list[tuple[int, str]] = []
        self._duty = Duty(routing, exercise)
        self._relations = Relations(self._duty, self.cases, catalogue, rulebook)
        self._episodes = Episodes(self._duty, self._relations)

    # -- the log ----------------------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> Outcome:
        """Folds the next entry; one that was applied already gives nothing. Total: it does not raise."""
        self._duty.out = out = Outcome()
        if entry.offset <= self.offset:
            return out
        self.offset = entry.offset
        if self._had(entry):
            return out
        self._duty.taken = entry.taken
        try:
            if isinstance(entry.value, int):
                self._tick(entry.value)
            elif entry.kind == "alert":
                self._alert(entry.value)
            elif entry.kind == "action":
                self._action(entry, Action.parse(entry.value))
            else:
                self._receipt(entry, Receipt.parse(entry.value))
        except (ValidationError, msgspec.DecodeError, ValueError) as error:
            out.rejected.append(Refusal(entry, "malformed", _first_line(error)))
        return out

    def configure(self, routing: Routing, catalogue: Catalogue, rulebook: Rulebook) -> None:
        """Goes on under other routes, people, rules or sites; it belongs between two entries of the log."""
        self._duty.routing = routing
        self._relations.configure(catalogue, rulebook)

    @property
    def silences(self) -> tuple[Action, ...]:
        """Silences and maintenance that are in force or to come."""
        return tuple(one for one in self._duty.silences.all.values() if (one.until or 0) > (self.clock or 0))

    def _had(self, entry: Entry) -> bool:
        if entry.source is None:
            return False
        place = f"{entry.source.topic}/{entry.source.partition}"
        if entry.source.offset <= self._sources.get(place, -1):
            return True
        self._sources[place] = entry.source.offset
        return False

    def _now(self, at: int) -> int:
        """The time of a decision about something that says it is of ``at``."""
        return at if self.clock is None else max(self.clock, min(at, self.clock + AHEAD_MS))

    def _plan(self, d: Dossier) -> None:
        if (due := d.next_due) is not None:
            heapq.heappush(self._due, (due, d.key))

    # -- time -------------------------------------------------------------------------------------------------

    def _tick(self, time: int) -> None:
        """Whatever is due by then happens, each at its own time, however late the tick."""
        if time >= END_OF_TIME or (self.clock is not None and time <= self.clock):
            return
        if self._duty.taken is not None:
            self._duty.taken = max(self._duty.taken, time)
            if time - (before := self.clock or 0) > LATE_MS:
                for d in self.cases.values():
                    self._duty.catch_up(d, before, time)
                    self._plan(d)
        while True:
            due = self._due[0][0] if self._due else None
            vigil = self._relations.next_vigil
            if vigil is not None and vigil <= time and (due is None or vigil <= due):
                for d in self._relations.keep_vigil(vigil):
                    self._done(d)
            elif (told := self._duty.gathering.due) is not None and told <= time and (due is None or told < due):
                catalogue = self._relations.watch.catalogue
                self._duty.out.notifications += self._duty.gathering.take(told, catalogue)
            elif due is not None and due <= time:
                _, key = heapq.heappop(self._due)
                if key in self.cases and self.cases[key].next_due == due:
                    self._fall_due(self.cases[key], due)
            else:
                break
        if self.clock is None or time // HOUR_MS != self.clock // HOUR_MS:
            self._actions = {key: at for key, at in self._actions.items() if at > time - REMEMBERED_MS}
            self._duty.silences.forget(time)
            self._duty.gathering.forget(time - REMEMBERED_MS)
        self.clock = time

    def _fall_due(self, d: Dossier, at: int) -> None:
        """The first thing that is due at that time."""
        duty, episodes = self._duty, self._episodes
        name = next((name for name in sorted(d.timers) if d.timers[name] == at), None)
        if name == "close":
            duty.settle(d, at)
        elif name == "remind":
            duty.remind(d, at)
        elif name == "forget":
            self._relations.drop(d)
            return
        elif name == "silence":
            self._unsilence(d, at)
        elif name == "data":
            duty.resolve(d, at, reason("data", wait=DATA_MS))
        elif name is not None:
            {"no_data": episodes.no_data, "watched": episodes.watched, "calm": episodes.calm}[name](d, at)
        else:
            duty.step(d, [way for way in d.ways if way.due == at], at)
        self._done(d)

    def _done(self, d: Dossier) -> None:
        if d.state == "closed" and not d.level and "forget" not in d.timers:
            d.timers["forget"] = d.at + REMEMBERED_MS
        self._relations.regroup(d)
        self._plan(d)

    def _unsilence(self, d: Dossier, at: int) -> None:
        d.timers.pop("silence", None)
        d.silenced = None
        if d.firing and d.state != "acknowledged":
            self._duty.begin(d, "repeated" if d.told else "opened", "unsilenced", at, reason("unsilenced"))
        elif d.resolved is not None and d.state not in ("acknowledged", "closed"):
            d.timers.setdefault("close", at)

    # -- alerts -----------------------------------------------------------------------------------------------

    def _alert(self, value: bytes) -> None:
        body: dict[str, Any] = msgspec.json.decode(value, type=dict[str, Any])
        known = msgspec.convert(body, _Body)
        at, onset = self._now(time_ms(known.at)), time_ms(known.onset)
        key = f"{known.rule}/{known.site}"
        d = self.cases.get(key)
        if d is not None and (onset, known.seq) <= (d.onset, d.alert_seq):
            return
        if known.type == "silence":
            for other in self._relations.note(body, at):
                self._done(other)
        if d is None or (d.state == "closed" and onset != d.onset):
            if not known.level:
                return
            d = Dossier(id=f"{key}/{known.onset}", key=key, alert=body, opened=at, at=at)
            d.onset, d.alert_seq = onset, known.seq
            self._relations.add(d)
            self._episodes.open(d, at)
        else:
            d.alert, d.onset, d.alert_seq = body, onset, known.seq
            self._relations.add(d)
            self._episodes.change(d, max(at, d.at))
        self._done(d)

    # -- people and delivery -----------------------------------------------------------------------------------

    def _action(self, entry: Entry, action: Action) -> None:
        if action.id in self._actions:
            return
        at = self._now(action.at)
        self._actions[action.id] = at
        d = None if action.case is None else self.cases.get(action.case.rpartition("/")[0])
        if d is not None and d.id != action.case:
            d = None
        known = self._duty.routing.knows(action.by)
        if action.do in ("silence", "maintenance", "lift"):
            if not known:
                self._refuse(entry, "unknown_person", action, at, by=action.by)
            elif action.do == "lift":
                self._lift(entry, action, at)
            else:
                self._duty.silences.all[action.id] = action
                self._decide(action, True, at, reason("in_force", until=iso(action.until or 0)))
        elif d is None:
            self._refuse(entry, "unknown_case", action, at, case=action.case)
        elif not known:
            self._duty.record(d, "refused", at, reason("unknown_person", by=action.by), action=action)
        else:
            self._duty.act(d, action, at)
            self._done(d)

    def _lift(self, entry: Entry, action: Action, at: int) -> None:
        if self._duty.silences.all.pop(action.lifts or "", None) is None:
            self._refuse(entry, "unknown_silence", action, at, silence=action.lifts)
            return
        self._decide(action, True, at, reason("lifted"))
        for d in list(self.cases.values()):
            if d.silenced == action.lifts:
                self._unsilence(d, at)
                self._done(d)

    def _refuse(self, entry: Entry, which: str, action: Action, at: int, **values: Any) -> None:
        words = reason(which, **values)
        self._duty.out.rejected.append(Refusal(entry, which, words.en, action.id))
        self._decide(action, False, at, words)

    def _decide(self, action: Action, accepted: bool, at: int, words: Words) -> None:
        self._duty.out.decisions.append(Decision(action=action, accepted=accepted, at=at, reason=words))

    def _receipt(self, entry: Entry, receipt: Receipt) -> None:
        """Of a notification, and of all that were told with it."""
        sent = self._duty.gathering.sent.get(receipt.notification)
        for notification in (receipt.notification, *(sent.members if sent else ())):
            self._received(entry, receipt, notification)

    def _received(self, entry: Entry, receipt: Receipt, notification: str) -> None:
        case, _, number = notification.rpartition("/")
        d = self.cases.get(case.rpartition("/")[0])
        if d is None or d.id != case:
            return  # of a case that is over
        if not number.isdigit() or int(number) >= d.notifications:
            detail = f"no notification {notification} is known"
            self._duty.out.rejected.append(Refusal(entry, "unknown_notification", detail))
            return
        at = max(self._now(receipt.at), d.at)
        if receipt.status == "delivered" and d.notified is None:
            d.notified = at
            d.state = "notified" if d.state == "open" else d.state
            self._duty.record(d, "notified", at, reason("notified", by=receipt.to))
        elif receipt.status == "gave_up":
            self._duty.gave_up(d, int(number), at)
        self._done(d)

    # -- state ------------------------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """All of the state, up to and with the entry at ``offset``."""
        return encode(
            CheckpointState(
                offset=self.offset, clock=self.clock, sources=self._sources, actions=self._actions,
                cases=list(self.cases.values()), silences=[one.value for one in self.silences],
                silent=self._relations.watch.silent, vigils=self._relations.vigils,
                gathered=self._duty.gathering.windows, sent=self._duty.gathering.sent,
            )
        )  # fmt: skip

    @classmethod
    def restore(
        cls, state: bytes, routing: Routing, catalogue: Catalogue, rulebook: Rulebook, exercise: bool = False
    ) -> Desk:
        """The Desk as it was; RunError where the state is of another version or cannot be read."""
        saved = decode(state)
        desk = cls(routing, catalogue, rulebook, exercise)
        desk.offset, desk.clock = saved.offset, saved.clock
        desk._sources, desk._actions = saved.sources, saved.actions
        for d in saved.cases:
            desk._relations.add(d)
            desk._plan(d)
        silences = [Action.parse(value) for value in saved.silences]
        desk._duty.silences.all = {one.id: one for one in silences}
        desk._relations.watch.silent, desk._relations.vigils = saved.silent, saved.vigils
        desk._duty.gathering.windows, desk._duty.gathering.sent = saved.gathered, saved.sent
        return desk


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}".removeprefix(": ")
    return str(error).splitlines()[0]
