"""What is made at the first start, and looked after at every other one: the services `keys` and `rights`.

first_start.py keys      certificates and passwords, in KAPOK_KEYS; what is there stays
first_start.py rights    topics, users and rights at Kafka; tokens for the archive and for Grafana at InfluxDB
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from influxdb_client import InfluxDBClient, Permission, PermissionResource
from influxdb_client.rest import ApiException

from sensors.quantities import KINDS
from streams import access
from streams.archive.database import ALERTS, READINGS, Database
from streams.archive.tasks import LONG, SHORT
from streams.certificates import Authority, write_secret

FOLDER = Path(os.environ.get("KAPOK_KEYS", "/keys"))
ORG = "kapok"
NAME = "kapok"  # the archive's buckets begin with it
ARCHIVES = {"read": ("buckets", "orgs", "tasks"), "write": ("buckets", "tasks")}  # action → kinds of things
GRAFANAS = (READINGS, ALERTS, SHORT.name, LONG.name)  # buckets: not infrared, which shows who is at home


def keys(hosts: list[str], gateways: list[str]) -> None:
    """``gateways``: NAME=KIND,…, or NAME alone for all kinds of readings."""
    kinds = {
        name: given.split(",") if given else list(KINDS) for name, _, given in (g.partition("=") for g in gateways)
    }
    made = access.make(FOLDER, hosts, kinds)
    authority, console = Authority(FOLDER), FOLDER / "oncall/console.pem"
    if not authority.holds(console, hosts):
        authority.issue(console, "console", hosts)
        made.append("oncall/console.pem")
    for name in ("influxdb/password", "influxdb/token", "grafana/password"):
        file = FOLDER / name
        if not file.exists():
            file.parent.mkdir(mode=0o750, exist_ok=True)
            write_secret(file, secrets.token_urlsafe(32).encode())
            made.append(name)
    print(f"{FOLDER}: " + (f"made {', '.join(made)}" if made else "everything is there"))


def rights(broker: str, influxdb: str) -> None:
    subprocess.run([sys.executable, "-m", "streams", "access", "grant", FOLDER, "--broker", broker], check=True)
    database = Database(influxdb, (FOLDER / "influxdb/token").read_text().strip(), ORG, NAME)
    database.prepare()
    with database.client() as client:
        org = client.organizations_api().find_organizations(org=ORG)[0].id
        archives = [
            Permission(action=action, resource=PermissionResource(type=kind, org_id=org))
            for action, kinds in ARCHIVES.items()
            for kind in kinds
        ]
        buckets = [client.buckets_api().find_bucket_by_name(database.bucket(what)) for what in GRAFANAS]
        grafanas = [
            Permission(action="read", resource=PermissionResource(type="buckets", id=bucket.id, org_id=org))
            for bucket in buckets
        ]
        for name, permissions in (("archive/influx-token", archives), ("grafana/influx-token", grafanas)):
            if not _works(influxdb, FOLDER / name):
                made = client.authorizations_api().create_authorization(org_id=org, permissions=permissions)
                write_secret(FOLDER / name, made.token.encode())
                print(f"{influxdb}: made {name}")


def _works(influxdb: str, token: Path) -> bool:
    if not token.exists():
        return False
    with InfluxDBClient(url=influxdb, token=token.read_text().strip(), org=ORG) as client:
        try:
            client.buckets_api().find_buckets(limit=1)
        except ApiException as error:
            if error.status != 401:
                raise
            return False
    return True


if __name__ == "__main__":
    if sys.argv[1:] == ["keys"]:
        keys(os.environ["KAPOK_HOSTS"].split(), os.environ["KAPOK_GATEWAYS"].split())
    elif sys.argv[1:] == ["rights"]:
        rights(os.environ["KAPOK_BROKER"], os.environ["INFLUX_URL"])
    else:
        sys.exit(__doc__)
