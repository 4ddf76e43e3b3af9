"""``kapok``, which is also ``python -m streams``."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """The command line, with which an interrupt is quiet also in the second in which everything is imported."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # nobody wants it ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from streams import commands

    signal.signal(signal.SIGINT, before)
    commands.main()


if __name__ == "__main__":
    main()
