"""What was measured, as one object and as tables."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from bench.contest import KAPOK, TITLES, Contest, Round

COURSES = {"packs": "packs of 500", "singles": "one reading per record"}
_LATENCY = {"kafka": "Apache Kafka", "embedded": "embedded broker"}
_BESIDE = {
    "straight": "Apache Kafka, the least that can be done there",
    "rebalance": "Apache Kafka, a worker joins and leaves",
}
SCALES = {
    "sensors": "sensors; packs of up to 500",
    "partitions": "partitions, through Apache Kafka, one worker",
    "pack": "readings a pack",
    "rules": "rules",
}

Report = dict[str, Any]
Told = TypeVar("Told")


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cores": os.cpu_count(),
        "cpu": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gb": round(int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def throughput(contest: Contest) -> Report:
    """``throughput`` (medians), ``ratios`` (kapok ÷ it), the spread of both, and how the alerts compared.

    A ratio is one of medians; its spread is that of the rounds, each against kapok's of the same number.
    """
    rates = _of(contest.rounds, lambda one: one.rate, list)
    medians = {name: {course: statistics.median(of) for course, of in by.items()} for name, by in rates.items()}
    found: Report = {
        "throughput": medians,
        "spread": {n: {course: [min(of), max(of)] for course, of in by.items()} for n, by in rates.items()},
        "ratios": {},
        "ratios_spread": {},
        "alerts": _alerts(contest.rounds),
        "missing": contest.missing,
        "peak_mb": _of(contest.rounds, lambda one: one.memory_mb, max),
        "cpu_us": _of(contest.rounds, lambda one: one.cpu_us, statistics.median),
    }
    if own := rates.get(KAPOK):
        for name, by in rates.items():
            if name != KAPOK:
                shared = {course: of for course, of in by.items() if course in own}
                found["ratios"][name] = {c: _ratio(medians[KAPOK][c], medians[name][c]) for c in shared}
                pairs = {c: [_ratio(a, b) for a, b in zip(own[c], of, strict=False)] for c, of in shared.items()}
                found["ratios_spread"][name] = {c: [min(of), max(of)] for c, of in pairs.items()}
    return found


def _ratio(own: float, other: float) -> float:
    return own / other if other else float("inf")


def _alerts(rounds: Iterable[Round]) -> dict[str, dict[str, dict[str, int]]]:
    """Of the rounds of each, the worst: alerts written, and how many were missing, extra or repeated."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for one in rounds:
        numbers = {"alerts": one.alerts, "missing": one.missing, "extra": one.extra, "repeated": one.repeated}
        of = found.setdefault(one.contestant, {})
        before = of.setdefault(one.course, numbers)
        worse = one.missing + one.extra + one.repeated > sum(before[field] for field in list(numbers)[1:])
        of[one.course] = numbers if worse else before
    return found


def _of(
    rounds: Iterable[Round], field: Callable[[Round], float], told: Callable[[list[float]], Told]
) -> dict[str, dict[str, Told]]:
    """What is told of one number of the rounds of each contestant on each course."""
    found: dict[str, dict[str, list[float]]] = {}
    for one in rounds:
        found.setdefault(one.contestant, {}).setdefault(one.course, []).append(field(one))
    return {name: {course: told(of) for course, of in by.items()} for name, by in found.items()}


def differing(report: Report) -> list[str]:
    """Where the alerts were not those of the fold, one line each."""
    lines = []
    for name, by in report.get("alerts", {}).items():
        for course, of in by.items():
            if wrong := {field: of[field] for field in ("missing", "extra", "repeated") if of[field]}:
                told = ", ".join(f"{number:,} {field}" for field, number in wrong.items())
                lines.append(f"{TITLES[name]}, {course}: of {of['alerts']:,} alerts {told}")
    latency = report.get("latency_ms", {})
    waits = {
        f"{_LATENCY[b]}, {rate}/s": of for b in _LATENCY for rate, of in latency.get(b, {}).get("rates", {}).items()
    }
    waits |= {title: latency[name] for name, title in _BESIDE.items() if name in latency}
    for name, of in waits.items():
        if of["lost"]:
            lines.append(f"latency, {name}: of {of['alerts']:,.0f} alerts {of['lost']:,.0f} missing")
    return lines


