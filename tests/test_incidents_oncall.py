"""The incident of docs/operations.md in which notifications are decided, and nothing delivers them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from oncall_pipeline import START_MS, OnCallTopics
from pipelines import ended
from watchers import watching

from streams.child import free_port

pytest_plugins = ["brokers"]


@pytest.fixture
def on(embedded_broker: str, prefix: str, tmp_path: Path) -> Iterator[OnCallTopics]:
    made = OnCallTopics(embedded_broker, prefix, tmp_path)
    yield made
    made.close()


def test_nobody_delivers(on: OnCallTopics, tmp_path: Path) -> None:
    """On-call was started with ``--no-delivery``; what somebody else delivers counts as well as its own."""
    port = free_port()
    with (
        watching(tmp_path / "watching", {"oncall": [port]}) as watch,
        ended(on.start("--health", f"127.0.0.1:{port}")) as running,
    ):
        on.until_ready(*running)
        watch.until(lambda: watch.value("max(kapok_oncall_working)") == 1, running)
        assert "NobodyDelivers" not in watch.fired
        sites = [gauge.id for gauge in on.gauges[:8]]
        on.feed(START_MS, *[on.alert(site, 4, START_MS + 500) for site in sites], START_MS + 1000)
        watch.until_fires("NobodyDelivers", running)
        on.until(lambda: len({one.case for one in on.notifications()}) == len(sites), running)
        told = on.notifications()
        receipts = [on.receipt(one, START_MS + 2000) for one in told]
        on.feed(*receipts, START_MS + 3000)
        watch.until_over("NobodyDelivers", running)
        assert watch.value("sum(kapok_notifications_total)") == len(told)
        assert watch.value("sum(kapok_receipts_total)") == len(receipts)
