"""``kapok import``: CSV files of readings become a capture."""

from __future__ import annotations

import csv
import heapq
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sensors import capture
from sensors.capture import Line
from sensors.csv_import import CsvImport
from sensors.csv_layout import Layout, ValueColumn
from sensors.errors import InputError
from sensors.quantities import KINDS, topic
from sensors.senml import latest_time
from streams.commands.options import SitesOption, catalogue_of

_which = partial(typer.Option, rich_help_panel="Which column")
_what = partial(typer.Option, rich_help_panel="What the values are")
_form = partial(typer.Option, rich_help_panel="What the files look like")


def import_csv(
    files: Annotated[list[Path], typer.Argument(metavar="CSV...", help="The files; .gz and .zst too.")],
    kind: Annotated[str, typer.Option(help=f"What the sensors are: {', '.join(KINDS)}.")],
    out: Annotated[Path, typer.Option(metavar="CAPTURE", help="The capture: .jsonl, .jsonl.gz or .jsonl.zst.")],
    time: Annotated[str, _which(metavar="COL", help="When it was measured.")],
    value: Annotated[list[str] | None, _which(metavar="COL[=QUANTITY]", help="A value of the row's sensor.")] = None,
    column: Annotated[list[str] | None, _which(metavar="COL=SENSOR[/QUANTITY]", help="A value of that sensor.")] = None,
    sensor: Annotated[str | None, _which(metavar="COL", help="Whose value it is.")] = None,
    sensor_id: Annotated[str | None, _which(metavar="ID", help="The sensor of all rows.")] = None,
    zone: Annotated[str | None, _which(metavar="COL", help="The zone; else the catalogue says.")] = None,
    arrival: Annotated[str | None, _which(metavar="COL", help="When it came, if not at once.")] = None,
    where: Annotated[list[str] | None, _which(metavar="COL=TEXT", help="Only the rows that have this.")] = None,
    time_format: Annotated[
        str | None, _what(metavar="F", help="As strptime's, or unix, or unix-ms; else ISO 8601.")
    ] = None,
    tz: Annotated[str, _what(metavar="ZONE", help="Of times without one, e.g. Asia/Shanghai.")] = "UTC",
    unit: Annotated[str | None, _what(metavar="U", help="Of the values: mm, cm, m, in, ft.")] = None,
    scale: Annotated[str, _what(metavar="X", help="Values are multiplied by it.")] = "1",
    offset: Annotated[str, _what(metavar="X", help="And this is added, in that unit.")] = "0",
    word: Annotated[list[str] | None, _what(metavar="TEXT=X", help="A number's word: --word ON=1.")] = None,
    missing: Annotated[list[str] | None, _what(metavar="TEXT", help="No value, like the empty cell.")] = None,
    hourly_total: Annotated[
        int | None,
        _what(
            metavar="M",
            min=0,
            max=59,
            help="A running total, anew after minute M of the hour (ASOS rain: 51).",
        ),
    ] = None,
    sites: SitesOption = None,
    map_: Annotated[Path | None, _what("--map", metavar="F", help="CSV: sensor as in the file, sensor id.")] = None,
    prefix: Annotated[str, _what(metavar="P", help="Put before the sensor ids that --map does not give.")] = "",
    skip_unknown: Annotated[
        bool, _what("--skip-unknown", help="Leave out sensors that are not in the catalogue.")
    ] = False,
    strict: Annotated[bool, _what("--strict", help="No row may be without value or sensor.")] = False,
    delimiter: Annotated[str, _form(metavar="C", help="A character, or tab.")] = ",",
    no_header: Annotated[bool, _form("--no-header", help="Columns go by number, from 1.")] = False,
    comment: Annotated[str | None, _form(metavar="C", help="Lines that begin so are skipped.")] = None,
    skip_rows: Annotated[int, _form(metavar="N", min=0, help="Lines to skip at the top.")] = 0,
    encoding: Annotated[str, _form(metavar="E", help="gb18030 for many Chinese tables.")] = "utf-8-sig",
    merge: Annotated[list[Path] | None, _form(metavar="CAPTURE", help="Captures to put in with it, by time.")] = None,
) -> None:
    """Makes a capture of CSV files of readings, for `kapok replay`.

    Readings of one zone and time become one record; with --arrival, readings that came at one time.
    """
    if not out.parent.is_dir():
        raise InputError(f"--out: the folder {out.parent} does not exist", hint="make it first")
    if kind not in KINDS:
        raise InputError(f"--kind {kind}: there is no such kind", hint=f"one of {', '.join(KINDS)}")
    values = [ValueColumn.parse(text, kind, wide=False) for text in value or []]
    values += [ValueColumn.parse(text, kind, wide=True) for text in column or []]
    if not values:
        raise InputError("no column of values", hint="--value COL, or --column COL=SENSOR of a wide table")
    if (sensor is not None) + (sensor_id is not None) != bool(value):
        what = "--value says not whose it is" if not (sensor or sensor_id) else "one too many says whose value it is"
        raise InputError(what, hint="--value goes with --sensor COL or --sensor-id ID, --column names its own")
    layout = Layout(
        kind=kind,
        time=time,
        values=tuple(values),
        sensor=sensor,
        sensor_id=sensor_id,
        zone=zone,
        arrival=arrival,
        where=tuple(_pair("--where", text) for text in where or []),
        time_format=time_format,
        timezone=_timezone(tz),
        unit=unit,
        scale=_decimal("--scale", scale),
        offset=_decimal("--offset", offset),
        words={text: _decimal("--word", number) for text, number in (_pair("--word", w) for w in word or [])},
        missing=frozenset(missing or []),
        ids=_ids(map_) if map_ else {},
        prefix=prefix,
        reset_minute=hourly_total,
        delimiter=_delimiter(delimiter),
        comment=comment,
        skip_rows=skip_rows,
        header=not no_header,
        encoding=encoding,
        strict=strict,
        skip_unknown=skip_unknown,
    )
    catalogue = None if sites is None and zone is not None else catalogue_of(sites)
    console = Console(stderr=True)
    table = CsvImport(layout, catalogue)
    _read(table, files, console)
    if not len(table):
        left = ", ".join(f"{reason}: {count:,} left out" for reason, count in table.left_out.items()) or "no rows"
        raise InputError(f"no readings in {', '.join(map(str, files))}: {left}", hint="are the columns right?")
    records = _write(table, out, merge or [])
    _report(table, out, records, tz, console)


