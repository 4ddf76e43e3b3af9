"""Asks pip-audit about all pinned dependencies: exit 1 where a vulnerability is known, else 0.

What could not be asked about, without a network, is said: that is no finding, and no all-clear either.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

_TOOL = "pip-audit==2.10.1"
_SECONDS = 180


def verdict(report: str, errors: str) -> tuple[int, str]:
    """The exit code and what to say, from what pip-audit wrote to stdout (JSON) and to stderr."""
    try:
        found = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = next((line for line in reversed(errors.splitlines()) if line.strip()), "no answer")
        return 0, f"audit: could not ask (no network?): {last[:200]}"
    bad = [
        f"{one['name']} {one['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none yet'}"
        for one in found
        for known in one.get("vulns", ())
    ]
    asked = sum("vulns" in one for one in found)
    if bad:
        return 1, "\n".join(["audit: known vulnerabilities", *bad])
    if asked < len(found):
        names = ", ".join(one["name"] for one in found if "vulns" not in one)
        return 0, f"audit: nothing known of {asked}; {len(found) - asked} could not be asked about: {names}"
    return 0, f"audit: nothing known of all {asked}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder, "requirements.txt")
        export = ["uv", "export", "--quiet", "--no-hashes", "--no-emit-project", "--all-groups", "-o", str(pinned)]
        subprocess.run(export, check=True)
        command = ["uvx", "--quiet", "--from", _TOOL, "pip-audit", "-r", str(pinned), "--no-deps", "--disable-pip"]
        command += ["--progress-spinner", "off", "--format", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            code, said = verdict(done.stdout, done.stderr)
        except subprocess.TimeoutExpired:
            code, said = verdict("", f"no answer within {_SECONDS} s")
    print(said)
    sys.exit(code)


if __name__ == "__main__":
    main()
