"""A supervisor: so many workers, each started again when it ends by itself."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sensors.errors import InputError
from streams.child import Child

log = logging.getLogger("kapok")

BAD_INPUT = 2  # the exit code that starting again does not help against
_LOOK_EVERY_S = 0.1
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_HEALTHY_AFTER_S = 60.0  # a worker that ran for so long is started again at once
_END_S = 30.0


class _Place:
    """One of the workers, whichever process is it just now."""

    def __init__(self, name: str, command: Sequence[str | Path]) -> None:
        self.name, self._command = name, command
        self._wait = 0.0
        self._due = time.monotonic()
        self.child: Child | None = None

    def keep(self) -> int | None:
        """Starts the worker when it is due; its exit code when it has just ended."""
        if self.child is None:
            if time.monotonic() >= self._due:
                self.child, self._started = Child(self.name, self._command, None), time.monotonic()
                log.info("%s runs as process %d", self.name, self.child.pid)
            return None
        code = self.child.exit_code
        if code is not None:
            lasted = time.monotonic() - self._started
            self._wait = 0.0 if lasted > _HEALTHY_AFTER_S else min(max(_FIRST_WAIT_S, 2 * self._wait), _LONGEST_WAIT_S)
            self._due, self.child = time.monotonic() + self._wait, None
        return code


def supervise(count: int, command: Callable[[int], Sequence[str | Path]]) -> None:
    """Runs ``count`` workers until SIGINT or SIGTERM, then ends them in order. SIGHUP is passed on to each.

    ``command`` gives the command line of worker 1, 2, …. A worker that ends is started again: at once if it had run
    for a minute, else after a wait that doubles from 0.5 s to 30 s. InputError when a worker says that what it was
    given is bad: that does not get better by itself.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    def pass_on(*_: object) -> None:
        for place in places:
            if place.child is not None:
                place.child.send(signal.SIGHUP)

    places = [_Place(f"worker {number}", command(number)) for number in range(1, count + 1)]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, pass_on)
    try:
        while not asked:
            for place in places:
                code = place.keep()
                if code == BAD_INPUT:
                    raise InputError(f"{place.name} was given bad input and ended", hint="see its message above")
                if code is not None:
                    log.warning("%s ended with exit code %d; it is started again", place.name, code)
            time.sleep(_LOOK_EVERY_S)
    finally:
        running = [place.child for place in places if place.child is not None]
        for child in running:
            child.ask_to_end()
        for child in running:
            child.stop(_END_S)
        for number, handler in before.items():
            signal.signal(number, handler)
