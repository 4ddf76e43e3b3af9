"""``kapok archive``: readings, alerts and cases to InfluxDB."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sensors.errors import InputError
from streams.commands.options import BrokerOption, PrefixOption, TokenFileOption, influx_token
from streams.ending import end_assured
from streams.health import served

if TYPE_CHECKING:
    from streams.archive.copying import Archive

_REPORT_S = 60
_NICE = 10

log = logging.getLogger("kapok.archive")


def archive(
    influx_url: Annotated[str, typer.Option(envvar="INFLUX_URL", metavar="URL", help="The InfluxDB 2 server.")],
    org: Annotated[str, typer.Option(envvar="INFLUX_ORG", help="The organisation.")],
    bucket: Annotated[
        str, typer.Option(envvar="INFLUX_BUCKET", metavar="NAME", help="What the names of its buckets begin with.")
    ] = "kapok",
    token_file: TokenFileOption = None,
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    health: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Say at /health, /ready and /metrics how it is.")
    ] = None,
) -> None:
    """Copies readings, alerts and cases to InfluxDB 2 until stopped.

    It reads in a consumer group of its own: a slow or absent database delays no alert, only what is written. Buckets
    and tasks are made at start where they are missing, so the token must be allowed to make them, and to write. Several
    may run; they share the partitions.
    """
    if not influx_url.startswith(("http://", "https://")):
        raise InputError(f"--influx-url {influx_url}: not a URL", hint="such as http://127.0.0.1:8086")
    token = influx_token(token_file)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("kapok").setLevel(logging.INFO)
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    from streams.archive.copying import Archive  # here, because its client takes a while to import
    from streams.archive.database import Database

    os.nice(_NICE)  # where it shares a machine with workers, they go first
    asyncio.run(_run(Archive(broker, Database(influx_url, token, org, bucket), prefix), health))


async def _run(copying: Archive, address: str | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    reports = asyncio.create_task(_report(copying))
    try:
        with end_assured():
            async with served(address, copying.watch.health, copying.watch.registry):
                await copying.run(stop)
    finally:
        reports.cancel()
        log.info("%s", _counts(copying))


async def _report(copying: Archive) -> None:
    before, began = 0, time.monotonic()
    while True:
        await asyncio.sleep(_REPORT_S)
        now, points = time.monotonic(), copying.sender.points if copying.sender else 0
        log.info("%s; %.0f points/s", _counts(copying), (points - before) / (now - began))
        before, began = points, now


def _counts(copying: Archive) -> str:
    sender = copying.sender
    counts = [f"{sender.points if sender else 0} points written"]
    counts += [f"{count} {reason} skipped" for reason, count in copying.skipped.items() if count]
    if sender and sender.expired:
        counts.append(f"{sender.expired} older than their bucket keeps any")
    if sender and sender.refused:
        counts.append(f"{sender.refused} refused by InfluxDB")
    return ", ".join(counts)
