"""What is wrong with rules, a catalogue or a capture is said with the file, the line and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from examples import sites
from typer.testing import CliRunner

from alerts.comparison import read_alerts
from alerts.rulebook import Rulebook
from alerts.rules import TYPES
from sensors import capture
from sensors.catalogue import Catalogue
from sensors.errors import InputError
from streams.commands import app

RULES = """\
timezone = "Asia/Shanghai"
[[rule]]
id = "depth"
kind = "flood"
type = "level"
quantity = "depth"
levels = { blue = 0.1, red = 0.27 }

[[rule]]
id = "people"
kind = "crowd"
type = "occupancy"
levels = { red = 1.0 }
reset = "03:00"

[[rule]]
id = "stay"
kind = "infrared"
type = "dwell"
rooms = { bathroom = { orange = "1h" } }

[[rule]]
id = "risk"
kind = "flood"
type = "waterlog_risk"
levels = { red = 0.27 }
"""


def said(rules: str, catalogue: dict, folder: Path) -> str:
    (folder / "rules.toml").write_text(rules)
    (folder / "sites.geojson").write_text(json.dumps(catalogue, indent=1))
    with pytest.raises(InputError) as error:
        Rulebook.load(folder / "rules.toml").check(Catalogue.load(folder / "sites.geojson"))
    return str(error.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("red = 0.27 }\n\n", 'red = "x" }\n\n', "7: rule depth: `levels.red`: Input should be a valid number"),
        (
            '"1h"',
            "1",
            '20: rule stay: `rooms.bathroom.orange`: 1 is not a duration; write "90s", "15m" or "3h"',
        ),
        ("blue", "purple", "7: rule depth: `levels`: 'purple' is not a level; they are blue, yellow, orange, red"),
        ('"03:00"', '"25:00"', "14: rule people: `reset`: '25:00' is not a time of day; write \"03:00\""),
        ("reset", "rest", "14: rule people: unknown setting `rest`"),
        ('id = "stay"', 'id = "depth"', "16: rule depth: the id is there twice (give each rule its own id)"),
        ('"depth"\nlevels', '"rain"\nlevels', "2: rule depth: quantity 'rain' is not one of kind flood: depth"),
        ("[[rule]]", "[[rule]", "2: not TOML: "),
        (
            "blue = 0.1, red = 0.27",
            "blue = 0.3, red = 0.27",
            "7: rule depth: `levels`: red is below blue, so blue could",
        ),
        ('"1h"', '"2h", red = "1h"', "20: rule stay: `rooms.bathroom`: red is below orange, so orange could never"),
        (
            "0.27 }\n",
            "0.27 }\nhysteresis = -0.1\n",
            "8: rule depth: `hysteresis`: Input should be greater than or equal",
        ),
        (
            "0.27 }\n",
            '0.27 }\nfor = "9999999999999d"\n',
            "8: rule depth: `for`: '9999999999999d' is more than a hundred",
        ),
        ('"03:00"', '"03:00+02:00"', "14: rule people: `reset`: '03:00+02:00' is not a time of day"),
        ('"level"', '["level"]', "5: rule depth: unknown type ['level'] (the types are "),
        (
            RULES,
            '[[rule]]\nid = "call"\ntype = "press"\nlevel = []',
            "4: rule call: `level`: [] is not a level; they are",
        ),
        (RULES, "rule = [1]", " `rule` is not a list (start each rule with [[rule]])"),
        (RULES, "[quantity.rain]\nmin = 40\nmax = 0\n", "1: quantity rain: `min` 40 is above `max` 0"),
        (RULES, "[quantity.rain]\nmax_step = inf\n", "2: quantity rain: `max_step`: Input should be a finite number"),
    ],
)
def test_a_mistake_in_the_rules_is_told_with_its_line(before: str, after: str, wanted: str, tmp_path: Path) -> None:
    assert said(RULES.replace(before, after, 1), sites(), tmp_path).startswith(f"rules.toml:{wanted}")


SUMS = """\
[[rule]]
id = "storm"
kind = "rain"
type = "window_sum"
quantity = "rain"
levels = { orange = { window = "3h", sum = 50 }, red = { window = "3h", sum = %s } }
"""


def test_sums_rise_where_the_window_is_the_same(tmp_path: Path) -> None:
    Rulebook.parse(SUMS % 100)
    Rulebook.parse(SUMS.replace("3h", "6h", 1) % 20)  # a shorter window, in which less is much
    assert said(SUMS % 20, sites(), tmp_path).startswith("rules.toml:6: rule storm: `levels`: red is below orange")


def test_what_is_allowed_and_likely_a_mistake_is_a_warning() -> None:
    rules = RULES.replace("blue = 0.1", "blue = 0.27").replace("{ red = 1.0 }", "{ red = 1.0 }\nhysteresis = 1.0")
    catalogue = Catalogue.parse(json.dumps(sites()).encode())
    assert Rulebook.parse(rules).warnings(catalogue) == [
        "rules:2: rule depth: blue and red begin at one number: the first is never seen",
        "rules:9: rule people: red may never end: 1 less the hysteresis, 1, is not above 0",
    ]
    assert Rulebook.shipped().warnings(Catalogue.shipped()) == []


def line_of(site: str, catalogue: dict) -> int:
    """Of the file that ``said`` writes: where the site's id is."""
    lines = [line.strip() for line in json.dumps(catalogue, indent=1).splitlines()]
    return lines.index(f'"id": "{site}",') + 1


