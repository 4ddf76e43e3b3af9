"""The directory: names and addresses stay in it, encrypted, and each look-up of a home is written down."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from alerts.console.login import Login, Scope, check_password
from alerts.routes import example, sealed
from alerts.routes.directory import SHIPPED, Directory
from alerts.routes.residents import AUDIT_FILE, AuditLog
from alerts.routes.routes import SHIPPED as ROUTES
from alerts.routes.routes import Routes
from alerts.source import Source
from sensors.catalogue import Catalogue
from sensors.errors import InputError, RunError
from streams.commands import app

TEXT = """
[person]
p-1 = { name = "陈小明", language = "en", contacts = { sms = "sms://+8613800138000", mail = "mailto://chen@example.org" } }
p-2 = { name = "李四", login = { role = "carer", communities = ["TH-C01"], password = "$argon2id$secret" } }

[group]
crew = { name = "抢险队", rotas = ["crew"] }

[rota.crew]
turns = ["p-1", "p-2"]
handover = "Mon 08:30"
since = 2024-01-01

[home]
H-1A2B = { resident = "黄婆婆", address = "木棉路88号", phone = "020-12345678", note = "听力差", groups = { relatives = ["p-2"] } }
"""
SECRETS = [
    "陈小明",
    "李四",
    "13800138000",
    "chen@example",
    "argon2id",
    "抢险队",
    "黄婆婆",
    "木棉路",
    "12345678",
    "听力差",
]


def parse(text: str) -> Directory:
    return Directory.parse(Source(text, "directory.toml"))


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of keys and an audit log, as the environment names them."""
    path = tmp_path / "keys"
    sealed.new_key(path)
    monkeypatch.setenv(sealed.KEY_FILE, str(path))
    monkeypatch.setenv(AUDIT_FILE, str(tmp_path / "audit.jsonl"))
    return path


def run(*arguments: object, stdin: str | None = None) -> tuple[int, str]:
    """(exit code, standard output) of ``kapok directory``; what main() would turn into 2 or 3 is raised."""
    done = CliRunner().invoke(app, ["directory", *map(str, arguments)], input=stdin, catch_exceptions=False)
    return done.exit_code, done.stdout


# -- what it holds --------------------------------------------------------------------------------------------


def test_people_groups_and_homes() -> None:
    found = parse(TEXT)
    assert list(found.people["p-1"].contacts) == ["sms", "mail"]
    assert found.people["p-1"].language == "en"
    login = found.people["p-2"].login
    assert login is not None
    assert (login.role, login.communities, login.districts) == ("carer", ("TH-C01",), ())
    assert found.names == {"crew": "抢险队"}
    assert found.duty.on_duty("relatives-H-1A2B", 0) == ("p-2",)
    assert found.duty.on_duty("crew", 1_704_070_000_000) == ("p-1",)
    assert set(found.homes) == {"H-1A2B"}


def test_only_ids_go_on_the_log() -> None:
    found = parse(TEXT)
    packed = Routes.load(ROUTES, found.duty).pack().decode()
    assert not [secret for secret in SECRETS if secret in packed]
    assert "p-1" in packed


