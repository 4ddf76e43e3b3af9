"""``kapok alerts cap``: the alerts of the topic as CAP 1.2."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from alerts.delivery.cap import SENDER, Cap
from alerts.edition import Edition
from sensors.errors import InputError, RunError
from streams.commands.options import BrokerOption, PrefixOption


def cap(
    site: Annotated[str | None, typer.Argument(metavar="SITE", help="Whose alerts; else --all.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Of all sites.")] = False,
    exercise: Annotated[
        bool, typer.Option("--exercise", help="Say in each that it is one: for topics that were replayed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A file each, named by its identifier; else on stdout.")
    ] = None,
    sender: Annotated[str, typer.Option(metavar="ID", help="Who warns, as an address in a domain of yours.")] = SENDER,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Of the console, for the links.")] = None,
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
) -> None:
    """Alerts as CAP 1.2 (XML), for other warning systems: an Alert, its Updates and its Cancel."""
    if (site is None) != all_:
        raise InputError("which alerts?", hint="a site or --all, not both")
    from streams.alert_log import alert_log  # here, because it takes a while to import
    from streams.rules_log import rules_log

    async def read() -> tuple[list[dict[str, object]], Edition]:
        alerts = await alert_log(broker, prefix)
        async with rules_log(broker, None, prefix) as rules:
            if not rules.editions:
                raise RunError(f"no rules at {broker} yet: has kapok worker run there?")
            return alerts, rules.editions[rules.newest]

    alerts, edition = asyncio.run(read())
    book, catalogue = edition.rulebook, edition.catalogue
    names = {rule.id: rule.name for rule in book.rules}
    try:
        made = Cap(catalogue, names, sender=sender, base_url=url, timezone=book.timezone, exercise=exercise)
    except ValueError as error:
        raise InputError(f"--sender: {error}") from None
    wanted = [alert for alert in alerts if site is None or alert["site"] == site]
    if site is not None and not wanted and site not in catalogue.sensors and site not in catalogue.places:
        raise InputError(f"{site}: no such site, and no alert of one")
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        for identifier, message in made.messages(wanted):
            if out is None:
                sys.stdout.buffer.write(message)
            else:  # no id has a tilde in it
                (out / f"{identifier.replace('/', '~')}.xml").write_bytes(message)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=error.filename) from error
