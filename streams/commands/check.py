"""kapok check: are the rules, the catalogue, the routes and the directory fit to go live?"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import typer
from rich.console import Console

from alerts.fold import Fold
from alerts.rulebook import Rulebook
from alerts.rules import TYPES
from sensors.catalogue import Catalogue
from streams.commands.options import (
    DirectoryOption,
    RoutesOption,
    RulesOption,
    SitesOption,
    catalogue_of,
    directory_of,
    routes_of,
    rulebook_of,
)
from streams.log_lines import plain


def check(
    sites: SitesOption = None,
    rules: RulesOption = None,
    routes: RoutesOption = None,
    directory: DirectoryOption = None,
) -> None:
    """Checks rules and catalogue, says what each rule looks after, and whether each of its alerts is told to somebody.

    The shipped routes and directory are for the shipped catalogue: with --sites, give --routes and --directory, too,
    or they are not looked at. Exit 2 where something is wrong.
    """
    catalogue, rulebook = catalogue_of(sites), rulebook_of(rules)
    fold = Fold(catalogue, rulebook)
    console = Console(highlight=False, soft_wrap=True)
    kinds = Counter(sensor.kind for sensor in catalogue.sensors.values())
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    console.print(
        f"catalogue: {len(catalogue.sensors)} sensors ({counts}), {len(catalogue.places)} places, "
        f"{len(catalogue.zones)} zones"
    )
    for rule in fold.rules:
        console.print(f"rule {rule.rule.id}: {rule.type}, {len(rule.sites)} sites")
    for warning in rulebook.warnings(catalogue):
        console.print(f"warning: {plain(str(warning))}", style="yellow", markup=False)
    if sites is None or routes or directory:
        _check_routes(console, routes, directory, rulebook, catalogue)
    console.print(f"ruleset {fold.ruleset}: {len(rulebook.rules)} rules of {len(TYPES)} types; fit to go live")


def _check_routes(
    console: Console, routes: Path | None, directory: Path | None, rulebook: Rulebook, catalogue: Catalogue
) -> None:
    from alerts.routes import check as routes_check  # here, because all that can deliver takes a while to import

    people = directory_of(directory)
    ways = routes_of(routes, people)
    found = routes_check.check(ways, people, rulebook, catalogue, time.time_ns() // 1_000_000)
    for warning in found.warnings:
        console.print(f"warning: {plain(str(warning))}", style="yellow", markup=False)
    if found.errors:
        stderr = Console(stderr=True, highlight=False, soft_wrap=True)
        for error in found.errors:
            stderr.print(f"kapok: {plain(str(error))}", markup=False)
        raise typer.Exit(2)
    console.print(
        f"routes: {len(ways.file.route)}; directory: {len(people.people)} people, {len(people.duty.groups)} groups, "
        f"{len(people.duty.rotas)} rotas; somebody is told of each alert for the next 8 weeks"
    )
