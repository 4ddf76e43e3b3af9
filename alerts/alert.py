"""An alert: one change of level of one rule at one site, as the bytes that go on the topic."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from alerts.levels import Change
from alerts.message import message
from alerts.rules import Rule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


class Source(NamedTuple):
    """The record that an alert came from: the one with the reading or the tick that showed it."""

    topic: str
    partition: int
    offset: int


class Alert:
    """``id`` is unique; ``key`` is ``rule/site``; ``value`` the JSON, the same bytes for the same alert.

    ``zone`` is the site's, ``stamp_ms`` the timestamp of the record that it came from, if it has one. ``source``
    belongs in the record's headers: the body depends on nothing but the readings, the ticks, the rules and the
    catalogue. ``reason``: why it changed, where it was neither a reading nor a timer (``rule_removed``,
    ``rule_changed``, ``site_removed``); ``value`` and ``threshold`` are null then.
    """

    def __init__(self, rule: Rule, change: Change, ruleset: str, reason: str | None = None) -> None:
        site, record = rule.sites.all[change.site], change.source
        self.source = Source(record.topic, record.partition, record.offset)
        self.zone, self.stamp_ms = site.zone, record.timestamp
        self.key = f"{rule.rule.id}/{site.id}"
        self.at, self.level = change.at, change.level
        onset = iso(change.onset)
        self.id = f"{self.key}/{onset}/{change.seq}"
        self.body: dict[str, Any] = {
            "id": self.id,
            "rule": rule.rule.id,
            "type": rule.type,
            "kind": rule.rule.kind,
            "site": site.id,
            "zone": site.zone,
            "district": site.district,
            "level": change.level,
            "previous": change.previous,
            "status": "firing" if change.level else "resolved",
            "onset": onset,
            "at": iso(change.at),
            "seq": change.seq,
            "value": number(change.value),
            "threshold": number(change.threshold),
            "unit": rule.unit,
            "message": message(rule, site, change, reason),
            "ruleset": ruleset,
        }
        if reason:
            self.body["reason"] = reason

    @cached_property
    def value(self) -> bytes:
        return _encode(self.body).encode()

    @property
    def order(self) -> tuple[str, str, str, int]:
        """Alerts of a replay are sorted by this."""
        return order(self.body)


def order(body: dict[str, Any]) -> tuple[str, str, str, int]:
    """(at, rule, site, seq) of an alert's body."""
    return body["at"], body["rule"], body["site"], body["seq"]


def iso(time_ms: int) -> str:
    """``2024-05-04T05:20:00.000Z``."""
    return f"{_second(time_ms // 1000)}{time_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)  # alerts of a minute come together, and onsets come again
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.")


def number(x: float) -> float | int | None:
    """Whole numbers without a decimal point, so that 3600 s is not 3600.0; None where there is none (NaN)."""
    if x != x:
        return None
    return int(x) if x == int(x) and abs(x) < 2**53 else x
