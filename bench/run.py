"""All measurements in one run; ``kapok bench`` is its command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from bench import contest, latency, report, scaling
from bench.report import Report
from sensors.errors import RunError

SECTIONS: Final = ("throughput", "latency", "replay", "scaling")
_LATENCY_S, _QUICK_LATENCY_S = 10.0, 4.0


def run(sections: Collection[str], rounds: int, quick: bool, said: Callable[[str], None]) -> Report:
    """Measures the sections and gives the report; ``quick`` only shows that all of it runs.

    A section that could not be measured is in ``failed``, with the reason.
    """
    found: dict[str, Any] = {"machine": report.machine(), "rounds": rounds, "quick": quick}
    sizes = scaling.QUICK if quick else scaling.FULL

    def throughput() -> Report:
        lengths = contest.QUICK if quick else contest.COURSES
        return report.throughput(asyncio.run(contest.contest(lengths, rounds, said=said)))

    def latencies() -> Report:
        if quick:
            return {"latency_ms": latency.latency(_QUICK_LATENCY_S, rounds, latency.RATES[:2], said, warm_up_s=0.0)}
        return {"latency_ms": latency.latency(_LATENCY_S, rounds, said=said)}

    def replay() -> Report:
        said("replaying hours of a large city's day")
        return {"replay": scaling.replay(sizes.hours, rounds)}

    def growth() -> Report:
        return {"scaling": scaling.scaling(sizes, rounds, said), "memory": scaling.memory(sizes, said)}

    for section, measured in zip(SECTIONS, (throughput, latencies, replay, growth), strict=True):
        if section in sections:
            try:
                found |= measured()
            except RunError as error:  # what was measured before is worth keeping
                found.setdefault("failed", {})[section] = str(error)
                said(f"{section}: {error}")
    return found
