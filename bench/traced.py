"""A worker that tells when a reading passed through it: ``python bench/traced.py FILE worker …``.

The file gets a line for each alert, as it was acknowledged: its site, when it is of (ms), and seconds of the clock that
all processes of this machine share (Linux): its readings fetched, taken by the main thread, their fold begun, the alert
made, put into a batch, acknowledged; then the CPU that the process had used.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from typing import Any, TextIO

import msgspec

from alerts.cases.message import time_ms
from streams.__main__ import main
from streams.outbox import Body, Outbox
from streams.partition import Partition
from streams.prefetch import Prefetched
from streams.topics import ALERTS
from streams.transport import Run

_now = time.perf_counter


def trace(file: TextIO) -> None:
    """From now on this process writes down what it does."""
    fetched: dict[Any, float] = {}
    taken: dict[Any, tuple[float, float]] = {}
    steps: list[float] = []  # of the run that is folded
    shelve, take, apply, put = Prefetched._shelve, Prefetched.take, Partition.apply, Outbox.put

    def _shelve(self: Prefetched, place: Any, result: Any) -> None:
        fetched[place] = _now()
        shelve(self, place, result)

    def _take(self: Prefetched, places: Collection[Any]) -> Any:
        found = take(self, places)
        taken.update({place: (fetched[place], _now()) for place in found})
        return found

    def _apply(self: Partition, kind: str, run: Run) -> None:
        steps[:] = *taken[run.tp], _now()
        apply(self, kind, run)

    def _put(
        self: Outbox, source: int, topic: str, key: bytes, body: Body, done: Callable[[], None] | None = None
    ) -> None:
        passed = [*steps, _now()]

        def batched() -> Any:
            passed.append(_now())
            return body()

        def acknowledged() -> None:
            if done is not None:
                done()
            alert = msgspec.json.decode(body()[0])
            # The last batch is the one that held it: one that was full is asked again.
            told = *passed[:4], passed[-1], _now(), time.process_time()
            print(alert["site"], time_ms(alert["at"]), *(f"{moment:.6f}" for moment in told), file=file)

        alerts = topic.endswith(ALERTS)
        put(self, source, topic, key, batched if alerts else body, acknowledged if alerts else done)

    Prefetched._shelve, Prefetched.take = _shelve, _take  # type: ignore[method-assign]
    Partition.apply, Outbox.put = _apply, _put  # type: ignore[method-assign]


if __name__ == "__main__":
    path = sys.argv.pop(1)
    with open(path, "w", buffering=1) as lines:
        trace(lines)
        main()
