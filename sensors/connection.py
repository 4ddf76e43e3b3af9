"""How every client of kapok connects to Kafka: plainly, or as a settings file says, with TLS and a password.

    ca = "ca.crt"                      # who vouches for the broker's certificate; without it, whom the system trusts
    user = "worker"                    # logs in by SCRAM-SHA-512
    password_file = "password"         # or the password in KAPOK_BROKER_PASSWORD
    certificate = "worker.crt"         # where the broker asks for one
    key = "worker.key"

``KAPOK_BROKER_SETTINGS`` names the file; paths in it are relative to its folder. Without that connections are plain,
which is right on loopback alone. With it they are encrypted, and the broker's certificate and name are checked: that
cannot be switched off. A password is never an argument, and is in no log, error or repr.
"""

from __future__ import annotations

import os
import ssl
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from sensors.errors import InputError

SETTINGS, PASSWORD = "KAPOK_BROKER_SETTINGS", "KAPOK_BROKER_PASSWORD"
MECHANISM = "SCRAM-SHA-512"
_PATIENCE_MS = 10_000


class _Settings(msgspec.Struct, forbid_unknown_fields=True):
    ca: str | None = None
    user: str | None = None
    password_file: str | None = None
    certificate: str | None = None
    key: str | None = None


class _Secret(str):
    """Text that no repr shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def connection(broker: str) -> dict[str, Any]:
    """The arguments of an aiokafka client for a broker (``HOST:PORT``, or several with commas between them).

    InputError where the settings file cannot be used.
    """
    address: dict[str, Any] = {"bootstrap_servers": broker}
    file = os.environ.get(SETTINGS)
    if not file:
        return address
    settings = _read(Path(file))
    address["ssl_context"] = _context(Path(file), settings)
    if settings.user is None:
        return {**address, "security_protocol": "SSL"}
    login = {"sasl_mechanism": MECHANISM, "sasl_plain_username": settings.user}
    return {
        **address,
        "security_protocol": "SASL_SSL",
        **login,
        "sasl_plain_password": _password(Path(file), settings),
    }


def user() -> str | None:
    """Whom the settings log in, or who the certificate is for; None on a plain connection."""
    file = os.environ.get(SETTINGS)
    if not file:
        return None
    settings = _read(Path(file))
    return settings.user or settings.certificate or "whoever has no certificate"


def forget_settings() -> None:
    """For commands whose broker is their own: that one is plain, for them and the processes that they start."""
    os.environ.pop(SETTINGS, None)


async def refusal(broker: str) -> str | None:
    """Why a broker turns this client away, in words for the one who has to mend it; None where it does not."""
    found = None
    for address in broker.split(","):
        found = await _refusal(broker, address.strip())
        if found is None:
            return None
    return found


async def _refusal(broker: str, address: str) -> str | None:
    host, _, port = address.rpartition(":")
    options = {name: value for name, value in connection(broker).items() if name != "bootstrap_servers"}
    try:
        made = await create_conn(host, int(port), request_timeout_ms=_PATIENCE_MS, **options)
    except ssl.SSLCertVerificationError as error:
        return f"{address} has a certificate that does not hold: {error.verify_message}"
    except ssl.SSLError as error:
        return f"{address} and this client do not agree on TLS ({error.reason}): is it the TLS port?"
    except SaslAuthenticationFailed:
        return f"{address} does not let {user()!r} in: the password is wrong, or there is no such user"
    except UnsupportedSaslMechanismError:
        return f"{address} does not offer {MECHANISM}: is it the port for clients?"
    except (KafkaError, OSError, TimeoutError) as error:
        if isinstance(error, OSError) and not isinstance(error, ConnectionResetError):
            return f"nothing answers at {address}: {error.strerror or error}"
        if user() is None:
            return f"{address} hung up at once: perhaps it is encrypted, and this connection was not ({SETTINGS})"
        if "sasl_mechanism" in options:
            return f"{address} hung up after the TLS handshake: is it the port for clients?"
        return f"{address} hung up after the TLS handshake: it does not take the certificate {user()}; is it over?"
    made.close()
    return None


def _read(file: Path) -> _Settings:
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8-sig")), _Settings)
    except OSError as error:
        raise InputError(f"cannot read the broker's settings: {error.strerror}", file=file, hint=SETTINGS) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        hint = f"it takes {', '.join(_Settings.__struct_fields__)}"
        # Not from the error, which may quote what should not be shown.
        raise InputError(f"not settings of a broker: {error}", file=file, hint=hint) from None


def _context(file: Path, settings: _Settings) -> ssl.SSLContext:
    folder = file.parent
    try:
        context = ssl.create_default_context(cafile=None if settings.ca is None else folder / settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(folder / settings.certificate, folder / (settings.key or settings.certificate))
    except (OSError, ssl.SSLError) as error:  # of which the second is one, without a name for the file
        what = "the ca, certificate or key that it names cannot be used"
        raise InputError(f"{what}: {error.strerror or error}", file=file) from error
    return context


def _password(file: Path, settings: _Settings) -> _Secret:
    if given := os.environ.get(PASSWORD):
        return _Secret(given)
    if settings.password_file is None:
        raise InputError(f"no password for user {settings.user!r}", file=file, hint=f"password_file, or {PASSWORD}")
    try:
        found = (file.parent / settings.password_file).read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"cannot read the password_file: {reason}", file=file) from None
    if not found:
        raise InputError("the password_file is empty", file=file)
    return _Secret(found)
