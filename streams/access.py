"""Who may come to the broker: a folder with an authority, the broker's certificate, and a folder for each user.

    ca.crt, ca.key         the authority; its key is needed for making certificates only
    broker/                server.pem, ca.crt, and what belongs into Kafka's settings: server.properties
    admin/                 broker.toml, admin.pem, ca.crt: for `kapok access grant`, by certificate
    worker/, oncall/, …    broker.toml, password, ca.crt: to be given to those processes and nobody else
    worker/clock.key       with which ticks are sealed (sensors/seal.py); oncall/ and archive/ have a copy
    gateway-NAME/          the same for a gateway, and `kinds`, those of the readings that it may write

What is there stays as it is, but for certificates that are soon over. What the folder says is put into force by
streams/grants.py.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from sensors.errors import InputError
from sensors.quantities import KINDS
from streams.certificates import Authority, write_secret

ROLES = ("worker", "oncall", "archive", "recorder")
READERS_OF_THE_CLOCK = ("oncall", "archive")
CLOCK_KEY = "clock.key"
GATEWAY = "gateway-"
ADMIN, BROKER = "admin", "broker"
CLIENTS_LISTENER, ADMIN_LISTENER, CONTROLLER_LISTENER = "CLIENTS", "ADMIN", "CONTROLLER"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def make(folder: Path, hosts: Iterable[str], gateways: Mapping[str, Iterable[str]]) -> list[str]:
    """Makes what is not there yet, and says what it made.

    ``hosts``: the names and addresses by which clients find the broker. ``gateways``: name → kinds of readings.
    """
    for name, kinds in gateways.items():
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot be the name of a gateway", hint="letters, digits, . _ -")
        if unknown := set(kinds) - set(KINDS):
            raise InputError(f"gateway {name}: no readings of kind {', '.join(unknown)}", hint=f"{', '.join(KINDS)}")
    made: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority(folder)
        server = _folder(folder, BROKER, authority) / "server.pem"
        if not authority.holds(server, hosts):
            authority.issue(server, BROKER, hosts)
            made.append(BROKER)
        settings = "".join(f"{name}={value}\n" for name, value in broker_settings(folder / BROKER).items())
        (folder / BROKER / "server.properties").write_text(settings)
        certificate = _folder(folder, ADMIN, authority) / "admin.pem"
        if not authority.holds(certificate):
            authority.issue(certificate, ADMIN)
            (folder / ADMIN / "broker.toml").write_text('ca = "ca.crt"\ncertificate = "admin.pem"\n')
            made.append(ADMIN)
        for name in (*ROLES, *(GATEWAY + name for name in gateways)):
            if not (folder / name / "password").exists():
                _make_user(_folder(folder, name, authority), name)
                made.append(name)
        _share_clock_key(folder)
        for name, kinds in gateways.items():
            (folder / (GATEWAY + name) / "kinds").write_text(" ".join(kinds) + "\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=error.filename or folder) from error
    return made


def _make_user(folder: Path, name: str) -> None:
    settings = f'ca = "ca.crt"\nuser = "{name}"\npassword_file = "password"\n'
    (folder / "broker.toml").write_text(settings)
    write_secret(folder / "password", secrets.token_urlsafe(32).encode() + b"\n")


def _share_clock_key(folder: Path) -> None:
    """The workers' key, made where there is none, is that of all who read the clock."""
    key = folder / "worker" / CLOCK_KEY
    if not key.exists():
        write_secret(key, secrets.token_hex(32).encode() + b"\n")
    for name in READERS_OF_THE_CLOCK:
        copy = folder / name / CLOCK_KEY
        if not copy.exists() or copy.read_bytes() != key.read_bytes():
            write_secret(copy, key.read_bytes())


def _folder(folder: Path, name: str, authority: Authority) -> Path:
    made = folder / name
    made.mkdir(mode=0o750, exist_ok=True)
    (made / "ca.crt").write_bytes(authority.text)
    return made


def users(folder: Path) -> dict[str, list[str]]:
    """Everybody who logs in with a password: name → of a gateway its kinds."""
    found: dict[str, list[str]] = {}
    for one in sorted(folder.iterdir()):
        if (one / "password").is_file():
            if one.name in ROLES:
                found[one.name] = []
            elif one.name.startswith(GATEWAY):
                found[one.name] = (one / "kinds").read_text().split()
    if not found:
        raise InputError("no users here", file=folder, hint="kapok access make")
    return found


def broker_settings(folder: Path) -> dict[str, str]:
    """What Kafka's settings need beside its listeners, which are to be called CLIENTS, ADMIN and CONTROLLER.

    Clients log in with a password; the administrator, other brokers and controllers with a certificate. ``folder``:
    where the broker finds what is in ``broker/``.
    """
    by_certificate = (ADMIN_LISTENER, CONTROLLER_LISTENER)
    protocols = f"{CLIENTS_LISTENER}:SASL_SSL," + ",".join(f"{name}:SSL" for name in by_certificate)
    login = f"listener.name.{CLIENTS_LISTENER.lower()}"
    return {
        "listener.security.protocol.map": protocols,
        "inter.broker.listener.name": ADMIN_LISTENER,
        "controller.listener.names": CONTROLLER_LISTENER,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.crt"),
        **{f"listener.name.{name.lower()}.ssl.client.auth": "required" for name in by_certificate},
        "ssl.principal.mapping.rules": "RULE:^CN=([A-Za-z0-9._-]+)$/$1/,DEFAULT",
        f"{login}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{login}.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:{BROKER};User:{ADMIN}",
        "auto.create.topics.enable": "false",
    }
