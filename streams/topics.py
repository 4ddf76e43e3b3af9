"""The topics of a pipeline: made before anything reads them, and checked.

All have the same number of partitions, so that one key has one partition number in all of them: partition
p of the flood and the rain readings and of the state belong together. A prefix puts a pipeline on its own
topics.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from sensors.connection import connection, refusal
from sensors.errors import InputError, RunError
from sensors.quantities import KINDS, topic

READINGS: Final = tuple(topic(kind) for kind in KINDS)
REJECTED: Final = "readings.rejected"
ALERTS: Final = "alerts"
LAST: Final = "alerts.last"
ACTIONS: Final = "actions"
STATE: Final = "state"  # what the folds know, kept by the workers for themselves
RULES: Final = "rules"  # every edition of the rules and the catalogue, in partition 0
ALL: Final = (*READINGS, REJECTED, ALERTS, LAST, ACTIONS, STATE, RULES)
ONCALL_LOG: Final = "oncall.log"  # all that on-call knows, in one order, in partition 0
ONCALL_STATE: Final = "oncall.state"  # what its fold knows, in partition 0
CASES: Final = "cases"
CASES_LAST: Final = "cases.last"  # the newest of `cases` per key
NOTIFICATIONS: Final = "notifications"
RECEIPTS: Final = "receipts"
DECISIONS: Final = "decisions"  # about silences, and actions on no case that is known
# made by `kapok oncall`
ONCALL: Final = (ONCALL_LOG, ONCALL_STATE, CASES, CASES_LAST, NOTIFICATIONS, RECEIPTS, DECISIONS)
ARCHIVE_STATE: Final = "archive.state"  # how the archive judges readings, by partition
ARCHIVE_REJECTED: Final = "archive.rejected"  # points that InfluxDB would not take
ARCHIVE: Final = (ARCHIVE_STATE, ARCHIVE_REJECTED)  # made by `kapok archive`
EVERY: Final = (*ALL, *ONCALL, *ARCHIVE)
TICKED: Final = (*READINGS, ALERTS, ACTIONS)  # the clock goes to every partition of these
HOMES: Final = (topic("infrared"), REJECTED, ARCHIVE_REJECTED)  # who moved when: gone after 7 days (docs/privacy.md)
PARTITIONS: Final = 8

STATE_BATCH_BYTES: Final = 4 << 20  # one batch is appended as a whole
REPLAY_RECORD_BYTES: Final = 16 << 20  # a capture's records may be larger than Kafka's usual 1 MB
REJECTED_RECORD_BYTES: Final = 64 << 20  # holds the reading, as JSON once more: larger than the record it came in
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")
_DAY_MS = 86_400_000
_FOREVER = str(2**63 - 1)
_PATIENCE_MS = 30_000


def settings(name: str, *, live: bool) -> dict[str, str]:
    """Kafka's topic settings. Live readings get the broker's time, replayed ones keep the capture's."""
    if name in (STATE, ONCALL_STATE, ARCHIVE_STATE):
        # Small segments: only closed ones are compacted, and all that is left is read at a takeover.
        size = str(2 * STATE_BATCH_BYTES)
        compaction = {"min.cleanable.dirty.ratio": "0.1", "segment.bytes": size, "max.message.bytes": size}
        return {"cleanup.policy": "compact", **compaction}
    if name in (LAST, CASES_LAST):
        return {"cleanup.policy": "compact"}
    config = {"cleanup.policy": "delete", "retention.ms": "-1"}
    if live and name in HOMES:
        # Only closed segments are deleted: a record is there for both times, and the broker's checks in between.
        config |= {"retention.ms": str(6 * _DAY_MS), "segment.ms": str(_DAY_MS // 2)}
    elif live and name not in (ALERTS, ACTIONS, RULES, *ONCALL):
        config["retention.ms"] = str(14 * _DAY_MS)
    if name in (REJECTED, RULES, ONCALL_LOG):
        config["max.message.bytes"] = str(REJECTED_RECORD_BYTES)
    elif name in READINGS and live:
        config["message.timestamp.type"] = "LogAppendTime"
    elif name in READINGS:  # a capture's times are in the past, or ahead: no record may be refused because of them
        config |= {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": _FOREVER}
        config |= {"segment.ms": _FOREVER, "max.message.bytes": str(REPLAY_RECORD_BYTES)}
    return config


@asynccontextmanager
async def admin(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connection to make and look at topics with; RunError when no broker answers or when it refuses."""
    if not all(host and port.isdigit() for host, _, port in (at.strip().rpartition(":") for at in broker.split(","))):
        raise InputError(f"{broker!r} is not a broker's address", hint="give HOST:PORT")
    client = AIOKafkaAdminClient(**connection(broker), request_timeout_ms=_PATIENCE_MS)
    try:
        await client.start()
        yield client
    except KafkaError as error:
        raise RunError(f"no Kafka that can be used at {broker}: {await refusal(broker) or error}") from error
    finally:
        await client.close()


async def ensure(
    broker: str, prefix: str = "", partitions: int | None = None, *, live: bool = True, names: Sequence[str] = ALL
) -> int:
    """Makes the topics that are not there yet and gives the number of partitions that all of them have.

    ``partitions`` is what is wanted (None: what is there, else 8). RunError when a topic has another
    number: it is fixed when a topic is made, since with another number keys would move.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InputError(f"{prefix!r} cannot be a prefix of topics", hint="letters, digits, . _ - and at most 200")
    async with admin(broker) as client:
        there = await counts(client, prefix)
        wanted = partitions or next(iter(there.values()), PARTITIONS)
        nodes = len((await client.describe_cluster())["brokers"])
        copies = min(3, nodes)
        durability = {"min.insync.replicas": "2"} if copies == 3 else {}
        new = [
            NewTopic(prefix + name, wanted, copies, topic_configs={**settings(name, live=live), **durability})
            for name in names
            if name not in there
        ]
        if new:
            response = await client.create_topics(new, timeout_ms=_PATIENCE_MS)
            for name, code, *reason in response.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):  # another worker may have made it just now
                    raise RunError(f"topic {name} could not be made: {(reason and reason[0]) or for_code(code)()}")
            there = await _settled(client, prefix, lambda there: set(names) <= set(there))
    for name in names:
        if there.get(name) != wanted:
            found = f"has {there[name]} partitions" if name in there else "is not there"
            raise RunError(
                f"topic {prefix}{name} {found}, but {wanted} are wanted in every topic: give --partitions "
                "as the topics were made, or another --prefix"
            )
    return wanted


async def delete(broker: str, prefix: str) -> None:
    """Deletes the topics of a prefix, those that are there."""
    async with admin(broker) as client:
        there = await counts(client, prefix)
        if there:
            await client.delete_topics([prefix + name for name in there], timeout_ms=_PATIENCE_MS)
            await _settled(client, prefix, lambda there: not there)


async def _settled(
    client: AIOKafkaAdminClient, prefix: str, settled: Callable[[dict[str, int]], bool]
) -> dict[str, int]:
    """The counts once they are as wanted: brokers hear of a change a moment after it was made."""
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while not settled(there := await counts(client, prefix)) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return there


async def shortest_session_ms(broker: str, at_least: int, usual: int) -> int:
    """The shortest consumer session that the broker allows, but not under ``at_least``; ``usual`` if it
    won't say.

    The setting is ``group.min.session.timeout.ms``: 6 s unless the broker was told otherwise, and a
    broker without it (the embedded one) has no such limit.
    """
    async with admin(broker) as client:
        try:
            node = (await client.describe_cluster())["brokers"][0]["node_id"]
            responses = await client.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(node))])
            for code, _, _, _, entries in responses[0].resources:
                if code:
                    return usual
                limits = {name: value for name, value, *_ in entries}
                return max(at_least, int(limits.get("group.min.session.timeout.ms") or 0))
        except (KafkaError, ValueError):
            return usual
    return usual


async def counts(client: AIOKafkaAdminClient, prefix: str = "") -> dict[str, int]:
    """The number of partitions of each topic of a prefix that is there; names without the prefix."""
    # All are asked about: to ask about one that is not there, or no more, would make it, with the broker's settings.
    wanted = {prefix + name for name in EVERY}
    described = [one for one in await client.describe_topics() if one["topic"] in wanted]
    return {one["topic"].removeprefix(prefix): len(one["partitions"]) for one in described}
