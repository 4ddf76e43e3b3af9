"""The real InfluxDB that the archive is measured on, the archive itself, and how many points there are."""

from __future__ import annotations

import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer

from alerts.edition import Edition
from sensors.errors import RunError
from streams.child import Child
from streams.rules_log import rules_log

_TESTS = Path(__file__).parents[1] / "tests"
if str(_TESTS) not in sys.path:
    sys.path.append(str(_TESTS))

from services.influxdb import ASIDE, BUCKET, ORG, TOKEN, InfluxDB, influxd  # noqa: E402

READINGS = f"{BUCKET}-readings"


def database(folder: Path, *, aside: bool = False) -> InfluxDB:
    """One that runs, and that keeps readings of any time; RunError where there is no server.

    ``aside``: it gives way to all others, which would have a machine of their own.
    """
    server = influxd()
    if server is None:
        raise RunError("no influxd: tests/services/install-influxd.sh builds one")
    folder.mkdir()
    found = InfluxDB(server, folder, aside=aside)
    found.start()
    found.set_up()
    found.add_bucket(READINGS, 0)
    return found


def start_archive(broker: str, url: str, folder: Path, *, aside: bool = False) -> Child:
    """``kapok archive``, whose log goes to the folder. ``aside``: as the database."""
    where = ("--broker", broker, "--influx-url", url, "--org", ORG, "--bucket", BUCKET)
    command = [*(ASIDE if aside else ()), sys.executable, "-m", "streams", "archive", *where]
    return Child("archive", command, folder / "archive.log", {"INFLUX_TOKEN": TOKEN})


async def publish_rules(broker: str, sites: Path, rules: Path) -> None:
    """As the first worker would."""
    async with (
        AIOKafkaProducer(bootstrap_servers=broker) as producer,
        rules_log(broker, producer, "") as log,
    ):
        await log.publish(Edition.read(rules, sites))


def qualities(database: InfluxDB) -> tuple[int, int]:
    """How many readings there are as good ones, and as others."""
    source = f'from(bucket: "{READINGS}") |> range(start: 0, stop: 2200-01-01T00:00:00Z)'
    values = f'{source} |> filter(fn: (r) => r._field == "value")'
    rows = database.query(f'{values} |> group(columns: ["quality"]) |> count()')
    found = {row["quality"]: int(row["_value"]) for row in rows}
    return found.pop("good", 0), sum(found.values())


def count(database: InfluxDB) -> int:
    """How many readings there are."""
    source = f'from(bucket: "{READINGS}") |> range(start: 0, stop: 2200-01-01T00:00:00Z)'
    rows = database.query(f'{source} |> filter(fn: (r) => r._field == "value") |> group() |> count()')
    return sum(int(row["_value"]) for row in rows)
