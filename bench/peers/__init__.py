"""The contestants that are not kapok: each does the same job on the same records, the way its documentation shows.

The job: read SenML packs, pass over ticks, keep the level of each sensor in state with a changelog, step it by the
one rule, and write ``{"site", "level", "previous", "at", "value"}`` (``at`` in ms) for every change of level.
One thread or worker each. They get what they need from the environment: ``COURSE_BROKER``, ``COURSE_SOURCE``,
``COURSE_ALERTS``, ``COURSE_ID`` (fresh for each round) and ``COURSE_FOLDER``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sensors.errors import RunError

HERE = Path(__file__).parent
_MSGSPEC = "msgspec==0.22.0"
_QUIX = ("quixstreams==3.28.1", "confluent-kafka==2.12.2", "rocksdict==0.3.29", "orjson==3.13.0", _MSGSPEC)
_BYTEWAX = ("bytewax[kafka]==0.21.1", "confluent-kafka==2.16.1", "fastavro==1.13.1", "requests==2.34.2", _MSGSPEC)


class Peer(NamedTuple):
    """``command`` makes it ready, as far as it is not yet, and gives its command line for a folder of its own.

    RunError with the reason where it cannot be had.
    """

    name: str
    title: str
    command: Callable[[Path], list[str | Path]]


def _kafka_streams(folder: Path) -> list[str | Path]:
    return _java("kafka_streams")


def _flink(folder: Path) -> list[str | Path]:
    return _java("flink")


def _java(name: str) -> list[str | Path]:
    parts = [HERE / name / "pom.xml", HERE / name / "LevelRule.java"]
    built = _cached(name.replace("_", "-"), parts, lambda work: _compile(parts[0], work))
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", quiet, "-cp", f"{built}/classes:{built}/jars/*", "LevelRule"]


def _compile(pom: Path, work: Path) -> None:
    if lacking := [name for name in ("java", "javac", "mvn") if shutil.which(name) is None]:
        raise RunError(f"needs {' and '.join(lacking)} on the PATH (a JDK 17, Maven)")
    goals = ["compile", "dependency:copy-dependencies", f"-Dout={work}", f"-DoutputDirectory={work}/jars"]
    _run(["mvn", "-q", "-B", "-f", str(pom), *goals], "Maven could not build it")


def _faust(folder: Path) -> list[str | Path]:
    return [sys.executable, HERE / "faust_ordinary.py", "worker", "--loglevel", "warn", "--without-web"]


def _quix(folder: Path) -> list[str | Path]:
    return [_environment("quix", _QUIX), HERE / "quix.py"]


def _bytewax(folder: Path) -> list[str | Path]:
    python, recovery = _environment("bytewax", _BYTEWAX), folder / "recovery"
    recovery.mkdir()
    _run([str(python), "-m", "bytewax.recovery", str(recovery), "1"], "no recovery store")
    return [python, "-m", "bytewax.run", "-r", recovery, "-s", "10", "-b", "0", f"{HERE}/bytewax_flow.py:flow"]


PEERS = (
    Peer("kafka-streams", "Kafka Streams 4.1", _kafka_streams),
    Peer("flink", "Flink 2.2", _flink),
    Peer("faust", "Faust 0.15, the ordinary way", _faust),
    Peer("quix", "Quix Streams 3.28", _quix),
    Peer("bytewax", "Bytewax 0.21", _bytewax),
)


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    """The Python of an environment with these packages: they do not go with kapok's own."""

    def make(work: Path) -> None:
        if shutil.which("uv") is None:
            raise RunError("needs uv on the PATH")
        at = work.parent  # not in this project: its constraints are not theirs
        _run(["uv", "venv", "-q", "--relocatable", "--python", sys.executable, str(work)], "no environment", at)
        install = ["uv", "pip", "install", "-q", "--python", str(work / "bin/python"), *packages]
        _run(install, f"uv could not install {packages[0]}", at)

    return _cached(name, list(packages), make) / "bin/python"


def _cached(name: str, of: list[Path] | list[str], make: Callable[[Path], None]) -> Path:
    """A folder in the user's cache, made once for these contents."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kapok/peers"
    made_of = b"\0".join(part.read_bytes() if isinstance(part, Path) else part.encode() for part in of)
    folder = cache / f"{name}-{hashlib.sha256(made_of + sys.version.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:  # renamed when complete
        made = Path(work, "made")
        make(made)
        made.rename(folder)
    return folder


def _run(command: list[str], otherwise: str, at: Path | None = None) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=at)
    if done.returncode:
        raise RunError(f"{otherwise}: {(done.stdout + done.stderr).strip()[-500:]}")
