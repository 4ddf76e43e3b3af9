"""Steps of the fold over every reading, one after another (alerts/_kernels.c). Arrays are contiguous; times in ms."""

from typing import Any

def sift(
    channel: Any,
    time: Any,
    value: Any,
    sizes: Any,
    stamps: Any,
    clock: Any,
    lows: Any,
    highs: Any,
    record: Any,
    ahead: int,
    end: int,
) -> bool:
    """Puts into ``record`` each reading's record number; whether all are finite, within ``lows`` and ``highs`` of
    their quantity, not more than ``ahead`` ms ahead of clock and stamp nor at or past ``end``, and each pack's are in
    order of time.
    """

def grade(
    channel: Any,
    time: Any,
    value: Any,
    last: Any,
    good: Any,
    held: Any,
    max_step: Any,
    grades: Any,
    lateness: Any,
    steps: bool,
) -> list[int]:
    """Grades readings as ``alerts.batch.Quality`` does, and moves its state on; how many got each grade. ``steps``:
    whether any channel has a ``max_step``.
    """

def level_steps(
    channel: Any,
    value: Any,
    grades: Any,
    quantities: int,
    quantity: int,
    levels: Any,
    up_from: Any,
    down_from: Any,
    lowest: Any,
    level: Any,
) -> list[tuple[int, int, int, float]]:
    """The level steps of the good readings that change a level: row, level before and after, and x. ``level`` is left
    as it is.
    """

def mark_used(channel: Any, time: Any, grades: Any, quantities: int, quantity: int, used: Any) -> None:
    """Sets for each site the time of its last good reading among these."""

def hear(
    channel: Any,
    time: Any,
    grades: Any,
    quantities: int,
    row: int,
    since: Any,
    level: Any,
    first: Any,
    due: Any,
    used: Any,
) -> tuple[int, int]:
    """Restarts the waits of sensors that were heard, from ``row`` on: up to the first one whose wait may have ended in
    an alert. Where it stopped, and the soonest time at which one of these waits is due.
    """
