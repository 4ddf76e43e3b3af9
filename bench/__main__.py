"""First measurements: ``uv run python -m bench [core] [kafka] [latency]``, all of them without a name."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from datetime import date

from rich.console import Console
from rich.table import Table

from bench import core, kafka

ROUNDS = 3


def main() -> None:
    wanted = set(sys.argv[1:]) or {"core", "kafka", "latency"}
    if unknown := wanted - {"core", "kafka", "latency"}:
        sys.exit(f"bench: unknown {', '.join(unknown)}; there are core, kafka and latency")
    console = Console(highlight=False)
    table = Table("what", "readings/s", title=f"kapok, {_machine()}, {date.today()}")
    if "core" in wanted:
        table.add_row("fold alone, packs of 500, one level rule", f"{core.level_rule(500):,.0f}")
        table.add_row("fold alone, one reading per record, one level rule", f"{core.level_rule(1):,.0f}")
        table.add_row("replay without a broker, simulated day, shipped rules", f"{core.shipped_day():,.0f}")
    if "kafka" in wanted:
        packs = statistics.median(kafka.throughput(500, 10_000, 20, 1_500) for _ in range(ROUNDS))
        table.add_row("Apache Kafka, one worker, packs of 500, one level rule", f"{packs:,.0f}")
        singles = statistics.median(kafka.throughput(1, 10_000, 20, 200) for _ in range(ROUNDS))
        table.add_row("Apache Kafka, one worker, one reading per record", f"{singles:,.0f}")
    if table.rows:
        console.print(table)
    if "latency" in wanted:
        times = Table("reading sent → alert read", "p50 ms", "p99 ms", "max ms")
        for name, embedded in (("Apache Kafka", False), ("embedded broker", True)):
            runs = [kafka.latency(1_000, 10, embedded) for _ in range(ROUNDS)]
            middle = [f"{statistics.median(column):.1f}" for column in zip(*runs, strict=True)]
            times.add_row(f"{name}, 1,000 single readings/s", *middle)
        console.print(times)


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


main()
