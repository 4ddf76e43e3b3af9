"""Compressed files: all of them is read, or the command says that it is not all there."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from sensors import capture
from sensors.errors import InputError

COMPRESS = {"gz": gzip.compress, "zst": zstandard.compress}


def lines(first: int, count: int) -> bytes:
    start = 1_714_800_000 + first * 60
    packs = ([{"n": "GZ-TH-0001/depth", "t": start + i * 60, "v": i % 2 * 0.5}] for i in range(count))
    return b"".join(
        json.dumps({"topic": "readings.flood", "key": "TH-01", "value": pack}).encode() + b"\n" for pack in packs
    )


def replay(*args: object, **env: str) -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "streams", "replay", *map(str, args)]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **env})
    return done.returncode, done.stdout, done.stderr.decode(errors="replace").strip()


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A capture of a few alerts."""
    file = tmp_path / "short.jsonl"
    file.write_bytes(lines(0, 4))
    return file


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_capture_of_several_compressed_parts_is_read_to_its_end(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"c.jsonl.{suffix}"
    pack = COMPRESS[suffix]
    file.write_bytes(pack(lines(0, 3000)) + pack(b"") + pack(lines(3000, 500)))
    assert sum(1 for _ in capture.read(file)) == 3500
    assert capture.contains(file, b"1715009940")  # the last reading's time


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_capture_that_is_cut_off_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    file = tmp_path / f"c.jsonl.{suffix}"
    whole = COMPRESS[suffix](lines(0, 3000))
    file.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(InputError, match="cannot read the capture: the compressed file is cut off"):
        list(capture.read(file))
    with pytest.raises(InputError, match="cut off"):
        capture.contains(file, b"@nowhere")


def test_alerts_are_written_and_expected_compressed_and_a_cut_off_file_is_no_expectation(short: Path) -> None:
    for suffix in ("", ".gz", ".zst"):
        out = short.with_name(f"alerts.jsonl{suffix}")
        assert replay(short, "--out", out)[0] == 0
        code, _, said = replay(short, "--expect", out)
        assert (code, said.splitlines()[-1].split(" are ")[0]) == (0, "the 4 alerts")
    cut = short.with_name("cut.zst")
    cut.write_bytes(out.read_bytes()[:40])
    wanted = f"kapok: {cut}: cannot read the alerts: the compressed file is cut off"
    assert replay(short, "--expect", cut) == (2, b"", wanted)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("option", ["--out", "--rejected"])
def test_a_full_disk_is_no_mistake_of_the_callers(option: str, short: Path) -> None:
    short.write_bytes(short.read_bytes() + b'{"topic": "readings.flood", "key": "TH-01", "value": {}}\n')
    assert replay(short, option, "/dev/full") == (3, b"", "kapok: /dev/full: cannot write: No space left on device")


def test_a_folder_is_not_a_capture(tmp_path: Path) -> None:
    assert replay(tmp_path) == (2, b"", f"kapok: {tmp_path}: cannot read the capture: it is not a file")


def test_the_difference_is_shown_in_a_terminal_that_has_no_arrows_too(short: Path) -> None:
    golden = short.with_name("golden.jsonl")
    golden.write_bytes(b"")
    code, said, _ = replay(short, "--expect", golden, PYTHONIOENCODING="ascii")
    assert code == 1
    assert b"the alerts differ: 0 missing, 4 not expected, 0 changed" in said
    assert b"flood-depth  GZ-TH-0001  normal ? red" in said


def test_alerts_for_a_closed_standard_output_are_no_difference(short: Path) -> None:
    command = f"{sys.executable} -m streams replay {short} --out - >&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (2, "kapok: - is standard output, which is closed")
