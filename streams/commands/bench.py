"""kapok bench: kapok against its peers on this machine."""

from __future__ import annotations

import importlib
import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from sensors.connection import forget_settings
from sensors.errors import InputError, RunError
from sensors.seal import forget_key
from streams.commands.options import ReportOption

_ROOT = Path(__file__).parents[2]


class Section(StrEnum):
    throughput = "throughput"
    latency = "latency"
    replay = "replay"
    scaling = "scaling"


def bench(
    rounds: Annotated[int, typer.Option(min=1, help="Of each measurement; what is told are medians.")] = 5,
    json: ReportOption = False,
    only: Annotated[list[Section] | None, typer.Option(help="Only this part; may be given several times.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="F.svg", help="Where a picture of it goes.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="So little of it that the figures mean nothing.")] = False,
) -> None:
    """Measures kapok against Kafka Streams, Flink, Faust, Quix Streams and Bytewax; about an hour for all of it.

    They do the same job on the same topics of an Apache Kafka, in turns; exit code 1 says that somebody's alerts were
    not those of the fold. Needs a JDK 17 and Maven, and uv for the peers in Python.
    """
    if not (_ROOT / "bench/run.py").is_file():
        raise RunError("the measurements are not part of the package: run this in a clone of the repository (bench/)")
    sections = {section.value for section in only or Section}
    if plot is not None and not sections & {Section.throughput.value, Section.scaling.value}:
        raise InputError("--plot: there is nothing to draw", hint="add --only throughput or --only scaling")
    if plot is not None and not plot.parent.is_dir():
        raise InputError(f"--plot: the folder {plot.parent} does not exist", hint="make it first")
    from streams.apache_kafka import missing

    forget_settings()
    forget_key()
    if sections != {Section.replay.value} and (reason := missing()):
        raise RunError(reason)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers come and go here
    if str(_ROOT) not in sys.path:
        sys.path.append(str(_ROOT))
    run, reports, plots = (importlib.import_module(f"bench.{name}") for name in ("run", "report", "plots"))
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    report = run.run(sections, rounds, quick, lambda text: stderr.print(text, markup=False))
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        reports.show(Console(highlight=False), report)
    if plot is not None and ("throughput" in report or "scaling" in report):
        try:
            plot.write_text(plots.svg(report))
        except OSError as error:
            raise InputError(f"--plot: cannot write: {error.strerror}", file=plot) from error
    if failed := report.get("failed"):
        raise RunError(f"not measured: {', '.join(failed)}")
    if reports.differing(report):
        raise typer.Exit(1)