def test_an_override_that_is_none_is_the_catalogues_mistake(tmp_path: Path) -> None:
    for table, wrong in (({"purple": 1}, "'purple' is not a level"), ({"red": "x"}, "`red`: Input should be a valid")):
        catalogue = sites({"F1": {"depth": table}})
        text = said(RULES, catalogue, tmp_path)
        where = f"sites.geojson:{line_of('F1', catalogue)}"
        assert text.startswith(f"{where}: rule depth: the override at F1 is not a table of `levels`: {wrong}")
        assert "\n" not in text


@pytest.mark.parametrize(
    ("site", "properties", "wanted"),
    [
        ("CATCH", {"area_km2": 0}, "feature 1 (CATCH): `area_km2` is 0; it must be above 0"),
        ("CATCH", {"runoff": 1.01}, "feature 1 (CATCH): `runoff` is 1.01; it must be from 0 to 1"),
        ("CATCH", {"runoff": -0.1}, "feature 1 (CATCH): `runoff` is -0.1; it must be from 0 to 1"),
        ("CATCH", {"interception_mm": -1}, "feature 1 (CATCH): `interception_mm` is -1; it must be 0 or above"),
        ("CATCH", {"storage_mm": -1}, "feature 1 (CATCH): `storage_mm` is -1; it must be 0 or above"),
        ("CATCH", {"drainage_mm_h": -1}, "feature 1 (CATCH): `drainage_mm_h` is -1; it must be 0 or above"),
        ("CATCH", {"hollow_ratio": 0}, "feature 1 (CATCH): `hollow_ratio` is 0; it must be above 0"),
        ("VENUE", {"capacity": -5}, "feature 11 (VENUE): `capacity` is -5; it must be above 0"),
        ("Bath", {"room": None}, "feature 7 (Bath): is an infrared sensor in no `room`; give it bed, living,"),
        ("Bath", {"room": " "}, "feature 7 (Bath): is an infrared sensor in no `room`; give it bed, living,"),
        ("F1", {"kind": "flod"}, "feature 2 (F1): `kind` is 'flod'; it is one of flood, rain, infrared, crowd"),
        ("F1", {"id": "CATCH"}, "feature 2 (CATCH): the id 'CATCH' is there twice; give each feature its own"),
    ],
)
def test_what_no_site_can_have_is_refused(site: str, properties: dict, wanted: str, tmp_path: Path) -> None:
    catalogue = sites()
    for feature in catalogue["features"]:
        if feature["properties"]["id"] == site:
            feature["properties"] |= properties
    lines = json.dumps(catalogue, indent=1).splitlines()
    line = len(lines) - next(
        n for n, one in enumerate(reversed(lines)) if f'"id": "{properties.get("id", site)}"' in one
    )
    assert said(RULES, catalogue, tmp_path).startswith(f"sites.geojson:{line}: {wanted}")


