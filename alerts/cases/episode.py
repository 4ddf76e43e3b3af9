"""How a case follows its alert: it opens, goes up and down, is over, fires again, flaps."""

from __future__ import annotations

from alerts.cases.case import Change
from alerts.cases.dossier import Dossier
from alerts.cases.duty import YELLOW, Duty
from alerts.cases.notification import Why
from alerts.cases.reasons import reason
from alerts.cases.relations import HOLD_MS, Relations

FLAPS, FLAPPING_MS = 6, 1_800_000  # so many changes within so long are flapping
CALM_MS = 900_000  # and so long without any ends it


class Episodes:
    """Decides what a change of an alert is to its case. ``d.alert`` is the new body, ``d.level`` the level before."""

    def __init__(self, duty: Duty, relations: Relations) -> None:
        self._duty, self._relations = duty, relations

    def open(self, d: Dossier, at: int) -> None:
        d.level = d.highest = d.alert["level"]
        d.changes = [at]
        self._look_up(d)
        which: Why = "unwatched" if d.unwatched else "opened"
        d.group = self._relations.group_of(d)
        self._duty.begin(d, which, "opened", at, reason(which, level=d.level))

    def change(self, d: Dossier, at: int) -> None:
        """The alert's next change. Of a closed case only a higher level of the same episode is told again."""
        before, level = d.level, int(d.alert["level"])
        imagined, d.imagined = d.imagined, False
        if d.press:
            self._press(d, level, at)
        elif d.state == "closed" and level <= before:
            d.level = level
            self._put_down(d, "lowered" if level else "resolved", before, at)
        elif self._damped(d, level, at):
            d.level = level
        elif not level:
            self.resolve(d, at)
        elif level > before or d.resolved is not None or d.no_data or "no_data" in d.timers:
            self._up(d, before, level, at)
        else:
            d.level = level
            self._put_down(d, "unwatched" if imagined and level == before else "lowered", before, at)

    def resolve(self, d: Dossier, at: int) -> None:
        """The alert went to 0; whether that is an all-clear shows a moment later where its sensors were silent."""
        if self._relations.watch.blind(d.alert):
            d.timers["no_data"] = at + HOLD_MS
        else:
            self._duty.resolve(d, at, reason("withdrawn" if "reason" in d.alert else "resolved"))

    def no_data(self, d: Dossier, at: int) -> None:
        """They were: nothing is over."""
        del d.timers["no_data"]
        d.no_data = True
        words = reason("no_data")
        self._duty.record(d, "no_data", at, words, self._duty.tell(d, "no_data", at, words))

    def watched(self, d: Dossier, at: int) -> None:
        """The sensors of a home speak again, and the alert is still there."""
        del d.timers["watched"]
        d.unwatched = False
        words = reason("watched")
        self._duty.record(d, "watched", at, words, self._duty.tell(d, "watched", at, words))

    def calm(self, d: Dossier, at: int) -> None:
        """It flaps no longer. All along it counted as firing; where it is over, that is told now."""
        del d.timers["calm"]
        d.flapping, d.changes = False, []
        self._duty.record(d, "calm", at, reason("calm", wait=CALM_MS, level=d.level))
        if not d.level:
            self.resolve(d, at)

    def _press(self, d: Dossier, level: int, at: int) -> None:
        d.level, d.highest = level, max(d.highest, level)
        if not level:
            self._put_down(d, "reset", level, at)
        else:
            _reopen(d)
            self._duty.begin(d, "pressed", "pressed", at, reason("pressed"))

    def _up(self, d: Dossier, before: int, level: int, at: int) -> None:
        raised = level > before and d.resolved is None and not d.no_data
        # whoever answered without having been told (from the console, say) would not hear of it
        answered = d.acknowledged_by in d.told and level <= d.answered_level
        d.level, d.highest = level, max(d.highest, level)
        _reopen(d)
        self._look_up(d)
        if raised and answered:
            words = reason("raised", previous=before, level=level)
            self._duty.record(d, "raised", at, words, self._duty.tell(d, "raised", at, words))
        else:
            change: Change = "raised" if raised else "reopened"
            which: Why = "unwatched" if d.unwatched else "raised" if raised else "reopened"
            self._duty.begin(d, which, change, at, reason(which, previous=before, level=level))

    def _damped(self, d: Dossier, level: int, at: int) -> bool:
        """Whether this change is on record only: the case is blue or yellow, has changed too often, and is told of at
        that level already. One that begins to flap while it fires is told once more: it counts as firing from then on.
        """
        d.changes = [*(time for time in d.changes if time > at - FLAPPING_MS), at][-FLAPS:]
        if max(level, d.highest) > YELLOW:
            d.flapping = False
            d.timers.pop("calm", None)
            return False
        begins = not d.flapping and len(d.changes) == FLAPS
        if begins:
            d.flapping = True
            self._duty.record(d, "flapping", at, reason("flapping", count=FLAPS, wait=FLAPPING_MS))
        if not d.flapping:
            return False
        d.timers["calm"] = at + CALM_MS
        if level > d.told_level or (begins and d.resolved is not None):
            return False
        self._duty.record(d, "damped", at, reason("damped", level=level))
        return True

    def _look_up(self, d: Dossier) -> None:
        """What routes and relations say of it at this level."""
        routes = self._duty.routing.routes(d.alert)
        d.by_person = d.by_person or d.press or any(route.by_person for route in routes)
        d.unwatched = self._relations.unwatched(d)

    def _put_down(self, d: Dossier, change: Change, before: int, at: int) -> None:
        """On record, and told to nobody."""
        self._duty.record(d, change, at, reason(change, previous=before, level=d.level))


def _reopen(d: Dossier) -> None:
    d.resolved, d.no_data, d.resumed = None, False, False
    d.closed = d.closed_by = d.outcome = d.satisfaction = None
    for timer in ("close", "data", "forget", "no_data", "watched"):
        d.timers.pop(timer, None)
    if d.state == "closed":
        d.state = "open" if d.notified is None else "notified"
