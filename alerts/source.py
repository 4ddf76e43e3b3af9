"""A TOML file that people write: reading it, and the line on which a thing in it is, so that errors can say where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sensors.errors import InputError


class Source:
    """The text of a file. ``file`` is its name in errors."""

    def __init__(self, text: str, file: str | Path | None) -> None:
        text = text.removeprefix("\ufeff")  # which some editors put there
        self.text, self.file, self._lines = text, file, text.splitlines()

    @classmethod
    def read(cls, path: str | Path, what: str) -> Source:
        """InputError where it cannot be read or is not UTF-8; ``what`` as in "the rules"."""
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {what}: {error.strerror}", file=path) from error
        return cls.decode(raw, path, what)

    @classmethod
    def decode(cls, raw: bytes, file: str | Path | None, what: str) -> Source:
        try:
            return cls(raw.decode(), file)
        except UnicodeDecodeError as error:
            raise InputError(f"{what}: not UTF-8", file=file, hint="save the file as UTF-8") from error

    def document(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            what = f"not TOML: {error}"
            raise InputError(what, file=self.file, line=int(line[1]) if line else self.text.count("\n") + 1) from error

    def error(self, what: str, line: int | None = None, hint: str | None = None) -> InputError:
        return InputError(what, file=self.file, line=line, hint=hint)

    def line_matching(self, pattern: str, after: int | None = None) -> int | None:
        """The first line that begins so; ``after`` a line: only up to where the next table begins."""
        for number in range(after or 0, len(self._lines)):
            if re.match(pattern, self._lines[number]):
                return number + 1
            if after is not None and re.match(r"\s*\[", self._lines[number]):
                return None
        return None

    def line_of(self, setting: str, after: int | None = None) -> int | None:
        return self.line_matching(rf"\s*\[?\"?{re.escape(setting)}\b", after) if setting else None

    def line_near(self, text: str, line: int | None) -> int | None:
        """Where ``text`` is, in the item of a list that begins on ``line``; else that line."""
        for number in range(line or len(self._lines), len(self._lines)):
            if self._lines[number].startswith("[["):
                break
            if text and text in self._lines[number]:
                return number + 1
        return line

    def line_of_item(self, name: str, number: int) -> int | None:
        """Where the ``[[name]]`` of that number, from 0, begins."""
        starts = [i for i, line in enumerate(self._lines, 1) if re.match(rf"\s*\[\[\s*{name}\s*\]\]", line)]
        return starts[number] if number < len(starts) else None

    def line_of_entry(self, table: str, key: str) -> int | None:
        """Where ``key`` of ``[table]`` is, written as ``[table.key]`` or as a line of its own below ``[table]``."""
        key = rf"[\"']?{re.escape(key)}[\"']?"
        own = self.line_matching(rf"\s*\[\s*{table}\s*\.\s*{key}\s*[\].]")
        above = self.line_matching(rf"\s*\[\s*{table}\s*\]")
        return self.line_matching(rf"\s*{key}\s*[=.]", after=above) or own if above else own


def first_problem(error: ValidationError, names: Sequence[str] = ()) -> tuple[str, str]:
    """(top-level field, message in words) of the first thing that pydantic found wrong.

    ``names`` stand for the numbers that they have been read as.
    """
    problem = error.errors()[0]
    path = ".".join(
        names[part] if isinstance(part, int) and part < len(names) else str(part) for part in problem["loc"]
    )
    field = str(problem["loc"][0]) if problem["loc"] else ""
    what = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return field, f"has no `{path}`"
    if problem["type"] == "extra_forbidden":
        return field, f"unknown setting `{path}`"
    return field, f"`{path}`: {what}" if path else what
