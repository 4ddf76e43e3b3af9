"""How much a gateway may send: a quota at the broker, so that one that floods waits, and the others do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int8, Int16, Int32, Schema, String

from sensors.errors import RunError
from streams.access import GATEWAY

RATE: Final = 500_000  # bytes/s at each broker: some 10,000 readings/s in packs, 3,000 one by one
_LIMIT: Final = "producer_byte_rate"
_ANY_NAME: Final = 2
_DEFAULT: Final = None  # the name under which Kafka keeps what holds for all users that have nothing of their own


async def limit(client: AIOKafkaClient, gateways: Iterable[str]) -> list[str]:
    """Gives these users the usual limit where they have none, and takes away that of gateways that are gone.

    What somebody has set by hand stays, for one of them or (Kafka's default) for all. Gives the names of those that are
    limited now and were not; RunError when the broker refuses it.
    """
    told = await client.send(client.get_random_node(), _Describe([("user", _ANY_NAME, None)]))
    _check(told.error_code, told.error_message)
    limited = {name for (((_, name),), limits) in told.entries or () if _LIMIT in dict(limits)}
    wanted = set(gateways)
    new = [] if _DEFAULT in limited else sorted(wanted - limited)
    gone = sorted(name for name in limited - wanted if name and name.startswith(GATEWAY))
    changes = [([("user", name)], [(_LIMIT, float(RATE), False)]) for name in new]
    changes += [([("user", name)], [(_LIMIT, 0.0, True)]) for name in gone]
    answer = await client.send(client.get_random_node(), _Alter(changes))
    for code, message, _ in answer.entries:
        _check(code, message)
    return new


def _check(code: int, message: str | None) -> None:
    if code:
        raise RunError(f"the broker refuses a gateway's limit: {message or for_code(code)()}")


# KIP-546, which aiokafka does not know.
_TEXT = String("utf-8")
_ENTITY = Array(("type", _TEXT), ("name", _TEXT))


class _DescribeResponse(Response):
    API_KEY = 48
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", _TEXT),
        ("entries", Array(("entity", _ENTITY), ("values", Array(("key", _TEXT), ("value", Float64))))),
    )


class _DescribeStruct(RequestStruct):
    API_KEY = 48
    API_VERSION = 0
    RESPONSE_TYPE = _DescribeResponse
    SCHEMA = Schema(("components", Array(("type", _TEXT), ("match_type", Int8), ("match", _TEXT))), ("strict", Boolean))


class _Describe(Request[_DescribeStruct]):
    API_KEY = 48

    def __init__(self, components: list[Any]) -> None:
        self._components = components

    def build(self, request_struct_class: type[_DescribeStruct]) -> _DescribeStruct:
        return request_struct_class(self._components, True)


class _AlterResponse(Response):
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", _TEXT), ("entity", _ENTITY))),
    )


class _AlterStruct(RequestStruct):
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = _AlterResponse
    SCHEMA = Schema(
        (
            "entries",
            Array(
                ("entity", _ENTITY),
                ("operations", Array(("key", _TEXT), ("value", Float64), ("remove", Boolean))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _Alter(Request[_AlterStruct]):
    API_KEY = 49

    def __init__(self, entries: list[Any]) -> None:
        self._entries = entries

    def build(self, request_struct_class: type[_AlterStruct]) -> _AlterStruct:
        return request_struct_class(self._entries, False)
