"""``kapok worker``: readings from Kafka, through the rules, to alerts."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from streams.commands.options import BrokerOption, PartitionsOption, PrefixOption, RulesOption, SitesOption, seconds


def worker(
    broker: BrokerOption = "127.0.0.1:9092",
    sites: SitesOption = None,
    rules: RulesOption = None,
    prefix: PrefixOption = "",
    partitions: PartitionsOption = None,
    supervise: Annotated[
        int, typer.Option(metavar="N", min=0, help="Run N workers, and start again those that end by themselves.")
    ] = 0,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Say at /health, /ready and /metrics how it is; worker n of N at PORT + n - 1."
        ),
    ] = None,
    stuck: Annotated[
        str, typer.Option(metavar="TIME", help="End when a partition with readings stands still for so long.")
    ] = "60s",
    no_clock: Annotated[bool, typer.Option("--no-clock", help="Write no ticks: a replay brings its own.")] = False,
) -> None:
    """Turn readings into alerts until stopped.

    Start as many as you like, on as many machines: the partitions are shared out, and when one dies the
    others take over where it was. One of them writes the clock. --supervise 2 runs two on this machine.
    """
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("kapok").setLevel(logging.INFO)
    for name in ("faust", "mode"):  # they tell of every step; what matters is told here
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    # Where no broker answers at the start that is the message of the end.
    logging.getLogger("aiokafka").addFilter(lambda record: 'Unable connect to "' not in str(record.msg))
    if supervise:
        from streams import supervisor
        from streams.health import after

        command: list[str | Path] = [sys.executable, "-m", "streams", "worker", "--broker", broker]
        command += ["--prefix", prefix, "--stuck", stuck]
        for option, value in (("--sites", sites), ("--rules", rules), ("--partitions", partitions)):
            command += [option, str(value)] if value is not None else []
        command += ["--no-clock"] if no_clock else []
        health_of = [["--health", after(health, n)] if health else [] for n in range(supervise)]
        supervisor.supervise(supervise, lambda number: [*command, *health_of[number - 1]])
        return
    from streams.worker_process import run_worker  # here, because Faust takes a while to import

    run_worker(
        broker,
        sites,
        rules,
        prefix=prefix,
        partitions=partitions,
        clock=not no_clock,
        stuck_s=seconds(stuck, "--stuck"),
        health=health,
    )
