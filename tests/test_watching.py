"""What watches the pipeline: Prometheus' rules, each tried; metrics, buckets and fields that really are there."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from streams.archive.copying import Archive
from streams.archive.database import Database
from streams.broker_certificate import Certificate
from streams.log_ends import LogEnds
from streams.oncall.process import Files, OnCall
from streams.outbox import Outbox
from streams.recording import Recording
from streams.worker_metrics import WorkerMetrics

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
RULES = yaml.safe_load((DOCKER / "prometheus/rules.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
BOARDS = {file.stem: json.loads(file.read_text()) for file in sorted((DOCKER / "grafana/dashboards").glob("*.json"))}
JOBS = {
    job["job_name"] for job in yaml.safe_load((DOCKER / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
}
# Prometheus' own, of each thing that it asks.
OWN = {"up": {"job", "instance"}, "process_start_time_seconds": set(), "process_resident_memory_bytes": set()}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: it is in the Debian package prometheus or prometheus-alertmanager"
        assert os.environ.get("KAPOK_CI") != "1", reason
        pytest.skip(reason)
    return found


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def exported() -> dict[str, set[str]]:
    """The series that the processes export: name → labels."""
    worker = WorkerMetrics(lambda: True, live=True)
    worker.watch(8, dict, dict, Outbox(None, print, 8), LogEnds("127.0.0.1:1", [], 8), Certificate(""))  # type: ignore[arg-type]
    archive = Archive("127.0.0.1:1", Database("http://127.0.0.1:1", "", "", "kapok"))

    async def of_oncall() -> CollectorRegistry:
        return OnCall("127.0.0.1:1", Files(None, None), partitions=8)._metrics()

    oncall = asyncio.run(of_oncall())
    found: dict[str, set[str]] = {}
    for registry in (worker.registry, archive.watch.registry, oncall, Recording().registry):
        found |= series(registry)
    return found


def series(registry: CollectorRegistry) -> dict[str, set[str]]:
    found = {}
    for collector in registry._collector_to_names:
        labels = set(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            own = labels | set(getattr(family, "_labelnames", ()))
            ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
            for end in ends:
                found[family.name + end] = own | ({"le"} if end == "_bucket" else set())
    return found


def expressions() -> dict[str, str]:
    found = {name: rule["expr"] for name, rule in (ALERTS | RECORDED).items()}
    for board, page in BOARDS.items():
        for panel in page["panels"]:
            for target in panel["targets"]:
                if "expr" in target:
                    found[f"{board}: {panel['title']}"] = target["expr"]
    return found


@pytest.mark.parametrize("where", expressions())
def test_metrics_and_labels_that_are_asked_for_are_exported(where: str) -> None:
    expr, there = expressions()[where], exported() | OWN
    text = re.sub(r'"[^"]*"', '""', expr)
    assert set(re.findall(r"\bkapok:[\w:]+", text)) <= set(RECORDED)
    asked = set(re.findall(r"\b(?:kapok|process)_\w+|\bup\b", text))
    assert asked <= set(there), asked - set(there)
    of_these = set().union(*(there[name] for name in asked)) | {"job", "instance", "le"}
    grouped = [label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", text) for label in labels.split(",")]
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text)
    assert set(grouped) | set(matched) <= of_these, where
    assert set(re.findall(r'job="(\w+)"', expr)) <= JOBS


def test_every_alert_says_what_it_is_in_two_languages_and_where_to_read_on() -> None:
    for name, rule in ALERTS.items():
        notes = rule["annotations"]
        assert {"summary", "summary_zh", "runbook"} == set(notes), name
        file, _, anchor = notes["runbook"].partition("#")
        titles = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, name
        assert rule["labels"]["severity"] in ("page", "ticket", "none")


def test_the_metrics_that_the_docs_explain_are_those_that_there_are() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    told = set(re.findall(r"`(kapok_\w+?)(?:\{[\w,]+\})?`", text))
    there = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported() if name.startswith("kapok_")}
    assert told <= there, told - there
    assert {name for name in there if "archive" not in name} - {"kapok_info"} <= told


def test_the_files_are_what_prometheus_and_alertmanager_take() -> None:
    run(tool("promtool"), "check", "config", DOCKER / "prometheus/prometheus.yaml")
    run(tool("amtool"), "check-config", DOCKER / "alertmanager/alertmanager.yaml")
    manager = yaml.safe_load((DOCKER / "alertmanager/alertmanager.yaml").read_text())
    for rule in manager["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert set(re.split(r"=~?|\|", matcher.replace('"', ""))[1:]) <= set(ALERTS)


W, X = 'job="worker",instance="a:8080"', 'job="worker",instance="b:8080"'
PLACES = [
    f'{{{W},topic="readings.{kind}",partition="{p}"}}'
    for kind in ("flood", "rain", "infrared", "crowd")
    for p in range(2)
]
# Two workers, two partitions, ten minutes at ten seconds a sample, and nothing wrong.
FINE = {
    f"up{{{W}}}": "1x60",
    f"up{{{X}}}": "1x60",
    f"process_start_time_seconds{{{W}}}": "0x60",
    f"kapok_partitions{{{W}}}": "2x60",
    f"kapok_ready{{{W}}}": "1x60",
    f"kapok_ready{{{X}}}": "1x60",
    f"kapok_ticks_total{{{W}}}": "0+10x60",
    f"kapok_ticks_total{{{X}}}": "0x60",
    f"kapok_outbox_records{{{W}}}": "3x60",
    f"kapok_broker_certificate_timestamp_seconds{{{W}}}": "30000000x60",
    f"kapok_acknowledged_total{{{W}}}": "0+50x60",
    f"kapok_broker_answers_total{{{W}}}": "0+5x60",
    f'kapok_clock_timestamp_seconds{{{W},kind="flood",partition="0"}}': "0+10x60",
    f'kapok_rules_generation{{{W},partition="0"}}': "1x60",
    f'kapok_rules_generation{{{W},partition="1"}}': "1x60",
    f'kapok_readings_total{{{W},kind="flood",grade="good"}}': "0+1000x60",
    f'kapok_readings_total{{{W},kind="flood",grade="late"}}': "0+10x60",
    f'kapok_rejected_total{{{W},kind="flood",reason="future"}}': "0+1x60",
    'kapok_oncall_working{job="oncall",instance="c:8080"}': "1x60",
    'kapok_oncall_working{job="oncall",instance="d:8080"}': "0x60",
    'kapok_oncall_clock_seconds{job="oncall",instance="c:8080"}': "0+10x60",
    "kapok_notifications_total": "0+1x60",
    "kapok_receipts_total": "0+1x60",
    'kapok_deliveries_total{status="delivered"}': "0x60",
    'kapok_deliveries_total{status="failed"}': "0x60",
    'kapok_deliveries_total{status="gave_up"}': "0x60",
    'up{job="archive",instance="e:8080"}': "1x60",
    'kapok_archive_records_total{job="archive"}': "0+100x60",
    'kapok_archive_points_total{job="archive"}': "0+100x60",
    'kapok_archive_refused_total{job="archive"}': "0x60",
    'kapok_archive_lag_records{job="archive",topic="alerts",partition="0"}': "20x60",
    f'kapok_alert_latency_seconds_bucket{{{W},le="1"}}': "0+10x60",
    f'kapok_alert_latency_seconds_bucket{{{W},le="+Inf"}}': "0+10x60",
    **{f"kapok_lag_records{place}": "10x60" for place in PLACES},
}
# alert → what is otherwise (None: not there), from about the fifth minute on.
WRONG: dict[str, dict[str, str | None]] = {
    "WorkersDown": {f"up{{{W}}}": "1x30 0x30", f"up{{{X}}}": "1x20 _x40"},
    "PartitionsUnowned": {f"kapok_lag_records{PLACES[0]}": "10x30 stale"},
    "WorkerNotReady": {f"kapok_ready{{{X}}}": "1x20 0x40"},
    "WorkersRestart": {f"process_start_time_seconds{{{W}}}": "0x10 1x10 2x10 3x10 4x20"},
    "ClockStopped": {f"kapok_ticks_total{{{W}}}": "0+10x30 300x30"},
    "Behind": {f'kapok_clock_timestamp_seconds{{{W},kind="flood",partition="0"}}': "0+10x30 300x30"},
    "ClockAhead": {f'kapok_clock_timestamp_seconds{{{W},kind="flood",partition="0"}}': "0+10x30 330+10x30"},
    "LagGrows": {f"kapok_lag_records{PLACES[0]}": "10x20 10+500x40"},
    "AlertsNotAcknowledged": {f"kapok_acknowledged_total{{{W}}}": "0+50x30 1500x30"},
    "AlertsSlow": {f'kapok_alert_latency_seconds_bucket{{{W},le="1"}}': "0x60", f'kapok_alert_latency_seconds_bucket{{{W},le="10"}}': "0+10x60"},
    "BrokerSilent": {f"kapok_broker_answers_total{{{W}}}": "0+5x30 150x30"},
    "CertificateEnds": {f"kapok_broker_certificate_timestamp_seconds{{{W}}}": "2000000x60"},
    "CertificateEndsNow": {f"kapok_broker_certificate_timestamp_seconds{{{W}}}": "2000000x30 100000x30"},
    "RulesDiffer": {f'kapok_rules_generation{{{W},partition="1"}}': "1x10 2x50"},
    "NoReadings": {f'kapok_readings_total{{{W},kind="flood",grade="good"}}': "0+1000x60 60000x90", f'kapok_readings_total{{{W},kind="flood",grade="late"}}': "0x150"},
    "RejectedShareHigh": {f'kapok_rejected_total{{{W},kind="flood",reason="future"}}': "0+100x60"},
    "GatewayFloods": {f'kapok_readings_total{{{W},kind="flood",grade="good"}}': "0+1000x360 360000+20000x40"},
    "DuplicatesShareHigh": {f'kapok_readings_total{{{W},kind="flood",grade="duplicate"}}': "0+900x150"},
    "OnCallDown": {'kapok_oncall_working{job="oncall",instance="c:8080"}': "1x30 0x30"},
    "OnCallBehind": {'kapok_oncall_clock_seconds{job="oncall",instance="c:8080"}': "0+10x30 300x30"},
    "NobodyDelivers": {"kapok_receipts_total": "0x60"},
    "DeliveriesGivenUp": {'kapok_deliveries_total{status="gave_up"}': "0x30 1x30"},
    "DeliveriesFail": {'kapok_deliveries_total{status="failed"}': "0+1x60"},
    "ArchiveDown": {'up{job="archive",instance="e:8080"}': "1x10 0x60"},
    "ArchiveBehind": {'kapok_archive_points_total{job="archive"}': "0+100x10 1000x80", 'kapok_archive_lag_records{job="archive",topic="alerts",partition="0"}': "20x10 20+1000x80"},
    "ArchiveFarBehind": {'kapok_archive_lag_records{job="archive",topic="alerts",partition="0"}': "20x10 5000x200"},
    "PointsRefused": {'kapok_archive_refused_total{job="archive"}': "0x30 1x30"},
}  # fmt: skip


# 20,000 records a second, of which those of six seconds are not committed yet.
BUSY: dict[str, str | None] = {
    'kapok_archive_records_total{job="archive"}': "0+200000x250",
    'kapok_archive_lag_records{job="archive",topic="alerts",partition="0"}': "120000x250",
}


def firing(name: str, changes: dict[str, str | None], expected: bool) -> dict[str, Any]:
    """One of promtool's tests: whether an alert fires at the end of the series."""
    series = {key: text for key, text in (FINE | changes).items() if text is not None}
    length = max(sum(int(n) for n in re.findall(r"x(\d+)", text)) for text in series.values())
    long = {key: text if key in changes else text.replace("x60", f"x{length}") for key, text in series.items()}
    count = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0'
    samples = [{"labels": "{}", "value": 1}] if expected else []
    return {
        "interval": "10s",
        "input_series": [{"series": key, "values": text} for key, text in long.items()],
        "promql_expr_test": [{"expr": count, "eval_time": f"{length * 10}s", "exp_samples": samples}],
    }


