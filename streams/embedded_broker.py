"""A broker in memory for Kafka's clients, for the demo and for tests: ``streams.broker`` in a process of its own.

It keeps nothing on disk, deletes and compacts nothing by itself, and knows no transactions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import TracebackType

from sensors.errors import RunError
from streams.child import Child, accepts, free_port

_READY_SECONDS = 20.0


class EmbeddedBroker:
    """``with EmbeddedBroker() as broker: broker.address`` is ``127.0.0.1:PORT``; by default a free port."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._given = port is not None

    def __enter__(self) -> EmbeddedBroker:
        if self._given and accepts(self.port):
            raise RunError(f"port {self.port} is taken; choose another with --port")
        self._folder = tempfile.TemporaryDirectory(prefix="kapok-broker-")
        command = [sys.executable, "-m", "streams.broker", str(self.port)]
        try:
            self.process = Child("the embedded broker", command, Path(self._folder.name) / "broker.log")
            self.process.wait_for(lambda: accepts(self.port), _READY_SECONDS)
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop(seconds=2)
        self._folder.cleanup()
