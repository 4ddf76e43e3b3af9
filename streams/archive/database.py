"""The buckets and tasks of the archive: made at start, and as they should be after every start.

| bucket | what | kept |
|---|---|---|
| ``<name>-readings`` | every flood, rain and crowd reading | 90 days |
| ``<name>-infrared`` | every reading from people's homes | 7 days, never longer |
| ``<name>-alerts`` | alerts and cases | for ever |
| ``<name>-5m``, ``<name>-1h`` | what the tasks make of them, for 5 minutes and for an hour | 2 years, for ever |
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from influxdb_client import BucketRetentionRules, InfluxDBClient, TaskCreateRequest
from influxdb_client.rest import ApiException

from sensors.errors import RunError
from streams.archive import tasks

READINGS: Final = "readings"
INFRARED: Final = "infrared"
ALERTS: Final = "alerts"
_DAY_S = 86_400
INFRARED_DAYS: Final = 7  # of what shows when somebody is at home, no more than on-call needs
KEPT_S: Final = {  # 0: for ever
    READINGS: 90 * _DAY_S,
    INFRARED: INFRARED_DAYS * _DAY_S,
    ALERTS: 0,
    tasks.SHORT.name: 730 * _DAY_S,
    tasks.LONG.name: 0,
}
NO_ACCESS: Final = (401, 403, 404)
_TIMEOUT_MS = 30_000


class Database(NamedTuple):
    """An InfluxDB 2: where it is, and what the names of the archive's buckets begin with."""

    url: str
    token: str
    org: str
    name: str

    def bucket(self, what: str) -> str:
        return f"{self.name}-{what}"

    def client(self) -> InfluxDBClient:
        return InfluxDBClient(url=self.url, token=self.token, org=self.org, timeout=_TIMEOUT_MS)

    def turned_away(self, reason: str) -> RunError:
        """What to say when it will not have us."""
        return RunError(
            f"the InfluxDB at {self.url} turns us away: {reason} (are the token, --org and --bucket right?)"
        )

    def prepare(self) -> dict[str, int]:
        """Makes the buckets and tasks that are missing, and gives how long each bucket keeps its points, in s.

        A bucket that is there already stays as it is, but for infrared, which is never kept longer than it may be.
        RunError where the token may not do it. Errors of the connection, and of a server that is busy, are the
        client's own.
        """
        with self.client() as client:
            try:
                kept = {what: self._make_bucket(client, what, seconds) for what, seconds in KEPT_S.items()}
                self._make_tasks(client)
            except ApiException as error:
                if error.status in (*NO_ACCESS, 422):
                    raise self.turned_away(reason_of(error)) from error
                raise
        return kept

    def _make_bucket(self, client: InfluxDBClient, what: str, seconds: int) -> int:
        buckets = client.buckets_api()
        name = self.bucket(what)
        rule = BucketRetentionRules(type="expire", every_seconds=seconds)
        found = buckets.find_bucket_by_name(name)
        if found is None:
            buckets.create_bucket(bucket_name=name, retention_rules=rule, org=self.org)
            return seconds
        kept = int(found.retention_rules[0].every_seconds) if found.retention_rules else 0
        if what == INFRARED and not 0 < kept <= seconds:
            found.retention_rules = [rule]
            buckets.update_bucket(found)
            return seconds
        return kept

    def _make_tasks(self, client: InfluxDBClient) -> None:
        api = client.tasks_api()
        there = {task.name: task for task in api.find_tasks(org=self.org, limit=500)}
        for name, flux in tasks.all_tasks(self.bucket).items():
            found = there.get(name)
            if found is None:
                api.create_task(task_create_request=TaskCreateRequest(flux=flux, org=self.org, status="active"))
            elif found.flux != flux:
                found.flux = flux
                api.update_task(found)


def reason_of(error: ApiException) -> str:
    """What the server said: its status and its message."""
    return f"{error.status}: {message_of(error.body) or error.reason}"


def message_of(body: Any) -> str | None:
    """The message in an answer of the server, which is JSON mostly."""
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, TypeError, KeyError):
        return None