def show(console: Console, report: Report) -> None:
    """The report as tables."""
    on = report["machine"]
    console.print(f"{on['cores']} cores ({on['cpu']}), {on['memory_gb']} GB, {on['system']}, Python {on['python']}")
    if "throughput" in report:
        console.print(f"median (min–max) of {report['rounds']} rounds; CPU a reading, all threads of the contestant")
        for course in COURSES:
            console.print(_throughput_table(report, course))
        for name, why in report["missing"].items():
            console.print(f"missing: {TITLES[name]}: {why}", style="yellow", markup=False, soft_wrap=True)
    for line in differing(report):
        console.print(f"not the alerts of the fold: {line}", style="red", markup=False, soft_wrap=True)
    for section, why in report.get("failed", {}).items():
        console.print(f"not measured: {section}: {why}", style="red", markup=False, soft_wrap=True)
    if "latency_ms" in report:
        console.print(_latency_table(report["latency_ms"]))
    if "replay" in report:
        table = Table("replay without a broker", "", title_justify="left")
        table.add_row("readings/s", f"{report['replay']['readings_per_s']:,.0f}")
        table.add_row("a day of 43 million readings", f"{report['replay']['day_of_city_s']:.1f} s")
        console.print(table)
    if "scaling" in report:
        for name, title in SCALES.items():
            table = Table(title, "readings/s", title_justify="left")
            for at, rate in report["scaling"][name].items():
                table.add_row(f"{int(at):,}", f"{rate:,.0f}")
            console.print(table)
    if "memory" in report:
        table = Table("memory and state", "", title_justify="left")
        for name, value in report["memory"].items():
            table.add_row(name.replace("_", " "), f"{value:,.1f}")
        console.print(table)


def _throughput_table(report: Report, course: str) -> Table:
    table = Table(COURSES[course], "readings/s", "kapok ÷ it", "CPU µs", "peak MB")
    for name, title in TITLES.items():
        if course in report["throughput"].get(name, {}):
            table.add_row(title, *_cells(report, name, course))
    return table


def _cells(report: Report, name: str, course: str) -> list[str]:
    rate = report["throughput"][name][course]
    low, high = report["spread"][name][course]
    ratio = report["ratios"].get(name, {}).get(course)
    told = ""
    if ratio is not None:
        least, most = report["ratios_spread"][name][course]
        told = f"{ratio:.2f} ({least:.2f}–{most:.2f})"
    took = f"{report['cpu_us'][name][course]:,.2f}", f"{report['peak_mb'][name][course]:,.0f}"
    return [f"{rate:,.0f} ({low:,.0f}–{high:,.0f})", told, *took]


def _latency_table(latency: Report) -> Table:
    table = Table("reading sent → alert read", "readings/s", "sent/s", "p50 ms", "p99 ms", "max ms", "alerts")
    for broker, title in _LATENCY.items():
        for rate, of in latency.get(broker, {}).get("rates", {}).items():
            table.add_row(title, f"{int(rate):,}", *_waits(of))
    for name, title in _BESIDE.items():
        if of := latency.get(name):
            table.add_row(title, f"{of['rate']:,}", *_waits(of))
    return table


def _waits(of: Mapping[str, float]) -> Sequence[str]:
    waits = [f"{of[field]:.1f}" for field in ("p50", "p99", "max")]
    return [f"{of['sent_per_s']:,.0f}", *waits, f"{of['alerts']:,.0f}"]


def _first(path: str, field: str) -> str | None:
    """The value of a line such as ``model name : …``."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), None)
