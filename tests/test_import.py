"""`kapok import`: what ends up in the capture, and what is said where a file cannot be used."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sensors import capture
from sensors.catalogue import Catalogue
from sensors.csv_import import PACK_READINGS, CsvImport
from sensors.csv_layout import Layout, ValueColumn
from sensors.errors import InputError
from sensors.senml import Reading, load, resolve
from streams.commands import app


def run(*args: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, args)])


def rows_of(path: Path) -> list[tuple[str, str | None, int | None, list[tuple[str, int, Any]]]]:
    """(topic, key, timestamp, [(name, time in ms, value)]) of each record of a capture."""
    found = []
    for line in capture.read(path):
        pack = [reading for _, reading in resolve(load(line.payload())) if isinstance(reading, Reading)]
        found.append((line.topic, line.key, line.timestamp, [(r.name, r.time_ms, r.value) for r in pack]))
    return found


def site(site_id: str, role: str, kind: str, zone: str, **more: object) -> dict[str, object]:
    about = {"id": site_id, "role": role, "kind": kind, "zone": zone, "name": site_id, "district": "Devon"}
    return {"type": "Feature", "geometry": None, "properties": {**about, **more}}


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    features = [
        site("taw", "place", "flood", "TAW"),
        site("mole", "place", "flood", "MOLE"),
        site("50119", "sensor", "flood", "TAW", place="taw"),
        site("50132", "sensor", "flood", "TAW", place="taw"),
        site("50115", "sensor", "flood", "MOLE", place="mole"),
        site("E84360", "sensor", "rain", "TAW", place="taw"),
        site("home", "place", "infrared", "CASAS"),
        site("BathroomAToilet", "sensor", "infrared", "CASAS", place="home", room="bathroom"),
        site("station", "place", "crowd", "STATION", capacity=9000),
        site("MEL-13", "sensor", "crowd", "STATION", place="station"),
    ]
    path = tmp_path / "sites.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, name: str = "readings.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


LONG = """\
dateTime,value,unit,station_id
2026-01-27T00:30:00Z,1.222,m,50119
2026-01-27T00:15:00Z,1.199,m,50119
2026-01-27T00:15:00Z,0.81,m,50115
2026-01-27T00:15:00Z,1,m,50132
"""
LONG_OPTIONS = ("--kind", "flood", "--time", "dateTime", "--sensor", "station_id", "--value", "value")
QUARTER, HALF = 1769472900000, 1769473800000


def test_long_table_becomes_records_by_time_and_zone(write: Any, sites: Path, tmp_path: Path) -> None:
    out = tmp_path / "taw.jsonl"
    result = run(write(LONG), *LONG_OPTIONS, "--sites", sites, "--out", out)
    assert result.exit_code == 0, result.output
    assert rows_of(out) == [
        ("readings.flood", "MOLE", QUARTER, [("50115/depth", QUARTER, 0.81)]),
        ("readings.flood", "TAW", QUARTER, [("50119/depth", QUARTER, 1.199), ("50132/depth", QUARTER, 1.0)]),
        ("readings.flood", "TAW", HALF, [("50119/depth", HALF, 1.222)]),
    ]
    assert "4 readings of 3 sensors, 2026-01-27T00:15:00.000Z to 2026-01-27T00:30:00.000Z" in result.output


def test_wide_table_names_the_sensor_of_each_column(write: Any, sites: Path, tmp_path: Path) -> None:
    file, out = write("time,Taw Bridge,Mole\n2026-01-27 00:15,119.9,\n"), tmp_path / "c.jsonl"
    columns = ("--column", "Taw Bridge=50119/depth", "--column", "Mole=50115")
    result = run(file, "--kind", "flood", "--time", "time", *columns, "--unit", "cm", "--sites", sites, "--out", out)
    assert result.exit_code == 0, result.output
    assert rows_of(out) == [("readings.flood", "TAW", QUARTER, [("50119/depth", QUARTER, 1.199)])]
    assert "empty values: 1 left out" in result.output


@pytest.mark.parametrize(
    ("text", "options", "value"),
    [
        ("0.91", ["--unit", "in"], 23.114),
        ("0.1", ["--unit", "cm"], 1.0),
        ("3", ["--scale", "0.2"], 0.6),  # tips of a 0.2 mm bucket
        ("10", ["--offset", "-0.7"], 9.3),
        ("-353.7", [], -353.7),  # a fault stays one: the rules' own checks judge it
        ("1e2", ["--scale", "0.1", "--offset", "1", "--unit", "in"], 279.4),
    ],
)
def test_units_scale_and_offset_are_exact(
    text: str, options: list[str], value: float, write: Any, sites: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.jsonl"
    base = ("--kind", "rain", "--time", "t", "--sensor-id", "E84360", "--value", "v", "--sites", sites)
    result = run(write(f"t,v\n2026-01-27T00:15Z,{text}\n"), *base, *options, "--out", out)
    assert result.exit_code == 0, result.output
    assert [pack[0][2] for *_, pack in rows_of(out)] == [value]


@pytest.mark.parametrize(
    ("text", "options", "ms"),
    [
        ("2026-07-01 12:00", ["--tz", "Europe/London"], 1782903600000),
        ("2026-07-01T12:00+08:00", ["--tz", "Europe/London"], 1782878400000),
        (
            " 01-JAN-2012 00:00",
            ["--tz", "Australia/Melbourne", "--time-format", "%d-%b-%Y %H:%M"],
            1325336400000,
        ),
        ("2016-07-17 07:58:04.400999", ["--tz", "US/Pacific"], 1468767484401),
        ("1782903600.0625", ["--time-format", "unix"], 1782903600062),
        ("1782903600062", ["--time-format", "unix-ms"], 1782903600062),
    ],
)
def test_times(text: str, options: list[str], ms: int, write: Any, sites: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    base = ("--kind", "flood", "--time", "t", "--sensor-id", "50119", "--value", "v", "--sites", sites)
    result = run(write(f"t,v\n{text},1\n"), *base, *options, "--out", out)
    assert result.exit_code == 0, result.output
    assert [(stamp, pack[0][1]) for _, _, stamp, pack in rows_of(out)] == [(ms, ms)]


def test_a_repeated_or_skipped_local_hour_is_said(write: Any, sites: Path, tmp_path: Path) -> None:
    text = "t,v\n2026-03-29 00:30,1\n2026-03-29 01:30,1\n2026-10-25 01:30,1\n2026-10-25 02:30,1\n"
    base = ("--kind", "flood", "--time", "t", "--sensor-id", "50119", "--value", "v", "--sites", sites)
    out = tmp_path / "c.jsonl"
    result = run(write(text), *base, "--tz", "Europe/London", "--out", out)
    assert "2 times are in an hour that the clock change in Europe/London repeats or skips" in result.output
    assert [stamp for _, _, stamp, _ in rows_of(out)] == [
        1774744200000,  # 00:30Z
        1774747800000,  # 01:30Z
        1792888200000,  # 00:30Z, still summer time
        1792895400000,  # 02:30Z
    ]


def test_words_tabs_and_no_header(write: Any, sites: Path, tmp_path: Path) -> None:
    out = tmp_path / "home.jsonl"
    file = write("2016-07-17 07:58:04.1\tBathroomAToilet\tON\t\n2016-07-17 07:58:05.2\tBathroomAToilet\tOFF\t\n")
    options = ("--no-header", "--delimiter", "tab", "--time", 1, "--sensor", 2, "--value", "3=motion")
    words = ("--word", "ON=1", "--word", "OFF=0", "--tz", "US/Pacific")
    result = run(file, "--kind", "infrared", *options, *words, "--sites", sites, "--out", out)
    assert result.exit_code == 0, result.output
    assert [(key, pack) for _, key, _, pack in rows_of(out)] == [
        ("CASAS", [("BathroomAToilet/motion", 1468767484100, True)]),
        ("CASAS", [("BathroomAToilet/motion", 1468767485200, False)]),
    ]


def test_with_arrival_the_records_come_as_they_came(write: Any, sites: Path, tmp_path: Path) -> None:
    rows = [
        ("2026-02-19T03:20:51Z", "new", "2026-02-18T23:30:00Z", "50119", "0.651"),
        ("2026-02-19T03:20:51Z", "new", "2026-02-18T23:45:00Z", "50119", "0.652"),
        ("2026-02-19T02:00:00Z", "new", "2026-02-19T00:00:00Z", "50119", "0.7"),
        ("2026-02-19T04:00:00Z", "removed", "2026-02-19T00:00:00Z", "50119", "0.7"),
        ("2026-02-19T03:20:51Z", "new", "2026-02-18T23:30:00Z", "50115", "0.5"),
    ]
    file = write("\n".join(map(",".join, [("arrived_at", "change", "event", "s", "v"), *rows])))
    out = tmp_path / "c.jsonl"
    options = ("--time", "event", "--arrival", "arrived_at", "--sensor", "s", "--value", "v")
    result = run(file, "--kind", "flood", *options, "--where", "change=new", "--sites", sites, "--out", out)
    assert result.exit_code == 0, result.output
    came, late = 1771466400000, 1771471251000
    assert [(key, stamp, [time for _, time, _ in pack]) for _, key, stamp, pack in rows_of(out)] == [
        ("TAW", came, [1771459200000]),
        ("MOLE", late, [1771457400000]),
        ("TAW", late, [1771457400000, 1771458300000]),
    ]


def test_sensor_ids_are_mapped_prefixed_or_left_out(write: Any, sites: Path, tmp_path: Path) -> None:
    file = write("t,name,n\n2026-01-01,Flagstaff Station,5\n2026-01-02,13,6\n2026-01-03,4,7\n2026-01-04,,8\n")
    ids = write("Flagstaff Station,MEL-13\n", "ids.csv")
    out = tmp_path / "c.jsonl"
    options = ("--time", "t", "--sensor", "name", "--value", "n=in", "--sites", sites, "--out", out)
    result = run(file, "--kind", "crowd", *options, "--map", ids, "--prefix", "MEL-", "--skip-unknown")
    assert result.exit_code == 0, result.output
    assert [pack[0][0::2] for *_, pack in rows_of(out)] == [("MEL-13/in", 5.0), ("MEL-13/in", 6.0)]
    assert "readings of unknown sensors: 1 left out" in result.output
    assert "rows without a sensor: 1 left out" in result.output


def test_the_zone_may_be_a_column(write: Any, tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    options = (
        "--time",
        "t",
        "--sensor",
        "s",
        "--zone",
        "z",
        "--value",
        "a=in",
        "--value",
        "b=out",
        "--out",
        out,
    )
    result = run(write("t,s,z,a,b\n2026-01-01,c1,V1,5,2\n"), "--kind", "crowd", *options)
    assert result.exit_code == 0, result.output
    assert [(key, [p[0::2] for p in pack]) for _, key, _, pack in rows_of(out)] == [
        ("V1", [("c1/in", 5.0), ("c1/out", 2.0)])
    ]


def test_missing_values_are_counted_or_with_strict_refused(write: Any, sites: Path, tmp_path: Path) -> None:
    file = write("#made by hand\nt,s,v\n2026-01-01,50119,M\n2026-01-02,50119,\n2026-01-03,50119,1\n")
    options = ("--kind", "flood", "--time", "t", "--sensor", "s", "--value", "v", "--comment", "#")
    common = (*options, "--missing", "M", "--sites", sites, "--out", tmp_path / "c.jsonl")
    assert "empty values: 2 left out" in run(file, *common).output
    error = run(file, *common, "--strict").exception
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{file}:3: --strict: empty values")


def test_a_running_total_becomes_what_fell(write: Any, sites: Path, tmp_path: Path) -> None:
    """ASOS: the total since minute 51; a report without it says 0 and is no reset; an hour may be missing."""
    rain = [
        ("05:50", "0.09", 0.09),
        ("05:51", "0.10", 0.01),
        ("05:55", "0.02", 0.02),
        ("06:10", "0.21", 0.19),
        ("06:20", "0", 0.0),
        ("06:30", "0.25", 0.04),
        ("06:51", "M", None),
        ("06:56", "0.30", 0.30),
        ("09:05", "0.31", 0.31),
    ]
    out = tmp_path / "c.jsonl"
    file = write("t,v\n" + "".join(f"2017-04-04 {time},{total}\n" for time, total, _ in rain))
    options = ("--time", "t", "--sensor-id", "E84360", "--value", "v", "--missing", "M", "--unit", "in")
    result = run(file, "--kind", "rain", *options, "--hourly-total", 51, "--sites", sites, "--out", out)
    assert result.exit_code == 0, result.output
    wanted = [round(inches * 25.4, 6) for *_, inches in rain if inches is not None]
    assert [pack[0][2] for *_, pack in rows_of(out)] == wanted


def test_captures_are_merged_by_time_and_may_be_the_same_file(write: Any, sites: Path, tmp_path: Path) -> None:
    out = tmp_path / "storm.jsonl.gz"
    assert run(write(LONG), *LONG_OPTIONS, "--sites", sites, "--out", out).exit_code == 0
    rain = write("t,v\n2026-01-27 00:10,1\n2026-01-27 00:20,2\n", "rain.csv")
    options = ("--kind", "rain", "--time", "t", "--sensor-id", "E84360", "--value", "v", "--sites", sites)
    result = run(rain, *options, "--merge", out, "--out", out)
    assert result.exit_code == 0, result.output
    assert [(topic, stamp) for topic, _, stamp, _ in rows_of(out)] == [
        ("readings.rain", QUARTER - 300_000),
        ("readings.flood", QUARTER),
        ("readings.flood", QUARTER),
        ("readings.rain", QUARTER + 300_000),
        ("readings.flood", HALF),
    ]
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.csv.zst"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_compressed_files_and_encodings(name: str, encoding: str, sites: Path, tmp_path: Path) -> None:
    data = "时间,水深\n2026-01-27T00:15Z,0.2\n".encode(encoding)
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(Path(name).suffix, bytes)(data)
    (tmp_path / name).write_bytes(packed)
    out = tmp_path / f"c.jsonl{Path(name).suffix if name != 'r.csv' else ''}"
    options = ("--time", "时间", "--value", "水深", "--sensor-id", "50119", "--sites", sites, "--out", out)
    more = ("--encoding", encoding) if encoding == "gb18030" else ()
    result = run(tmp_path / name, "--kind", "flood", *options, *more)
    assert result.exit_code == 0, result.output
    assert [pack for *_, pack in rows_of(out)] == [[("50119/depth", QUARTER, 0.2)]]


ONE = ("--time", "t", "--sensor", "s", "--value", "v")
GOOD = "t,s,v\n2026-01-01,50119,1\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("t,s,v\n2026-01-01,50119,1\nyesterday,50119,1\n", ONE, ":3: column 't': 'yesterday' is not a time"),
        (
            "t,s,v\n1767225600,50119,1\n",
            ONE,
            ":2: column 't': '1767225600' is not a time (--time-format unix",
        ),
        ("t,s,v\n1970-02-01,50119,1\n", ONE, ":2: column 't': '1970-02-01' is before July 1978"),
        ("t,s,v\n,50119,1\n", ONE, ":2: column 't': '' is not a time"),
        ("t,s,v\n\n2026-01-01,50119,dry\n", ONE, ":3: column 'v': 'dry' is not a number (--missing 'dry' if"),
        ("t,s,v\n2026-01-01,50119,nan\n", ONE, ":2: column 'v': 'nan' is not a number"),
        ("t,s,v\n2026-01-01,50119,1e999\n", ONE, ":2: column 'v': '1e999' is too large"),
        ("t,s,v\n2026-01-01,50119\n", ONE, ":2: the row has 2 columns, it needs 3"),
        ("t,s,v\n2026-01-01,99999,1\n", ONE, ":2: sensor '99999' is not in the catalogue (--sites"),
        ("t,s,v\n2026-01-01,E84360,1\n", ONE, ":2: sensor 'E84360' is of kind rain (--kind rain)"),
        ("t,s,w\n2026-01-01,50119,1\n", ONE, ":1: there is no column 'v' (there are t, s, w)"),
        ("t,s,v,v\n2026-01-01,50119,1,2\n", ONE, ":1: there is more than one column 'v'"),
        ("t,s,v\n2026-01-01,Taw Bridge,1\n", (*ONE, "--zone", "s"), ":2: 'Taw Bridge' cannot be a sensor id"),
        ('t,s,v\n2026-01-01,"50119"x,1\n', ONE, ":2: not CSV: "),
        ("", ONE, ": the file has no header"),
        ("t,s,v\n", ONE, ": no rows (are the columns right?)"),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    text: str, options: tuple[str, ...], message: str, write: Any, sites: Path, tmp_path: Path
) -> None:
    file, out = write(text), tmp_path / "c.jsonl"
    error = run(file, "--kind", "flood", *options, "--sites", sites, "--out", out).exception
    assert isinstance(error, InputError), error
    assert f"{file}{message}" in str(error)
    assert "\n" not in str(error)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--time", "t"), "no column of values"),
        (("--time", "t", "--value", "v"), "--value says not whose it is"),
        ((*ONE, "--sensor-id", "x"), "one too many says whose value it is"),
        (("--time", "t", "--column", "v"), "--column v: names no sensor"),
        (("--time", "t", "--column", "v=50119/rain"), "'rain' is not a quantity of flood (it has depth)"),
        ((*ONE, "--unit", "mile"), "--unit mile: not a unit of depth (one of mm, cm, m, in, ft)"),
        ((*ONE, "--tz", "Mars/Olympus"), "--tz Mars/Olympus: no such time zone"),
        ((*ONE, "--scale", "x"), "--scale x: not a number"),
        ((*ONE, "--word", "ON"), "--word ON: has no `=`"),
        ((*ONE, "--delimiter", ";;"), "--delimiter ;;: not one character"),
        ((*ONE, "--encoding", "utf-9"), "--encoding utf-9: unknown encoding"),
        ((*ONE, "--map", "nowhere.csv"), "nowhere.csv: --map: cannot read it"),
        ((*ONE, "--sites", "nowhere.geojson"), "nowhere.geojson: cannot read the catalogue"),
        (
            (*ONE, "--kind", "lava"),
            "--kind lava: there is no such kind (one of flood, rain, infrared, crowd)",
        ),
    ],
)
def test_wrong_options(options: tuple[str, ...], message: str, write: Any, sites: Path, tmp_path: Path) -> None:
    error = run(write(GOOD), "--kind", "flood", "--sites", sites, "--out", tmp_path / "c.jsonl", *options).exception
    assert isinstance(error, InputError), error
    assert message in str(error)


def test_a_missing_file_and_bytes_that_are_no_text(sites: Path, tmp_path: Path) -> None:
    common = ("--kind", "flood", *ONE, "--sites", sites, "--out", tmp_path / "c.jsonl")
    error = run(tmp_path / "none.csv", *common).exception
    assert str(error) == f"{tmp_path / 'none.csv'}: cannot read it: No such file or directory"
    (tmp_path / "gb.csv").write_bytes("t,s,v\n2026-01-01,50119,水深\n".encode("gb18030"))
    error = run(tmp_path / "gb.csv", *common).exception
    assert isinstance(error, InputError)
    assert "--encoding names another, such as gb18030" in str(error)


def test_a_record_stays_small_however_many_readings_come_at_once(tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    with open(file, "w") as text:
        text.write("t,a,v\n")
        text.writelines(f"{1_770_000_000 + i},1770090000,{i}\n" for i in range(2 * PACK_READINGS + 1))
    value = ValueColumn.parse("v", "rain", wide=False)
    layout = Layout(kind="rain", time="t", arrival="a", values=(value,), sensor_id="r", zone="a", time_format="unix")
    table = CsvImport(layout, None)
    table.read(file)
    packs = [load(pack) for _, _, pack in table.packs()]
    assert [len(pack) for pack in packs] == [PACK_READINGS, PACK_READINGS, 1]
    assert [entry["v"] for pack in packs for entry in pack] == list(range(2 * PACK_READINGS + 1))


readings = st.tuples(
    st.sampled_from(["50119", "50132", "50115"]),
    st.integers(2**28 * 1000, 4_102_444_800_000),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 4)),
)


@settings(deadline=None)
@given(rows=st.lists(readings, min_size=1, max_size=40))
def test_every_row_comes_out_once_and_in_order(rows: list[tuple[str, int, float]], tmp_path_factory: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "property.csv"
    text = io.StringIO()
    csv.writer(text).writerows([("t", "s", "v"), *((time, sensor, value) for sensor, time, value in rows)])
    file.write_text(text.getvalue())
    features = [site("p", "place", "flood", "A"), site("q", "place", "flood", "B")]
    features += [site(s, "sensor", "flood", "A", place="p") for s in ("50119", "50132")]
    features += [site("50115", "sensor", "flood", "B", place="q")]
    catalogue = Catalogue.parse(json.dumps({"features": features}).encode())
    value = ValueColumn.parse("v", "flood", wide=False)
    table = CsvImport(Layout(kind="flood", time="t", values=(value,), sensor="s", time_format="unix-ms"), catalogue)
    table.read(file)
    got = []
    stamps = []
    for zone, stamp, pack in table.packs():
        stamps.append(stamp)
        for _, reading in resolve(load(pack)):
            assert isinstance(reading, Reading)
            sensor = reading.name.partition("/")[0]
            assert (catalogue.sensors[sensor].zone, reading.time_ms) == (zone, stamp)
            got.append((sensor, reading.time_ms, reading.value))
    assert stamps == sorted(stamps)
    assert got == sorted(rows, key=lambda row: (row[1], catalogue.sensors[row[0]].zone))
