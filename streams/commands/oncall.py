"""``kapok oncall``: alerts become cases that people are told of until they are closed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from alerts.routes.residents import AUDIT_FILE
from sensors.errors import InputError
from streams.commands.options import BrokerOption, DirectoryOption, PartitionsOption, PrefixOption, RoutesOption
from streams.ending import end_assured

_CONSOLE = "127.0.0.1:8480"

log = logging.getLogger("kapok")


def oncall(
    broker: BrokerOption = "127.0.0.1:9092",
    routes: RoutesOption = None,
    directory: DirectoryOption = None,
    prefix: PrefixOption = "",
    partitions: PartitionsOption = None,
    console: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help=f"Where the console is served; else {_CONSOLE}.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A name by which the console is reached, too.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="F", help="For https, with --key.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="F", help="Of the certificate.")] = None,
    behind_https: Annotated[
        bool, typer.Option("--behind-https", help="A proxy before the console speaks https.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Of the console, for links in what people are told.")
    ] = None,
    alertmanager: Annotated[
        str | None, typer.Option(metavar="URL", help="Of an Alertmanager that is told of the alerts, too.")
    ] = None,
    no_console: Annotated[bool, typer.Option("--no-console", help="Serve no console.")] = False,
    no_delivery: Annotated[bool, typer.Option("--no-delivery", help="Only decide; others tell people.")] = False,
    health: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Say at /health, /ready and /metrics how it is.")
    ] = None,
) -> None:
    """Open a case for every alert, tell people until somebody answers, and serve the console, until stopped.

    Start two, on two machines: one works, the other takes over when it dies. kill -HUP has routes and directory read
    again.
    """
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("kapok").setLevel(logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    # Where no broker answers at the start that is the message of the end.
    logging.getLogger("aiokafka").addFilter(lambda record: 'Unable connect to "' not in str(record.msg))
    from streams import topics  # here, because these take a while to import
    from streams.oncall.files import Files
    from streams.oncall.process import OnCall

    _check("--url", url)
    _check("--alertmanager", alertmanager)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        files = Files(routes, directory)
        files.read()  # what is wrong there is said before anything is made
        served = None
        if not no_console and (console is not None or os.environ.get(AUDIT_FILE)):
            from streams.oncall.console import Console, ConsoleSettings

            settings = ConsoleSettings(console or _CONSOLE, tuple(name or ()), certificate, key, behind_https)
            settings.check()
            served = Console(settings)
            if url is None:
                log.warning("without --url, what people are told has no link to the console")
        elif not no_console:
            log.warning("no console: it writes down who looks at which home, and %s names no file for it", AUDIT_FILE)
        with end_assured():
            count = await topics.ensure(broker, prefix, partitions, names=(*topics.ALL, *topics.ONCALL))
            running = OnCall(
                broker,
                files,
                prefix=prefix,
                partitions=count,
                health=health,
                console=served,
                delivering=not no_delivery,
                base_url=url,
                alertmanager=alertmanager,
            )
            loop.add_signal_handler(signal.SIGHUP, running.reload)
            await running.run(stop)

    asyncio.run(main())


def _check(option: str, url: str | None) -> None:
    """InputError where an address cannot be one."""
    try:
        parts = urlsplit(url or "http://none")
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise InputError(f"{option} {url}: not an address", hint="as https://oncall.example.gov.cn:8480")
