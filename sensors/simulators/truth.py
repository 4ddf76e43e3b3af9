"""Ground truth: which rule ought to be at which level where and when, from the simulator's noise-free state.

Sensors are noisy, so near a threshold nobody can say whether a level is reached. Three copies of the level
step therefore run side by side: on the true number x, on the least and on the most that sensors could make of
it. A higher number never gives a lower level, so what is really alerted lies between the last two: at a level
at least while ``certain`` says so, and at most while ``possible`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from sensors.catalogue import Place, Sensor

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Span = tuple[int, int | None]  # from, to in ms; None: to the end and beyond


class Rule(Protocol):
    """A rule as simulators see it: its parameters, and its table of levels at a site (overrides applied)."""

    @property
    def id(self) -> str: ...
    @property
    def parameters(self) -> Any: ...
    def table(self, site: Sensor | Place) -> Any: ...


class Rules(Protocol):
    """The rules that the truth is about."""

    def of(self, rule_type: str, kind: str) -> Iterable[Rule]: ...


class Expected(NamedTuple):
    """``site`` is at ``level`` or above; ``true`` is None where only noise would take it there.

    ``tolerance_ms``: how far readings lie apart, and so how much later than it is true a thing can be seen.
    """

    rule: str
    site: str
    level: int
    true: Span | None
    possible: Span
    certain: list[Span]
    tolerance_ms: int = 0

    @classmethod
    def exactly(cls, rule: str, site: str, level: int, start: int, end: int | None) -> Expected:
        """What no noise can move: a timer or a button."""
        return cls(rule, site, level, (start, end), (start, end), [(start, end)])


class Truth:
    """What ought to be alerted, and what happened (a fall, a gauge that died); complete after the run."""

    def __init__(self, rules: Rules | None) -> None:
        self.rules = rules
        self.events: list[dict[str, Any]] = []
        self._expected: list[Expected] = []
        self._levels: list[LevelTruth] = []

    def event(self, event: str, site: str, start: int, end: int | None, **more: Any) -> None:
        self.events.append({"event": event, "site": site, "from": iso(start), "to": iso(end), **more})

    def expect(self, expected: Expected) -> None:
        self._expected.append(expected)

    def follow(self, levels: LevelTruth) -> LevelTruth:
        self._levels.append(levels)
        return levels

    def of(self, rule_type: str, kind: str) -> Iterable[Rule]:
        """The rules of this type and kind; none where the truth is not asked for."""
        return () if self.rules is None else self.rules.of(rule_type, kind)

    def expected(self) -> list[Expected]:
        """In order of time, rule and site."""
        found = self._expected + [e for levels in self._levels for e in levels.expected()]
        return sorted(found, key=lambda e: (e.possible[0], e.rule, e.site, e.level))

    def write(self, path: Path) -> None:
        """JSON Lines: first the events, then what is expected."""
        lines = self.events + [_as_json(e) for e in self.expected()]
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _as_json(e: Expected) -> dict[str, Any]:
    start, end = e.true or (None, None)
    return {
        "rule": e.rule, "site": e.site, "level": e.level, "from": iso(start), "to": iso(end),
        "possible": [iso(t) for t in e.possible], "certain": [[iso(t) for t in span] for span in e.certain],
        "tolerance_s": e.tolerance_ms / 1000,
    }  # fmt: skip


def iso(time_ms: int | None) -> str | None:
    """``2026-05-01T00:00:00.000Z``; None stays None."""
    if time_ms is None:
        return None
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


LEAST, TRUE, MOST = range(3)


class LevelTruth:
    """The level step of one rule at many sites, three times over: on the least, the true and the most of x.

    ``tables``: per site level → threshold. ``fall``: per level threshold c → what x must be below to leave it
    (c − h, or c × (1 − h) for sums). Where every level has a number of its own (``window_sum``), x has a row
    for each; a level holds as long as it or a higher one does.
    """

    def __init__(
        self,
        rule: str,
        sites: Sequence[str],
        tables: Sequence[dict[int, float]],
        fall: Any,
        tolerance_ms: int,
    ) -> None:
        self.rule, self.sites, self.tolerance_ms = rule, sites, tolerance_ms
        self.levels = sorted({level for table in tables for level in table})
        self.rise = np.array([[table.get(level, np.inf) for table in tables] for level in self.levels])
        self.fall = np.round(fall(self.rise), 6)
        self._lowest = float(self.rise.min(initial=np.inf))
        self._on = np.zeros((3, *self.rise.shape), bool)
        self._spans: dict[tuple[int, int, int], list[Span]] = {}

    def step(self, time: Times, x: Floats, error: Floats, seen: NDArray[np.bool_] | None = None) -> None:
        """One step at every site: ``x`` ± ``error``, (sites) or (levels, sites); only where ``seen``."""
        if float((x + error).max(initial=-np.inf)) < self._lowest and not self._on.any():
            return  # most of the time nothing is anywhere near
        numbers = np.round([x - error, x, x + error], 6)
        if numbers.ndim == 2:
            numbers = numbers[:, None, :]
        up, hold = numbers >= self.rise, numbers >= self.fall
        # any of this level or higher
        up = np.logical_or.accumulate(up[:, ::-1], axis=1)[:, ::-1]
        hold = np.logical_or.accumulate(hold[:, ::-1], axis=1)[:, ::-1]
        new = (self._on | up) & hold
        if seen is not None:
            new = np.where(seen, new, self._on)
        changed = new != self._on
        if changed.any():
            for copy, level, site in np.argwhere(changed).tolist():
                self._change(copy, level, site, int(time[site]), bool(new[copy, level, site]))
            self._on = new

    def _change(self, copy: int, level: int, site: int, time: int, on: bool) -> None:
        spans = self._spans.setdefault((level, site, copy), [])
        if on:
            spans.append((time, None))
        else:
            spans[-1] = (spans[-1][0], time)

    def expected(self) -> list[Expected]:
        found = []
        for (level, site, copy), possible in self._spans.items():
            if copy != MOST:
                continue
            true, certain = (self._spans.get((level, site, c), []) for c in (TRUE, LEAST))
            for span in possible:
                within = [s for s in true if _within(s, span)]
                hull = (within[0][0], within[-1][1]) if within else None
                sure = [s for s in certain if _within(s, span)]
                number, name = self.levels[level], self.sites[site]
                found.append(Expected(self.rule, name, number, hull, span, sure, self.tolerance_ms))
        return found


def _within(inner: Span, outer: Span) -> bool:
    return outer[0] <= inner[0] and (outer[1] is None or inner[0] < outer[1])
