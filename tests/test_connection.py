"""The settings of a broker: what is wrong with them is said, and what is secret is not."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from sensors.connection import PASSWORD, SETTINGS, connection
from sensors.errors import InputError
from streams import access, topics
from streams.certificates import Authority
from streams.credentials import credentials
from streams.grants import DESCRIBE, READ, WRITE, grants

HOSTS = ["kafka", "127.0.0.1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    access.make(tmp_path, HOSTS, {"north": ["flood", "rain"]})
    return tmp_path


def test_nothing_is_needed_for_a_plain_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTINGS, raising=False)
    assert connection("127.0.0.1:9092") == {"bootstrap_servers": "127.0.0.1:9092"}
    assert credentials("127.0.0.1:9092") is None


def test_no_repr_shows_a_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTINGS, str(folder / "worker" / "broker.toml"))
    password = (folder / "worker" / "password").read_text().strip()
    options = connection("kafka:9092")
    assert options["sasl_plain_password"] == password
    assert options["security_protocol"] == "SASL_SSL"
    shown = f"{options} {options['sasl_plain_password']!r} {credentials('kafka:9092')!r}"
    assert password not in shown
    monkeypatch.setenv(PASSWORD, "from-the-environment")
    assert connection("kafka:9092")["sasl_plain_password"] == "from-the-environment"
    assert "from-the-environment" not in f"{connection('kafka:9092')}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user = ", "not settings of a broker"),
        ('user = "worker"\npassword = "s3cret"', "unknown field `password`"),
        ('user = "worker"', "no password for user 'worker'"),
        ('user = "worker"\npassword_file = "none"', "cannot read the password_file: No such file"),
        ('user = "worker"\npassword_file = "empty"', "the password_file is empty"),
        ('ca = "none.crt"', "ca, certificate or key"),
        ('ca = "empty"', "ca, certificate or key"),
    ],
)
def test_what_is_wrong_with_settings_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(text)
    (tmp_path / "empty").write_text("")
    monkeypatch.setenv(SETTINGS, str(file))
    with pytest.raises(InputError, match=said) as raised:
        connection("kafka:9092")
    assert str(raised.value).startswith(f"{file}: ")
    assert "s3cret" not in str(raised.value)


def test_secrets_are_nobody_elses(folder: Path) -> None:
    secret = [
        file for file in folder.rglob("*") if file.name in ("password", "clock.key") or file.suffix in (".key", ".pem")
    ]
    assert len(secret) == 11
    for file in secret:
        assert file.stat().st_mode & 0o007 == 0, file
        assert file.parent == folder or file.parent.stat().st_mode & 0o007 == 0, file


def test_whoever_reads_the_clock_has_the_key_of_its_seal(folder: Path) -> None:
    keys = {file.parent.name: file.read_bytes() for file in folder.rglob("clock.key")}
    assert set(keys) == {"worker", "oncall", "archive"}
    assert len(set(keys.values())) == 1


def test_what_is_there_stays_but_for_certificates_that_are_soon_over(folder: Path) -> None:
    def content() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    before = content()
    assert access.make(folder, HOSTS, {"north": ["flood", "rain"]}) == []
    assert content() == before
    assert access.make(folder, [*HOSTS, "kafka.example"], {}) == ["broker"]
    server = folder / "broker" / "server.pem"
    Authority(folder).issue(server, "broker", HOSTS, timedelta(days=29))
    assert access.make(folder, HOSTS, {}) == ["broker"]
    os.remove(folder / "ca.key")  # another authority: its certificates are others too
    assert access.make(folder, HOSTS, {}) == ["broker", "admin"]


def test_only_kinds_of_readings_and_plain_names_are_taken(tmp_path: Path) -> None:
    for gateways, said in (
        ({"n": ["alerts"]}, "no readings of kind alerts"),
        ({"../n": ["flood"]}, "cannot be the name"),
    ):
        with pytest.raises(InputError, match=said):
            access.make(tmp_path, HOSTS, gateways)


def test_every_topic_is_written_and_read_by_somebody_who_may(folder: Path) -> None:
    found = grants(access.users(folder), "p.")
    for name in topics.EVERY:
        rights = {one.operation for one in found if one.name == f"p.{name}"}
        assert {READ, WRITE, DESCRIBE} <= rights, name
    of_gateway = {(one.name, one.operation) for one in found if one.user == "gateway-north"}
    assert of_gateway == {("p.readings.flood", WRITE), ("p.readings.rain", WRITE)}
    writes = {one.user for one in found if one.operation == WRITE and one.name == "p.alerts"}
    assert writes == {"worker"}
