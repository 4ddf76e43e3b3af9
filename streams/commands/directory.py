"""kapok directory: the file with people's names and addresses, encrypted; who looks into it is written down."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alerts.routes import sealed
from alerts.routes.directory import Directory
from alerts.routes.residents import ALL, AUDIT_FILE, AuditLog
from alerts.source import Source
from sensors.errors import InputError, RunError

_SHORTEST = 8  # NIST SP 800-63B
FileArgument = Annotated[Path, typer.Argument(metavar="DIRECTORY", help="The directory, encrypted or not.")]
WhyOption = Annotated[str, typer.Option("--why", help="For the audit log: what you need it for, such as a case's id.")]

app = typer.Typer(
    help=f"People, groups, rotas and homes. {sealed.KEY_FILE} names the file with the key, {AUDIT_FILE} the audit log.",
    no_args_is_help=True,
)


@app.command()
def key(file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, apart from the directory.")]) -> None:
    """Writes a new key to a new file, which only you may read. Keep a copy: without it the directory is lost."""
    sealed.new_key(file)


@app.command()
def password() -> None:
    """Asks for a password, twice, and prints its hash for somebody's `login` in the directory."""
    from alerts.console.login import hash_password

    word = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if len(word) < _SHORTEST:
        raise InputError(f"a password has at least {_SHORTEST} characters", hint="a few words will do")
    typer.echo(hash_password(word))


@app.command()
def encrypt(
    directory: FileArgument,
    out: Annotated[Path, typer.Option("--out", help="The encrypted file; may be the same one.")],
) -> None:
    """Checks a directory and writes it encrypted, with the first key of the file of keys."""
    source = Directory.read(directory)
    Directory.parse(source)
    _write(out, source.text)


@app.command()
def show(
    directory: FileArgument,
    home: Annotated[str | None, typer.Argument(metavar="[HOME]", help="A home's id: who lives there?")] = None,
    why: WhyOption = "",
) -> None:
    """Shows who is on duty now in each group; or who lives in a home, and that goes into the audit log."""
    found = Directory.load(directory)
    console = Console(highlight=False, soft_wrap=True)
    if home is None:
        now = _now_ms()
        for group in found.duty.groups:
            on_duty = found.duty.on_duty(group, now)
            people = (f"{one} {found.people[one].name}" if one in found.people else f"{one}?" for one in on_duty)
            console.print(f"{group}: {', '.join(people)}", markup=False)
        return
    resident = found.residents(AuditLog.configured()).look_up(home, at_ms=_now_ms(), by=_user(), why=_reason(why))
    if resident is None:
        raise InputError(f"nobody is known to live in {home}", file=directory)
    lines = (resident.resident, resident.address, resident.phone, resident.note)
    console.print("\n".join(line for line in lines if line), markup=False)


@app.command()
def edit(directory: FileArgument, why: WhyOption = "") -> None:
    """Opens an encrypted directory in $VISUAL or $EDITOR, checks what you made of it, and encrypts it again.

    Whoever edits it sees all homes: that goes into the audit log, too.
    """
    AuditLog.configured().write(at_ms=_now_ms(), by=_user(), home=ALL, why=_reason(why))
    text = before = Directory.read(directory).text
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    memory = Path("/dev/shm")  # where there is one, nothing of it is ever on a disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="kapok-") as folder:
        file = Path(folder) / "directory.toml"
        file.write_text(text)
        while True:
            try:
                subprocess.run([*editor, str(file)], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise RunError(f"{editor[0]} did not end well, and nothing was changed: {error}") from error
            text = file.read_text()
            try:
                Directory.parse(Source(text, directory))
                break
            except InputError as error:
                Console(stderr=True, highlight=False, soft_wrap=True).print(f"kapok: {error}", markup=False)
                if not typer.confirm("Edit again? (no: nothing is changed)", default=True, err=True):
                    raise typer.Exit(2) from None
    if text != before:
        _write(directory, text)


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a directory that is cut off tells nobody."""
    new = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(sealed.seal(text.encode()))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error


def _reason(why: str) -> str:
    if not why.strip():
        raise InputError("a look-up of a home is written down with its reason", hint="give --why")
    return why


def _user() -> str:
    return getpass.getuser()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
