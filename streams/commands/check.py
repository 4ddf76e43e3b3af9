"""kapok check: are the rules and the catalogue fit to go live?"""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from alerts.fold import Fold
from alerts.rules import TYPES
from streams.commands.options import RulesOption, SitesOption, catalogue_of, rulebook_of


def check(sites: SitesOption = None, rules: RulesOption = None) -> None:
    """Checks rules and catalogue, and says what each rule looks after. Exit 2 where something is wrong."""
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
        console.print(f"warning: {warning}", style="yellow", markup=False)
    console.print(f"ruleset {fold.ruleset}: {len(rulebook.rules)} rules of {len(TYPES)} types; fit to go live")
