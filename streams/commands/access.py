"""``kapok access``: certificates, users and rights at the broker."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sensors.connection import SETTINGS
from sensors.errors import InputError
from sensors.quantities import KINDS
from streams.commands.options import PartitionsOption, PrefixOption

access = typer.Typer(no_args_is_help=True, help="Who may come to the broker, and what they may do there.")

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="With certificates and passwords; keep it apart.")]


@access.command()
def make(
    folder: _Folder,
    host: Annotated[list[str], typer.Option(help="A name or address by which clients find the broker; repeatable.")],
    gateway: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=KIND,…]", help=f"May write readings of these kinds, else of all: {', '.join(KINDS)}."
        ),
    ] = None,
) -> None:
    """Make certificates and passwords: for the broker, and a folder for each of those who come to it.

    What is there stays as it is, but for certificates with less than 30 days left, which are made anew.
    """
    from streams import access as folders  # here, because it takes a while to import

    gateways = {}
    for one in gateway or []:
        name, _, kinds = one.partition("=")
        gateways[name] = kinds.split(",") if kinds else list(KINDS)
    made = folders.make(folder, host, gateways)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{folder}: " + (f"made {', '.join(made)}" if made else "nothing to be made"), markup=False)


@access.command()
def grant(
    folder: _Folder,
    broker: Annotated[str, typer.Option(metavar="HOST:PORT", help="The broker's ADMIN listener.")],
    prefix: PrefixOption = "",
    partitions: PartitionsOption = None,
) -> None:
    """Make the topics, and the broker's users and their rights what the folder says.

    A gateway that has no limit yet gets one to what it may send; one that somebody has set stays.

    To turn somebody out, remove the folder of that name and call this again.
    """
    from streams import access as folders  # these take a while to import
    from streams import topics
    from streams.grants import put_in_force

    settings = folder / folders.ADMIN / "broker.toml"
    if not settings.is_file():
        raise InputError("no certificate for the administrator here", file=folder, hint="kapok access make")
    os.environ[SETTINGS] = str(settings)
    users = folders.users(folder)

    async def run() -> list[str]:
        await topics.ensure(broker, prefix, partitions, names=topics.EVERY)
        return await put_in_force(broker, folder, users, prefix)

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in asyncio.run(run()):
        console.print(line, markup=False)
    console.print(f"{len(users)} users: {', '.join(users)}", markup=False)
