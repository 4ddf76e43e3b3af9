"""docker/: what can be known of it where no container engine is.

Images pinned, commands and options that exist, names that fit together, Kafka's settings with a real Kafka.
"""

from __future__ import annotations

import asyncio
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from streams import apache_kafka, topics
from streams.apache_kafka import ApacheKafka
from streams.child import accepts, free_port
from streams.commands import app

yaml = pytest.importorskip("yaml", reason="needs PyYAML")

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = {name: service for name, service in SERVICES.items() if service["image"].startswith("kapok:")}


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    for image in images:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+[a-z0-9.-]*", image), image
    assert re.search(r"pip install .*\buv==\d+\.\d+\.\d+$", DOCKERFILE, re.M)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {service["image"] for service in OWN.values()} == {f"kapok:{version}"}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{apache_kafka.VERSION}"  # the one that is tested


def test_the_image_holds_the_project_and_runs_as_nobody_special() -> None:
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (ROOT / "docker/Dockerfile.dockerignore").read_text().splitlines()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert all(f"COPY {package} {package}\n" in DOCKERFILE for package in packages["packages"])
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.M)
    assert 'ENTRYPOINT ["kapok"]' in DOCKERFILE


@pytest.mark.parametrize("name", OWN)
def test_commands_and_their_options_exist(name: str) -> None:
    command, *arguments = OWN[name]["command"]
    group: Any = typer.main.get_command(app)
    parameters = {option: p for p in group.commands[command].params for option in p.opts}
    given = [argument for argument in arguments if argument.startswith("--")]
    assert set(given) <= set(parameters)
    assert len(arguments) == sum(1 if parameters[option].is_flag else 2 for option in given)
    from_environment = {parameters[o].envvar for o in parameters if parameters[o].envvar}
    required = {p.envvar for o, p in parameters.items() if p.required and o not in given}
    assert required <= set(OWN[name].get("environment", {})) <= from_environment


def test_names_fit_together() -> None:
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    for name, service in OWN.items():
        command = service["command"]
        assert f"//{command[command.index('--broker') + 1]}," in listeners + ","
        assert "kafka" in service["depends_on"], name
        for other, condition in service["depends_on"].items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[other]
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service.get("ports", []))


def test_secrets_come_from_the_environment() -> None:
    text = (ROOT / "docker/compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", text))
    example = re.findall(r"^(\w+)=(.*)$", (ROOT / "docker/env.example").read_text(), re.M)
    assert wanted == {name for name, _ in example}
    assert all(value == "" for _, value in example)
    assert text.count("${") == text.count(":?")  # without them it does not start


@pytest.mark.kafka
def test_a_real_kafka_starts_with_these_settings(tmp_path: Path) -> None:
    if reason := apache_kafka.missing():
        assert os.environ.get("KAPOK_CI") != "1", reason
        pytest.skip(reason)
    environment = SERVICES["kafka"]["environment"]
    settings = {n.removeprefix("KAFKA_").replace("_", ".").lower(): str(v) for n, v in environment.items()}
    ports = {"19092": str(free_port()), "9092": str(free_port()), "29093": str(free_port())}
    for name in ("listeners", "advertised.listeners", "controller.quorum.voters"):
        here = re.sub(r"(?<=@)kafka(?=:)|(?<=//)(kafka|localhost)?(?=:)", "127.0.0.1", settings[name])
        settings[name] = re.sub(r"(?<=:)\d+", lambda port: ports[port[0]], here)
    settings["log.dirs"] = str(tmp_path / "log")
    with ApacheKafka(tmp_path, int(ports["9092"]), settings) as kafka:
        kafka.process.wait_for(lambda: accepts(int(ports["19092"])), 30)
        assert asyncio.run(topics.ensure(kafka.address)) == topics.PARTITIONS
        assert asyncio.run(topics.shortest_session_ms(kafka.address, 1000, 6000)) == 2000
