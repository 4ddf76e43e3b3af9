"""The Desk's state as bytes: explicit and versioned."""

from __future__ import annotations

import msgspec

from alerts.cases.dossier import Dossier
from alerts.cases.gathering import Sent, Window
from sensors.errors import RunError

VERSION = 1


class CheckpointState(msgspec.Struct):
    """``sources``: ``topic/partition`` → last offset; ``actions``: id → when it counted; ``silences``: as JSON."""

    offset: int
    clock: int | None
    sources: dict[str, int]
    actions: dict[str, int]
    cases: list[Dossier]
    silences: list[bytes]
    silent: dict[str, dict[str, int]]
    vigils: dict[str, int]
    gathered: dict[str, Window] = msgspec.field(default_factory=dict)
    sent: dict[str, Sent] = msgspec.field(default_factory=dict)


def encode(state: CheckpointState) -> bytes:
    return msgspec.msgpack.encode({"version": VERSION, "state": state})


def decode(raw: bytes) -> CheckpointState:
    """RunError where it is of another version or cannot be read."""
    try:
        version = msgspec.msgpack.decode(raw, type=dict[str, msgspec.Raw])
        number = msgspec.msgpack.decode(version["version"], type=int)
        if number != VERSION:
            raise RunError(f"the state of the cases is of version {number}, this kapok reads {VERSION}")
        return msgspec.msgpack.decode(version["state"], type=CheckpointState)
    except (msgspec.DecodeError, KeyError) as error:
        raise RunError(f"the state of the cases cannot be read: {error}") from error
