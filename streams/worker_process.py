"""The process of a worker: signals, files, and an end that comes for sure."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from alerts.edition import Edition
from sensors.errors import RunError
from streams import topics
from streams.log_lines import plain
from streams.watchdog import FAILED
from streams.worker import STUCK_S, Worker

_SWITCH_S = 0.0005  # one thread folds, another unpacks: by default each would wait 5 ms for its turn
_LEFT_OVER_S = 10.0


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
    edition = Edition.read(rules, sites)
    said = ""

    async def main() -> None:
        nonlocal said
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        options: dict[str, Any] = {"prefix": prefix, "clock": clock, "stuck_s": stuck_s, "health": health}
        try:
            count = await topics.ensure(broker, prefix, partitions, live=clock)
            worker = Worker(broker, edition, partitions=count, reread=lambda: Edition.read(rules, sites), **options)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, worker.reload)
            await worker.run(stop)
        except RunError as error:
            said = f"kapok: {plain(str(error), lines=True)}\n"
            raise
        finally:  # whatever is left over and will not end is not waited for
            last = threading.Timer(_LEFT_OVER_S, lambda: _end_at_once(said))
            last.daemon = True
            last.start()

    asyncio.run(main())


def _end_at_once(said: str) -> None:
    sys.stderr.write(said)
    sys.stderr.flush()
    os._exit(FAILED if said else 0)
