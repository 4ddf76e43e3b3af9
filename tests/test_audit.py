"""What the audit of dependencies makes of pip-audit's answer."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / ".ci" / "audit.py")
assert _spec is not None
assert _spec.loader is not None
audit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(audit)

CLEAN = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
BAD = {"name": "six", "version": "1.17.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.18"], "aliases": []}]}
UNKNOWN = {"name": "numpy", "skip_reason": "Dependency not found and could not be audited: numpy (2.4.6)"}


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ([CLEAN], 0, "nothing known of all 1"),
        ([CLEAN, BAD], 1, "six 1.17.0: PYSEC-2026-1, mended in 1.18"),
        ([UNKNOWN, BAD], 1, "PYSEC-2026-1"),
        ([CLEAN, UNKNOWN], 0, "nothing known of 1; 1 could not be asked about: numpy"),
    ],
)
def test_a_known_vulnerability_fails_and_silence_is_no_all_clear(found: list[Any], code: int, said: str) -> None:
    result = audit.verdict(json.dumps({"dependencies": found, "fixes": []}), "")
    assert (result[0], said in result[1]) == (code, True), result


@pytest.mark.parametrize("report", ["", "Traceback", "[]"])
def test_without_a_network_it_says_so_and_fails_nothing(report: str) -> None:
    assert audit.verdict(report, "ERROR: x\nConnectionError: no route\n\n") == (
        0,
        "audit: could not ask (no network?): ConnectionError: no route",
    )
