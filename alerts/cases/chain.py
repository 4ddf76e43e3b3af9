"""The chain of a route: who comes next when nobody answers."""

from __future__ import annotations

from collections.abc import Callable

from alerts.cases.dossier import Way
from alerts.cases.notification import Why
from alerts.cases.routing import Route
from alerts.cases.silences import RED

OnDuty = Callable[[str, int], tuple[str, ...]]


def following(route: Route, step: int, round_: int) -> tuple[int, int]:
    """The place (step, round) after this one; step ``len(route.steps)`` is the last resort."""
    last = len(route.steps)
    if step + 1 < last:
        return step + 1, round_
    if step < last and round_ < route.repeat and last:
        return 0, round_ + 1
    return last, round_ + 1 if step >= last else round_


def advance(way: Way, route: Route, at: int, weight: int, on_duty: OnDuty) -> dict[str, str]:
    """Moves on to the next step at which anybody is on duty, and gives who that is: person → group.

    Nobody, if not even the last resort has anybody on duty: then the chain begins anew ``again_ms`` later.
    """
    while True:
        way.step, way.round = following(route, way.step, way.round)
        last = way.step >= len(route.steps)
        groups = route.last_resort if last else route.steps[way.step].groups
        people: dict[str, str] = {}
        for group in groups:
            for person in on_duty(group, at):
                people.setdefault(person, group)
        if people or last:
            break
    if not last:
        way.wait_from(at, route.steps[way.step].wait_ms)
    elif people:
        way.due = None
        if weight >= RED:
            way.wait_from(at, route.again_ms)
    else:
        way.step, way.round = -1, 0
        way.wait_from(at, route.again_ms)
    return people


def why(way: Way, route: Route) -> Why:
    """What somebody is told as, at this place of the chain."""
    if way.step >= len(route.steps):
        return "last_resort"
    return "repeated" if way.round else "escalated"
