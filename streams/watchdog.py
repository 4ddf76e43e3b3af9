"""The watchdog: a worker that has something to read and does not get on ends, so that another can take over.

Faust consumers have been seen to stop without a word; an event loop can be blocked. Neither shows in a process
list. What counts is the number of looks without progress, not the time on a watch: a process that was stopped for
an hour and goes on has not stood still for an hour.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping

from faust.types import TP

from sensors.errors import RunError
from streams.log_ends import EVERY_S, LogEnds

_LOOK_S = 1.0
_ASKED = 20  # times within the time that nothing may happen, the loop is asked whether it takes its turns


class Watchdog:
    """``starts``: per topic and partition the offset after what is folded; ``stuck_s``: how long nothing may happen.

    ``sent``: how many records the broker has acknowledged; while that goes on, folding may wait for it.
    """

    def __init__(
        self, starts: Callable[[], Mapping[TP, int]], ends: LogEnds, stuck_s: float, sent: Callable[[], int]
    ) -> None:
        self._starts, self._ends, self.stuck_s, self._sent = starts, ends, stuck_s, sent
        self._answered = True  # whether the loop has taken a turn since the thread last asked it to
        self._over = threading.Event()

    async def run(self) -> None:
        """Looks until cancelled; RunError when a partition with something to read stands still."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch_loop, args=(loop,), daemon=True, name="watchdog").start()
        still: dict[TP, tuple[int, int]] = {}  # next offset, and for how many looks it has been that
        looks, seen, sent = max(1, round(self.stuck_s / EVERY_S)), 0, 0
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                if self._ends.round == seen:  # nothing new from the broker, so perhaps nothing to be had there
                    continue
                seen = self._ends.round
                behind = {tp: due for tp, due in self._starts().items() if due < self._ends.ends.get(tp, 0)}
                if sent != (sent := self._sent()):
                    still = {}
                looks_of = {tp: count for tp, (due, count) in still.items() if behind.get(tp) == due}
                still = {tp: (due, looks_of.get(tp, -1) + 1) for tp, due in behind.items()}
                for tp, (due, count) in still.items():
                    if count >= looks:
                        await self._bark(tp, due)
                        still[tp] = due, 0
        finally:
            self._over.set()

    async def _bark(self, tp: TP, due: int) -> None:
        """RunError, unless what lies between here and the end are only a transaction's markers."""
        if await self._ends.has_records(tp, due):
            what = f"{tp.topic} partition {tp.partition} has stood still at offset {due} for {self.stuck_s:g} s"
            raise RunError(f"watchdog: {what}, with {self._ends.ends[tp] - due} to read: start the worker again")

    def _answer(self) -> None:
        self._answered = True

    def _watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own: ends the process when the event loop takes no more turns."""
        unanswered = 0
        while not self._over.wait(self.stuck_s / _ASKED):
            unanswered += 1
            if self._answered:
                self._answered, unanswered = False, 0
                loop.call_soon_threadsafe(self._answer)
            if unanswered >= _ASKED:
                sys.stderr.write(f"kapok: watchdog: the worker's event loop was blocked for {self.stuck_s:g} s\n")
                sys.stderr.flush()
                os._exit(RunError.exit_code)
