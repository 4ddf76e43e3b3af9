"""The rules file: thresholds, timers and the limits of each quantity, read from TOML and checked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alerts.levels import LEVEL_NAMES
from alerts.parameters import Number, Parameters, duration_ms
from alerts.rules import TYPES
from alerts.rules.rule import Site
from alerts.source import Source, first_problem
from sensors.catalogue import Catalogue
from sensors.errors import InputError
from sensors.quantities import QUANTITIES

SHIPPED = Path(__file__).with_name("rules.toml")


class Limits(BaseModel):
    """What a quantity's readings are held against: outside min/max rejected, beyond max_step held back."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    min: Number | None = None
    max: Number | None = None
    max_step: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _between(self) -> Limits:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` {self.min:g} is above `max` {self.max:g}, so every reading would be rejected")
        return self


class Rulebook:
    """All rules, in the order of the file. ``grace_ms``: timers look at the clock minus this."""

    def __init__(
        self,
        rules: list[Parameters],
        limits: dict[str, Limits],
        timezone: ZoneInfo,
        grace_ms: int,
        digest: bytes,
        where: Source,
    ) -> None:
        self.rules, self.limits, self.timezone, self.grace_ms = rules, limits, timezone, grace_ms
        self.digest, self._where = digest, where
        self._fits: Catalogue | None = None  # the last one that it was checked with

    def without_rules(self) -> Rulebook:
        """Its limits alone."""
        return Rulebook([], self.limits, self.timezone, self.grace_ms, self.digest, self._where)

    @classmethod
    def shipped(cls) -> Rulebook:
        """The rules that come with kapok, each threshold with its source."""
        return cls.load(SHIPPED)

    @classmethod
    def load(cls, path: str | Path) -> Rulebook:
        """Reads and checks a ``rules.toml``; InputError names the file, the line and what to do."""
        return cls.parse(Source.read(path, "the rules").text, file=path)

    @classmethod
    def parse(cls, text: str, file: str | Path | None = None) -> Rulebook:
        where = Source(text, file)
        document = where.document()
        for key in document.keys() - {"timezone", "grace", "quantity", "rule"}:
            hint = "the file has timezone, grace, [quantity.…] and [[rule]]"
            raise InputError(f"unknown setting {key!r}", file=file, line=where.line_of(key), hint=hint)
        try:
            timezone = ZoneInfo(document.get("timezone", "Asia/Shanghai"))
        except (KeyError, ValueError, OSError, TypeError) as error:
            hint = 'such as "Asia/Shanghai"'
            what = f"unknown timezone {document['timezone']!r}"
            raise InputError(what, file=file, line=where.line_of("timezone"), hint=hint) from error
        try:
            grace = document.get("grace", "30s")
            grace_ms = 0 if grace in ("0s", "0m") else duration_ms(grace)
        except ValueError as error:
            raise InputError(f"grace: {error}", file=file, line=where.line_of("grace")) from error
        limits = _limits(document.get("quantity", {}), where)
        rules = _rules(document.get("rule", []), where)
        return cls(rules, limits, timezone, grace_ms, hashlib.sha256(where.text.encode()).digest(), where)

    def check(self, catalogue: Catalogue) -> None:
        """What rules and catalogue ask of each other: InputError where a rule cannot work on a site."""
        if self._fits is catalogue:  # each partition's fold asks, and it is nine tenths of making one
            return
        for rule in self.rules:
            for site in _sites(catalogue):
                try:
                    TYPES[rule.type].check(rule, site, catalogue)
                except ValueError as error:
                    raise catalogue.error(site.id, f"rule {rule.id}: {error}") from error
        self._fits = catalogue

    def warnings(self, catalogue: Catalogue) -> list[str]:
        """What is allowed, and likely to be regretted."""
        found = []
        ids = {rule.id for rule in self.rules}
        for number, rule in enumerate(self.rules):
            place = f"{self._where.file or 'rules'}:{self._where.line_of_item('rule', number)}"
            found += [f"{place}: rule {rule.id}: {text}" for text in TYPES[rule.type].warnings(rule)]
            rule_type = TYPES[rule.type]
            if not any(rule_type.applies(rule, s, catalogue) for s in _sites(catalogue)):
                found.append(f"{place}: rule {rule.id} applies to no site of the catalogue")
        unknown: dict[str, list[str]] = {}
        for site in _sites(catalogue):
            for rule_id in site.overrides.keys() - ids:
                unknown.setdefault(rule_id, []).append(site.id)
        for rule_id, sites in sorted(unknown.items()):
            more = f" and {len(sites) - 1} more" if len(sites) > 1 else ""
            found.append(f"{sites[0]}{more}: `overrides` for a rule {rule_id!r}, which is not in the rules")
        return found


def ruleset(rulebook: Rulebook, catalogue: Catalogue) -> str:
    """The first 12 hex digits of a hash of the rules and the catalogue."""
    return hashlib.sha256(rulebook.digest + catalogue.digest).hexdigest()[:12]


def _sites(catalogue: Catalogue) -> tuple[Site, ...]:
    return (*catalogue.sensors.values(), *catalogue.places.values())


def _limits(tables: Any, where: Source) -> dict[str, Limits]:
    known = {quantity for quantities in QUANTITIES.values() for quantity in quantities}
    limits = {}
    for quantity, table in tables.items() if isinstance(tables, dict) else [("", tables)]:
        line = where.line_matching(rf"\s*\[\s*quantity\s*\.\s*\"?{re.escape(quantity)}\"?\s*\]")
        if quantity not in known:
            hint = f"the quantities are {', '.join(sorted(known))}"
            raise InputError(f"unknown quantity {quantity!r}", file=where.file, line=line, hint=hint)
        try:
            limits[quantity] = Limits.model_validate(table)
        except ValidationError as error:
            field, what = first_problem(error)
            at = where.line_of(field, after=line)
            raise InputError(f"quantity {quantity}: {what}", file=where.file, line=at or line) from error
    return limits


def _rules(tables: Any, where: Source) -> list[Parameters]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError("`rule` is not a list", file=where.file, hint="start each rule with [[rule]]")
    rules: list[Parameters] = []
    for number, table in enumerate(tables):
        line = where.line_of_item("rule", number)
        name = f"rule {table.get('id', number + 1)}"
        kind = table.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            what = f"{name}: unknown type {kind!r}" if "type" in table else f"{name}: has no `type`"
            at = where.line_of("type", after=line) or line
            raise InputError(what, file=where.file, line=at, hint=f"the types are {', '.join(sorted(TYPES))}")
        model = TYPES[kind].Parameters
        try:
            rule = model.model_validate({"kind": model.kinds[0], **table} if len(model.kinds) == 1 else table)
        except ValidationError as error:
            field, what = first_problem(error, LEVEL_NAMES)
            at = where.line_of(field, after=line) or line
            raise InputError(f"{name}: {what}", file=where.file, line=at) from error
        if rule.kind not in rule.kinds:
            at = where.line_of("kind", after=line) or line
            hint = f"a rule of type {kind} is for {' or '.join(rule.kinds)}"
            raise InputError(f"{name}: kind {rule.kind!r}", file=where.file, line=at, hint=hint)
        if rule.id in {other.id for other in rules}:
            hint = "give each rule its own id"
            raise InputError(f"{name}: the id is there twice", file=where.file, line=line, hint=hint)
        rules.append(rule)
    return rules
