"""The words that rules are written in: durations, level tables, and what every rule has."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from alerts.levels import LEVEL_NAMES, LEVELS
from sensors.quantities import QUANTITIES

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 36_525 * 86_400_000
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration_ms(value: Any) -> int:
    """``"90s"``, ``"15m"``, ``"3h"``, ``"1d"`` in ms; ValueError for anything else."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a duration; write "90s", "15m" or "3h"')
    milliseconds = round(float(match[1]) * _UNITS_MS[match[2]])
    if milliseconds <= 0:
        raise ValueError(f"{value!r} is not above 0")
    if milliseconds > _LONGEST_MS:
        raise ValueError(f"{value!r} is more than a hundred years")
    return milliseconds


def _whole_minutes(value: int) -> int:
    if value % 60_000:
        raise ValueError("is to be whole minutes")
    return value


def _level_number(value: Any) -> int:
    if not isinstance(value, str) or value not in LEVELS:
        raise ValueError(f"{value!r} is not a level; they are {', '.join(LEVELS)}")
    return LEVELS[value]


def level_table(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        raise ValueError("is a table of levels, such as {blue = …, red = …}, with at least one")
    return {_level_number(level): threshold for level, threshold in value.items()}


def rising(table: dict[int, float]) -> dict[int, float]:
    """ValueError where a level's number is above that of a higher level: nobody would ever see it."""
    for lower, higher in pairwise(sorted(table)):
        if table[higher] < table[lower]:
            names = LEVEL_NAMES[higher], LEVEL_NAMES[lower]
            raise ValueError(
                "{0} is below {1}, so {1} could never be seen; numbers rise from blue to red".format(*names)
            )
    return table


def regrets(thresholds: dict[int, float], hysteresis: float) -> list[str]:
    """What is allowed in a table of thresholds, and likely a mistake."""
    found = []
    for lower, higher in pairwise(sorted(thresholds)):
        if thresholds[higher] == thresholds[lower]:
            found.append(f"{LEVEL_NAMES[lower]} and {LEVEL_NAMES[higher]} begin at one number: the first is never seen")
    for level, threshold in sorted(thresholds.items()):
        if threshold > 0 >= threshold - hysteresis:
            least = f"{threshold:g} less the hysteresis, {hysteresis:g}, is not above 0"
            found.append(f"{LEVEL_NAMES[level]} may never end: {least}")
    return found


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]+$")]
Duration = Annotated[int, BeforeValidator(duration_ms)]
Minutes = Annotated[int, BeforeValidator(lambda value: _whole_minutes(duration_ms(value)) // 60_000)]
Level = Annotated[int, BeforeValidator(_level_number)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Thresholds = Annotated[dict[int, Number], BeforeValidator(level_table), AfterValidator(rising)]
Hysteresis = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Waits = Annotated[dict[int, Duration], BeforeValidator(level_table), AfterValidator(rising)]


class Parameters(BaseModel):
    """What every rule has: an id that stays the same for ever, a kind and a type.

    ``name`` is what on-call staff read, ``{zh = "…", en = "…"}``; the id stands in for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kinds: ClassVar[tuple[str, ...]] = ("flood", "rain", "infrared", "crowd")
    table: ClassVar[str] = "levels"  # the field that a site's `overrides` replace

    id: Id
    type: str
    kind: str
    name: dict[str, str] = {}


class QuantityParameters(Parameters):
    """What a rule on one quantity has besides."""

    quantity: str

    @model_validator(mode="after")
    def _of_its_kind(self) -> QuantityParameters:
        known = QUANTITIES.get(self.kind, {})
        if self.kind in QUANTITIES and self.quantity not in known:
            raise ValueError(f"quantity {self.quantity!r} is not one of kind {self.kind}: {', '.join(known)}")
        return self


class AwayReturn(BaseModel):
    """So many motions within so long a time tell that somebody is back."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    motions: Annotated[int, Field(strict=True, ge=1)]
    within: Duration
