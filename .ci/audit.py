"""Asks pip-audit about all pinned dependencies, and says of which it could not ask: that is no all-clear.

Exit 0: nothing known of those asked about, or no network; 1: a vulnerability is known; 3: pip-audit itself failed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

_TOOL = "pip-audit==2.10.1"
_SECONDS = 180
_NO_NETWORK = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|dns error|failed to lookup address"
    r"|name resolution|network was disabled|Network is unreachable|Connection refused|tcp connect error"
    r"|operation timed out",
    re.IGNORECASE,
)


def verdict(pinned: Collection[str], report: str, errors: str) -> tuple[int, str]:
    """The exit code and what to say of the dependencies with these names, from pip-audit's stdout (JSON) and stderr."""
    try:
        found = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return _unanswered(pinned, errors)
    bad = [
        f"{one['name']} {one['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none yet'}"
        for one in found
        for known in one.get("vulns", ())
    ]
    checked = {_plain(one["name"]) for one in found if "vulns" in one}
    unchecked = sorted({_plain(name) for name in pinned} - checked)  # unknown to the index, or not for this system
    said = [f"audit: asked about {len(checked)} of {len(pinned)} pinned dependencies"]
    if unchecked:
        said.append(f"audit: NOT CHECKED: {', '.join(unchecked)}")
    said += [f"audit: known vulnerability: {line}" for line in bad] or ["audit: nothing known of those asked about"]
    return int(bool(bad)), "\n".join(said)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _unanswered(pinned: Collection[str], errors: str, what: str = "pip-audit") -> tuple[int, str]:
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["no answer"]
    away = [line for line in lines if _NO_NETWORK.search(line)]
    code, why = (0, f"no network ({away[-1][:200]})") if away else (3, f"{what} failed: {lines[-1][:200]}")
    return code, f"audit: NOT DONE, none of {len(pinned) or 'the'} pinned dependencies checked: {why}"


def main() -> None:
    export = ["uv", "export", "--quiet", "--no-hashes", "--no-emit-project", "--all-groups"]
    exported = subprocess.run(export, capture_output=True, text=True, check=False)
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", exported.stdout, re.MULTILINE)
    if exported.returncode or not pinned:
        code, said = _unanswered(pinned, exported.stderr, "uv export")
    else:
        code, said = _ask(pinned, exported.stdout)
    print(said)
    sys.exit(code)


def _ask(pinned: Collection[str], requirements: str) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text(requirements)
        command = ["uvx", "--quiet", "--from", _TOOL, "pip-audit", "-r", str(file), "--no-deps", "--disable-pip"]
        command += ["--progress-spinner", "off", "--format", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return verdict(pinned, "", f"operation timed out: no answer within {_SECONDS} s")
    return verdict(pinned, done.stdout, done.stderr)


if __name__ == "__main__":
    main()
