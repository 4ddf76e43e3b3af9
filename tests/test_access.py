"""What an intruder tries against a real Apache Kafka with TLS, passwords and rights, and that the work goes on there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.admin import CreateAclsRequest
from brokers import Secured
from pipelines import ended, wait_for_line

from alerts.edition import recorded
from alerts.rulebook import Rulebook
from sensors import capture as captures
from sensors.announcement import RULES_KEY, Announcement, announcement
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from sensors.connection import connection
from sensors.errors import RunError
from sensors.gateway import Gateway
from sensors.record import partition_of
from sensors.seal import KEY_FILE, Seal
from streams import access, quotas, topics
from streams.apache_kafka import ApacheKafka
from streams.certificates import Authority
from streams.child import Child
from streams.grants import TOPIC, WRITE
from streams.record import record as record_topics
from streams.replay import replay

pytest_plugins = ["brokers"]
pytestmark = pytest.mark.kafka


def log_in(monkeypatch: pytest.MonkeyPatch, secured: Secured, user: str) -> None:
    for name, value in secured.settings(user).items():
        monkeypatch.setenv(name, value)


def kapok(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    left = {name: value for name, value in os.environ.items() if not name.startswith("KAPOK_BROKER")}
    command = [sys.executable, "-m", "streams", *arguments]
    return subprocess.Popen(command, env={**left, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def write(broker: str, name: str) -> None:
    async with AIOKafkaProducer(**connection(broker)) as producer:
        await asyncio.wait_for(producer.send_and_wait(name, b"[]", b"TH-01"), 10)


async def read(broker: str, name: str, group: str | None = None) -> None:
    async with AIOKafkaConsumer(name, **connection(broker), group_id=group, auto_offset_reset="earliest") as consumer:
        await asyncio.wait_for(consumer.getone(), 10)


@pytest.mark.parametrize("name", ["readings.infrared", "alerts", "actions", "state", "rules", "readings.rejected"])
async def test_a_gateway_writes_its_own_topics_only(
    secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log_in(monkeypatch, secured_kafka, "gateway-north")
    await write(secured_kafka.address, "readings.flood")
    with pytest.raises(TopicAuthorizationFailedError):
        await write(secured_kafka.address, name)
    said = [line for line in secured_kafka.log().splitlines() if f"Topic:LITERAL:{name}" in line]
    assert any("User:gateway-north is Denied" in line for line in said)


@pytest.mark.parametrize("name", ["alerts", "readings.flood", "actions", "state"])
async def test_a_gateway_reads_nothing(secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    log_in(monkeypatch, secured_kafka, "gateway-north")
    with pytest.raises(TopicAuthorizationFailedError):
        await read(secured_kafka.address, name)


async def test_nobody_takes_part_in_anothers_group(secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, secured_kafka, "archive")
    with pytest.raises(GroupAuthorizationFailedError):
        await read(secured_kafka.address, "readings.flood", "kapok")


@pytest.mark.parametrize("user", ["gateway-north", "archive", "oncall", "worker", "recorder"])
async def test_nobody_makes_or_deletes_topics_or_rights(
    secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    log_in(monkeypatch, secured_kafka, user)
    with pytest.raises(RunError, match="could not be made"):
        await topics.ensure(secured_kafka.address, "own.")
    async with topics.admin(secured_kafka.address) as client:
        answer = await client.delete_topics(["readings.flood"])
        assert [code for _, code, *_ in answer.topic_error_codes] == [TopicAuthorizationFailedError.errno]
    client = AIOKafkaClient(**connection(secured_kafka.address))
    await client.bootstrap()
    try:
        asked = CreateAclsRequest(TOPIC, "alerts", 3, f"User:{user}", "*", WRITE, 3)
        answer = await client.send(client.get_random_node(), asked)
        assert [code for code, _ in answer.creation_responses] == [ClusterAuthorizationFailedError.errno]
    finally:
        await client.close()


async def test_a_gateway_is_told_which_topics_are_not_its_own(
    secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, secured_kafka, "gateway-north")
    catalogue = Catalogue.shipped()
    counter = next(sensor.id for sensor in catalogue.sensors.values() if sensor.kind == "crowd")
    with pytest.raises(RunError, match=r"no topic readings\.crowd that 'gateway-north' may write"):
        async with Gateway(secured_kafka.address, catalogue) as gateway:
            await gateway.publish(counter, count=3)


def test_who_is_turned_away_is_told_why_and_ends_with_3(secured_kafka: Secured, tmp_path: Path) -> None:
    broker, worker = secured_kafka.address, secured_kafka.settings("worker")
    out = ["--out", str(tmp_path / "x.jsonl")]
    Authority(secured_kafka.folder).issue(tmp_path / "over.pem", access.ADMIN, lasts=timedelta(minutes=-1))
    (tmp_path / "ca.crt").write_bytes((secured_kafka.folder / "ca.crt").read_bytes())
    (tmp_path / "over.toml").write_text('ca = "ca.crt"\ncertificate = "over.pem"\n')
    (tmp_path / "system.toml").write_text('user = "worker"\n')
    wrong = {"KAPOK_BROKER_PASSWORD": "wrong"}
    tried = {
        "does not let 'worker' in: the password is wrong": kapok("worker", "--broker", broker, env={**worker, **wrong}),
        "does not let 'gateway-north' in": kapok(
            "record", *out, "--broker", broker, env={**secured_kafka.settings("gateway-north"), **wrong}
        ),
        "perhaps it is encrypted, and this connection was not": kapok("record", *out, "--broker", broker, env={}),
        "has a certificate that does not hold: unable to get local issuer": kapok(
            "record", *out, "--broker", broker, env={"KAPOK_BROKER_SETTINGS": str(tmp_path / "system.toml"), **wrong}
        ),
        "certificate that does not hold: Hostname mismatch": kapok(
            "record", *out, "--broker", f"localhost:{broker.split(':')[1]}", env=worker
        ),
        "does not take the certificate": kapok(
            "record", *out, "--broker", secured_kafka.admin, env={"KAPOK_BROKER_SETTINGS": str(tmp_path / "over.toml")}
        ),
        "that 'gateway-north' may read": kapok(
            "record", *out, "--topic", "alerts", "--broker", broker, env=secured_kafka.settings("gateway-north")
        ),
    }
    password = (secured_kafka.folder / "worker" / "password").read_text().strip()
    for said, process in tried.items():
        output, _ = process.communicate(timeout=100)
        assert (said in output, process.returncode) == (True, 3), output
        assert "Traceback" not in output
        assert password not in output
    turned_away = [line for line in secured_kafka.log().splitlines() if "Failed authentication with /127.0.0.1" in line]
    assert len(turned_away) >= len(tried) - 2  # of the names that differ only the client knows


def test_a_broker_whose_certificate_is_over_is_not_believed(secured_kafka: Secured, tmp_path: Path) -> None:
    over = tmp_path / "over.pem"
    Authority(secured_kafka.folder).issue(over, access.BROKER, ["127.0.0.1"], lasts=timedelta(minutes=-1))
    of_clients = f"listener.name.{access.CLIENTS_LISTENER.lower()}.ssl.keystore"
    settings = {f"{of_clients}.location": str(over), f"{of_clients}.type": "PEM"}
    with ApacheKafka(tmp_path / "kafka", settings=settings, access=secured_kafka.folder) as kafka:
        process = kapok("worker", "--broker", kafka.address, env=secured_kafka.settings("worker"))
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 3
    assert "has a certificate that does not hold: certificate has expired" in output


def test_the_folder_says_who_may_come(secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, admin = secured_kafka.folder, secured_kafka.admin
    log_in(monkeypatch, secured_kafka, "gateway-all")
    asyncio.run(write(secured_kafka.address, "readings.crowd"))
    settings = {name: (folder / "gateway-all" / name).read_text() for name in ("broker.toml", "password", "kinds")}
    (folder / "gateway-all" / "password").unlink()
    monkeypatch.setenv("KAPOK_BROKER_PASSWORD", settings["password"].strip())
    try:
        process = kapok("access", "grant", str(folder), "--broker", admin, env={})
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0, output
        assert "gateway-all no longer writes readings.crowd, readings.flood" in output
        with pytest.raises(KafkaError):
            asyncio.run(write(secured_kafka.address, "readings.crowd"))
    finally:
        monkeypatch.delenv("KAPOK_BROKER_PASSWORD")
        access.make(folder, ["127.0.0.1"], {"all": ["flood", "rain", "infrared", "crowd"]})
        process = kapok("access", "grant", str(folder), "--broker", admin, env={})
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0, output
        assert "gateway-all now sends at most 500,000 bytes/s" in output  # the limit had gone with it
    assert (folder / "gateway-all" / "password").read_text() != settings["password"]
    asyncio.run(write(secured_kafka.address, "readings.crowd"))


async def first_tick(broker: str, partition: int) -> None:
    """Waits until the clock has begun in this partition of the flood gauges."""
    place = TopicPartition("readings.flood", partition)
    async with AIOKafkaConsumer(**connection(broker), auto_offset_reset="earliest") as consumer:
        consumer.assign([place])
        while (await asyncio.wait_for(consumer.getone(), 60)).key != CLOCK_KEY:
            pass


async def test_the_work_goes_on_and_a_forged_clock_moves_nothing(
    secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Gateway, worker and recorder by TLS and passwords; the alerts are those of a replay with the clock's key."""
    broker, folder = secured_kafka.address, secured_kafka.folder
    key_file, catalogue = folder / "worker" / "clock.key", Catalogue.shipped()
    environment = {**secured_kafka.settings("worker"), KEY_FILE: str(key_file)}
    command = [sys.executable, "-m", "streams", "worker", "--broker", broker]
    gauge = next(sensor for sensor in catalogue.sensors.values() if sensor.kind == "flood")
    partition = partition_of(gauge.zone.encode(), 2)
    with ended(Child("worker", command, tmp_path / "worker.log", environment)) as (worker,):
        wait_for_line(worker, "reading partitions 0, 1")
        log_in(monkeypatch, secured_kafka, "recorder")
        await first_tick(broker, partition)
        log_in(monkeypatch, secured_kafka, "gateway-all")
        now = int(time.time())
        then = now - 3600  # behind the clock: nothing falls due on it, which a stopped worker would not tell
        async with Gateway(broker, catalogue) as gateway:
            await gateway.publish(gauge.id, depth=0.23, at=then)
        async with AIOKafkaProducer(**connection(broker)) as intruder:
            rules = announcement(Announcement(999, "0" * 12, now * 1000))
            for key, value in ((CLOCK_KEY, tick((now + 50) * 1000)), (RULES_KEY, rules)):
                await intruder.send_and_wait("readings.flood", value, key, partition)
            evil = "\x1b[2J\n2026-11-21 INFO all is well"
            pack = msgspec.json.encode([{"n": f"{evil}/depth", "v": 1, "t": now}])
            await intruder.send_and_wait("readings.flood", pack, evil.encode(), partition)
        async with Gateway(broker, catalogue) as gateway:
            await gateway.publish(gauge.id, depth=0.05, at=then + 60)
        log_in(monkeypatch, secured_kafka, "recorder")
        alerts: list[bytes] = []
        async with AIOKafkaConsumer("alerts", **connection(broker), auto_offset_reset="earliest") as consumer:
            while len(alerts) < 2:
                record = await asyncio.wait_for(consumer.getone(), 60)
                alerts += [] if record.key == CLOCK_KEY else [record.value]
        assert worker.stop() == 0
    capture, rejected = tmp_path / "readings.jsonl", tmp_path / "rejected.jsonl"
    await record_topics(broker, capture)
    await record_topics(broker, rejected, names=["readings.rejected"])
    told = [msgspec.json.decode(line.payload() or b"") for line in captures.read(rejected)]
    known = [(one["reason"], one["key"]) for one in told if one["key"] != evil and one["partition"] == partition]
    assert sorted(known) == [("forged", "@clock"), ("forged", "@rules")]
    seal = Seal.read(key_file)
    editions = recorded(capture, seal)
    replayed = replay(capture, catalogue, Rulebook.shipped(), partitions=2, editions=editions, seal=seal)
    assert replayed.lines() == alerts
    reasons = [msgspec.json.decode(one)["reason"] for one in replayed.rejected]
    assert reasons == ["forged", "forged", "unknown_sensor"]
    log = (tmp_path / "worker.log").read_text()
    assert "\x1b" not in log
    assert "\n2026-11-21 INFO all" not in log
    for secret in (folder / "worker" / "password", key_file):
        assert secret.read_text().strip() not in log


