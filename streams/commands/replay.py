"""kapok replay: what was recorded, through the same rules, with or without a broker."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from alerts import comparison
from alerts.alert import iso
from alerts.comparison import Body, Comparison
from alerts.edition import Edition, recorded
from alerts.levels import LEVEL_NAMES
from sensors import compressed
from sensors.connection import forget_settings
from sensors.errors import NO_ROOM, InputError, RunError
from sensors.seal import Seal
from streams.commands.options import RulesOption, SitesOption, catalogue_of, rulebook_of, time_ms
from streams.commands.progress import bar
from streams.oncall.files import Files
from streams.oncall.rehearsal import Rehearsed, has_log, of_alerts, of_log
from streams.replay import Progress as OnProgress
from streams.replay import Replayed
from streams.replay import replay as fold_capture

SHOWN = 40  # differences that are written out


class Through(StrEnum):
    kafka = "kafka"


def replay(
    capture: Annotated[Path, typer.Argument(help="A capture: JSON Lines, plain, .gz or .zst.")],
    sites: SitesOption = None,
    rules: RulesOption = None,
    out: Annotated[Path | None, typer.Option(help="Where the alerts go, sorted, each id once; - for stdout.")] = None,
    rejected: Annotated[Path | None, typer.Option(help="Where the rejected readings go, with their reasons.")] = None,
    until: Annotated[str | None, typer.Option(help="Ticks go on to this time after the last line (ISO, UTC).")] = None,
    expect: Annotated[Path | None, typer.Option(help="Alerts to compare with; exit 1 if they differ.")] = None,
    against: Annotated[Path | None, typer.Option(help="Other rules: shows what would have changed.")] = None,
    oncall: Annotated[
        Path | None, typer.Option(help="Where the notifications go: what was told to whom, or would have been.")
    ] = None,
    routes: Annotated[Path | None, typer.Option(help="With --oncall: as if these routes had held.")] = None,
    directory: Annotated[Path | None, typer.Option(help="With --oncall: as if these people had been there.")] = None,
    through: Annotated[Through | None, typer.Option(help="kafka: through a broker and workers.")] = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="With --through kafka. Without it: the embedded one."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0: they were started apart.")] = 1,
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds of event time a second; without it: as fast as it goes."),
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Of the topics; without it: a fresh one.")] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic.")] = 8,
) -> None:
    """Replays a capture through the rules. The same alerts come out with or without a broker, at any speed.

    Without --sites and --rules they are those that were recorded with the capture, changes included, or else the
    shipped ones.
    """
    if through is None and (broker or prefix or speed or workers != 1):
        raise InputError("--broker, --workers, --speed and --prefix go with --through kafka")
    if through is not None and workers == 0 and not (broker and prefix is not None):
        raise InputError("--workers 0 needs --broker and --prefix", hint="those that the workers were started with")
    if oncall is None and (routes or directory):
        raise InputError("--routes and --directory go with --oncall")
    for option, file in (("--out", out), ("--rejected", rejected), ("--oncall", oncall)):
        if file is not None and str(file) != "-" and not file.parent.is_dir():
            raise InputError(f"{option}: the folder {file.parent} does not exist", hint="make it first")
    golden = None if expect is None else comparison.read_alerts(expect)
    catalogue, rulebook = catalogue_of(sites), rulebook_of(rules)
    other = None if against is None else rulebook_of(against)
    until_ms = time_ms(until, "--until")
    if not capture.is_file():
        what = "it is not a file" if capture.exists() else "no such file"
        raise InputError(f"cannot read the capture: {what}", file=capture)
    seal = Seal.configured()
    editions = recorded(capture, seal) if sites is None and rules is None else None
    people = Files(routes, directory).read()[0] if oncall is not None else None

    with _bar(capture.name) as progress:
        if through is None:
            replayed = fold_capture(
                capture,
                catalogue,
                rulebook,
                partitions=partitions,
                until_ms=until_ms,
                progress=progress,
                editions=editions,
                seal=seal,
            )
        else:
            from streams.kafka_replay import replay_through_kafka

            if broker is None:
                forget_settings()

            replayed = replay_through_kafka(
                capture,
                sites,
                rules,
                broker=broker,
                workers=workers,
                speed=speed,
                until_ms=until_ms,
                prefix=prefix,
                partitions=partitions,
                progress=progress,
                editions=None if workers == 0 else editions,
            )
        before = None
        if other is not None:
            before = fold_capture(
                capture, catalogue, other, partitions=partitions, until_ms=until_ms, progress=progress, seal=seal
            )

    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    if out is not None:
        _write(out, replayed.lines())
    if rejected is not None:
        _write(rejected, replayed.rejected)
    _summary(stderr, replayed)
    if oncall is not None and people is not None:
        if has_log(capture):
            rehearsed = of_log(capture, editions, people if routes or directory else None)
        else:
            edition = editions.by_generation[max(editions.by_generation)] if editions else Edition.read(rules, sites)
            rehearsed = of_alerts(capture, replayed, edition, people, until_ms)
        _write(oncall, rehearsed.lines())
        _told(stderr, rehearsed)
    if before is not None:
        _changes(Console(highlight=False, soft_wrap=True), comparison.compare(before.bodies(), replayed.bodies()))
    if golden is not None:
        difference = comparison.compare(golden, replayed.bodies())
        if not difference.same:
            _differences(Console(highlight=False, soft_wrap=True), difference)
            raise typer.Exit(1)
        stderr.print(f"the {len(golden)} alerts are those of {expect}", style="green")


@contextlib.contextmanager
def _bar(name: str) -> Iterator[OnProgress | None]:
    """A progress display, where a terminal is there to show it."""
    with bar(name, None) as update:
        if update is None:
            yield None
            return
        began = time.monotonic()

        def progress(readings: int, event_ms: int | None, share: float | None) -> None:
            elapsed = time.monotonic() - began
            rate = f"{readings / elapsed:,.0f}/s" if elapsed > 0.2 else ""
            at = iso(event_ms)[:16].replace("T", " ") if event_ms is not None else ""
            what = f"{readings:,} readings  {rate}  {at}"
            update(total=None if share is None else 1.0, completed=share or 0.0, what=what)

        yield progress


def _write(path: Path, lines: list[bytes]) -> None:
    try:
        if str(path) == "-":
            if sys.stdout is None:
                raise InputError("- is standard output, which is closed")
            sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
            sys.stdout.buffer.flush()
            return
        with compressed.open_binary(path, "wb") as file:
            file.write(b"".join(line + b"\n" for line in lines))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise RunError(f"{path}: cannot write: {error.strerror}") from error
        raise InputError(f"cannot write: {error.strerror}", file=path) from error


def _summary(console: Console, replayed: Replayed) -> None:
    levels = Counter(msgspec.json.decode(value)["level"] for value in replayed.alerts.values())
    by_level = ", ".join(f"{levels[n]} {name}" for n, name in enumerate(LEVEL_NAMES) if levels[n])
    reasons = Counter(msgspec.json.decode(value)["reason"] for value in replayed.rejected)
    by_reason = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    console.print(
        f"{replayed.readings:,} readings, {len(replayed.alerts):,} changes of level"
        + (f" ({by_level})" if by_level else "")
        + f", {len(replayed.rejected):,} rejected"
        + (f" ({by_reason})" if by_reason else "")
    )


def _told(console: Console, rehearsed: Rehearsed) -> None:
    cases = rehearsed.newest().values()
    people = {one.to for one in rehearsed.notifications}
    whys = Counter(one.why for one in rehearsed.notifications)
    by_why = ", ".join(f"{count} {why}" for why, count in whys.most_common())
    console.print(
        f"{len(rehearsed.notifications):,} notifications to {len(people):,} people"
        + (f" ({by_why})" if by_why else "")
        + f", {len(cases):,} cases, {sum(case.state != 'closed' for case in cases):,} of them open at the end"
        + (", as an exercise" if any(case.exercise for case in cases) else "")
    )


def _describe(body: Body) -> str:
    change = f"{LEVEL_NAMES[body['previous']]} → {LEVEL_NAMES[body['level']]}"
    return f"{body['at']}  {body['rule']}  {body['site']}  {change}  {body['value']} against {body['threshold']}"


def _changes(console: Console, difference: Comparison) -> None:
    """What other rules would have done: a line a rule, then the changes themselves."""
    counts: dict[str, Counter[str]] = {}
    for what, bodies in (("gone", difference.missing), ("new", difference.extra)):
        for body in bodies:
            counts.setdefault(body["rule"], Counter())[what] += 1
    for _, body in difference.changed:
        counts.setdefault(body["rule"], Counter())["changed"] += 1
    if not counts:
        console.print("nothing would have changed")
        return
    for rule, count in sorted(counts.items()):
        console.print(f"{rule}: {count['gone']} gone, {count['new']} new, {count['changed']} changed")
    _lines(console, difference, "was", "now")


def _differences(console: Console, difference: Comparison) -> None:
    console.print(
        f"the alerts differ: {len(difference.missing)} missing, {len(difference.extra)} not expected, "
        f"{len(difference.changed)} changed",
        style="red",
    )
    _lines(console, difference, "expected", "got")


def _lines(console: Console, difference: Comparison, was: str, now: str) -> None:
    rows = [(body["at"], f"- {_describe(body)}", "red") for body in difference.missing]
    rows += [(body["at"], f"+ {_describe(body)}", "green") for body in difference.extra]
    for before, after in difference.changed:
        fields = [f for f in sorted(before.keys() | after.keys()) if before.get(f) != after.get(f)]
        what = "; ".join(f"{f}: {was} {before.get(f)!r}, {now} {after.get(f)!r}" for f in fields)
        rows.append((after["at"], f"~ {_describe(after)}  [{what}]", "yellow"))
    rows.sort()
    for _, text, style in rows[:SHOWN]:
        console.print(text, style=style, markup=False)
    if len(rows) > SHOWN:
        console.print(f"… and {len(rows) - SHOWN} more")
