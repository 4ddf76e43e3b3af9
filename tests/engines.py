"""The ways of getting a capture's alerts: the naive reference, kapok's fold, and its replay around the fold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import reference
from strategies import Scenario

from alerts.fold import Fold
from alerts.rulebook import Rulebook
from sensors.capture import Line
from sensors.catalogue import Catalogue
from sensors.clock import log
from sensors.record import Record
from streams.replay import replay

Result = tuple[list[dict], list[dict]]  # alerts, rejected


def comparable(alerts: list[dict], rejected: list[dict]) -> Result:
    """Without what the comparison of two rule sets leaves out, and without the wording of details."""
    alerts = [{k: v for k, v in alert.items() if k not in ("message", "ruleset")} for alert in alerts]
    rejected = [{k: finite(v) for k, v in item.items() if k != "detail"} for item in rejected]
    alerts.sort(key=lambda a: (a["at"], a["rule"], a["site"], a["seq"]))
    return alerts, sorted(rejected, key=lambda item: json.dumps(item, sort_keys=True))


def finite(value: Any) -> Any:
    """A SenML record whose numbers beyond all floats are written in one way."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    if isinstance(value, int | float) and abs(value) > 1e308:
        return "inf" if value > 0 else "-inf"
    return value


def by_reference(scenario: Scenario) -> Result:
    result = reference.run(scenario.lines, scenario.sites, scenario.rules, scenario.partitions, scenario.until)
    return comparable(*result)


def lines_of(scenario: Scenario) -> list[Line]:
    decode = msgspec.json.Decoder(Line).decode
    return [decode(text) for text in scenario.lines]


def records_of(scenario: Scenario) -> list[Record]:
    return list(log(lines_of(scenario), scenario.partitions, scenario.until))


def settings_of(scenario: Scenario) -> tuple[Catalogue, Rulebook]:
    sites = json.dumps(scenario.sites, ensure_ascii=False).encode()
    return Catalogue.parse(sites, file="sites.geojson"), Rulebook.parse(scenario.rules, file="rules.toml")


class Pipeline:
    """One fold per partition, as workers have them, and everything that came out."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.catalogue, self.rulebook = settings_of(scenario)
        self.partitions = scenario.partitions
        self.folds = [self.new_fold(p) for p in range(self.partitions)]
        self.alerts: list = []
        self.rejected: list = []

    def new_fold(self, partition: int | None) -> Fold:
        return Fold(self.catalogue, self.rulebook, partition=partition, partitions=self.partitions)

    def apply(self, records: list[Record]) -> None:
        """Records of one topic and partition."""
        kind = records[0].topic.removeprefix("readings.")
        outcome = self.folds[records[0].partition].apply(kind, records)
        self.alerts += outcome.alerts
        self.rejected += outcome.rejected

    def result(self) -> Result:
        alerts = [json.loads(alert.value) for alert in self.alerts]
        rejected = [json.loads(item.value) for item in self.rejected]
        return comparable(alerts, rejected)


def runs(records: Iterable[Record], most: int = 1000) -> Iterator[list[Record]]:
    """Consecutive records of one topic and partition, at most so many at a time."""
    run: list[Record] = []
    for record in records:
        if run and (record[:2] != run[0][:2] or len(run) == most):
            yield run
            run = []
        run.append(record)
    if run:
        yield run


def by_fold(scenario: Scenario, most: int = 1000) -> Result:
    pipeline = Pipeline(scenario)
    for run in runs(records_of(scenario), most):
        pipeline.apply(run)
    return pipeline.result()


def by_replay(scenario: Scenario) -> Result:
    """As ``kapok replay`` does it without a broker."""
    found = replay(lines_of(scenario), *settings_of(scenario), partitions=scenario.partitions, until_ms=scenario.until)
    return comparable(found.bodies(), [json.loads(item) for item in found.rejected])
