"""kapok chaos: faults upon a pipeline at work, and whether the alerts are still the same."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sensors import capture as captures
from sensors.connection import forget_settings
from sensors.errors import InputError, RunError
from sensors.seal import forget_key
from streams.chaos.plan import Kind, expected_seconds, plan, shares
from streams.chaos.report import Report
from streams.commands.options import ReportOption, RulesOption, SitesOption

_SPEED = 60.0  # seconds of a simulated day a second
_CANARY_S = 0.1  # how often each partition's canary alerts
_DEFAULT_FAULTS = 20


def chaos(
    capture: Annotated[
        Path | None, typer.Argument(help="A capture to feed. Without it: a simulated day of storm, homes and crowds.")
    ] = None,
    sites: SitesOption = None,
    rules: RulesOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same faults in the same order.")] = 1,
    faults: Annotated[int | None, typer.Option(min=1, help="How many, of all kinds; without any number: 20.")] = None,
    kills: Annotated[int | None, typer.Option(min=0, help="kill -9 of workers.")] = None,
    stops: Annotated[int | None, typer.Option(min=0, help="Workers stopped for longer than their session.")] = None,
    broker_restarts: Annotated[int | None, typer.Option(min=0, help="The broker, killed or ended.")] = None,
    cuts: Annotated[int | None, typer.Option(min=0, help="Connections of workers, refused or silent.")] = None,
    delays: Annotated[int | None, typer.Option(min=0, help="Connections of workers, slow.")] = None,
    restarts: Annotated[int | None, typer.Option(min=0, help="Rolling restarts of all workers.")] = None,
    readings: Annotated[int, typer.Option(min=1, help="About so many, where they are simulated.")] = 1_000_000,
    workers: Annotated[int, typer.Option(min=2, max=8, help="Worker processes.")] = 2,
    session: Annotated[float, typer.Option(min=2, max=60, help="Seconds until a dead worker is missed.")] = 2.0,
    json: ReportOption = False,
    keep: Annotated[Path | None, typer.Option(help="A folder for the capture, the logs and the report.")] = None,
) -> None:
    """Feeds a capture through an Apache Kafka of its own to workers, and kills, stops, cuts off and restarts them.

    Then it compares the alerts with those of a replay without a broker. Needs Java 17 and Maven. Exit code 1 if
    anything was lost or invented.
    """
    given = {
        Kind.KILL: kills,
        Kind.STOP: stops,
        Kind.BROKER: broker_restarts,
        Kind.CUT: cuts,
        Kind.DELAY: delays,
        Kind.ROLLING: restarts,
    }
    counts = {kind: number for kind, number in given.items() if number}
    if counts and faults is not None:
        raise InputError("--faults does not go with numbers by kind", hint="give one or the other")
    if any(number is not None for number in given.values()) and not counts:
        raise InputError("no faults", hint="as in --kills 5 --cuts 2")
    if capture is not None and not capture.is_file():
        raise InputError("cannot read the capture: no such file", file=capture)
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise InputError(f"--keep: {keep} is not an empty folder", hint="give a new one")
    forget_settings()
    forget_key()
    planned = plan(seed, counts or shares(faults or _DEFAULT_FAULTS), workers, session)
    _quiet()
    from streams.apache_kafka import missing  # these take a while to import
    from streams.chaos.load import load, simulated, span
    from streams.chaos.run import PARTITIONS, SPARE_S, Chaos

    if reason := missing():
        raise RunError(reason)
    seconds = sum(expected_seconds(fault, session) for fault in planned) + SPARE_S
    with _folder(keep) as folder, _display(len(planned)) as (preparing, running):
        if capture is None:
            hours = max(1.0, seconds * _SPEED / 3600)
            lines = simulated(readings, hours, seed, sites)
            every_ms = round(hours * 3_600_000 / seconds * _CANARY_S)
        else:
            first, last = span(capture)
            lines = captures.read(capture)
            every_ms = max(1, round((last - first) / seconds * _CANARY_S))
        made = load(
            folder,
            lines,
            sites=sites,
            rules=rules,
            partitions=PARTITIONS,
            every_ms=every_ms,
            seed=seed,
            progress=preparing,
        )
        run = Chaos(made, planned, folder, seed=seed, workers=workers, session_s=session, progress=running)
        report = asyncio.run(run.run())
        if keep is not None:
            (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report.json())))
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(report.json()) + b"\n")
    else:
        show(Console(highlight=False), report)
    if not report.same:
        raise typer.Exit(1)


def show(console: Console, report: Report) -> None:
    """The report as tables."""
    faults = Table("faults", "number", "with repeats", "alerts repeated", title="What befell it", title_justify="left")
    for kind, number in report.counts.items():
        found = report.repeats_by_kind[kind]
        faults.add_row(kind, str(number), str(found["faults"]), str(found["repeats"]))
    console.print(faults)
    pauses = Table("alerts stood still, s", "times", "median", "longest", title="Pauses", title_justify="left")
    for label, waits in report.pauses.items():
        pauses.add_row(label, str(waits.times), f"{waits.median:.2f}", f"{waits.longest:.2f}")
    console.print(pauses)
    for line in report.ended:
        console.print(f"by itself: {line}", style="yellow", markup=False, soft_wrap=True)
    for line in report.examples:
        console.print(line, style="red", markup=False, soft_wrap=True)
    counts = f"{report.lost} lost, {report.invented} invented, {report.repeated} repeated"
    console.print(
        f"{report.readings:,} readings, {report.alerts:,} alerts, {sum(report.counts.values())} faults in "
        f"{report.seconds:,.0f} s: {counts}",
        style="green" if report.same else "red",
        soft_wrap=True,
    )
    if report.rejected:
        rejected = f"{report.rejected_lost} lost, {report.rejected_invented} invented"
        console.print(f"{report.rejected:,} rejected readings: {rejected}", soft_wrap=True)
    if report.went_back:
        last = f"{report.went_back} times an older alert after a newer one, {report.stale} keys left so"
        console.print(f"alerts.last: {last}", style="red" if report.stale else "yellow", soft_wrap=True)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="kapok-chaos-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--keep: cannot make {keep}: {error.strerror}") from error
    yield keep
    shutil.rmtree(keep / "kafka" / "log", ignore_errors=True)  # large, and of no use where all went well


@contextlib.contextmanager
def _display(faults: int) -> Iterator[tuple[Callable[[str, int], None], Callable[[int, str, int, int], None]]]:
    """What is going on: a live line in a terminal, else a line a fault. (Preparing, running.)"""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        told = -1

        def line(number: int, what: str, readings: int, alerts: int) -> None:
            nonlocal told
            if number > told and what != "starting":
                told = number
                name = f"{number + 1} of {faults}: " if number < faults else ""
                console.print(f"{name}{what} ({readings:,} readings, {alerts:,} alerts so far)", markup=False)

        yield lambda what, count: None, line
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.fields[what]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, what="")

        def preparing(what: str, count: int) -> None:
            bar.update(task, what=f"{what}: {count:,}")

        def running(number: int, what: str, readings: int, alerts: int) -> None:
            text = f"{min(number + 1, faults)} of {faults}: {what}  {readings:,} readings  {alerts:,} alerts"
            bar.update(task, total=faults, completed=number, what=text)

        yield preparing, running


def _quiet() -> None:
    """What the Kafka client says when a broker is killed is no news here."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
