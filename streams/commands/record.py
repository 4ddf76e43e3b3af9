"""``kapok record``: what was on the topics, or is in the archive, becomes a capture."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from alerts.alert import iso
from sensors.catalogue import ID
from sensors.errors import InputError
from sensors.quantities import KINDS
from streams import topics
from streams.commands.options import BrokerOption, PrefixOption, TokenFileOption, influx_token, time_ms
from streams.health import served
from streams.record import Progress as OnProgress
from streams.record import record as record_topics
from streams.recording import Recording

_TOPICS = topics.EVERY


def record(
    out: Annotated[Path, typer.Option(metavar="CAPTURE", help="The capture: .jsonl, .jsonl.gz or .jsonl.zst.")],
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    from_: Annotated[
        str | None, typer.Option("--from", help="From this time on (ISO, UTC); else from the oldest.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to this time (ISO, UTC).")] = None,
    follow: Annotated[bool, typer.Option(help="Go on with what comes; else it ends where the topics end now.")] = False,
    topic: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(_TOPICS)}; else the four with readings.")
    ] = None,
    from_archive: Annotated[
        str | None, typer.Option(metavar="URL", help="From this InfluxDB 2, not from topics.")
    ] = None,
    token_file: TokenFileOption = None,
    org: Annotated[str, typer.Option(envvar="INFLUX_ORG", help="With --from-archive: the organisation.")] = "",
    bucket: Annotated[
        str, typer.Option(envvar="INFLUX_BUCKET", metavar="NAME", help="With --from-archive: as for kapok archive.")
    ] = "kapok",
    health: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="With --follow: say at /health, /ready and /metrics how it is."),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help=f"With --from-archive, of {', '.join(KINDS)}.")] = None,
    zone: Annotated[list[str] | None, typer.Option(help="With --from-archive: only these zones.")] = None,
) -> None:
    """Write what is on the topics to a capture, for `kapok replay`.

    The clock's ticks are recorded too, so a replay gives the alerts of the day itself. Ctrl-C ends --follow.

    --from-archive takes the readings of a time long ago from the archive: in the order of the events, without ticks,
    so a replay of it gives what the rules say to these readings, not the bytes of the day.
    """
    if from_archive is not None:
        given = {"--prefix": prefix, "--follow": follow, "--topic": topic, "--health": health}
        if wrong := [option for option, value in given.items() if value]:
            raise InputError(f"{wrong[0]} is for topics, and does not go with --from-archive")
        _record_archive(
            out, (from_archive, influx_token(token_file), org, bucket), from_, until, kind or KINDS, zone or ()
        )
        return
    if kind or zone:
        raise InputError("--kind and --zone go with --from-archive", hint="for topics there is --topic")
    if health and not follow:
        raise InputError("--health goes with --follow: without it, a recording ends by itself")
    names = topic or list(topics.READINGS)
    for name in names:
        if name not in _TOPICS:
            raise InputError(f"--topic {name}: there is no such topic", hint=f"one of {', '.join(_TOPICS)}")
    from_ms, until_ms = _times(out, from_, until)

    async def run(progress: OnProgress | None) -> int:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        recording = Recording()

        def told(records: int, at_ms: int | None) -> None:
            recording.progress(records, at_ms)
            if progress is not None:
                progress(records, at_ms)

        async with served(health, recording.health, recording.registry):
            return await record_topics(
                broker,
                out,
                prefix=prefix,
                names=names,
                from_ms=from_ms,
                until_ms=until_ms,
                follow=follow,
                stop=stop,
                progress=told,
            )

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as progress:
        count = asyncio.run(run(progress))
    console.print(f"{out}: {count:,} records")


def _record_archive(
    out: Path,
    archive: tuple[str, str, str, str],
    from_: str | None,
    until: str | None,
    kinds: Sequence[str],
    zones: Sequence[str],
) -> None:
    from_ms, until_ms = _times(out, from_, until)
    if from_ms is None or until_ms is None:
        raise InputError("--from-archive needs --from and --until", hint="such as --from 2026-05-04T00:00Z")
    if unknown := set(kinds) - set(KINDS):
        raise InputError(f"--kind {unknown.pop()}: there is no such kind", hint=f"one of {', '.join(KINDS)}")
    if wrong := [one for one in zones if not ID.fullmatch(one)]:
        raise InputError(f"--zone {wrong[0]!r}: not a zone", hint="A-Z a-z 0-9 . _ : -")
    if not archive[0].startswith(("http://", "https://")):
        raise InputError(f"--from-archive {archive[0]}: not a URL", hint="such as http://127.0.0.1:8086")
    from streams.archive.database import Database  # here, because its client takes a while to import
    from streams.archive.history import record_history

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as progress:
        count = record_history(Database(*archive), out, from_ms, until_ms, kinds=kinds, zones=zones, progress=progress)
    console.print(f"{out}: {count:,} records, in the order of the events")


def _times(out: Path, from_: str | None, until: str | None) -> tuple[int | None, int | None]:
    """The span of time in ms, checked, as is where the capture goes."""
    from_ms, until_ms = time_ms(from_, "--from"), time_ms(until, "--until")
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        raise InputError("--until is not after --from")
    if not out.parent.is_dir():
        raise InputError(f"--out: the folder {out.parent} does not exist", hint="make it first")
    return from_ms, until_ms


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[OnProgress | None]:
    if not console.is_terminal:
        yield None
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("reading")

        def progress(records: int, at_ms: int | None) -> None:
            at = "" if at_ms is None else iso(at_ms)[:19].replace("T", " ")
            bar.update(task, description=f"{records:,} records  {at}")

        yield progress
