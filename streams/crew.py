"""Worker processes over the topics of one prefix, whose capture brings its own ticks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from streams.child import Child

_END_S = 10.0  # to end in order, all together


class Crew:
    """``with Crew([broker] * 2, prefix, folder) as crew``: a worker for each address, all ended at the end.

    ``folder`` gets their logs; without ``sites`` and ``rules`` they use the shipped ones.
    """

    def __init__(
        self, brokers: Sequence[str], prefix: str, folder: Path, sites: Path | None = None, rules: Path | None = None
    ) -> None:
        self.workers: list[Child] = []
        self._brokers, self._prefix, self._folder = list(brokers), prefix, folder
        self._files: list[str | Path] = []
        for option, file in (("--sites", sites), ("--rules", rules)):
            if file is not None:
                self._files += [option, file]
        self._started = 0

    def __enter__(self) -> Crew:
        try:
            for number in range(len(self._brokers)):
                self.workers.append(self._new(number))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def replace(self, number: int) -> Child:
        """Starts a worker in the place of one that has ended."""
        self.workers[number] = self._new(number)
        return self.workers[number]

    def check(self) -> None:
        """RunError if a worker has ended."""
        for worker in self.workers:
            worker.check()

    def _new(self, number: int) -> Child:
        self._started += 1
        command: list[str | Path] = [sys.executable, "-m", "streams", "worker", "--no-clock"]
        command += ["--broker", self._brokers[number], "--prefix", self._prefix, *self._files]
        log = self._folder / f"worker-{number + 1}-{self._started:03d}.log"
        return Child(f"worker {number + 1}", command, log)

    def _end(self) -> None:
        for worker in self.workers:
            worker.ask_to_end()
        for worker in self.workers:
            worker.stop(_END_S)
