"""Options that several commands have, said once."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alerts.parameters import duration_ms
from alerts.routes.directory import Directory
from alerts.routes.routes import SHIPPED as SHIPPED_ROUTES
from alerts.routes.routes import Routes
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.errors import InputError

SitesOption = Annotated[
    Path | None, typer.Option("--sites", help="The catalogue (sites.geojson). Without it: the shipped one.")
]
RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="The rules (rules.toml). Without it: the shipped ones.")
]
RoutesOption = Annotated[
    Path | None, typer.Option("--routes", help="Who is told of what (routes.toml). Without it: the shipped ones.")
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        help="People, groups and rotas (directory.toml, or encrypted: KAPOK_DIRECTORY_KEY_FILE names the key's file). "
        "Without it: the shipped example, in which everybody is invented.",
    ),
]
BrokerOption = Annotated[
    str, typer.Option("--broker", envvar="KAPOK_BROKER", metavar="HOST:PORT", help="The Kafka broker.")
]
PrefixOption = Annotated[str, typer.Option("--prefix", help="Goes before every topic's name, as in ops1.")]
PartitionsOption = Annotated[
    int | None, typer.Option("--partitions", metavar="N", min=1, help="Of each topic, when they are made; else 8.")
]
ReportOption = Annotated[bool, typer.Option("--json", help="The report as one JSON object, alone on stdout.")]


class Lang(StrEnum):
    zh = "zh"
    en = "en"


TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="INFLUX_TOKEN_FILE", help="The file with InfluxDB's token; else it is in INFLUX_TOKEN."
    ),
]


def catalogue_of(sites: Path | None) -> Catalogue:
    return Catalogue.shipped() if sites is None else Catalogue.load(sites)


def rulebook_of(rules: Path | None) -> Rulebook:
    return Rulebook.shipped() if rules is None else Rulebook.load(rules)


def directory_of(directory: Path | None) -> Directory:
    return Directory.shipped() if directory is None else Directory.load(directory)


def routes_of(routes: Path | None, directory: Directory) -> Routes:
    return Routes.load(routes or SHIPPED_ROUTES, directory.duty)


def influx_token(file: Path | None) -> str:
    """The token in this file, or in the environment: an argument would be seen by everybody who may call `ps`."""
    if file is None:
        token = os.environ.get("INFLUX_TOKEN", "").strip()
    else:
        try:
            token = file.read_text("utf-8-sig").strip()
        except OSError as error:
            raise InputError(f"--token-file cannot be read: {error.strerror}", file=file) from error
    if not token:
        raise InputError("no token for InfluxDB", file=file, hint="--token-file FILE, or INFLUX_TOKEN")
    return token


def seconds(text: str, option: str) -> float:
    """A duration such as ``30s`` in seconds."""
    try:
        return duration_ms(text) / 1000
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def time_ms(text: str | None, option: str) -> int | None:
    """An ISO time (UTC where it does not say) in ms since the epoch."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} {text!r} is not a time", hint="write 2026-01-27T00:30:00Z") from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
