"""Processes of our own: brokers and workers that end with the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sensors.errors import RunError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TAIL_BYTES = 4096
_PORTS = range(20_000, 32_000)  # below those of outgoing connections on Linux and elsewhere
_given: set[int] = set()


class Child:
    """A process whose output goes to a log file, or without one to where the parent's goes.

    It is in a session of its own, so that a Ctrl-C reaches only the parent, which then ends it in order.
    On Linux the kernel also ends it when the parent is killed; start it from a thread that lives as long
    as the parent does.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path | None, env: dict[str, str] | None = None
    ) -> None:
        self.name, self._log = name, log
        with log.open("ab") if log else contextlib.nullcontext() as output:
            try:
                self._process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT if log else None,
                    env=None if env is None else {**os.environ, **env},
                    start_new_session=True,
                    preexec_fn=_end_with_parent(),
                )
            except OSError as error:
                raise RunError(f"cannot start {name}: {command[0]}: {error.strerror}") from error
        self.pid = self._process.pid

    @property
    def log(self) -> Path:
        """The file that its output goes to."""
        assert self._log is not None, f"{self.name} has no log file"
        return self._log

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def tail(self, lines: int = 8) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def check(self) -> None:
        """RunError with the end of its log if it has ended."""
        if self.exit_code is not None:
            raise RunError(f"{self.name} ended with exit code {self.exit_code}:\n{self.tail()}")

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until it is ready; RunError if it ends before that or takes longer."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                self.kill()
                raise RunError(f"{self.name} was not ready within {seconds:g} s:\n{self.tail()}")
            time.sleep(0.02)

    def ask_to_end(self) -> None:
        """Sends SIGTERM, on which brokers and workers end in order."""
        self._process.terminate()

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def stop(self, seconds: float = 30) -> int:
        """Asks it to end, kills it if it has not by then, and gives its exit code."""
        self.ask_to_end()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Ends it at once (SIGKILL)."""
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """A TCP port on loopback that is free now, no outgoing connection is given, and this did not give before."""
    while True:
        port = random.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def accepts(port: int) -> bool:
    """Whether something on loopback takes connections on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _end_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # looked up before the fork: little is safe after it

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it went away in between
            os._exit(1)

    return bind
