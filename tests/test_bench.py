"""The arithmetic of the contest: how far a contestant is, medians and ratios, and what fails a run."""

from __future__ import annotations

import importlib
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bench import contest, course, data, plots, report, stages
from bench.contest import KAPOK, Contest, Round, Seen
from bench.course import Course
from bench.peers import PEERS
from sensors.errors import InputError, RunError

pytest_plugins = ["brokers"]

command = importlib.import_module("streams.commands.bench")  # the package has the function of that name
SMALL = Course("small", 25, 12, sensors=400, zones=8)


def a_round(contestant: str, course: str, rate: float, missing: int = 0, memory: float = 100.0) -> Round:
    return Round(contestant, course, rate, 10, missing, 0, 0, memory, 0.5, True)


ROUNDS = [
    a_round(KAPOK, "packs", 400.0),
    a_round("quix", "packs", 100.0),
    a_round(KAPOK, "packs", 600.0, memory=120.0),
    a_round("quix", "packs", 300.0),
    a_round(KAPOK, "packs", 500.0),
    a_round("quix", "packs", 200.0),
    a_round(KAPOK, "singles", 90.0),
    a_round("quix", "singles", 60.0),
]


def a_report(rounds: list[Round]) -> report.Report:
    found = report.throughput(Contest(rounds, {"bytewax": "needs uv on the PATH"}))
    return {"machine": report.machine(), "rounds": 3} | found


def test_what_is_told_are_medians_and_kapok_divided_by_each() -> None:
    found = a_report(ROUNDS)
    assert found["throughput"] == {KAPOK: {"packs": 500.0, "singles": 90.0}, "quix": {"packs": 200.0, "singles": 60.0}}
    assert found["spread"]["quix"]["packs"] == [100.0, 300.0]
    assert found["ratios"] == {"quix": {"packs": 2.5, "singles": 1.5}}
    assert found["ratios_spread"]["quix"]["packs"] == [2.0, 4.0]  # 400 ÷ 100, 600 ÷ 300, 500 ÷ 200
    assert found["peak_mb"][KAPOK]["packs"] == 120.0
    assert found["missing"] == {"bytewax": "needs uv on the PATH"}


def test_the_report_is_json_with_these_parts() -> None:
    found = msgspec.json.decode(msgspec.json.encode(a_report(ROUNDS)))
    assert {"machine", "rounds", "throughput", "spread", "ratios", "ratios_spread", "alerts", "missing"} <= found.keys()
    assert {"cores", "cpu", "memory_gb", "system", "python"} <= found["machine"].keys()


def test_tables_and_picture_name_all_contestants() -> None:
    found = a_report(ROUNDS)
    waits = {"p50": 2.0, "p99": 7.5, "max": 9.0, "alerts": 100, "lost": 0, "sent_per_s": 999.0}
    found["latency_ms"] = {
        "kafka": {"rates": {"1000": waits | {"lost": 2}}},
        "straight": {"rate": 10_000} | waits,
        "rebalance": {"rate": 1000} | waits,
    }
    found["replay"] = {"readings": 10, "readings_per_s": 300_000.0, "day_of_city_s": 3.5}
    found["scaling"] = {name: {"1": 1e6} for name in ("sensors", "partitions", "pack", "rules")}
    found["memory"] = {"state_bytes_per_sensor_one_rule": 42.5}
    console = Console(record=True, width=200)
    report.show(console, found)
    text = console.export_text()
    for told in (
        "Quix Streams",
        "2.50 (2.00–4.00)",
        "missing: Bytewax",
        "needs uv",
        "7.5",
        "3.5 s",
        "42.5",
        "2 missing",
    ):
        assert told in text
    picture = ElementTree.fromstring(plots.svg(found))
    words = " ".join("".join(element.itertext()) for element in picture.iter())
    assert "Quix Streams" in words
    assert "(2.5×)" in words


def test_every_contestant_that_ran_has_a_row_and_a_bar() -> None:
    found = a_report([a_round(name, lane, 100.0) for name in contest.TITLES for lane in ("packs", "singles")])
    console = Console(record=True, width=200)
    report.show(console, found)
    text = console.export_text()
    picture = ElementTree.fromstring(plots.svg(found))
    labels = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    for title in contest.TITLES.values():
        assert text.count(f"│ {title} ") == 2
        assert labels.count(title) == 2
    assert {"Flink 2.2", "Kafka Streams 4.1", "kapok"} <= set(labels)


def test_alerts_that_are_not_the_folds_are_told_with_the_worst_round() -> None:
    assert report.differing(a_report(ROUNDS)) == []
    wrong = [*ROUNDS, a_round("quix", "packs", 250.0, missing=3), a_round("quix", "packs", 250.0, missing=1)]
    assert report.differing(a_report(wrong)) == ["Quix Streams 3.28, packs: of 10 alerts 3 missing"]


