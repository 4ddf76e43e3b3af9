"""The two files that say who is told: routes and directory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alerts.routes import directory as directories
from alerts.routes import routes as routes_files
from alerts.routes.directory import Directory
from alerts.routes.routes import Routes


class Files(NamedTuple):
    """Where routes and directory are; None: those that are shipped, with invented people."""

    routes: Path | None = None
    directory: Path | None = None

    def read(self) -> tuple[Routes, Directory]:
        """Both, checked; InputError says what is wrong where."""
        directory = Directory.load(self.directory or directories.SHIPPED)
        return Routes.load(self.routes or routes_files.SHIPPED, directory.duty), directory
