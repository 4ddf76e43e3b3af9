"""Who lives in a home: each look-up is written down before it is answered."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import Field

from alerts.alert import iso
from alerts.parameters import Id
from alerts.routes.duty import NamedGroup
from alerts.routes.rota import Private, Text
from sensors.errors import InputError, RunError

AUDIT_FILE = "KAPOK_AUDIT_FILE"
ALL = "*"  # in the place of a home: somebody saw the whole file


class Audit(Protocol):
    """Is told of every look-up of a home, before anything is shown (RunError: it cannot be, so nothing is)."""

    def write(self, *, at_ms: int, by: str, home: str, why: str) -> None: ...


class AuditLog:
    """A file that is only appended to: a line of JSON for each look-up, with ``at``, ``by``, ``home`` and ``why``.

    It is opened anew for each line, so that it may be moved away; it is on the disk when ``write`` returns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def configured(cls) -> AuditLog:
        """The one that the environment names; InputError where it names none."""
        path = os.environ.get(AUDIT_FILE)
        if not path:
            raise InputError("look-ups of homes are written down, and nothing says where", hint=f"set {AUDIT_FILE}")
        return cls(Path(path))

    def write(self, *, at_ms: int, by: str, home: str, why: str) -> None:
        """RunError where it cannot be written: nothing is to be shown then."""
        entry = {"at": iso(at_ms), "by": by, "home": home, "why": why}
        line = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(0, "the disk took a part of it")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RunError(f"the audit log {self.path} cannot be written: {error.strerror}") from error


class Home(Private):
    """Who lives in a home, whose id in the catalogue is a pseudonym.

    ``groups`` are its own: ``{ relatives = ["p-7"], doctor = ["p-8"] }`` in home H-1A2B makes the groups
    relatives-H-1A2B and doctor-H-1A2B.
    """

    resident: Text
    address: Text
    phone: Text | None = None
    note: Text | None = None
    groups: dict[Id, NamedGroup] = Field(default_factory=dict)


class Residents:
    """The homes of a directory, one at a time."""

    def __init__(self, homes: Mapping[str, Home], audit: Audit) -> None:
        self._homes, self._audit = homes, audit

    def look_up(self, home: str, *, at_ms: int, by: str, why: str) -> Home | None:
        """Who lives there; None where the directory has no such home. ``by`` is a person's id, ``why`` a case's id or
        their own words. RunError, and no answer, where the look-up cannot be written down.
        """
        if not by.strip() or not why.strip():
            raise ValueError("a look-up of a home wants `by` and `why`")
        self._audit.write(at_ms=at_ms, by=by, home=home, why=why)
        return self._homes.get(home)
