"""One file a rule type. To add one, copy the file that is nearest to it; it is found by itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from alerts.rules.rule import Rule

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def _concrete(cls: type[Rule]) -> list[type[Rule]]:
    found = [cls] if "type" in vars(cls) else []
    return found + [rule for child in cls.__subclasses__() for rule in _concrete(child)]


TYPES: dict[str, type[Rule]] = {rule.type: rule for rule in _concrete(Rule)}

__all__ = ["TYPES", "Rule"]
