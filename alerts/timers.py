"""Waiting: the steps that a timer's levels are due for, one after another."""

from __future__ import annotations

from collections.abc import Iterator

from alerts.levels import FOREVER


def next_due(since: int, waits: dict[int, int], level: int) -> int:
    """When the wait that began at ``since`` reaches its next level (times and waits in ms; FOREVER: never)."""
    left = waits.values() if not level else [wait for i, wait in waits.items() if i > level]
    return since + min(left) if left else FOREVER


def steps_due(since: int, waits: dict[int, int], level: int, now: int) -> Iterator[tuple[int, int]]:
    """(time, level reached) of each step of the wait at or before ``now``; one time is one step."""
    while (due := next_due(since, waits, level)) <= now:
        level = max(i for i, wait in waits.items() if since + wait <= due)
        yield due, level
