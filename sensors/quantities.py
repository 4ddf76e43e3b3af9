"""What the four kinds of sensors measure, and in which unit (SenML units: RFC 8428, ``mm`` from RFC 8798)."""

from __future__ import annotations

from typing import Final

QUANTITIES: Final[dict[str, dict[str, str | None]]] = {
    "flood": {"depth": "m"},  # water above the road surface
    "rain": {"rain": "mm"},  # since this station's previous reading
    "infrared": {"motion": None, "button": None},  # truth values, any unit
    "crowd": {"in": "count", "out": "count", "count": "count"},  # through since the last reading; present now
}
KINDS: Final = tuple(QUANTITIES)


def topic(kind: str) -> str:
    """The topic, without prefix, that readings of this kind arrive on."""
    return f"readings.{kind}"
