"""An edition: a set of rules with the catalogue that it is for, as one thing that is published, kept and read back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from alerts import rulebook as rulebooks
from alerts.rulebook import Rulebook, ruleset
from sensors import capture
from sensors import catalogue as catalogues
from sensors.announcement import Announcement, announced
from sensors.catalogue import Catalogue
from sensors.clock import brings_ticks
from sensors.errors import InputError, RunError
from sensors.record import Record
from sensors.seal import Seal

_LARGEST = 1 << 30  # bytes unpacked: what claims to be more is no edition


class _Packed(msgspec.Struct):
    version: int
    rules: str
    sites: str


class Edition:
    """``rules`` and ``sites`` are the texts of a ``rules.toml`` and a ``sites.geojson``.

    Made from texts that are not right it raises InputError when ``catalogue`` or ``rulebook`` is first asked for.
    """

    def __init__(self, rules: bytes, sites: bytes, names: tuple[Path | None, Path | None] = (None, None)) -> None:
        self._rules, self._sites, self._names = rules, sites, names

    @classmethod
    def read(cls, rules: Path | None, sites: Path | None) -> Edition:
        """From files (None: the shipped ones), checked; InputError says what is wrong where."""
        files = rules or rulebooks.SHIPPED, sites or catalogues.SHIPPED
        try:
            edition = cls(files[0].read_bytes(), files[1].read_bytes(), (rules, sites))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", file=error.filename) from error
        edition.rulebook.check(edition.catalogue)
        return edition

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue.parse(self._sites, file=self._names[1])

    @cached_property
    def rulebook(self) -> Rulebook:
        try:
            return Rulebook.parse(self._rules.decode(), file=self._names[0])
        except UnicodeDecodeError as error:
            raise InputError("the rules are not UTF-8", file=self._names[0], hint="save the file as UTF-8") from error

    @cached_property
    def ruleset(self) -> str:
        """The hash that each alert carries."""
        return ruleset(self.rulebook, self.catalogue)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """As files in a folder: (rules.toml, sites.geojson)."""
        rules, sites = folder / "rules.toml", folder / "sites.geojson"
        rules.write_bytes(self._rules)
        sites.write_bytes(self._sites)
        return rules, sites

    def pack(self) -> bytes:
        """For the ``rules`` topic: JSON, compressed."""
        packed = _Packed(1, self._rules.decode(), self._sites.decode())
        return zstandard.ZstdCompressor(level=9).compress(msgspec.json.encode(packed))

    @classmethod
    def unpack(cls, value: bytes) -> Edition:
        """What ``pack`` gave; RunError where it is something else."""
        try:
            raw = zstandard.ZstdDecompressor().decompress(value, max_output_size=_LARGEST)
            packed = msgspec.json.decode(raw, type=_Packed)
        except (zstandard.ZstdError, msgspec.DecodeError) as error:
            raise RunError(f"an edition of the rules cannot be read: {error}") from error
        if packed.version != 1:
            raise RunError(f"an edition of the rules has version {packed.version}, which this kapok does not know")
        return cls(packed.rules.encode(), packed.sites.encode())


class Editions(NamedTuple):
    """What a capture brings: ``by_generation``, and the one that held where it begins."""

    by_generation: dict[int, Edition]
    first: int


def recorded(path: Path, seal: Seal | None = None) -> Editions | None:
    """The editions at the head of a capture; None where it has none. ``seal``: whose announcements count."""
    by_generation: dict[int, Edition] = {}
    for line in capture.read(path):
        if line.topic != "rules":
            break
        by_generation[line.offset or 0] = Edition.unpack(line.payload() or b"")
    if not by_generation:
        return None
    least = max(by_generation) + 1
    least = min((one.generation for one in _announcements(path, seal)), default=least)
    return Editions(by_generation, max((g for g in by_generation if g < least), default=min(by_generation)))


def _announcements(path: Path, seal: Seal | None) -> Iterator[Announcement]:
    """What a capture announces; in one without ticks of its own nothing is sealed."""
    if not capture.contains(path, b'"@rules"'):
        return
    seal = seal if seal and brings_ticks(path) else None
    for first, text in capture.blocks(path):
        for number, one in enumerate(text.splitlines(), first):
            if b'"@rules"' not in one:
                continue
            for _, line in capture.lines(one, number, path):
                key = None if line.key is None else line.key.encode()
                record = Record(line.topic, line.partition or 0, 0, None, key, line.payload(), line.record_headers())
                said = announced(record)
                if said is not None and (seal is None or seal.holds(line.topic, record)):
                    yield said
