"""Rivers and rain as they were recorded: the floods that are known must be found, and no others."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recordings import Alert, catalogue, compare, episodes, folder, kapok, replayed, site

from alerts.rulebook import SHIPPED
from sensors import capture

pytestmark = pytest.mark.recordings


@pytest.fixture(scope="module")
def recordings() -> Path:
    return folder()


# -- one river catchment, one flood --------

TAW, CHULMLEIGH, LAPFORD, NEWNHAM, UMBERLEIGH = "50119", "50125", "50151", "50132", "50140"
SILENT = ("50114", "50135", "50153")  # Collard Bridge, North Molton, Mole Mills
WARNED_AT = {TAW: 1.2, CHULMLEIGH: 1.5, LAPFORD: 2.5, NEWNHAM: 2.5, UMBERLEIGH: 2.2} | dict.fromkeys(SILENT, 1.0)
KNOWLE, HALWILL, ALLISLAND, KINSFORD = "E84360", "47158", "50103", "45183"

TAW_RULES = """
[quantity.depth]
min = -1
max = 10
[quantity.rain]
min = 0
max = 100
[[rule]]
id = "river"
kind = "flood"
type = "level"
quantity = "depth"
levels = {orange = 9}
hysteresis = 0.1
[[rule]]
id = "rain"
kind = "rain"
type = "window_sum"
quantity = "rain"
levels = {yellow = {window = "3h", sum = 15}}
hysteresis = 0.1
"""


@pytest.fixture(scope="module")
def taw_sites(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with open(recordings / "flood/taw-floodwatch/stations.csv") as file:
        stations = {row["id"]: row["type"] for row in csv.DictReader(file)}
    sites = [site("taw", "place", "flood", "TAW")]
    for station, what in stations.items():
        level = {"overrides": {"river": {"orange": WARNED_AT[station]}}} if station in WARNED_AT else {}
        sites.append(site(station, "sensor", "rain" if what == "rainfall" else "flood", "TAW", place="taw", **level))
    return catalogue(tmp_path_factory.mktemp("taw"), sites)


@pytest.fixture(scope="module")
def taw_capture(recordings: Path, taw_sites: Path) -> Path:
    columns = ("--time", "dateTime", "--sensor", "station_id", "--value", "value", "--sites", taw_sites)
    levels = sorted((recordings / "flood/taw-floodwatch").glob("level_*.csv"))
    rain = sorted((recordings / "rain/taw-floodwatch").glob("rainfall_*.csv"))
    out = taw_sites.parent / "taw.jsonl.zst"
    kapok("import", *levels, "--kind", "flood", *columns, "--out", out)
    kapok("import", *rain, "--kind", "rain", *columns, "--merge", out, "--out", out)
    return out


@pytest.fixture(scope="module")
def taw(taw_capture: Path, taw_sites: Path) -> tuple[list[Alert], list[dict[str, Any]]]:
    return replayed(taw_capture, taw_sites, TAW_RULES)


def test_rivers_above_their_lines(taw: tuple[list[Alert], Any]) -> None:
    """Each cleared at the first reading more than 0.1 m below; Collard Bridge and the others stay silent."""
    assert episodes(taw[0], "river") == sorted(
        [
            (TAW, "01-24T01:15", "01-24T07:30"),
            (TAW, "01-24T14:00", "01-24T17:30"),
            (TAW, "01-27T00:30", "01-27T13:00"),
            (CHULMLEIGH, "01-25T13:15", "01-25T17:30"),
            (CHULMLEIGH, "01-27T02:30", "01-27T14:00"),
            (LAPFORD, "01-24T10:00", "01-24T13:15"),
            (LAPFORD, "01-25T14:15", "01-25T23:00"),
            (LAPFORD, "01-27T03:30", "01-27T19:15"),
            (NEWNHAM, "01-25T16:15", "01-25T19:45"),
            (NEWNHAM, "01-27T06:00", "01-27T20:15"),
            (UMBERLEIGH, "01-25T17:30", "01-25T22:00"),
            (UMBERLEIGH, "01-27T06:45", "01-27T22:45"),
        ]
    )


def test_an_alert_says_by_how_much(taw: tuple[list[Alert], Any]) -> None:
    first, last = (a for a in taw[0] if a["site"] == TAW and a["onset"] == "2026-01-27T00:30:00.000Z")
    assert (first["value"], first["threshold"], first["unit"], first["status"]) == (1.222, 1.2, "m", "firing")
    assert (last["value"], last["threshold"], last["level"], last["status"]) == (1.076, 1.2, 0, "resolved")


def test_three_hours_of_rain(taw: tuple[list[Alert], Any]) -> None:
    found = episodes(taw[0], "rain")
    assert (KNOWLE, "01-26T22:15", "01-27T00:30") in found
    assert (KINSFORD, "03-12T21:15", "03-12T22:30") in found
    assert {site_id for site_id, *_ in found} == {KNOWLE, KINSFORD, ALLISLAND}


def test_faults_of_rain_gauges_are_rejected_and_nothing_else_is(
    taw: tuple[Any, list[dict[str, Any]]], taw_capture: Path, taw_sites: Path
) -> None:
    faults = [
        ("out_of_range", f"{HALWILL}/rain", -353.7),
        ("out_of_range", f"{ALLISLAND}/rain", 130.7),
        ("out_of_range", f"{ALLISLAND}/rain", 493.2),
        ("out_of_range", f"{ALLISLAND}/rain", 450.4),
    ]
    head, *rules = SHIPPED.read_text().split("[[rule]]")  # gauges every 15 minutes are silent to those of a city
    rules = [rule for rule in rules if 'type = "silence"' not in rule]
    alerts, rejected = replayed(taw_capture, taw_sites, "[[rule]]".join([head, *rules]))
    for found in (taw[1], rejected):
        assert [(r["reason"], r["reading"]["n"], r["reading"]["v"]) for r in found] == faults
    assert episodes(alerts, "rainstorm") == []  # 50 mm in 12 h: more than ever fell in these two months


# -- the same rivers as their readings really came: hours late, in bursts, some twice --------

TRACE_RULES = """
grace = "30s"
[[rule]]
id = "river"
kind = "flood"
type = "level"
quantity = "depth"
levels = {yellow = 0.7, orange = 1.2}
hysteresis = 0.02
[[rule]]
id = "rise"
kind = "flood"
type = "rise"
quantity = "depth"
window = "2h"
levels = {yellow = 0.05}
hysteresis = 0.02
"""
CLOCKED_RULES = """
[[rule]]
id = "rain"
kind = "rain"
type = "window_sum"
quantity = "rain"
levels = {yellow = {window = "3h", sum = 3}}
hysteresis = 0.1
[[rule]]
id = "silent"
kind = "flood"
type = "silence"
levels = {yellow = "3h", red = "12h"}
"""


def trace_rows(recordings: Path) -> list[dict[str, str]]:
    with open(recordings / "flood/taw-floodwatch/arrival_trace_trimmed.csv") as file:
        return [row for row in csv.DictReader(file) if row["change"] == "new"]


@pytest.fixture(scope="module")
def trace_sites(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("trace")
    files = sorted({row["file"] for row in trace_rows(recordings)})
    sites = [site("taw", "place", "flood", "TAW")]
    for kind, start in (("flood", "level_"), ("rain", "rainfall_")):
        stations = {name: name.split("_")[1].removesuffix(".csv") for name in files if name.startswith(start)}
        sites += [site(station, "sensor", kind, "TAW", place="taw") for station in stations.values()]
        (into / f"{kind}.csv").write_text("".join(f"{name},{station}\n" for name, station in stations.items()))
    return catalogue(into, sites)


def import_trace(rows: list[dict[str, str]], sites: Path, name: str, *options: object) -> Path:
    source, out = sites.parent / f"{name}.csv", sites.parent / f"{name}.jsonl"
    with open(source, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    columns = ("--time", "event_time", "--sensor", "file", "--value", "value", "--skip-unknown", *options)
    for kind, merge in (("flood", ()), ("rain", ("--merge", out))):
        ids = sites.parent / f"{kind}.csv"
        kapok("import", source, "--kind", kind, *columns, *merge, "--map", ids, "--sites", sites, "--out", out)
    return out


def in_order(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], set[str]]:
    """The rows that came neither late nor twice, and the files with any that came late."""
    newest: dict[str, str] = defaultdict(str)
    kept, late = [], set()
    seen = set()
    for row in sorted(rows, key=lambda r: r["arrived_at"]):
        # What came together is one record per zone, and a record's readings are taken by time.
        key = (row["file"], row["event_time"])
        if row["event_time"] < newest[row["file"]] and key not in seen:
            late.add(row["file"])
        if row["event_time"] > newest[row["file"]]:
            newest[row["file"]] = row["event_time"]
            kept.append(row)
        seen.add(key)
    return kept, late


def test_late_bursts_and_repeats_change_no_level(recordings: Path, trace_sites: Path) -> None:
    """What came late or twice is passed over; the rest gives the alerts it gives in order of time."""
    rows = sorted(trace_rows(recordings), key=lambda r: (r["arrived_at"], r["file"], r["event_time"]))
    kept, late = in_order(rows)
    assert len(rows) - len({(r["file"], r["event_time"]) for r in rows}) > 1000  # delivered twice
    assert len(late) > 10
    came = import_trace(rows, trace_sites, "came", "--arrival", "arrived_at")
    tidy = import_trace(kept, trace_sites, "tidy")
    as_it_came, _ = replayed(came, trace_sites, TRACE_RULES)
    as_it_was, _ = replayed(tidy, trace_sites, TRACE_RULES)
    assert as_it_came == as_it_was
    assert len(as_it_came) > 50
    assert len({alert["id"] for alert in as_it_came}) == len(as_it_came)


def test_the_trace_gives_what_the_contract_says(recordings: Path, trace_sites: Path) -> None:
    """Late rain that still fills its minute, and gauges that fall silent for hours."""
    rows = [row for row in trace_rows(recordings) if row["arrived_at"] < "2026-02-23"]
    rows.sort(key=lambda r: (r["arrived_at"], r["file"], r["event_time"]))
    file = import_trace(rows, trace_sites, "days", "--arrival", "arrived_at")
    rules = TRACE_RULES + CLOCKED_RULES
    alerts, rejected = replayed(file, trace_sites, rules)
    assert set(Counter(alert["rule"] for alert in alerts)) == {"river", "rise", "rain", "silent"}
    compare(file, trace_sites, rules, alerts, rejected)


# -- rain as airports report it: a running total, in inches --------


def airport_rain(recordings: Path, into: Path, name: str, *options: object) -> tuple[Path, Path]:
    sites = catalogue(into, [site("lga", "place", "rain", "LGA"), site("LGA", "sensor", "rain", "LGA", place="lga")])
    layout = ("--comment", "#", "--time", "valid", "--sensor", "station", "--value", "p01i")
    values = ("--missing", "M", "--unit", "in", *options)
    out = into / "lga.jsonl"
    source = recordings / "rain/lga-asos" / name
    kapok("import", source, "--kind", "rain", *layout, *values, "--sites", sites, "--out", out)
    return out, sites


def test_the_hours_total_itself_above_15_mm(recordings: Path, tmp_path: Path) -> None:
    file = airport_rain(recordings, tmp_path, "asos_lga_2017_trimmed.csv")
    rule = 'id = "hour"\nkind = "rain"\ntype = "level"\nquantity = "rain"\nlevels = {orange = 15.000001}'
    alerts, _ = replayed(*file, f"[[rule]]\n{rule}\n")
    assert [(a["at"], a["value"]) for a in alerts if a["level"]] == [
        ("2017-04-04T07:25:00.000Z", 16.002),
        ("2017-05-05T15:51:00.000Z", 15.24),
        ("2017-05-05T17:40:00.000Z", 16.51),
    ]


def test_any_hour_above_15_mm(recordings: Path, tmp_path: Path) -> None:
    """Of the differences: 60 minutes that begin at no full hour, so sooner on 4 April."""
    file = airport_rain(recordings, tmp_path, "asos_lga_2017_trimmed.csv", "--hourly-total", 51)
    rule = 'id = "hour"\nkind = "rain"\ntype = "window_sum"\nquantity = "rain"\nhysteresis = 0.2'
    levels = 'levels = {orange = {window = "1h", sum = 15.000001}}'
    alerts, _ = replayed(*file, f"[[rule]]\n{rule}\n{levels}\n")
    assert [(a["at"], a["value"]) for a in alerts if a["level"]] == [
        ("2017-04-04T07:10:00.000Z", 16.256),
        ("2017-05-05T15:51:00.000Z", 15.24),
        ("2017-05-05T17:40:00.000Z", 17.526),
    ]


@pytest.mark.parametrize(
    ("name", "truth", "days"),
    [
        ("asos_lga_2017_trimmed.csv", "lga_daily_2017.csv", ["20170404", "20170505", "20170513"]),
        ("asos_lga_2013-06-01_2013-08-01.csv", "lga_daily_2013.csv", ["20130603", "20130607", "20130610"]),
    ],
)
def test_the_differences_of_a_running_total_sum_to_the_days_rain(
    name: str, truth: str, days: list[str], recordings: Path, tmp_path: Path
) -> None:
    """Against the official daily totals (local standard time), within 0.01 in of rain around midnight."""
    file, _ = airport_rain(recordings, tmp_path, name, "--hourly-total", 51)
    fallen: dict[str, float] = defaultdict(float)
    for line in capture.read(file):
        assert line.timestamp is not None
        local = datetime.fromtimestamp(line.timestamp / 1000, timezone(timedelta(hours=-5)))
        fallen[f"{local:%Y%m%d}"] += msgspec.json.decode(line.value or b"")[0]["v"]
    with open(recordings / "rain/lga-asos" / truth) as text:
        official = {row["DATE"]: float(row["PRCP"]) for row in csv.DictReader(text)}
    assert {day: fallen[day] / 25.4 for day in days} == pytest.approx({d: official[d] for d in days}, abs=0.0101)
