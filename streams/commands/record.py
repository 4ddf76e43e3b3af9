"""``kapok record``: what was on the topics becomes a capture."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from alerts.alert import iso
from sensors.errors import InputError
from streams import topics
from streams.commands.options import BrokerOption, PrefixOption, time_ms
from streams.record import Progress as OnProgress
from streams.record import record as record_topics

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
) -> None:
    """Write what is on the topics to a capture, for `kapok replay`.

    The clock's ticks are recorded too, so a replay gives the alerts of the day itself. Ctrl-C ends --follow.
    """
    names = topic or list(topics.READINGS)
    for name in names:
        if name not in _TOPICS:
            raise InputError(f"--topic {name}: there is no such topic", hint=f"one of {', '.join(_TOPICS)}")
    from_ms, until_ms = time_ms(from_, "--from"), time_ms(until, "--until")
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        raise InputError("--until is not after --from")
    if not out.parent.is_dir():
        raise InputError(f"--out: the folder {out.parent} does not exist", hint="make it first")

    async def run(progress: OnProgress | None) -> int:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await record_topics(
            broker,
            out,
            prefix=prefix,
            names=names,
            from_ms=from_ms,
            until_ms=until_ms,
            follow=follow,
            stop=stop,
            progress=progress,
        )

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as progress:
        count = asyncio.run(run(progress))
    console.print(f"{out}: {count:,} records")


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
