"""What the audit of dependencies makes of pip-audit's answer."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
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


PINNED = ["AioHTTP", "six", "numpy"]


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ([CLEAN], 0, ["asked about 1 of 3", "NOT CHECKED: numpy, six", "nothing known of those asked about"]),
        ([CLEAN, BAD], 1, ["asked about 2 of 3", "NOT CHECKED: numpy", "six 1.17.0: PYSEC-2026-1, mended in 1.18"]),
        ([UNKNOWN, BAD], 1, ["NOT CHECKED: aiohttp, numpy", "PYSEC-2026-1"]),
        ([CLEAN, {**BAD, "vulns": []}, {**UNKNOWN, "vulns": []}], 0, ["asked about 3 of 3"]),
    ],
)
def test_a_known_vulnerability_fails_and_silence_is_no_all_clear(found: list[Any], code: int, said: list[str]) -> None:
    result = audit.verdict(PINNED, json.dumps({"dependencies": found, "fixes": []}), "")
    assert result[0] == code
    assert [text for text in said if text not in result[1]] == []
    assert ("NOT CHECKED" in result[1]) == any("NOT CHECKED" in text for text in said)


@pytest.mark.parametrize(
    ("errors", "code", "said"),
    [
        ("ERROR: x\nConnectionError: no route\n\n", 0, "no network (ConnectionError: no route)"),
        ("error: no pip-audit\n  cause: failed to lookup address information: y", 0, "no network (cause: failed to"),
        ("Traceback (most recent call last):\nKeyError: 'x'", 3, "pip-audit failed: KeyError: 'x'"),
        ("", 3, "pip-audit failed: no answer"),
    ],
)
@pytest.mark.parametrize("report", ["", "Traceback", "[]"])
def test_without_an_answer_it_says_that_nothing_was_checked(report: str, errors: str, code: int, said: str) -> None:
    result = audit.verdict(PINNED, report, errors)
    assert result[0] == code
    assert result[1].startswith("audit: NOT DONE, none of 3 pinned dependencies checked: ")
    assert said in result[1]


def test_the_command_says_so_too_where_there_is_no_network(tmp_path: Path) -> None:
    """uv itself finds none."""
    fake = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(Path(audit.__file__))]
    done = subprocess.run(command, env=os.environ | fake, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"audit: NOT DONE, none of \d\d+ pinned dependencies checked: no network", done.stdout)
