"""What is wrong with rules, a catalogue or a capture is said with the file, the line and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from examples import sites

from alerts.comparison import read_alerts
from alerts.rulebook import Rulebook
from sensors import capture
from sensors.catalogue import Catalogue
from sensors.errors import InputError

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
    ],
)
def test_a_mistake_in_the_rules_is_told_with_its_line(before: str, after: str, wanted: str, tmp_path: Path) -> None:
    assert said(RULES.replace(before, after, 1), sites(), tmp_path).startswith(f"rules.toml:{wanted}")


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


def test_a_site_that_a_rule_cannot_work_at_is_the_catalogues_mistake(tmp_path: Path) -> None:
    catalogue = sites(storage_mm=-1)
    where = f"sites.geojson:{line_of('CATCH', catalogue)}"
    wanted = f"{where}: rule risk: the catchment CATCH needs a `storage_mm` that is not negative"
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
