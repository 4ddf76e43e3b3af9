"""Certificates of a pipeline's own: an authority in a folder, and what it signs."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sensors.errors import InputError

AUTHORITY_LASTS = timedelta(days=3650)
LASTS = timedelta(days=398)  # what browsers and Apple's systems still accept
RENEW_BEFORE = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(minutes=5)


class Authority:
    """Signs certificates; its own is ``ca.crt``, its key ``ca.key``, both made where they are not there yet."""

    def __init__(self, folder: Path) -> None:
        self._certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
        if not key_file.exists():
            self._key = ec.generate_private_key(ec.SECP256R1())
            name = _name("kapok")
            made = _certificate(name, self._key.public_key(), name, AUTHORITY_LASTS)
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            signed = made.sign(self._key, hashes.SHA256())
            write_secret(key_file, _pem(self._key))
            self._certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            self.certificate = x509.load_pem_x509_certificate(self.text)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"not a certificate authority: {error}", file=folder) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @property
    def text(self) -> bytes:
        """Its certificate, for those who are to trust it."""
        return self._certificate_file.read_bytes()

    def issue(self, file: Path, name: str, hosts: Iterable[str] = (), lasts: timedelta = LASTS) -> None:
        """Writes a key and its certificate, one after the other, into a file; ``hosts``: names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(_name(name), key.public_key(), self.certificate.subject, lasts)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(issuer, critical=False)
        if names := [_host(host) for host in hosts]:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = made.sign(self._key, hashes.SHA256())
        write_secret(file, _pem(key) + signed.public_bytes(serialization.Encoding.PEM))

    def holds(self, file: Path, hosts: Iterable[str] = ()) -> bool:
        """Whether a file that ``issue`` wrote is there, of this authority, for these hosts, and not soon over."""
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
            certificate.verify_directly_issued_by(self.certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        return until(file) - datetime.now(UTC) > RENEW_BEFORE and {_host(host) for host in hosts} <= _hosts(certificate)


def until(file: Path) -> datetime:
    """When the certificate in a file ends."""
    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc


def write_secret(file: Path, content: bytes) -> None:
    """Writes a file for its owner to change and its group to read, and for nobody else."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as out:
        out.write(content)
    new.replace(file)


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(min(now, now + lasts) - _CLOCKS_DIFFER).not_valid_after(now + lasts)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
