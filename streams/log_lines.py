"""Lines of a log that are one line each, whatever names, keys and messages from outside are in them."""

from __future__ import annotations

import logging
import re
from typing import Any

# Control characters, of C1 too; marks that turn the direction of text; line and paragraph separators; half pairs.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FURTHER = "\n    "


def plain(text: str, *, lines: bool = False) -> str:
    """With control characters escaped; ``lines``: it may have several, of which all but the first are indented."""
    if lines:
        return _FURTHER.join(plain(line) for line in text.split("\n"))
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Line(logging.LogRecord):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = plain(logging.Formatter().formatException(self.exc_info), lines=True)

    def getMessage(self) -> str:
        return plain(super().getMessage())


def plain_logs() -> None:
    """From now on, for all that is logged in this process."""
    logging.setLogRecordFactory(_Line)
