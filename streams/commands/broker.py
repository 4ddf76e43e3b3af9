"""``kapok broker``: the embedded broker, on its own."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer
from rich.console import Console

from sensors.errors import RunError
from streams.embedded_broker import EmbeddedBroker


def broker(
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="On loopback.")] = 9092,
) -> None:
    """Run the embedded broker until stopped: in memory, for trying things out; nothing is kept.

    For anything that matters use Apache Kafka.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedBroker(port) as running:
        Console(stderr=True, highlight=False).print(f"a broker in memory at {running.address}; Ctrl-C ends it")
        while not stop.wait(0.5):
            if running.process.exit_code is not None:
                raise RunError(f"the broker ended by itself:\n{running.process.tail()}")