async def test_a_gateway_that_floods_waits_and_the_alerts_of_others_come(
    secured_kafka: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It sends as much as it may. The last test: it leaves the topics full of it."""
    broker, catalogue, now = secured_kafka.address, Catalogue.shipped(), int(time.time())
    gauges = [sensor for sensor in catalogue.sensors.values() if sensor.kind == "flood"]
    flooded, *others = {partition_of(gauge.zone.encode(), 2): gauge for gauge in gauges}.values()
    flood = msgspec.json.encode([{"n": f"unknown-{n}/depth", "v": 1, "t": now} for n in range(500)])
    command = [sys.executable, "-m", "streams", "worker", "--broker", broker]
    environment = {**secured_kafka.settings("worker"), KEY_FILE: str(secured_kafka.folder / "worker" / "clock.key")}
    sent = 0
    with ended(Child("worker", command, tmp_path / "worker.log", environment)) as (worker,):
        wait_for_line(worker, "reading partitions 0, 1")
        log_in(monkeypatch, secured_kafka, "gateway-all")
        flooding = AIOKafkaProducer(**connection(broker), enable_idempotence=False)
        log_in(monkeypatch, secured_kafka, "recorder")
        reader = AIOKafkaConsumer("alerts", **connection(broker))
        log_in(monkeypatch, secured_kafka, "gateway-north")

        async def pour() -> None:
            nonlocal sent
            while True:
                await flooding.send_and_wait("readings.flood", flood, flooded.zone.encode())
                sent += 1

        async with flooding, reader, Gateway(broker, catalogue) as calm:
            began, pouring = time.monotonic(), asyncio.create_task(pour())
            for second in range(10):
                for gauge in (flooded, *others):
                    await calm.publish(gauge.id, depth=0.23 * (second % 2), at=now + second)
                await asyncio.sleep(1)
            seen = 0
            while seen < 10 * len((flooded, *others)):
                record = await asyncio.wait_for(reader.getone(), 60)
                seen += record.key != CLOCK_KEY
            # Kafka measures over eleven seconds, so a burst goes through before the limit bites.
            assert sent * len(flood) < 2 * quotas.RATE * (time.monotonic() - began + 11)
            pouring.cancel()
