"""The page's own files and the libraries it is drawn with, read once. What is not in here has no address."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

_HERE = Path(__file__).parent
AGAIN = "uv sync --reinstall-package kapok"  # gets what is missing, where there is a network
PAGE, ASSETS = _HERE / "page", _HERE / "assets"
NEEDED = ("echarts.min.js", "districts.geojson")
_TYPES = {".js": "text/javascript; charset=utf-8", ".geojson": "application/geo+json"}
_LEAST_ZIPPED = 1024


class _File(NamedTuple):
    plain: bytes
    zipped: bytes | None
    tag: str
    type: str


class Pages:
    """``missing``: the libraries that could not be fetched when kapok was installed."""

    def __init__(self, assets: Path = ASSETS) -> None:
        self._files = {path.name: _read(path) for path in sorted(PAGE.iterdir()) if path.is_file()}
        self._files |= {path.name: _read(path) for path in sorted(assets.glob("*.*"))}
        self.missing = [name for name in NEEDED if name not in self._files]

    def answer(self, name: str, request: Request) -> Response | None:
        """One file; None where there is none of that name. The name is looked up, never a path made of it."""
        file = self._files.get(name)
        if file is None:
            return None
        headers = {"etag": file.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        zipped = file.zipped if "gzip" in request.headers.get("accept-encoding", "") else None
        if zipped is not None:
            headers["content-encoding"] = "gzip"
        return Response(file.plain if zipped is None else zipped, media_type=file.type, headers=headers)


def _read(path: Path) -> _File:
    plain = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain; charset=utf-8"
    zipped = gzip.compress(plain, 6, mtime=0) if len(plain) > _LEAST_ZIPPED else None
    return _File(plain, zipped, f'"{hashlib.sha256(plain).hexdigest()[:24]}"', kind)
