"""The processes that are measured: workers started, and what they took of memory and time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from streams.child import Child

_TICKS = os.sysconf("SC_CLK_TCK")


def start_worker(
    broker: str, folder: Path, sites: Path, *more: str | Path, kapok: Sequence[str | Path] = ("-m", "streams")
) -> Child:
    """A kapok worker whose log goes to the folder; ``kapok`` is what Python is to run."""
    command: list[str | Path] = [sys.executable, *kapok, "worker", "--no-clock", "--broker", broker]
    return Child("kapok", [*command, "--sites", sites, *more], folder / "worker.log")


def start_oncall(broker: str, folder: Path, *more: str | Path) -> Child:
    """kapok's on-call, without a console, whose log goes to the folder."""
    command: list[str | Path] = [sys.executable, "-m", "streams", "oncall", "--no-console", "--broker", broker]
    return Child("oncall", [*command, *more], folder / "oncall.log")


def peak_mb(pid: int) -> float:
    """The most memory that a process has had so far, in MB (Linux; elsewhere not a number)."""
    return _status(pid, "VmHWM")


def memory_mb(pid: int) -> float:
    """What it has now."""
    return _status(pid, "VmRSS")


def cpu_seconds(pid: int) -> float:
    """What it has used of CPU, of all its threads."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, field: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), float("nan"))