def test_a_point_is_longitude_and_latitude(tmp_path: Path) -> None:
    for point in ([23.1, 113.3], [113.3], 5, [200, 0], [113.3, -91]):
        catalogue = sites()
        catalogue["features"][1]["geometry"] = {"type": "Point", "coordinates": point}
        assert "feature 2 (F1): `coordinates` is " in said(RULES, catalogue, tmp_path)


@pytest.mark.parametrize(("number", "wanted"), [("NaN", "20: not JSON: "), ("1e999", "4: feature 1: Number out of")])
def test_a_number_that_is_none_is_told_with_its_line(number: str, wanted: str, tmp_path: Path) -> None:
    file = tmp_path / "sites.geojson"
    file.write_text(json.dumps(sites(), indent=1).replace("0.5", number))
    with pytest.raises(InputError) as error:
        Catalogue.load(file)
    assert str(error.value).startswith(f"{file}:{wanted}")


def test_a_buttons_level_can_be_overridden_at_a_home() -> None:
    catalogue = Catalogue.parse(json.dumps(sites({"HOME": {"call": "orange"}})).encode())  # type: ignore[dict-item]
    rules = Rulebook.parse('[[rule]]\nid = "call"\ntype = "press"\nlevel = "red"')
    rules.check(catalogue)
    assert TYPES["press"].table(rules.rules[0], catalogue.places["HOME"]) == 3


@pytest.mark.parametrize("command", ["check", "replay", "worker"])
def test_it_is_refused_before_anything_begins(command: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("")
    (tmp_path / "sites.geojson").write_text(json.dumps(sites(runoff=7), indent=1))
    (tmp_path / "rules.toml").write_text(RULES.replace("blue = 0.1", "blue = 0.3"))
    given = [str(tmp_path / "c.jsonl")] if command == "replay" else []
    for option, file, wanted in (
        ("--sites", "sites.geojson", "`runoff` is 7"),
        ("--rules", "rules.toml", "red is below"),
    ):
        ended = CliRunner().invoke(app, [command, *given, option, str(tmp_path / file)])
        assert isinstance(ended.exception, InputError)
        assert wanted in str(ended.exception)
        assert ended.exception.exit_code == 2


def test_a_site_that_a_rule_cannot_work_at_is_the_catalogues_mistake(tmp_path: Path) -> None:
    catalogue = sites(storage_mm=None)
    where = f"sites.geojson:{line_of('CATCH', catalogue)}"
    wanted = f"{where}: rule risk: the catchment CATCH has no `storage_mm`; add it to the catalogue"
    assert said(RULES, catalogue, tmp_path).startswith(wanted)
    catalogue = sites()
    for feature in catalogue["features"]:
        feature["properties"].pop("capacity", None)
    where = f"sites.geojson:{line_of('VENUE', catalogue)}"
    assert said(RULES, catalogue, tmp_path).startswith(f"{where}: rule people: the venue VENUE has no `capacity`")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("x", "not an alert: JSON is malformed"),
        ('{"id": "a"}', "not an alert: it has no 'at'"),
        ("[]", "not an alert: Expected `object`, got `array`"),
    ],
)
def test_what_is_expected_must_be_alerts(line: str, wanted: str, tmp_path: Path) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text("\n\n" + line)
    with pytest.raises(InputError) as error:
        read_alerts(file)
    assert str(error.value).startswith(f"{file}:3: {wanted}")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("xx", "JSON is malformed"),
        ('{"key": "TH-01", "value": []}', "Object missing required field `topic`"),
        ('{"topic": "readings.flood", "key": 5}', "Expected `str | null`, got `int` - at `$.key`"),
        ('{"topic": "readings.flood", "raw": "!!"}', "Only base64 data is allowed"),
    ],
)
def test_a_broken_line_of_a_capture_is_told_with_its_number(line: str, wanted: str, tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"topic": "readings.flood", "key": "TH-01", "value": []}\n\n' + line)
    with pytest.raises(InputError) as error:
        list(capture.read(file))
    assert str(error.value).startswith(f"{file}:3: broken line: {wanted}")
