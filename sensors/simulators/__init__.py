"""Seeded simulators of what the sensors of a city would send, and of what ought to be alerted.

run = simulate("storm", Catalogue.shipped(), seed=7)
for pack in run.packs(): ...          # in the order in which a broker would get them
run.truth.expected()                  # complete once the packs are through
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from heapq import merge
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from sensors import capture
from sensors.catalogue import Catalogue
from sensors.errors import InputError
from sensors.quantities import KINDS, topic
from sensors.simulators.homes import Homes
from sensors.simulators.marathon import Marathon
from sensors.simulators.packs import HOUR, LOCAL, Pack, Setting
from sensors.simulators.quiet import Quiet
from sensors.simulators.rush import Rush
from sensors.simulators.storm import Storm
from sensors.simulators.truth import Rules, Truth

__all__ = ["SCENARIOS", "Pack", "Run", "Truth", "simulate"]

# a holiday, local midnight
_FIRST_OF_MAY = round(datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000) - LOCAL


class Scenario(NamedTuple):
    """Simulators that run together; by default told from this local hour on, for so many hours."""

    parts: tuple[Any, ...]
    starts: float
    hours: float
    about: str


SCENARIOS = {
    "storm": Scenario((Storm,), 13.5, 12, "a rainstorm moves over the catchments in the afternoon"),
    "homes": Scenario((Homes,), 0, 24, "elderly people at home: one falls, one sits too long, one calls"),
    "rush": Scenario((Rush,), 5, 18, "holiday crowds at the stations, and trains held at one of them"),
    "marathon": Scenario((Marathon,), 7, 7, "20,000 runners over the segments of the course"),
    "day": Scenario((Storm, Homes, Rush, Marathon), 0, 24, "all of these on one day"),
}


class Run:
    """One run of a scenario. Everything is drawn from the seed: same arguments, same packs, same truth."""

    def __init__(self, scenario: Scenario, setting: Setting, rules: Rules | None) -> None:
        self.setting, self.truth = setting, Truth(rules)
        parts = [part for part in (make(setting, self.truth) for make in scenario.parts) if part.sensors]
        if not parts:
            raise InputError("the catalogue has nothing to simulate", hint=f"this scenario is: {scenario.about}")
        self._parts = [*parts, Quiet(setting, set(chain.from_iterable(part.sensors for part in parts)))]

    def packs(self) -> Iterator[Pack]:
        """The packs in order of time; once only."""
        return merge(*(part.packs() for part in self._parts), key=attrgetter("time_ms"))

    def write(self, path: Path, progress: Callable[[Pack], None] | None = None) -> int:
        """Writes the capture, and beside it ``<name>.truth.jsonl``; returns the number of readings."""
        readings = 0
        topics = {kind: topic(kind) for kind in KINDS}
        with capture.Writer(path) as file:
            for pack in self.packs():
                file.write(topics[pack.kind], pack.zone, pack.value, timestamp=pack.time_ms)
                readings += pack.readings
                if progress is not None:
                    progress(pack)
        self.truth.write(truth_path(path))
        return readings


def truth_path(path: Path) -> Path:
    """Where the truth of a capture is: ``storm.truth.jsonl`` for ``storm.jsonl.zst``."""
    name = path.name
    for suffix in (".gz", ".zst", ".jsonl"):
        name = name.removesuffix(suffix)
    return path.with_name(f"{name}.truth.jsonl")


def simulate(
    scenario: str,
    catalogue: Catalogue,
    *,
    seed: int = 0,
    start_ms: int | None = None,
    hours: float | None = None,
    scale: float = 1.0,
    rules: Rules | None = None,
) -> Run:
    """Prepares a run of one of SCENARIOS.

    What happens is tied to the local day that ``start_ms`` lies in (by default the first of May): a run that
    starts at noon tells the second half of it. ``scale``: how many times as often as usual sensors report.
    Without ``rules`` there is no truth but the events.
    """
    if scenario not in SCENARIOS:
        raise InputError(f"unknown scenario {scenario!r}", hint=f"the scenarios are {', '.join(SCENARIOS)}")
    chosen = SCENARIOS[scenario]
    if hours is not None and not 0 < hours <= 24 * 366:
        raise InputError(f"hours is {hours:g}", hint="above 0, and no more than a year")
    if not 0.3 <= scale <= 1000:  # with less, sensors report so seldom that they pass for dead
        raise InputError(f"scale is {scale:g}", hint="from 0.3 to 1000")
    if start_ms is None:
        start_ms = _FIRST_OF_MAY + round(chosen.starts * HOUR)
    end_ms = start_ms + round((chosen.hours if hours is None else hours) * HOUR)
    return Run(chosen, Setting(catalogue, seed, start_ms, end_ms, scale), rules)
