"""Fewer and larger answers for a worker that is busy while readings come a few at a time.

An answer with one small pack costs a worker as much as thousands of readings do: it goes through two threads, Faust and
the fold by itself. One that comes a few milliseconds later brings several packs for the same. A worker that has time
does not wait: its alerts come at once. It builds on aiokafka 0.14 from within (names with an underscore are its).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

_AT_MOST_S: Final = 0.008  # a fetch is put off, counted from the last one
_BUSY: Final = 0.8  # cores, of what a worker may take before it puts fetches off
_LARGE: Final = 1 << 16  # bytes since the last fetch: nothing is gained by more


class Pace:
    """How long the next fetch waits, from what there was since the last one."""

    def __init__(self) -> None:
        self._at = self._cpu = 0.0
        self._came = 0

    def rest(self, now: float, cpu: float, came: int) -> float:
        """Seconds from ``now`` on. So far the process has used ``cpu`` seconds, and ``came`` bytes came."""
        if came - self._came > _LARGE:
            return 0.0
        return max(0.0, self._at + min(_AT_MOST_S, (cpu - self._cpu) / _BUSY) - now)

    def fetched(self, now: float, cpu: float, came: int) -> None:
        """A fetch goes out."""
        self._at, self._cpu, self._came = now, cpu, came


def paced(fetcher: Any, came: Callable[[], int]) -> None:
    """Lets aiokafka's fetcher keep the pace; ``came``: bytes that it got so far."""
    pace, actions = Pace(), fetcher._get_actions_per_node

    def paced_actions(assignment: Any) -> Any:
        state = time.monotonic(), time.process_time(), came()
        if rest := pace.rest(*state):
            return [], {}, rest, False, []  # nothing to do until then
        found = actions(assignment)
        if found[0]:
            pace.fetched(*state)
        return found

    fetcher._get_actions_per_node = paced_actions
