"""A pytest plugin: the brokers that tests run on, and prefixes that keep their topics apart."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streams import apache_kafka as real
from streams.embedded_broker import EmbeddedBroker


def _lacking(reason: str) -> None:
    """Skips the test, or fails it where nothing may be lacking (in CI)."""
    if os.environ.get("KAPOK_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """The address of an embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.address


@pytest.fixture(scope="session")
def java() -> None:
    """What Apache Kafka needs, for tests that start one of their own."""
    if reason := real.missing():
        _lacking(reason)


@pytest.fixture(scope="session")
def apache_kafka(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an Apache Kafka."""
    with real.ApacheKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.address


class Secured(NamedTuple):
    """A broker to which everybody comes with a password; ``folder`` is that of `kapok access`."""

    address: str
    admin: str
    folder: Path
    kafka: real.ApacheKafka

    def settings(self, user: str) -> dict[str, str]:
        """The environment in which a client comes as this user."""
        return {"KAPOK_BROKER_SETTINGS": str(self.folder / user / "broker.toml")}

    def log(self) -> str:
        """What the broker has logged."""
        return self.kafka.process.log.read_text()


@pytest.fixture(scope="session")
def secured_kafka(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """An Apache Kafka with TLS, passwords and rights, its users made by `kapok access`."""
    folder = tmp_path_factory.mktemp("access")
    gateways = ["--gateway", "all", "--gateway", "north=flood,rain"]
    _kapok("access", "make", str(folder), "--host", "127.0.0.1", *gateways)
    with real.ApacheKafka(tmp_path_factory.mktemp("secured"), access=folder) as kafka:
        _kapok("access", "grant", str(folder), "--broker", kafka.admin_address, "--partitions", "2")
        yield Secured(kafka.address, kafka.admin_address, folder, kafka)


def _kapok(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "streams", *arguments], check=True, capture_output=True)


@pytest.fixture(params=["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> str:
    """The address of each broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def prefix() -> str:
    """A prefix for topics that no other test has."""
    return f"test-{uuid.uuid4().hex[:8]}."
