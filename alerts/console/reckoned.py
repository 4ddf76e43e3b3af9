"""What rules reckon from readings, for the charts beside an alert: the sum of some hours, the people in a venue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Points = list[tuple[int, float]]  # (time in ms, value), oldest first

_MINUTE_MS = 60_000


def sums(points: Points, window: int) -> Points:
    """At each reading the sum of the minutes (m − window, m], m being its own; from where on all of them are known."""
    found: Points = []
    total, first = 0.0, 0
    for at, value in points:
        total += value
        while points[first][0] // _MINUTE_MS <= at // _MINUTE_MS - window:
            total -= points[first][1]
            first += 1
        if points[0][0] // _MINUTE_MS <= at // _MINUTE_MS - window:
            found.append((at, round(total, 3)))
    return found


def present(at_ms: int, people: float, readings: Iterable[dict[str, Points]]) -> Points:
    """How many people are in a venue, from what its counters (quantity → points) reported before and after a time at
    which it is known, as an alert says it. As far back as all of them are known; nothing where that is not so far.
    """
    change: dict[int, float] = defaultdict(float)
    counted: dict[int, float] = {}
    since = 0
    for quantities in readings:
        for quantity, points in quantities.items():
            since = max([since, *(at for at, _ in points[:1])])
            for at, value in points:
                if quantity == "count":
                    counted[at] = value
                else:
                    change[at] += value if quantity == "in" else -value
    times = sorted(at for at in {*change, *counted} if at >= since)
    if not times or since > at_ms:
        return []
    before: Points = []
    here = people
    for at in reversed([at for at in times if at <= at_ms]):
        before.append((at, here))
        here -= change[at]
        if at in counted or here < 0:  # what was before a count cannot be told
            break
    after: Points = []
    here = people
    for at in (at for at in times if at > at_ms):
        here = counted.get(at, max(0.0, here + change[at]))
        after.append((at, here))
    return [(at, float(round(number))) for at, number in (*reversed(before), *after)]
