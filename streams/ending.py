"""The end of a process, which comes for sure."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sensors.errors import InputError, RunError
from streams.log_lines import plain

_LEFT_OVER_S = 10.0


def last_words(error: InputError | RunError) -> str:
    """What a command says of the error that ends it, names and messages from outside as text that does nothing."""
    return f"kapok: {plain(str(error), lines=True)}"


@contextmanager
def end_assured(seconds: float = _LEFT_OVER_S) -> Iterator[None]:
    """Around the work of a process: so long after it the process ends, whatever is left over and will not end.

    It then says and exits as it would have: with the error of the block, or with 0.
    """
    said, code = "", 0
    try:
        yield
    except (InputError, RunError) as error:
        said, code = last_words(error) + "\n", error.exit_code
        raise
    except Exception:
        code = 1
        raise
    finally:
        last = threading.Timer(seconds, _end_at_once, (said, code))
        last.daemon = True
        last.start()


def _end_at_once(said: str, code: int) -> None:
    sys.stderr.write(said)
    sys.stderr.flush()
    os._exit(code)
