"""What each user may do at the broker, and how it is put into force: passwords by SCRAM, rights by ACLs.

What is not granted here nobody may. Passwords are salted and hashed before they leave this process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from sensors.connection import connection, refusal
from sensors.errors import RunError
from sensors.quantities import topic
from streams import quotas
from streams.access import GATEWAY
from streams.topics import (
    ACTIONS,
    ALERTS,
    ALL,
    ARCHIVE,
    ARCHIVE_REJECTED,
    ARCHIVE_STATE,
    CASES,
    DECISIONS,
    EVERY,
    LAST,
    NOTIFICATIONS,
    ONCALL,
    READINGS,
    RECEIPTS,
    REJECTED,
    RULES,
    STATE,
)

# Kafka's numbers.
TOPIC, GROUP, CLUSTER = 2, 3, 4
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 8, 10
_WORDS = {READ: "reads", WRITE: "writes", DESCRIBE: "sees", DESCRIBE_CONFIGS: "sees the settings of"}
_ANY, _ALLOW = 1, 3
_LITERAL = 3
_SHA_512 = 2
_ITERATIONS = 8192  # Kafka's own advice is 4096 and more; the passwords made here are 256 random bits


class Role(NamedTuple):
    """Topics read and written, those that may be looked at besides, and consumer groups."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


ROLES: Final = {
    "worker": Role(
        reads=(*READINGS, ALERTS, STATE, RULES),
        # The elected one writes the clock, and each announces new rules where it folds.
        writes=(*READINGS, REJECTED, ALERTS, LAST, ACTIONS, STATE, RULES),
        looks_at=ALL,
        groups=("kapok",),
    ),
    "oncall": Role(
        reads=(*READINGS, ALERTS, LAST, ACTIONS, RULES, *ONCALL),
        writes=(ACTIONS, *ONCALL),
        looks_at=(*ALL, *ONCALL),
        groups=("kapok-oncall", "kapok-delivery"),
    ),
    "archive": Role(
        reads=(*READINGS, ALERTS, RULES, CASES, ARCHIVE_STATE),
        writes=ARCHIVE,
        looks_at=(*ALL, *ONCALL, *ARCHIVE),
        groups=("kapok-archive",),
    ),
    "recorder": Role(
        reads=(
            *(*READINGS, REJECTED, ALERTS, LAST, ACTIONS, RULES),
            *(CASES, NOTIFICATIONS, RECEIPTS, DECISIONS, ARCHIVE_REJECTED),
        )
    ),
}


class Grant(NamedTuple):
    """One ACL: this user may do this to this."""

    resource: int
    name: str
    user: str
    operation: int


def grants(users: Mapping[str, Iterable[str]], prefix: str = "") -> set[Grant]:
    """Everything that these users may do; ``users``: name → of a gateway the kinds of readings that it writes."""
    found = set()
    for user, kinds in users.items():
        role = Role(writes=tuple(topic(kind) for kind in kinds)) if user.startswith(GATEWAY) else ROLES[user]
        for operation, names in ((READ, role.reads), (WRITE, role.writes), (DESCRIBE, role.looks_at)):
            found |= {Grant(TOPIC, prefix + name, user, operation) for name in names}
        found |= {Grant(GROUP, prefix + name, user, READ) for name in role.groups}
        if user == "worker":  # how short a session may be
            found.add(Grant(CLUSTER, "kafka-cluster", user, DESCRIBE_CONFIGS))
    return found


async def put_in_force(broker: str, folder: Path, users: Mapping[str, Iterable[str]], prefix: str = "") -> list[str]:
    """Makes the broker's users and rights those of the folder, and says what changed of them.

    What its users may do with other topics and groups, such as those of another prefix, is left. Users without a
    folder are deleted, with all that they might do. Gateways without a limit to what they send get one. RunError when
    it cannot.
    """
    client = AIOKafkaClient(**connection(broker))
    try:
        await client.bootstrap()
        there, wanted = await _granted(client), grants(users, prefix)
        names = {prefix + name for name in (*EVERY, *(g for role in ROLES.values() for g in role.groups))}
        gone = {one for one in there - wanted if one.user not in users or one.name in names}
        changes = [("no longer", one) for one in sorted(gone)] + [("now", one) for one in sorted(wanted - there)]
        for word, one in changes:
            await (_grant if word == "now" else _withdraw)(client, one)
        await _set_passwords(client, {name: (folder / name / "password").read_text().strip() for name in users})
        limited = await quotas.limit(client, [name for name in users if name.startswith(GATEWAY)])
    except KafkaError as error:
        why = await refusal(broker) or error
        raise RunError(f"no Kafka whose users can be set at {broker}: {why}") from error
    finally:
        await client.close()
    said: dict[str, list[str]] = {}
    for word, one in changes:
        said.setdefault(f"{one.user} {word} {_WORDS.get(one.operation, one.operation)}", []).append(one.name)
    rights = [f"{what} {', '.join(names)}" for what, names in sorted(said.items())]
    return rights + [f"{name} now sends at most {quotas.RATE:,} bytes/s to each broker" for name in limited]