def test_nothing_of_people_shows_in_a_repr() -> None:
    """What ends up in a log line or a traceback by mistake."""
    found = parse(TEXT)
    shown = repr([found, found.people, found.people["p-2"].login, found.residents(AuditLog(Path()))])
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ('language = "en"', 'language = "cantonese"', 3, "person p-1: `language`"),
        ('role = "carer"', 'role = "boss"', 4, "person p-2: `login.role`"),
        ('password = "$argon2id$secret"', 'passwort = "$argon2id$secret"', 4, "person p-2: has no `login.password`"),
        ('"$argon2id$secret"', '"黄婆婆"', 4, "person p-2: `login.password`: is not an argon2 hash"),
        ('sms = "sms://+8613800138000"', 'sms = ["sms://+8613800138000"]', 3, "person p-1: `contacts.sms`"),
        ('name = "陈小明"', 'nam = "陈小明"', 3, "person p-1: has no `name`"),
        ('[group]\ncrew = { name = "抢险队", rotas = ["crew"] }', "[group]\ncrew = []", 7, "group crew: a group wants members or rotas"),
        ('handover = "Mon 08:30"', 'handover = "noon"', 9, "rota crew: `handover` 'noon'"),
        ('address = "木棉路88号", ', "", 15, "home H-1A2B: has no `address`"),
        ("[group]", '[group]\nrelatives-H-1A2B = ["p-1"]', 7, "group relatives-H-1A2B is there twice"),
        ("p-1 = {", '"p 1" = {', 3, "person p 1"),
        ("[group]", "[groups]", 6, "unknown setting 'groups'"),
        ("\n[person]", 'timezone = "Guangzhou"\n[person]', 1, "unknown timezone"),
        ("[person]", "[person]]", 2, "not TOML"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what_and_show_nobody(before: str, after: str, line: int, says: str) -> None:
    assert before in TEXT
    with pytest.raises(InputError) as caught:
        parse(TEXT.replace(before, after, 1))
    assert says in str(caught.value)
    assert caught.value.line == line
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
    assert caught.value.__cause__ is None or not [s for s in SECRETS if s in str(caught.value.__cause__)]


def test_the_shipped_example_is_what_its_program_makes_of_the_shipped_catalogue() -> None:
    assert SHIPPED.read_text() == example.directory()
    homes = {place.id for place in Catalogue.shipped().places.values() if place.kind == "infrared"}
    assert set(Directory.shipped().homes) == homes


def test_the_examples_contacts_lead_nowhere_but_to_this_machine() -> None:
    for person in Directory.shipped().people.values():
        assert all(url.startswith("json://127.0.0.1:") for url in person.contacts.values())


# -- encrypted at rest ----------------------------------------------------------------------------------------


def test_an_encrypted_directory_is_read_as_if_it_were_plain_and_has_nothing_readable_in_it(
    keys: Path, tmp_path: Path
) -> None:
    plain, secret = tmp_path / "directory.toml", tmp_path / "directory.sealed"
    plain.write_text(TEXT)
    assert run("encrypt", plain, "--out", secret) == (0, "")
    raw = secret.read_bytes()
    assert not [text for text in [*SECRETS, "p-1", "person"] if text.encode() in raw]
    assert stat.S_IMODE(secret.stat().st_mode) == stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert Directory.load(secret).duty == Directory.load(plain).duty
    assert Directory.load(secret).people == Directory.load(plain).people


def test_keys_can_be_changed_one_after_the_other(keys: Path, tmp_path: Path) -> None:
    file = tmp_path / "directory"
    file.write_bytes(sealed.seal(TEXT.encode()))
    old = keys.read_bytes()
    keys.write_bytes(Fernet.generate_key() + b"\n" + old)
    run("encrypt", file, "--out", file)
    keys.write_bytes(keys.read_bytes().removesuffix(old))
    assert set(Directory.load(file).people) == {"p-1", "p-2"}
    keys.write_bytes(old)
    with pytest.raises(InputError, match="cannot be decrypted"):
        Directory.load(file)


def test_a_changed_file_or_another_key_is_refused_and_never_shown(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "directory"
    raw = bytearray(sealed.seal(TEXT.encode()))
    raw[200] ^= 1
    file.write_bytes(raw)
    with pytest.raises(InputError, match="cannot be decrypted"):
        Directory.load(file)
    keys.write_text("not a key")
    with pytest.raises(InputError, match="not a key") as caught:
        Directory.load(file)
    assert caught.value.file == str(keys)
    monkeypatch.delenv(sealed.KEY_FILE)
    with pytest.raises(InputError, match=sealed.KEY_FILE):
        Directory.load(file)


def test_a_key_is_never_written_over_another(keys: Path) -> None:
    with pytest.raises(InputError, match="new file"):
        run("key", keys)


# -- look-ups -------------------------------------------------------------------------------------------------


def test_each_look_up_of_a_home_is_written_down_also_one_that_finds_nobody(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    residents = parse(TEXT).residents(audit)
    found = residents.look_up("H-1A2B", at_ms=1_714_800_000_123, by="p-2", why="call-button/H-1A2B/…\n{}")
    assert found is not None
    assert (found.resident, found.address, found.phone) == ("黄婆婆", "木棉路88号", "020-12345678")
    assert residents.look_up("H-none", at_ms=0, by="p-1", why="curious") is None
    lines = audit.path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"at": "2024-05-04T05:20:00.123Z", "by": "p-2", "home": "H-1A2B", "why": "call-button/H-1A2B/…\n{}"},
        {"at": "1970-01-01T00:00:00.000Z", "by": "p-1", "home": "H-none", "why": "curious"},
    ]
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600


def test_without_an_audit_log_nobody_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    residents = parse(TEXT).residents(AuditLog(tmp_path / "no" / "folder"))
    with pytest.raises(RunError, match="audit log"):
        residents.look_up("H-1A2B", at_ms=0, by="p-1", why="a case")
    with pytest.raises(ValueError, match="why"):
        residents.look_up("H-1A2B", at_ms=0, by="p-1", why=" ")
    monkeypatch.delenv(AUDIT_FILE, raising=False)
    with pytest.raises(InputError, match=AUDIT_FILE):
        AuditLog.configured()


def test_on_the_command_line_a_home_is_shown_with_a_reason_only(keys: Path, tmp_path: Path) -> None:
    file, audit = tmp_path / "directory", tmp_path / "audit.jsonl"
    file.write_bytes(sealed.seal(TEXT.encode()))
    with pytest.raises(InputError, match="--why"):
        run("show", file, "H-1A2B")
    assert not audit.exists()
    code, shown = run("show", file, "H-1A2B", "--why", "welfare visit")
    assert (code, shown) == (0, "黄婆婆\n木棉路88号\n020-12345678\n听力差\n")
    assert [(e["home"], e["why"]) for e in map(json.loads, audit.read_text().splitlines())] == [
        ("H-1A2B", "welfare visit")
    ]
    code, shown = run("show", file)
    assert code == 0
    assert "crew: " in shown
    assert "黄婆婆" not in shown
    assert len(audit.read_text().splitlines()) == 1


def test_a_password_becomes_a_hash_that_the_directory_takes() -> None:
    code, hashed = run("password", stdin="four words will do\nfour words will do\n")
    assert code == 0
    login = parse(TEXT.replace("$argon2id$secret", hashed.strip())).people["p-2"].login
    assert login is not None
    given = Login("p-2", "李四", Scope("carer"), login.password)
    assert check_password(given, "four words will do")
    assert not check_password(given, "four words won't do")
    with pytest.raises(InputError, match="at least 8"):
        run("password", stdin="short\nshort\n")


# -- editing --------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed_file(keys: Path, tmp_path: Path) -> Path:
    file = tmp_path / "directory"
    file.write_bytes(sealed.seal(TEXT.encode()))
    return file


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(program))


def test_an_edit_is_checked_encrypted_and_written_down(
    sealed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(tmp_path, monkeypatch, f'echo "$1" > {tmp_path}/where; sed -i s/木棉路88号/木棉路89号/ "$1"')
    assert run("edit", sealed_file, "--why", "has moved")[0] == 0
    assert sealed.is_sealed(sealed_file.read_bytes())
    assert "木棉路89号" in Directory.read(sealed_file).text
    assert json.loads((tmp_path / "audit.jsonl").read_text())["home"] == "*"
    assert not Path((tmp_path / "where").read_text().strip()).parent.exists()


def test_an_edit_that_went_wrong_changes_nothing(
    sealed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sealed_file.read_bytes()
    editor(tmp_path, monkeypatch, 'sed -i s/name/nom/ "$1"')
    assert run("edit", sealed_file, "--why", "x", stdin="n\n")[0] == 2
    editor(tmp_path, monkeypatch, 'sed -i s/88/89/ "$1"; exit 1')
    with pytest.raises(RunError, match="nothing was changed"):
        run("edit", sealed_file, "--why", "x")
    editor(tmp_path, monkeypatch, "true")
    assert run("edit", sealed_file, "--why", "only looked")[0] == 0
    assert sealed_file.read_bytes() == before
