"""kapok simulate: a made-up city for some hours, as a capture, and beside it what ought to be alerted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import TimeRemainingColumn

from alerts.rulebook import Rulebook
from alerts.rules import TYPES
from sensors import simulators
from sensors.catalogue import Place, Sensor
from sensors.errors import InputError
from sensors.simulators import SCENARIOS, Pack, Run, truth_path
from streams.commands.options import RulesOption, SitesOption, catalogue_of, rulebook_of, time_ms
from streams.commands.progress import bar

Scenario = StrEnum("Scenario", list(SCENARIOS))  # type: ignore[misc]

_ABOUT = "; ".join(f"{name}: {scenario.about}" for name, scenario in SCENARIOS.items())


class Rule:
    """A rule of the rules file, as the simulators want it for their truth."""

    def __init__(self, parameters: Any) -> None:
        self.id: str = parameters.id
        self.parameters = parameters

    def table(self, site: Sensor | Place) -> Any:
        return TYPES[self.parameters.type].table(self.parameters, site)


class Rules:
    """The rules that a run's truth is about."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rules = rulebook.rules

    def of(self, rule_type: str, kind: str) -> list[Rule]:
        return [Rule(rule) for rule in self._rules if (rule.type, rule.kind) == (rule_type, kind)]


def simulate(
    scenario: Annotated[Scenario, typer.Argument(help=_ABOUT)],
    out: Annotated[Path, typer.Option(help="The capture: JSON Lines, plain, .gz or .zst by its name.")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    start: Annotated[
        str | None, typer.Option(help="When it starts (ISO, UTC). Without it: on the first of May.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="For how long. Without it: as the scenario wants.")] = None,
    scale: Annotated[float, typer.Option(help="How many times as often as usual sensors report.")] = 1.0,
    sites: SitesOption = None,
    rules: RulesOption = None,
) -> None:
    """Writes a simulated capture, and beside it NAME.truth.jsonl: what happened, what ought to be alerted."""
    if not out.parent.is_dir():
        raise InputError(f"--out: the folder {out.parent} does not exist", hint="make it first")
    catalogue, rulebook = catalogue_of(sites), rulebook_of(rules)
    rulebook.check(catalogue)
    run = simulators.simulate(
        scenario.value,
        catalogue,
        seed=seed,
        start_ms=time_ms(start, "--start"),
        hours=hours,
        scale=scale,
        rules=Rules(rulebook),
    )
    with _bar(run, out.name) as progress:
        readings = run.write(out, progress)
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    stderr.print(
        f"{readings:,} readings in {out}; {len(run.truth.events)} events and "
        f"{len(run.truth.expected()):,} expected levels in {truth_path(out)}",
        markup=False,
    )


@contextlib.contextmanager
def _bar(run: Run, name: str) -> Iterator[Callable[[Pack], None] | None]:
    """A progress bar over the simulated hours, where a terminal is there to show it."""
    begin, length = run.setting.start_ms, run.setting.end_ms - run.setting.start_ms
    with bar(name, length, TimeRemainingColumn()) as update:
        if update is None:
            yield None
            return
        packs = readings = 0

        def progress(pack: Pack) -> None:
            nonlocal packs, readings
            packs += 1
            readings += pack.readings
            if packs % 2000 == 0:
                update(completed=pack.time_ms - begin, what=f"{readings:,} readings")

        yield progress