async def _ask(client: AIOKafkaClient, request: Any) -> Any:
    return await client.send(client.get_random_node(), request)


async def _granted(client: AIOKafkaClient) -> set[Grant]:
    answer = await _ask(client, DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY))
    _check(answer.error_code, answer.error_message)
    return {
        Grant(resource, name, principal.removeprefix("User:"), operation)
        for resource, name, _, rights in answer.resources
        for principal, _, operation, _ in rights
    }


async def _grant(client: AIOKafkaClient, one: Grant) -> None:
    fields = one.resource, one.name, _LITERAL, f"User:{one.user}", "*", one.operation, _ALLOW
    for result in (await _ask(client, CreateAclsRequest(*fields))).creation_responses:
        _check(*result)


async def _withdraw(client: AIOKafkaClient, one: Grant) -> None:
    fields = one.resource, one.name, _ANY, f"User:{one.user}", None, one.operation, _ANY
    for code, message, *_ in (await _ask(client, DeleteAclsRequest(*fields))).filter_responses:
        _check(code, message)


async def _set_passwords(client: AIOKafkaClient, passwords: Mapping[str, str]) -> None:
    """These users with these passwords, and no others."""
    known = await _ask(client, _DescribeUsers())
    _check(known.error_code, known.error_message)
    gone = {user for user, *_ in known.results} - set(passwords)
    new: list[tuple[Any, ...]] = []
    for user, password in passwords.items():
        salt = os.urandom(24)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
        new.append((user, _SHA_512, _ITERATIONS, salt, salted, {}))
    answer = await _ask(client, _AlterUsers([(user, _SHA_512, {}) for user in sorted(gone)], new))
    for user, code, message, _ in answer.results:
        _check(code, f"user {user}: {message}")


def _check(code: int, message: str | None) -> None:
    if code:
        raise RunError(f"the broker refuses it: {message or for_code(code)()}")


# KIP-554, which aiokafka does not know.
_TEXT = CompactString("utf-8")


class _DescribeUsersResponse(Response):
    API_KEY = 50
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", _TEXT),
        (
            "results",
            CompactArray(
                ("user", _TEXT),
                ("error_code", Int16),
                ("error_message", _TEXT),
                (
                    "credentials",
                    CompactArray(("mechanism", Int8), ("iterations", Int32), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeUsersStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 50
    API_VERSION = 0
    RESPONSE_TYPE = _DescribeUsersResponse
    SCHEMA = Schema(("users", CompactArray(("name", _TEXT), ("tags", TaggedFields))), ("tags", TaggedFields))


class _DescribeUsers(Request[_DescribeUsersStruct]):
    API_KEY = 50

    def build(self, request_struct_class: type[_DescribeUsersStruct]) -> _DescribeUsersStruct:
        return request_struct_class(None, {})  # all


class _AlterUsersResponse(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(("user", _TEXT), ("error_code", Int16), ("error_message", _TEXT), ("tags", TaggedFields)),
        ),
        ("tags", TaggedFields),
    )


class _AlterUsersStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlterUsersResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", _TEXT), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", _TEXT),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterUsers(Request[_AlterUsersStruct]):
    API_KEY = 51

    def __init__(self, deletions: list[Any], upsertions: list[Any]) -> None:
        self._deletions, self._upsertions = deletions, upsertions

    def build(self, request_struct_class: type[_AlterUsersStruct]) -> _AlterUsersStruct:
        return request_struct_class(self._deletions, self._upsertions, {})
