"""A pipeline whose directory is full of planted names, phones and addresses: none of them gets anywhere else."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard
from aiokafka import AIOKafkaProducer
from pipelines import ended, read_all, wait_for_line
from services import influxdb
from services.influxdb import ORG, TOKEN, InfluxDB
from typer.testing import CliRunner

from alerts.routes import sealed
from alerts.routes.directory import SHIPPED
from alerts.routes.residents import AUDIT_FILE
from sensors.catalogue import Catalogue, Place
from sensors.gateway import Gateway
from streams import topics
from streams.child import Child, free_port
from streams.commands import app

pytest_plugins = ["brokers"]

PLANTED = "zq7planted"  # is a part of every name, phone, address and contact
PARTITIONS = 2
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def planted(port: int) -> str:
    """The shipped example, in which whatever is about people has been marked. Everybody's first channel is down, the
    second one is on that port.
    """
    text = re.sub(r'\b(name|resident|address|phone) = "', rf'\1 = "{PLANTED}', SHIPPED.read_text())
    first, second = (f"json://{PLANTED}:{PLANTED}@127.0.0.1:{at}/{PLANTED}/" for at in (free_port(), port))
    url = "json://127.0.0.1:8477/"
    return re.sub(rf"(.*?){url}(.*?){url}", rf"\g<1>{first}\g<2>{second}", text)


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[str]]]:
    """(port, paths that were posted to) of whoever is told."""
    paths: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not into the test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, paths
        server.shutdown()


def leaks(value: bytes | None) -> bool:
    if value and value.startswith(_ZSTANDARD):
        value = zstandard.ZstdDecompressor().decompress(value, max_output_size=1 << 30)
    return PLANTED.encode() in (value or b"").lower()


class Pipeline:
    """Worker and on-call as users start them; the directory is encrypted, and its key in their environment."""

    def __init__(self, broker: str, prefix: str, folder: Path) -> None:
        self.broker, self.prefix, self.folder = broker, prefix, folder
        self.directory, key = folder / "directory.sealed", folder / "key"
        self.audit = folder / "audit.jsonl"
        self.env = {sealed.KEY_FILE: str(key), AUDIT_FILE: str(self.audit)}
        sealed.new_key(key)
        self.ports: list[int] = []
        self.written: list[Path] = []  # what commands said

    def start(self, command: str, *options: str) -> Child:
        port = free_port()
        self.ports.append(port)
        return self._child(command, "--health", f"127.0.0.1:{port}", *options)

    def archive(self, database: InfluxDB) -> Child:
        token = self.folder / "influx-token"
        token.write_text(TOKEN)
        return self._child("archive", "--influx-url", database.url, "--org", ORG, "--token-file", str(token))

    def _child(self, command: str, *options: str) -> Child:
        line = [sys.executable, "-m", "streams", command, "--broker", self.broker, "--prefix", self.prefix, *options]
        return Child(command, line, self.folder / f"{command}.log", self.env)

    def kapok(self, *arguments: object) -> str:
        """What a command says, which is kept to be searched too."""
        done = CliRunner(env=self.env).invoke(app, [str(one) for one in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        self.written.append(self.folder / f"command-{len(self.written)}.txt")
        self.written[-1].write_text(done.output)
        return done.stdout

    def on(self, *arguments: object) -> str:
        return self.kapok(*arguments, "--broker", self.broker, "--prefix", self.prefix)

    def records(self, *names: str) -> list[tuple[str, bytes]]:
        """(topic, key, value and headers of a record) of all topics, or of these."""
        wanted = [self.prefix + name for name in names or (*topics.ALL, *topics.ONCALL)]
        found = asyncio.run(read_all(self.broker, wanted, PARTITIONS))
        values = [(r, part) for r in found for part in (r.key, r.value, *(value for _, value in r.headers))]
        return [(record.topic.removeprefix(self.prefix), part or b"") for record, part in values]

    def until(self, true: Callable[[], bool], running: list[Child], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            for child in running:
                child.check()
            assert time.monotonic() < deadline, "\n".join(f"{one.name}: {one.tail()}" for one in running)
            time.sleep(0.2)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[InfluxDB | None]:
    """An InfluxDB where there is one: without it the buckets alone are not searched."""
    server = influxdb.influxd()
    if server is None:
        if os.environ.get("KAPOK_CI") == "1":
            pytest.fail("influxd must be there in CI: tests/services/install-influxd.sh")
        yield None
        return
    (tmp_path / "influxdb").mkdir()
    found = InfluxDB(server, tmp_path / "influxdb")
    found.start()
    try:
        found.set_up()
        yield found
    finally:
        found.stop()


async def press(pipeline: Pipeline, catalogue: Catalogue, home: Place) -> None:
    """The call button of a home; and what nobody can use, which goes to the rejected ones."""
    call = next(s.id for s in catalogue.sensors.values() if s.place == home.id and s.room == "call")
    async with Gateway(pipeline.broker, catalogue, pipeline.prefix) as gateway:
        await gateway.publish(call, button=True)
    async with AIOKafkaProducer(bootstrap_servers=pipeline.broker) as producer:
        await producer.send_and_wait(f"{pipeline.prefix}readings.infrared", b"no pack", home.zone.encode())


@pytest.mark.kafka
def test_what_is_in_the_directory_is_nowhere_else(
    apache_kafka: str, prefix: str, tmp_path: Path, database: InfluxDB | None, receiver: tuple[int, list[str]]
) -> None:
    port, told = receiver
    catalogue = Catalogue.shipped()
    home = next(place for place in catalogue.places.values() if place.kind == "infrared")
    pipeline = Pipeline(apache_kafka, prefix, tmp_path)
    plain = tmp_path / "directory.toml"
    plain.write_text(planted(port))
    pipeline.kapok("directory", "encrypt", plain, "--out", pipeline.directory)
    assert not leaks(pipeline.directory.read_bytes())
    plain.unlink()
    asyncio.run(topics.ensure(apache_kafka, prefix, PARTITIONS, names=(*topics.ALL, *topics.ONCALL)))

    console = f"127.0.0.1:{free_port()}"
    with ended(pipeline.start("worker")) as running:
        running.append(pipeline.start("oncall", "--console", console, "--directory", str(pipeline.directory)))
        if database:
            running.append(pipeline.archive(database))
        wait_for_line(running[1], "on-call begins")
        asyncio.run(press(pipeline, catalogue, home))
        pipeline.until(lambda: any(b'"delivered"' in value for _, value in pipeline.records(topics.RECEIPTS)), running)
        assert told
        assert all(PLANTED in path for path in told), "whoever is told is told at the address of the directory"
        pipeline.on("alerts", "ack", home.id, "--by", "p-001", "--lang", "zh")
        shown = pipeline.kapok("directory", "show", pipeline.directory, home.id, "--why", f"call-button/{home.id}")
        assert leaks(shown.encode()), "somebody who gives a reason is told who lives there"
        pipeline.written.pop().unlink()
        pipeline.kapok("check", "--directory", pipeline.directory)
        if database:
            pipeline.until(lambda: bool(rows(database)), running)

        # a directory that cannot be used is told of in the log, and nothing of it is shown there
        good = pipeline.directory.read_bytes()
        for bad in (
            planted(port).replace("language", "tongue"),
            planted(port).replace("[home]", f"[home]\n{PLANTED.upper()}"),
            "x",
        ):
            pipeline.directory.write_text(bad) if bad == "x" else pipeline.directory.write_bytes(seal(pipeline, bad))
            before = running[1].log.read_text().count("stay as they were")
            running[1].send(signal.SIGHUP)
            pipeline.until(lambda: running[1].log.read_text().count("stay as they were") > before, running)
        pipeline.directory.write_bytes(good)

        found = pipeline.records()
        for page in (*(f"127.0.0.1:{port}/metrics" for port in pipeline.ports), console):
            with urllib.request.urlopen(f"http://{page}", timeout=10) as answer:
                assert not leaks(answer.read())
        pipeline.on("record", "--out", tmp_path / "capture.jsonl", *each("--topic", topics.ALL, topics.ONCALL))
        if database:
            assert not [row for row in rows(database) if leaks(json.dumps(row, default=str).encode())]
        for child in reversed(running):
            child.stop()

    searched = {name for name, value in found if value}
    assert {
        "readings.infrared",
        "readings.rejected",
        "alerts",
        "actions",
        "oncall.log",
        "cases",
        "notifications",
    } <= searched
    assert not [name for name, value in found if leaks(value)]
    files = [child.log for child in running] + [*pipeline.written, tmp_path / "capture.jsonl", pipeline.audit]
    assert not [file.name for file in files if leaks(file.read_bytes())]
    assert [json.loads(line)["home"] for line in pipeline.audit.read_text().splitlines()] == [home.id]


def seal(pipeline: Pipeline, text: str) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(sealed.KEY_FILE, pipeline.env[sealed.KEY_FILE])
        return sealed.seal(text.encode())


def each(option: str, *names: tuple[str, ...]) -> list[str]:
    return [word for name in (one for some in names for one in some) for word in (option, name)]


def rows(database: InfluxDB) -> list[dict[str, object]]:
    """All that is in all buckets."""
    source = 'from(bucket: "{}") |> range(start: 0, stop: 2200-01-01T00:00:00Z)'
    return [row for bucket in database.retention() for row in database.query(source.format(bucket))]
