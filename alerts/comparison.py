"""Two lists of alerts held against each other, for golden files and for "what would have changed"."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from alerts.alert import order
from sensors import compressed
from sensors.errors import InputError

_LEFT_OUT = ("ruleset", "message")

Body = dict[str, Any]


class Comparison(NamedTuple):
    """``missing``: expected and not there; ``extra``: there and not expected; ``changed``: (expected, got) by id."""

    missing: list[Body]
    extra: list[Body]
    changed: list[tuple[Body, Body]]

    @property
    def same(self) -> bool:
        return not (self.missing or self.extra or self.changed)


def compare(expected: list[Body], got: list[Body]) -> Comparison:
    """Compares by id; ``ruleset`` and ``message`` are left out."""
    before = {body["id"]: _compared(body) for body in expected}
    after = {body["id"]: _compared(body) for body in got}
    return Comparison(
        sorted((b for i, b in before.items() if i not in after), key=order),
        sorted((b for i, b in after.items() if i not in before), key=order),
        sorted(
            ((b, after[i]) for i, b in before.items() if i in after and b != after[i]),
            key=lambda pair: order(pair[1]),
        ),
    )


def read_alerts(path: Path) -> list[Body]:
    """The alerts of a file that ``kapok replay --out`` wrote; InputError with the line where one is broken."""
    bodies: list[Body] = []
    number = 0
    try:
        with compressed.open_binary(path) as file:
            for line in file:
                number += 1
                line = line.removeprefix(compressed.BOM) if number == 1 else line
                if not line.isspace():
                    body = msgspec.json.decode(line, type=dict[str, Any])
                    _ = order(body), body["id"]
                    bodies.append(body)
    except compressed.ERRORS as error:
        raise InputError(f"cannot read the alerts: {compressed.reason(error)}", file=path) from error
    except (msgspec.DecodeError, KeyError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"not an alert: {what}", file=path, line=number) from error
    return bodies


def _compared(body: Body) -> Body:
    return {field: value for field, value in body.items() if field not in _LEFT_OUT}
