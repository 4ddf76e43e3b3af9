"""What a rule type is to the fold: it takes batches of readings and ticks, and moves levels at its sites."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, ClassVar, NamedTuple, get_type_hints
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import TypeAdapter, ValidationError

from alerts import parameters
from alerts.batch import Batch
from alerts.levels import LEVEL_NAMES, Change, Ladder
from alerts.roster import Roster, Sites
from alerts.source import first_problem
from alerts.table import Table
from sensors.catalogue import Catalogue, Place, Sensor
from sensors.record import Record

Site = Sensor | Place
ParametersType = type[parameters.Parameters]


class Tick(NamedTuple):
    """A clock tick of one topic: ``now`` is its time minus grace, which is what timers look at (ms)."""

    kind: str
    time: int
    now: int
    record: Record


@cache
def _table_type(model: ParametersType) -> TypeAdapter[Any]:
    """What a table of this model's levels must look like."""
    return TypeAdapter(get_type_hints(model, include_extras=True)[model.table])


class Rule:
    """A rule at all its sites. Subclasses set ``type`` and ``Parameters`` and write ``readings`` and ``due``.

    The order that every rule keeps (docs/rules.md): before the readings of one site at one time are applied,
    what is due there at or before that time happens; then the readings are applied together, and one level
    step is taken. A tick makes due what lies at or before its ``now``. ``move`` puts a change in its place in time.
    """

    type: ClassVar[str]
    Parameters: ClassVar[ParametersType] = parameters.Parameters
    clocked: ClassVar[bool] = True  # False: ticks mean nothing to it, and it may take readings of many at once
    unit: str = "s"  # of x, in SenML's words; timers are in seconds
    words: ClassVar[tuple[str, str]] = (
        "",
        "",
    )  # what is the matter, in Chinese and English; see alerts/message.py

    def __init__(self, rule: Any, roster: Roster, timezone: ZoneInfo, emit: Callable[[Rule, Change], None]) -> None:
        self.rule, self.roster, self.timezone, self._emit = rule, roster, timezone, emit
        self.sites = self.choose_sites()
        self.step = Table(len(self.sites), level=np.int8, onset=np.int64, seq=np.int32, changed=np.int64, used=np.int64)
        self.tables = [self.table(rule, site) for site in self.sites.all]

    def choose_sites(self) -> Sites:
        """The sites that this rule looks after."""
        raise NotImplementedError

    @property
    def kinds(self) -> tuple[str, ...]:
        """The topics whose readings and ticks this rule is given."""
        return (self.rule.kind,)

    def readings(self, batch: Batch) -> None:
        """Applies a batch: readings in log order, already graded."""
        raise NotImplementedError

    def due(self, tick: Tick) -> None:
        """Does what has fallen due by this tick."""

    def resume(self, tick: Tick) -> None:
        """After a restore: does again what ticks up to this one did without any alert, for that is not written down.

        Timers have nothing to do here: what was due at the tick was alerted then, and what is due since, because of
        a reading that came late, is for the next tick.
        """

    def dump(self, zone: int) -> dict[str, Any]:
        """The state of the zone's sites, as plain values and bytes."""
        return self.step.dump(self.sites.of_zone[zone])

    def load(self, saved: dict[str, Any], old: list[int], new: list[int]) -> None:
        """Takes back what ``dump`` gave: row ``old[i]`` of it is the site in row ``new[i]`` now."""
        self.step.load(saved, old, new)

    def goes_on_from(self, before: Rule, site: str) -> bool:
        """Whether what another version of this rule knows of a site is of use to this one.

        Thresholds, waits, hysteresis and names may change; the levels that there are, and what is measured how, not.
        """
        if site not in self.sites.row or site not in before.sites.row or before.type != self.type:
            return False
        free = {"name", "hysteresis", self.rule.table}
        if self.rule.model_dump(exclude=free) != before.rule.model_dump(exclude=free):
            return False
        return _shape(self.tables[self.sites.row[site]]) == _shape(before.tables[before.sites.row[site]])

    def withdrawn(self, site: int, time: int, source: Record) -> Change:
        """The change that ends this rule's alert at a site, because the rule or the site is no more."""
        step, nan = self.step, float("nan")
        at = max(time, int(step.used[site]), int(step.changed[site]))
        return Change(
            site, 0, int(step.level[site]), int(step.onset[site]), at, int(step.seq[site]) + 1, nan, nan, source
        )

    def move(self, site: int, level: int, at: int, value: float, threshold: float, source: Record) -> None:
        """Changes the level: at the time given, or that of a later reading already used or change already made."""
        step = self.step
        previous, changed = int(step.level[site]), int(step.changed[site])
        at = max(at, int(step.used[site]), changed)
        if previous == 0 and at != changed:
            step.onset[site], step.seq[site] = at, 0
        elif previous == 0:
            step.onset[site] = at
            step.seq[site] += 1
        else:
            step.seq[site] += 1
        step.level[site], step.changed[site] = level, at
        onset, seq = int(step.onset[site]), int(step.seq[site])
        self._emit(self, Change(site, level, previous, onset, at, seq, value, threshold, source))

    def step_to(self, site: int, x: float, at: int, source: Record) -> None:
        """One level step with x (rounded to 6 decimals)."""
        ladder, level = self.ladders[site], int(self.step.level[site])
        new = ladder.step(level, x)
        if new != level:
            self.move(site, new, at, x, ladder.threshold(level, new), source)

    def ladder(self, table: Any) -> Ladder:
        """The thresholds of a table as the level step wants them."""
        return Ladder(table, getattr(self.rule, "hysteresis", 0.0))

    @cached_property
    def ladders(self) -> list[Ladder]:
        shared = {id(table): table for table in self.tables}  # one for all sites without an override
        made = {key: self.ladder(table) for key, table in shared.items()}
        return [made[id(table)] for table in self.tables]

    @classmethod
    def table(cls, rule: Any, site: Site) -> Any:
        """The rule's table of levels at this site: the site's override, where it has one (ValueError: a bad one)."""
        if rule.id not in site.overrides:
            return getattr(rule, rule.table)
        try:
            return _table_type(rule.__class__).validate_python(site.overrides[rule.id])
        except ValidationError as error:
            problem = first_problem(error, LEVEL_NAMES)[1]
            raise ValueError(f"the override at {site.id} is not a table of `{rule.table}`: {problem}") from error

    @classmethod
    def applies(cls, rule: Any, site: Site, catalogue: Catalogue) -> bool:
        """Whether the rule looks after this site; by default each sensor of its kind."""
        return isinstance(site, Sensor) and site.kind == rule.kind

    @classmethod
    def check(cls, rule: Any, site: Site, catalogue: Catalogue) -> None:
        """ValueError where the rule applies to the site and cannot work there."""
        if cls.applies(rule, site, catalogue):
            cls.table(rule, site)

    @classmethod
    def warnings(cls, rule: Any) -> list[str]:
        """What is allowed in the rule, and likely to be regretted."""
        return []


def _shape(table: Any) -> Any:
    """What of a table of levels has to stay for the state to be of use: which levels there are, and their windows."""
    if isinstance(table, dict):
        return {key: _shape(value) for key, value in table.items()}
    return getattr(table, "window", None)


class SensorRule(Rule):
    """A rule whose sites are the sensors of its kind."""

    def choose_sites(self) -> Sites:
        return self.roster.kinds[self.rule.kind].sensors


class PlaceRule(Rule):
    """A rule whose sites are the places that have a sensor of its kind; ``place_of`` maps sensor row to site."""

    def choose_sites(self) -> Sites:
        sites = self.roster.places_with(self.rule.kind)
        sensors = self.roster.kinds[self.rule.kind].sensors.all
        self.place_of = np.array([sites.row[s.place] for s in sensors if isinstance(s, Sensor)], np.int64)
        return sites

    @classmethod
    def applies(cls, rule: Any, site: Site, catalogue: Catalogue) -> bool:
        return isinstance(site, Place) and rule.kind in catalogue.kinds_at.get(site.id, ())
