"""kapok alone: ``uv run python -m bench [core] [kafka] [latency]``, all of them without a name.

``dirt`` (a million spoiled records), ``long`` (a day of 10,000 sensors) and ``month`` (on-call, with staff who answer
late or never) take minutes each, ``console`` wants a Chromium, ``oncall`` (an alert → its first notification) an Apache
Kafka, and ``archive`` and ``outage --minutes 10`` (of its database) an InfluxDB too, so they are to be named; they exit
1 when something good is lost, memory grows, alerts are held up, or somebody was left un-notified or a case open.
``stages`` tells where the time from a reading to its alert goes.
``kapok bench`` measures kapok against its peers.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import sys
from datetime import date
from functools import partial

from rich.console import Console
from rich.table import Table

from bench import archive, core, delivery, dirt, latency, long, month, oncall, outage, stages
from bench import console as on_call
from bench.contest import COURSES, KAPOK, contest
from sensors.errors import RunError

ROUNDS = 3
ENDURANCE = {"archive": archive.rows, "console": on_call.rows, "dirt": dirt.rows, "long": long.rows}
ENDURANCE |= {"delivery": delivery.rows, "month": month.rows, "oncall": oncall.rows, "outage": outage.rows}
ENDURANCE |= {"stages": stages.rows}


def main() -> None:
    names = sys.argv[1:]
    if "--minutes" in names:
        at = names.index("--minutes")
        ENDURANCE["outage"] = partial(outage.rows, float("".join(names[at + 1 : at + 2])))
        del names[at : at + 2]
    wanted = set(names) or {"core", "kafka", "latency"}
    if unknown := wanted - {"core", "kafka", "latency", *ENDURANCE}:
        sys.exit(f"bench: unknown {', '.join(unknown)}; there are core, kafka, latency, {', '.join(ENDURANCE)}")
    console = Console(highlight=False)
    for name in sorted(wanted & ENDURANCE.keys()):
        found = Table("what", "", title=f"kapok, {name}, {_machine()}, {date.today()}")
        try:
            for row in ENDURANCE[name]().items():
                found.add_row(*row)
        except (AssertionError, RunError) as error:
            sys.exit(f"bench {name}: {error}")
        console.print(found)
    table = Table("what", "readings/s", title=f"kapok, {_machine()}, {date.today()}")
    if "core" in wanted:
        for what, pack, run in (
            ("packs of 500", 500, 50),
            ("one reading per record", 1, 5_000),
            ("one reading per record, three a call", 1, 3),
        ):
            rate = core.level_rule(pack, run, minutes=40 if run > 3 else 4)
            table.add_row(f"fold alone, {what}, one level rule", f"{rate:,.0f}")
        table.add_row("replay without a broker, simulated day, shipped rules", f"{core.shipped_day():,.0f}")
    if "kafka" in wanted:
        rounds = asyncio.run(contest(COURSES, ROUNDS, only=[KAPOK])).rounds
        for course, what in (("packs", "packs of 500"), ("singles", "one reading per record")):
            middle = statistics.median(one.rate for one in rounds if one.course == course)
            table.add_row(f"Apache Kafka, one worker, {what}, one level rule", f"{middle:,.0f}")
    if table.rows:
        console.print(table)
    if "latency" in wanted:
        times = Table("reading sent → alert read", "p50 ms", "p99 ms", "max ms")
        for name, embedded in (("Apache Kafka", False), ("embedded broker", True)):
            with latency.Stand.up(embedded=embedded) as stand:
                runs = [stand.measure(1_000, 10) for _ in range(ROUNDS)]
            middles = [f"{statistics.median(one[field] for one in runs):.1f}" for field in ("p50", "p99", "max")]
            times.add_row(f"{name}, 1,000 single readings/s", *middles)
        console.print(times)


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


main()
