"""A process whose work is over ends, whatever it has left over."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
