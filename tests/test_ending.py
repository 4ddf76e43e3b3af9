"""A process whose work is over ends, whatever it has left over."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from streams.consumer_thread import DaemonThread

LEFT_OVER = """
import asyncio, threading
from sensors.errors import InputError, RunError
from streams.ending import end_assured

async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)  # asyncio waits for it, for ever
    with end_assured(0.1):
        {work}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("pass", 0, ""),
        (r"raise RunError('no topic x\x1b[2J\nor so')", 3, "kapok: no topic x\\x1b[2J\n    or so\n"),
        ("raise InputError('what', hint='why')", 2, "kapok: what (why)\n"),
        ("raise ZeroDivisionError", 1, ""),
    ],
)
def test_what_will_not_end_is_not_waited_for(work: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_OVER.format(work=work)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


INTERRUPTED = """
import os, signal, sys
from importlib.metadata import entry_points

class Interrupt:
    @staticmethod
    def find_spec(name, *rest):
        if name == {when!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
(kapok,) = entry_points(group="console_scripts", name="kapok")
sys.argv = ["kapok", "check"]
kapok.load()()
"""


@pytest.mark.parametrize("when", ["typer", "aiokafka.errors", "alerts.routes.check"])
def test_an_interrupt_is_quiet_also_while_all_is_imported(when: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED.format(when=when)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_the_loop_does_not_wait_for_a_thread_that_waits_for_it() -> None:
    """A worker that is stopped in a rebalance: its consumer's thread tells of it in the loop that stops it."""

    async def main() -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        class Service:
            def _start_thread(self) -> None:
                asyncio.run_coroutine_threadsafe(stopped.wait(), loop).result()

        thread = DaemonThread(Service())
        thread.start()
        thread.stop()
        assert thread.is_alive()
        stopped.set()
        await asyncio.to_thread(thread.join)

    asyncio.run(main())
