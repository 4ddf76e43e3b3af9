"""Some editors put a byte order mark before what they save: no file that people write is another one for it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from examples import DEPTH, readings, sites
from strategies import rules_file
from typer.testing import CliRunner

from alerts.edition import Edition
from alerts.routes import directory, routes
from alerts.rulebook import SHIPPED, Rulebook, ruleset
from sensors import capture, catalogue
from sensors.catalogue import Catalogue
from sensors.connection import connection
from sensors.errors import InputError
from sensors.seal import Seal
from streams.commands import app

BOM = b"\xef\xbb\xbf"
LINES = "\n".join([readings(("05:10", "F1/depth", 0.3)), readings(("05:11", "F1/depth", 0.0))]).encode()

RULES, SITES = rules_file([DEPTH | {"id": "depth"}]).encode(), json.dumps(sites()).encode()
RULESET = ruleset(Rulebook.parse(RULES.decode()), Catalogue.parse(SITES))


@pytest.fixture(params=[b"", BOM], ids=["without", "with"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    texts = {
        "rules.toml": RULES,
        "sites.geojson": SITES,
        "c.jsonl": LINES,
        "t.csv": b'"time",depth\n2026-01-27T00:15Z,0.2\n',
        "ids.csv": b"a,F1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(request.param + text)
    for name, compress in (("c.jsonl.gz", gzip.compress), ("c.jsonl.zst", zstandard.compress)):
        (tmp_path / name).write_bytes(compress(request.param + LINES))
    return tmp_path


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.jsonl.zst"])
def test_a_replay_is_the_same(name: str, files: Path) -> None:
    out, given = files / "a.jsonl", ["--rules", files / "rules.toml", "--sites", files / "sites.geojson"]
    done = CliRunner().invoke(app, [str(word) for word in ("replay", files / name, *given, "--out", out)])
    assert done.exit_code == 0, done.output
    alerts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(a["site"], a["level"], a["ruleset"]) for a in alerts] == [("F1", 4, RULESET), ("F1", 0, RULESET)]
    golden = files / "golden.jsonl"
    golden.write_bytes(BOM + out.read_bytes())
    done = CliRunner().invoke(app, [str(word) for word in ("replay", files / name, *given, "--expect", golden)])
    assert done.exit_code == 0, done.output


def test_a_worker_and_a_replay_have_one_ruleset(files: Path) -> None:
    rules, where = files / "rules.toml", files / "sites.geojson"
    edition = Edition.read(rules, where)
    assert edition.ruleset == ruleset(Rulebook.load(rules), Catalogue.load(where)) == RULESET
    assert Edition.unpack(edition.pack()).ruleset == RULESET


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_table_is_read(encoding: str, files: Path) -> None:
    form = ["--kind", "flood", "--time", "time", "--value", "depth", "--sensor-id", "a", "--encoding"]
    out = files / "made.jsonl"
    words = ["import", files / "t.csv", *form, encoding, "--map", files / "ids.csv", "--sites", files / "sites.geojson"]
    done = CliRunner().invoke(app, [str(word) for word in [*words, "--out", out]])
    assert done.exit_code == 0, done.output
    assert [line.key for line in capture.read(out)] == ["TH-03"]


def test_shipped_files_saved_by_such_an_editor_are_fit(tmp_path: Path) -> None:
    given = []
    for name, file in (
        ("sites", catalogue.SHIPPED), ("rules", SHIPPED), ("routes", routes.SHIPPED), ("directory", directory.SHIPPED)
    ):  # fmt: skip
        (tmp_path / file.name).write_bytes(BOM + file.read_bytes())
        given += [f"--{name}", str(tmp_path / file.name)]
    done = CliRunner().invoke(app, ["check", *given])
    assert done.exit_code == 0, done.output
    assert "fit to go live" in done.output


def test_settings_and_keys_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_bytes(BOM + b"secret\n")
    (tmp_path / "broker.toml").write_bytes(BOM + b'user = "gateway"\npassword_file = "password"\n')
    monkeypatch.setenv("KAPOK_BROKER_SETTINGS", str(tmp_path / "broker.toml"))
    assert connection("localhost:9092")["sasl_plain_password"] == "secret"
    (tmp_path / "clock.key").write_bytes(BOM + b"ab" * 32)
    Seal.read(tmp_path / "clock.key")


def test_it_moves_no_line_number(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_bytes(BOM + b"grace = 5\n")
    with pytest.raises(InputError, match=r"rules.toml:1: grace: 5 is not a duration"):
        Rulebook.load(file)
