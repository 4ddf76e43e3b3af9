"""The two ways in which a command ends badly; the command line turns them into exit codes."""

from __future__ import annotations

import errno
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an OSError: the disk is full, or may hold no more for us


class InputError(Exception):
    """Arguments or a file that cannot be used (exit 2).

    The message is one line, ``file:line: what (what to do)``, so that an editor can jump to it.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, file: str | Path | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        self.what, self.file, self.line, self.hint = what, file, line, hint
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(f"{where}{what}" + (f" ({hint})" if hint else ""))


class RunError(Exception):
    """The command could not run or stay up: broker, disk, watchdog (exit 3)."""

    exit_code = 3
