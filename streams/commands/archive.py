"""``kapok archive``: readings and alerts to InfluxDB."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sensors.errors import InputError
from streams.commands.options import PrefixOption

if TYPE_CHECKING:
    from streams.archive import Archive

_REPORT_S = 60

log = logging.getLogger(__name__)


def archive(
    influx_url: Annotated[str, typer.Option(envvar="INFLUX_URL", metavar="URL", help="The InfluxDB 2 server.")],
    token: Annotated[str, typer.Option(envvar="INFLUX_TOKEN", help="A token that may write the bucket.")],
    org: Annotated[str, typer.Option(envvar="INFLUX_ORG", help="The organisation.")],
    bucket: Annotated[str, typer.Option(envvar="INFLUX_BUCKET", help="The bucket.")],
    broker: Annotated[
        str, typer.Option(envvar="KAPOK_BROKER", metavar="HOST:PORT", help="The Kafka broker.")
    ] = "127.0.0.1:9092",
    prefix: PrefixOption = "",
) -> None:
    """Copies readings and alerts to InfluxDB 2 until stopped.

    It reads in a consumer group of its own: a slow or absent database delays no alert, only what is written.
    """
    if not influx_url.startswith(("http://", "https://")):
        raise InputError(f"--influx-url {influx_url}: not a URL", hint="such as http://127.0.0.1:8086")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    from streams.archive import Archive  # here, because its client takes a while to import

    asyncio.run(_run(Archive(broker, influx_url, token, org, bucket, prefix)))


async def _run(copying: Archive) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    reports = asyncio.create_task(_report(copying))
    try:
        await copying.run(stop)
    finally:
        reports.cancel()
        log.info("%s", _counts(copying))


async def _report(copying: Archive) -> None:
    while True:
        before, began = copying.points, time.monotonic()
        await asyncio.sleep(_REPORT_S)
        rate = (copying.points - before) / (time.monotonic() - began)
        log.info("%s; %.0f points/s", _counts(copying), rate)


def _counts(copying: Archive) -> str:
    counts = [f"{copying.points} points written"]
    counts += [f"{count} {reason} skipped" for reason, count in copying.source.skipped.items()]
    if copying.refused:
        counts.append(f"{copying.refused} refused by InfluxDB")
    return ", ".join(counts)
