"""A real InfluxDB 2 on loopback, for tests: set up through its own API, stopped, killed, started again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from influxdb_client import BucketRetentionRules, InfluxDBClient, OnboardingRequest, SetupService
from influxdb_client.client.write_api import SYNCHRONOUS

from streams.child import Child, accepts, free_port

ORG, BUCKET, TOKEN = "kapok", "kapok", "a-token-for-tests"
ASIDE = ("chrt", "--idle", "0")  # before a command: it runs where nobody else wants to
SETTINGS = {  # those of docker/compose.yaml
    "INFLUXD_REPORTING_DISABLED": "true",
    "INFLUXD_PPROF_DISABLED": "true",
    "GOGC": "300",
    "GOMEMLIMIT": "4GiB",
}


def influxd() -> Path | None:
    """The server: on the PATH, or where install-influxd.sh puts it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = sorted(cache.glob("kapok/influxd-*/influxd"))
    found = shutil.which("influxd")
    return Path(found) if found else built[-1] if built else None


class InfluxDB:
    """Keeps its data in ``folder``, so what was written survives ``stop`` and ``start``."""

    def __init__(self, server: Path, folder: Path, port: int | None = None, *, aside: bool = False) -> None:
        """``aside``: it runs where nobody else wants to."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._command = [
            *(ASIDE if aside else ()),
            server,
            *("--bolt-path", folder / "influxd.bolt", "--sqlite-path", folder / "influxd.sqlite"),
            *("--engine-path", folder / "engine", "--http-bind-address", f"127.0.0.1:{self.port}"),
        ]

    def start(self) -> None:
        self._child = Child("influxd", self._command, self._folder / "influxd.log", SETTINGS)
        self._child.wait_for(lambda: accepts(self.port) and self._ready(), 30)

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        self._child.stop()

    def kill(self) -> None:
        self._child.kill()

    def set_up(self) -> None:
        """Makes the organisation, the bucket and the token."""
        request = OnboardingRequest("tests", "for-tests-only", org=ORG, bucket=BUCKET, token=TOKEN)
        with self._client() as client:
            SetupService(client.api_client).post_setup(request)

    def add_bucket(self, name: str, retention_s: int) -> None:
        with self._client() as client:
            rule = BucketRetentionRules(type="expire", every_seconds=retention_s)
            client.buckets_api().create_bucket(bucket_name=name, retention_rules=rule, org=ORG)

    def retention(self) -> dict[str, int]:
        """How long each bucket keeps its points, in s (0: for ever)."""
        with self._client() as client:
            return {b.name: b.retention_rules[0].every_seconds for b in client.buckets_api().find_buckets().buckets}

    def tasks(self) -> list[str]:
        """The names of its tasks."""
        with self._client() as client:
            return [task.name for task in client.tasks_api().find_tasks()]

    def run_task(self, name: str) -> None:
        """Runs what a task would run now."""
        with self._client() as client:
            (task,) = client.tasks_api().find_tasks(name=name)
            client.query_api().query(task.flux)

    def write(self, bucket: str, *lines: str) -> None:
        """Writes line protocol, times in ms."""
        with self._client() as client, client.write_api(write_options=SYNCHRONOUS) as writer:
            writer.write(bucket, ORG, list(lines), write_precision="ms")

    def query(self, flux: str) -> list[dict[str, Any]]:
        """The rows that a Flux query gives."""
        with self._client() as client:
            return [row.values for table in client.query_api().query(flux) for row in table.records]

    def counts(self, bucket: str = BUCKET) -> dict[str, int]:
        """How many points there are with each ``measurement.field``; none where there is no such bucket."""
        source = f'from(bucket: "{bucket}") |> range(start: 0, stop: 2200-01-01T00:00:00Z)'
        if bucket not in self.retention():
            return {}
        rows = self.query(f'{source} |> count() |> group(columns: ["_measurement", "_field"]) |> sum()')
        return {f"{row['_measurement']}.{row['_field']}": row["_value"] for row in rows}

    def _client(self) -> InfluxDBClient:
        return InfluxDBClient(url=self.url, token=TOKEN, org=ORG, timeout=60_000)

    def _ready(self) -> bool:
        with self._client() as client:
            return bool(client.ping())
