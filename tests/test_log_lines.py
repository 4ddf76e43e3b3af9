"""What comes from outside is in logs and messages as text that does nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.log_lines import plain, plain_logs

EVIL = "GZ-TH\x1b[2J\r\n2026-11-21 INFO all is well\x9b31m\u202e\u2028\x00"
CONTROLS = {chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E)}


@given(st.text())
def test_a_text_becomes_one_line_without_controls(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert not CONTROLS & set(shown)
    shown.encode()
    assert plain(shown) == shown


def test_what_people_write_is_shown_as_it_is() -> None:
    assert plain("天河区 岗顶 0.23 m – ok") == "天河区 岗顶 0.23 m – ok"
    assert plain("one\ntwo\x1b", lines=True) == "one\n    two\\x1b"


def test_a_logger_writes_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    before, log = logging.getLogRecordFactory(), logging.getLogger("test.evil")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("BEGIN %(message)s"))
    log.addHandler(handler)
    plain_logs()
    try:
        log.warning("sensor %s is odd", EVIL)
        log.warning(EVIL)
        try:
            raise ValueError(EVIL)
        except ValueError:
            log.exception("unexpected")
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    lines = capsys.readouterr().err.split("\n")
    assert [line for line in lines if "sensor GZ-TH\\x1b[2J\\r\\n2026" in line]
    assert not CONTROLS & set("".join(lines))
    assert all(line.startswith(("BEGIN ", "    ", "Traceback")) for line in lines if line)
    assert len([line for line in lines if line.startswith("BEGIN ")]) == 3


def test_no_command_shows_a_captures_names_raw(tmp_path: Path) -> None:
    pack = json.dumps([{"n": f"{EVIL}/depth", "u": EVIL, "v": 1, "t": 1.7e9}, {"n": EVIL}])
    line = json.dumps(
        {"topic": "readings.flood", "key": EVIL, "value": json.loads(pack), "timestamp": 1_700_000_000_000}
    )
    capture, broken = tmp_path / "evil.jsonl", tmp_path / "broken.jsonl"
    capture.write_text(line + "\n")
    broken.write_text(json.dumps({"topic": EVIL, "key": None, "value": []}) + "\n")
    for file, code in ((capture, 0), (broken, 2)):
        command = [sys.executable, "-m", "streams", "replay", str(file), "--out", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == code, done.stderr
        assert not (CONTROLS - {"\n"}) & set(done.stdout + done.stderr)
        assert not any(said.startswith("2026-11-21") for said in (done.stdout + done.stderr).splitlines())