def _read(table: CsvImport, files: list[Path], console: Console) -> None:
    parts = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*parts, console=console, disable=not console.is_terminal, transient=True) as progress:
        for path in files:
            size = path.stat().st_size if path.is_file() else None
            task = progress.add_task(path.name, total=size)
            table.read(path, partial(_advance, progress, task))
            progress.remove_task(task)


def _advance(progress: Progress, task: TaskID, position: int) -> None:
    progress.update(task, completed=position)


def _write(table: CsvImport, out: Path, merge: list[Path]) -> int:
    """Writes beside the capture and puts it in place at the end: a capture may be merged into itself."""
    name = topic(table.layout.kind)
    new = ((stamp, Line(name, zone, timestamp=stamp), pack) for zone, stamp, pack in table.packs())
    part = out.with_name(f".part-{out.name}")
    records = 0
    try:
        with capture.Writer(part) as writer:
            for _, line, pack in heapq.merge(*map(_timed, merge), new, key=itemgetter(0)):
                writer.write(line.topic, line.key, pack, timestamp=line.timestamp, headers=line.headers)
                records += 1
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return records


def _timed(path: Path) -> Iterator[tuple[int, Line, bytes | None]]:
    """The lines of a capture, each with the largest time up to it."""
    latest = 0
    for line in capture.read(path):
        pack = line.payload()
        time = line.timestamp if line.timestamp is not None else latest_time(pack)
        latest = max(latest, time or 0)
        yield latest, line, pack


def _report(table: CsvImport, out: Path, records: int, tz: str, console: Console) -> None:
    first, last = (_utc(ms) for ms in table.span_ms or (0, 0))
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    say(f"{out}: {len(table):,} readings of {table.sensors:,} sensors, {first} to {last}; {records:,} records")
    for reason, count in table.left_out.items():
        say(f"{reason}: {count:,} left out")
    if table.unsure_times:
        what = f"{table.unsure_times:,} times are in an hour that the clock change in {tz} repeats or skips"
        say(f"{what}: taken as before the change")


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals:
        raise InputError(f"{option} {text}: has no `=`", hint=f"{option} NAME=TEXT")
    return name, rest


def _decimal(option: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise InputError(f"{option} {text}: not a number")
    return number


def _timezone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"--tz {name}: no such time zone", hint="a name such as Asia/Shanghai") from error


def _delimiter(text: str) -> str:
    delimiter = "\t" if text in ("\\t", "tab") else text
    if len(delimiter) != 1 or delimiter in '\n\r"':
        raise InputError(f"--delimiter {text}: not one character", hint=r"such as ; or \t")
    return delimiter


def _ids(path: Path) -> dict[str, str]:
    ids: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows: Iterable[list[str]] = csv.reader(file)
            for number, row in enumerate(rows, 1):
                if row and len(row) != 2:
                    hint = "two columns: the sensor as in the files, its id"
                    raise InputError(f"--map: the row has {len(row)} columns", file=path, line=number, hint=hint)
                if row:
                    ids[row[0].strip()] = row[1].strip()
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"--map: cannot read it: {getattr(error, 'strerror', None) or error}", file=path) from error
    return ids
