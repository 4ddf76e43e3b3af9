"""Real recordings through `kapok import` and `kapok replay`, for the tests that know what must come out.

The data is not part of the project. KAPOK_RECORDINGS names the folder with flood/, rain/, elder/ and crowd/.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import reference
from typer.testing import CliRunner

from streams.commands import app

Alert = dict[str, Any]


def folder() -> Path:
    """Where the recordings are; without them the test is skipped, in CI it fails."""
    named = os.environ.get("KAPOK_RECORDINGS")
    if not named and os.environ.get("KAPOK_CI") == "1":
        pytest.fail("KAPOK_RECORDINGS must name the folder of recordings in CI")
    if not named:
        pytest.skip("KAPOK_RECORDINGS does not name the folder of recordings")
    return Path(named)


def kapok(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception is not None:
        raise result.exception
    return result.output


def site(site_id: str, role: str, kind: str, zone: str, **more: object) -> dict[str, Any]:
    about = {"id": site_id, "role": role, "kind": kind, "zone": zone, "name": site_id, "district": "-"}
    return {"type": "Feature", "geometry": None, "properties": {**about, **more}}


def catalogue(into: Path, sites: list[dict[str, Any]]) -> Path:
    path = into / "sites.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": sites}))
    return path


def replayed(file: Path, sites: Path, rules: str, *options: object) -> tuple[list[Alert], list[dict[str, Any]]]:
    """The alerts and the rejected readings of `kapok replay`."""
    toml, out, rejected = (file.parent / f"{file.name}.{end}" for end in ("toml", "alerts", "rejected"))
    toml.write_text(rules)
    kapok("replay", file, "--sites", sites, "--rules", toml, "--out", out, "--rejected", rejected, *options)
    alerts, refused = ([json.loads(line) for line in path.read_text().splitlines()] for path in (out, rejected))
    return alerts, refused


def episodes(alerts: list[Alert], rule: str) -> list[tuple[str, str, str]]:
    """(site, from, to) of each time that a rule was not at normal, up to the minute."""
    begun: dict[str, str] = {}
    found = []
    for alert in alerts:
        if alert["rule"] == rule and alert["previous"] == 0:
            begun[alert["site"]] = alert["at"]
        elif alert["rule"] == rule and alert["level"] == 0:
            found.append((alert["site"], begun.pop(alert["site"])[5:16], alert["at"][5:16]))
    return sorted(found + [(site_id, at[5:16], "") for site_id, at in begun.items()])


def compare(file: Path, sites: Path, rules: str, alerts: list[Alert], rejected: list[dict[str, Any]]) -> None:
    """Against the naive reference."""
    expected, refused = reference.run(file.read_text().splitlines(), json.loads(sites.read_text()), rules)
    assert [{k: v for k, v in a.items() if k not in ("ruleset", "message")} for a in alerts] == expected
    assert [r["reason"] for r in rejected] == [r["reason"] for r in refused]
