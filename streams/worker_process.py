"""The process of a worker: signals, files, and an end that comes for sure."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from alerts.edition import Edition
from streams import topics
from streams.ending import end_assured
from streams.frames import read_into_buffers
from streams.worker import STUCK_S, Worker

_SWITCH_S = 0.0005  # one thread folds, another unpacks: by default each would wait 5 ms for its turn


def run_worker(
    broker: str,
    sites: Path | None = None,
    rules: Path | None = None,
    *,
    prefix: str = "",
    partitions: int | None = None,
    clock: bool = True,
    stuck_s: float = STUCK_S,
    health: str | None = None,
) -> None:
    """Runs a worker until SIGINT or SIGTERM, which end it in order.

    ``sites`` and ``rules`` default to the shipped ones; SIGHUP has them read again. With ``clock`` the group's
    elected worker writes a tick a second; without, the topics are a replay's, whose capture brings its own.
    ``health``: HOST:PORT to say at how it is. Raises InputError and RunError; RunError too when a partition stood
    still for ``stuck_s``.
    """
    sys.setswitchinterval(_SWITCH_S)
    read_into_buffers()
    edition = Edition.read(rules, sites)

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        options: dict[str, Any] = {"prefix": prefix, "clock": clock, "stuck_s": stuck_s, "health": health}
        with end_assured():
            count = await topics.ensure(broker, prefix, partitions, live=clock)
            worker = Worker(broker, edition, partitions=count, reread=lambda: Edition.read(rules, sites), **options)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, worker.reload)
            await worker.run(stop)

    asyncio.run(main())