def test_the_marks_report_last_and_change_every_minute() -> None:
    marks = SMALL.marks()
    assert sorted(marks.values()) == sorted({SMALL.partition(n) for n in range(SMALL.sensors)})
    last: dict[tuple[int, int], bytes] = {}
    for record in course.records(SMALL):
        if record.topic == data.TOPIC and record.key != b"@clock":
            last[record.partition, record.timestamp or 0] = record.value or b""
    for (partition, time_ms), pack in last.items():
        entry = msgspec.json.decode(pack)[-1]
        assert marks[entry["n"].partition("/")[0]] == partition
        assert entry["v"] == (0.5 if (time_ms - data.START_MS) // course.MINUTE_MS % 2 else 0.0)


def steps(seen: Seen, per_minute_ms: int, minutes: int) -> None:
    """Every partition done at the same pace, after a slow first minute."""
    for minute in range(1, minutes):
        for mark in SMALL.marks():
            at = data.START_MS + course.MINUTE_MS * minute
            seen.take(("depth", mark, at, 4 * (minute % 2)), 10_000 + per_minute_ms * minute)


def test_a_rate_is_that_of_the_readings_after_the_warm_up() -> None:
    seen = Seen(SMALL)
    steps(seen, 250, SMALL.minutes)
    assert seen.complete
    assert seen.rate() == pytest.approx(SMALL.sensors * 4)  # four minutes of the course a second


def test_of_a_round_that_was_cut_short_what_came_before_must_be_there() -> None:
    seen = Seen(SMALL)
    steps(seen, 250, 6)
    assert not seen.complete
    start, minute = data.START_MS, course.MINUTE_MS
    marks = {
        ("depth", mark, start + minute * m, 4 * (m % 2)) for mark in SMALL.marks() for m in range(1, SMALL.minutes)
    }
    early, late = ("depth", data.gauge(1), start + 2 * minute, 1), ("depth", data.gauge(1), start + 9 * minute, 2)
    partitions = {data.gauge(n): SMALL.partition(n) for n in range(SMALL.sensors)}
    assert seen.compared(marks | {late}, partitions.get) == (0, 0, 0)
    assert seen.compared(marks | {early, late}, partitions.get) == (1, 0, 0)
    seen.take(early, 99_999)
    assert seen.compared(marks | {late}, partitions.get) == (0, 1, 0)
    seen.take(early, 99_999)
    assert seen.compared(marks | {early, late}, partitions.get) == (0, 0, 1)


def test_without_its_folder_the_command_says_where_to_run_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "_ROOT", tmp_path)
    with pytest.raises(RunError, match="clone of the repository"):
        command.bench()


def test_the_picture_of_scaling_has_a_curve_for_each_thing_that_grows() -> None:
    found = {"machine": report.machine(), "rounds": 5}
    found["scaling"] = {name: {"1": 1.5e6, "10": 3e6, "1000": 2e6} for name in report.SCALES}
    picture = ElementTree.fromstring(plots.svg(found))
    labels = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {report.SCALES[name] for name in ("sensors", "partitions", "pack")} <= set(labels)
    assert labels.count("1,000") == len(report.SCALES)
    assert labels.count("3.00 M") == 3
    assert "30.00 M" in labels  # of rules: each reading goes through ten of them


def test_a_picture_needs_something_to_draw() -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        command.bench(only=[command.Section.replay], plot=Path("picture.svg"))


@pytest.mark.parametrize("name", ["kafka-streams", "flink"])
def test_a_contestant_that_cannot_be_built_here_says_why(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    peer = next(peer for peer in PEERS if peer.name == name)
    with pytest.raises(RunError, match="needs java and javac and mvn on the PATH"):
        peer.command(tmp_path)


@pytest.mark.kafka
async def test_kapok_runs_the_course_with_the_alerts_of_the_fold(apache_kafka: str, tmp_path: Path) -> None:
    found = Contest([], {})
    await contest.compete(apache_kafka, tmp_path, [SMALL], 1, [KAPOK, contest.KAPOK_ALL], found)
    assert [one.contestant for one in found.rounds] == [KAPOK, contest.KAPOK_ALL]
    for one in found.rounds:
        assert one.complete
        assert one.same
        assert one.alerts >= len(SMALL.marks()) * (SMALL.minutes - 1)


@pytest.mark.kafka
async def test_peers_on_the_jvm_run_the_course_with_the_alerts_of_the_fold(
    apache_kafka: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for limit in ("_FIRST_ALERT_S", "_STILL_S", "_LAST_ALERTS_S"):  # a busy machine may take its time
        monkeypatch.setattr(contest, limit, 3600.0)
    found = Contest([], {})
    lane = SMALL._replace(name="jvm")  # the broker is shared
    await contest.compete(apache_kafka, tmp_path, [lane], 1, ["kafka-streams", "flink"], found, longest_s=3600.0)
    assert found.missing == {}
    assert [(one.contestant, one.complete, one.same) for one in found.rounds] == [
        ("kafka-streams", True, True),
        ("flink", True, True),
    ]
    for one in found.rounds:
        assert one.alerts >= len(SMALL.marks()) * (SMALL.minutes - 1)


def test_a_reading_is_followed_through_a_worker() -> None:
    """It wraps what is the worker's own, so that it is told here when that has moved."""
    with stages.Traced.up(embedded=True, warm_up_s=0.0) as stand:
        found = stand.measure(1_000, 2.0)
        moments, cores = stand.passed()
    assert len(moments) == found["alerts"] > 100
    assert (moments[:, 1:-1] == np.sort(moments[:, 1:-1], axis=1)).all()
    assert (moments[:, 0] < moments[:, 1]).all()
    assert (moments[:, -2] < moments[:, -1]).all()
    assert 0 < cores < 2
