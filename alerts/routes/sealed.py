"""The directory at rest: encrypted with a key that lies elsewhere (Fernet: AES-128-CBC with an HMAC-SHA256).

A key file has a key a line. The first encrypts, any of them decrypts: to change the key, put a new one on top, write
the directory anew (``kapok directory encrypt``), then take the old one out.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from sensors.errors import InputError

KEY_FILE = "KAPOK_DIRECTORY_KEY_FILE"
_HEAD = b"gAAAAA"  # of a Fernet token up to the year 2106: its version and the first bytes of the time


def is_sealed(raw: bytes) -> bool:
    return raw.startswith(_HEAD)


def seal(raw: bytes) -> bytes:
    return _keys().encrypt(raw) + b"\n"


def unseal(raw: bytes, file: str | Path | None = None) -> bytes:
    """InputError where the key is not there, not the one, or where somebody has changed the file."""
    try:
        return _keys().decrypt(raw.strip())
    except InvalidToken:
        hint = f"is {os.environ[KEY_FILE]} its key, and the file as it was written?"
        raise InputError("the directory cannot be decrypted", file=file, hint=hint) from None


def new_key(path: Path) -> None:
    """Writes a key to a new file, which nobody else may read."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"the key cannot be written: {error.strerror}", file=path, hint="give a new file") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key() + b"\n")


def _keys() -> MultiFernet:
    path = os.environ.get(KEY_FILE)
    if not path:
        raise InputError("the directory's key is not known", hint=f"let {KEY_FILE} name the file that has it")
    try:
        return MultiFernet([Fernet(key) for key in Path(path).read_bytes().split()])
    except OSError as error:
        raise InputError(f"cannot read the directory's key: {error.strerror}", file=path) from error
    except ValueError:  # not as the cause: it is about the key
        raise InputError("not a key", file=path, hint="`kapok directory key FILE` writes one") from None