def test_each_alert_fires_when_it_should_and_not_when_all_is_well(tmp_path: Path) -> None:
    assert set(WRONG) | {"Watched"} == set(ALERTS)
    tests = [firing(name, changes, True) for name, changes in {**WRONG, "Watched": {}}.items()]
    tests += [firing(name, {}, False) for name in WRONG]
    tests += [firing("ArchiveFarBehind", BUSY, False)]
    file = tmp_path / "tests.yaml"
    content = {"rule_files": [str(DOCKER / "prometheus/rules.yaml")], "evaluation_interval": "10s", "tests": tests}
    file.write_text(yaml.safe_dump(content, allow_unicode=True))
    run(tool("promtool"), "test", "rules", file)


def test_dashboards_have_what_grafana_needs() -> None:
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/kapok.yaml").read_text())["datasources"]
    known = {source["uid"] for source in sources}
    assert len({page["uid"] for page in BOARDS.values()}) == len(BOARDS) == 5
    for page in BOARDS.values():
        used = {source["uid"] for source in every(page, lambda key, value: key == "datasource")}
        assert used <= known
        names = {variable["name"] for variable in page["templating"]["list"]}
        for panel in page["panels"]:
            for target in panel["targets"]:
                assert set(re.findall(r"\$\{(\w+)\}", target.get("query", ""))) <= names
        assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])


def every(thing: Any, wanted: Callable[[str, Any], bool]) -> list[Any]:
    """The values in a JSON thing, however deep, whose key is wanted."""
    if isinstance(thing, list):
        return [found for one in thing for found in every(one, wanted)]
    if isinstance(thing, dict):
        own = [value for key, value in thing.items() if wanted(key, value)]
        return own + [found for value in thing.values() for found in every(value, wanted)]
    return []
