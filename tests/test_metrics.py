"""What Prometheus gets to see of a worker: numbers that follow what was published."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from pathlib import Path

from aiokafka import AIOKafkaProducer
from oncall_pipeline import START_MS, OnCallTopics
from pipelines import ended, wait_for_line
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sensors.catalogue import Catalogue
from sensors.quantities import KINDS
from streams import topics
from streams.child import Child, accepts, free_port
from streams.metrics import Finder, Found, exposition, registry

pytest_plugins = ["brokers"]


def scraped(port: int) -> dict[str, Metric]:
    """The metric families that a process exports, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """The sum over all samples with these labels."""
    samples = [one for family in families.values() for one in family.samples if one.name == name]
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


async def publish(broker: str, prefix: str, zone: str, sensor: str) -> None:
    """Of one gauge: two good readings, the second of which raises alerts; one twice, one late; and two bad ones."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    now = int(time.time())

    def pack(**entry: object) -> bytes:
        return json.dumps([{"n": f"{sensor}/depth", **entry}]).encode()

    try:
        values = [pack(t=now, v=0.0), pack(t=now + 1, v=0.5), pack(t=now + 1, v=0.5), pack(t=now - 9, v=0.1)]
        values += [b"no JSON", pack(t=now + 2, v=99)]
        for body in values:
            await producer.send_and_wait(f"{prefix}readings.flood", body, zone.encode())
    finally:
        await producer.stop()


def test_a_worker_counts_what_was_published(embedded_broker: str, prefix: str, tmp_path: Path) -> None:
    gauge = next(sensor for sensor in Catalogue.shipped().sensors.values() if sensor.kind == "flood")
    port = free_port()
    command = [sys.executable, "-m", "streams", "worker", "--broker", embedded_broker, "--prefix", prefix]
    with ended(Child("worker", [*command, "--health", f"127.0.0.1:{port}"], tmp_path / "worker.log")) as workers:
        wait_for_line(workers[0], "reading partitions")
        asyncio.run(publish(embedded_broker, prefix, gauge.zone, gauge.id))
        now = scraped(port)
        while not (
            value(now, "kapok_rejected_total") >= 2
            and value(now, "kapok_alert_latency_seconds_count")
            and value(now, "kapok_ticks_total")
            and len(now["kapok_clock_timestamp_seconds"].samples) == len(KINDS) * topics.PARTITIONS
            and value(now, "kapok_state_rows") >= topics.PARTITIONS
        ):
            workers[0].check()
            time.sleep(0.1)
            now = scraped(port)
        graded = {grade: value(now, "kapok_readings_total", grade=grade) for grade in ("good", "late", "duplicate")}
        assert graded == {"good": 2, "late": 1, "duplicate": 1}
        assert value(now, "kapok_readings_total", kind="flood") == value(now, "kapok_readings_total")
        assert value(now, "kapok_rejected_total", kind="flood", reason="malformed") == 1
        assert value(now, "kapok_rejected_total", kind="flood", reason="out_of_range") == 1
        assert value(now, "kapok_rejected_total") == 2
        alerts = value(now, "kapok_alerts_total")
        assert alerts >= value(now, "kapok_alerts_total", rule="flood-depth", level="4") == 1
        assert value(now, "kapok_alert_latency_seconds_count") <= alerts
        assert value(now, "kapok_alert_latency_seconds_bucket", le="60.0") == alerts
        assert value(now, "kapok_ready") == 1
        assert value(now, "kapok_rebalances_total") >= 1
        assert value(now, "kapok_fold_seconds_total") > 0
        assert value(now, "kapok_state_bytes") > 100 * topics.PARTITIONS
        assert abs(value(now, "kapok_clock_timestamp_seconds", kind="flood", partition="0") - time.time()) < 3600
        assert {one.labels["topic"] for one in now["kapok_lag_records"].samples} == {
            f"{prefix}readings.{kind}" for kind in KINDS
        }
        assert value(now, "process_resident_memory_bytes") > 1e6
        assert value(now, "kapok_info", process="worker") == 1
        assert workers[0].stop() == 0


def test_on_call_counts_what_is_open_and_who_was_told(embedded_broker: str, prefix: str, tmp_path: Path) -> None:
    on, port = OnCallTopics(embedded_broker, prefix, tmp_path), free_port()
    try:
        with ended(on.start("--health", f"127.0.0.1:{port}")) as running:
            on.until_ready(*running)
            on.feed(START_MS, on.alert(on.gauges[0].id, 4, START_MS + 500), START_MS + 1000)
            on.until(lambda: value(scraped(port), "kapok_oncall_cases") == 1, running)
            now = scraped(port)
            assert value(now, "kapok_oncall_working") == 1
            on.until(lambda: value(scraped(port), "kapok_oncall_clock_seconds") == START_MS / 1000 + 1, running)
            results = {one.labels["status"] for one in now["kapok_deliveries"].samples}
            assert results == {"delivered", "failed", "gave_up"}  # from 0 on, so that the first one is a rise
            assert value(now, "kapok_told_latency_seconds_count") == 0
            assert value(now, "kapok_info", process="oncall") == 1
            assert running[0].stop() == 0
    finally:
        on.close()


def test_a_recording_that_goes_on_says_how_far_it_is(embedded_broker: str, prefix: str, tmp_path: Path) -> None:
    gauge = next(sensor for sensor in Catalogue.shipped().sensors.values() if sensor.kind == "flood")
    port = free_port()
    where = ("--broker", embedded_broker, "--prefix", prefix)
    asyncio.run(topics.ensure(embedded_broker, prefix))
    command = [sys.executable, "-m", "streams", "record", *where, "--follow", "--health", f"127.0.0.1:{port}"]
    command += ["--out", str(tmp_path / "capture.jsonl")]
    with ended(Child("record", command, tmp_path / "record.log")) as running:
        running[0].wait_for(lambda: accepts(port), 60)
        while value(now := scraped(port), "kapok_recorded_records_total") < 100:
            running[0].check()
            asyncio.run(publish(embedded_broker, prefix, gauge.zone, gauge.id))
        assert abs(value(now, "kapok_recorded_timestamp_seconds") - time.time()) < 3600
        assert value(now, "kapok_info", process="record") == 1
        assert running[0].stop() == 0


def test_what_is_looked_up_is_of_the_moment() -> None:
    own, seen = registry("any"), {("a",): 1.0}
    own.register(
        Finder([Found("kapok_seen", "", ("what",), lambda: seen), Found("kapok_n", "", (), lambda: {(): 7}, True)])
    )
    assert b'kapok_seen{what="a"} 1.0' in exposition(own, "")[0]
    seen[("a",)] = 2
    text, content_type = exposition(own, "application/openmetrics-text; version=1.0.0")
    assert b'kapok_seen{what="a"} 2.0' in text
    assert b"kapok_n_total 7" in text
    assert content_type.startswith("application/openmetrics-text")
