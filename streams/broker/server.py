"""The embedded broker: one node, all in memory, what Kafka's clients ask of a broker and no more."""

from __future__ import annotations

import asyncio
import math
import re
import struct
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Final, NamedTuple

from kio.schema.errors import ErrorCode

from streams.broker.entities import answer, request
from streams.broker.groups import Group
from streams.broker.log import Log, Refused

_NODE, _HOST = 1, "127.0.0.1"
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_API_VERSIONS: Final = 18
_TOPIC: Final = 2  # a kind of what has settings
_PREFIX = struct.Struct(">hhi")  # the request's key, its version, the number that its answer bears
_READ_AT_ONCE = 1 << 20


class _Topic(NamedTuple):
    logs: list[Log]
    settings: dict[str, str | None]


class Broker:
    """``serve`` answers clients until it is cancelled. Topics and offsets are gone with it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, Group] = defaultdict(Group)
        self._producers = count(1)
        # The versions are those before the messages became flexible, and the fields of them all are alike.
        self._handlers: dict[int, tuple[range, Callable[[Any], Any]]] = {
            0: (range(3, 9), self._produce),
            1: (range(4, 12), self._fetch),
            2: (range(1, 6), self._list_offsets),
            3: (range(1, 9), self._metadata),
            8: (range(2, 8), self._commit),
            9: (range(1, 6), self._committed),
            10: (range(3), self._coordinator),
            11: (range(1, 5), self._join),
            12: (range(4), self._heartbeat),
            13: (range(3), self._leave),
            14: (range(4), self._sync),
            _API_VERSIONS: (range(4), self._api_versions),
            19: (range(5), self._create),
            20: (range(4), self._delete),
            22: (range(2), self._new_producer),
            32: (range(3), self._settings),
        }
        self._versions = {key: versions for key, (versions, _) in self._handlers.items()}

    async def serve(self) -> None:
        """OSError when the port is taken."""
        server = await asyncio.start_server(self._talk, _HOST, self._port, limit=_READ_AT_ONCE)
        async with server:
            await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """With one client, whose requests are answered one after the other."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(4))
                if (data := await self._answer(await reader.readexactly(size))) is None:
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _answer(self, frame: bytes) -> bytes | None:
        key, version, correlation = _PREFIX.unpack_from(frame)
        if version not in self._versions.get(key, ()):
            if key != _API_VERSIONS:
                raise ConnectionError(f"no version {version} of request {key}")
            fields = self._api_versions(None) | {"error_code": ErrorCode.unsupported_version}
            return answer(key, 0, correlation, fields)  # from which the client learns what it may ask
        body = request(key, version, frame)
        try:
            fields = self._handlers[key][1](body)
            if asyncio.iscoroutine(fields):
                fields = await fields
        except Refused as refused:
            fields = {"error_code": refused.code, "protocol_name": "", "leader": "", "member_id": "", "assignment": b""}
            fields |= {"producer_epoch": -1}
        if key == 0 and body.acks == 0:
            return None
        return answer(key, version, correlation, fields)

    def _api_versions(self, _: Any) -> dict[str, Any]:
        spoken = self._versions.items()
        return {"api_keys": [{"api_key": key, "min_version": it[0], "max_version": it[-1]} for key, it in spoken]}

    def _metadata(self, body: Any) -> dict[str, Any]:
        names = list(self._topics) if body.topics is None else [one.name for one in body.topics]
        return {
            "brokers": [{"node_id": _NODE, "host": _HOST, "port": self._port, "rack": None}],
            "cluster_id": "kapok",
            "controller_id": _NODE,
            "topics": [self._described(name) for name in names],
        }

    def _described(self, name: str) -> dict[str, Any]:
        if name not in self._topics:
            return {"name": name, "error_code": ErrorCode.unknown_topic_or_partition}
        here = {"leader_id": _NODE, "replica_nodes": (_NODE,), "isr_nodes": (_NODE,)}
        numbers = range(len(self._topics[name].logs))
        return {"name": name, "partitions": [{"partition_index": number, **here} for number in numbers]}

    def _create(self, body: Any) -> dict[str, Any]:
        return {"topics": [self._created(one, body.validate_only) for one in body.topics]}

    def _created(self, one: Any, only_asked: bool) -> dict[str, Any]:
        error = ErrorCode.none
        if not _TOPIC_NAME.fullmatch(one.name):
            error = ErrorCode.invalid_topic_exception
        elif one.name in self._topics:
            error = ErrorCode.topic_already_exists
        elif not one.num_partitions:
            error = ErrorCode.invalid_partitions
        elif not only_asked:
            settings = {it.name: it.value for it in one.configs}
            stamped = settings.get("message.timestamp.type") == "LogAppendTime"
            partitions = max(one.num_partitions, 1, len(one.assignments))
            self._topics[one.name] = _Topic([Log(stamped) for _ in range(partitions)], settings)
        return {"name": one.name, "error_code": error, "error_message": None}

    def _delete(self, body: Any) -> dict[str, Any]:
        responses = []
        for name in body.topic_names:
            known = self._topics.pop(name, None)
            error = ErrorCode.unknown_topic_or_partition if known is None else ErrorCode.none
            responses.append({"name": name, "error_code": error})
        return {"responses": responses}

    def _settings(self, body: Any) -> dict[str, Any]:
        """Those that a topic was made with; the broker has none."""
        results = []
        for one in body.resources:
            told = {"resource_type": one.resource_type, "resource_name": one.resource_name, "error_message": None}
            settings: dict[str, str | None] = {}
            if one.resource_type == _TOPIC:
                if one.resource_name not in self._topics:
                    results.append({**told, "error_code": ErrorCode.unknown_topic_or_partition})
                    continue
                settings = self._topics[one.resource_name].settings
            flags = {"read_only": False, "is_default": False, "is_sensitive": False}
            results.append({**told, "configs": [{"name": name, "value": it, **flags} for name, it in settings.items()]})
        return {"results": results}

    def _log(self, topic: str, partition: int) -> Log:
        known = self._topics.get(topic)
        if known is None or not 0 <= partition < len(known.logs):
            raise Refused(ErrorCode.unknown_topic_or_partition)
        return known.logs[partition]

    def _new_producer(self, body: Any) -> dict[str, Any]:
        if body.transactional_id is not None:
            raise Refused(ErrorCode.transactional_id_authorization_failed)  # there are no transactions
        return {"producer_id": next(self._producers), "producer_epoch": 0}

    def _produce(self, body: Any) -> dict[str, Any]:
        topics = []
        for topic in body.topic_data:
            told = [self._appended(topic.name, one) for one in topic.partition_data]
            topics.append({"name": topic.name, "partition_responses": told})
        return {"responses": topics}

    def _appended(self, topic: str, one: Any) -> dict[str, Any]:
        told = {"index": one.index, "log_start_offset": 0, "error_message": None}
        try:
            return {**told, "base_offset": self._log(topic, one.index).append(one.records or b"")}
        except Refused as refused:
            return {**told, "base_offset": -1, "error_code": refused.code}

    async def _fetch(self, body: Any) -> dict[str, Any]:
        """As soon as there is enough, or something is wrong, or at the end of the client's patience."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + body.max_wait.total_seconds()
        while True:
            size, told = self._fetched(body)
            if size >= body.min_bytes or loop.time() >= deadline:
                return {"responses": told}
            more = loop.create_future()
            logs = [self._log(topic.topic, one.partition) for topic in body.topics for one in topic.partitions]
            for log in logs:
                log.waiting.add(more)
            await asyncio.wait([more], timeout=deadline - loop.time())
            for log in logs:
                log.waiting.discard(more)

    def _fetched(self, body: Any) -> tuple[float, list[dict[str, Any]]]:
        """How many bytes, beyond all bounds with an error among them; the partitions by topic."""
        size: float = 0
        topics = []
        for topic in body.topics:
            partitions = []
            for one in topic.partitions:
                told: dict[str, Any] = {"partition_index": one.partition, "records": b"", "aborted_transactions": None}
                try:
                    log = self._log(topic.topic, one.partition)
                    told |= {"high_watermark": log.end, "last_stable_offset": log.end, "log_start_offset": 0}
                    if (left := body.max_bytes - size) > 0:
                        told["records"] = log.read(one.fetch_offset, min(one.partition_max_bytes, left))
                        size += len(told["records"])
                except Refused as refused:
                    told |= {"high_watermark": -1, "error_code": refused.code}
                    size = math.inf
                partitions.append(told)
            topics.append({"topic": topic.topic, "partitions": partitions})
        return size, topics

    def _list_offsets(self, body: Any) -> dict[str, Any]:
        topics = []
        for topic in body.topics:
            partitions: list[dict[str, Any]] = []
            for one in topic.partitions:
                told = {"partition_index": one.partition_index}
                try:
                    offset, at = self._log(topic.name, one.partition_index).find(one.timestamp)
                    partitions.append({**told, "offset": offset, "timestamp": at})
                except Refused as refused:
                    partitions.append({**told, "offset": -1, "timestamp": -1, "error_code": refused.code})
            topics.append({"name": topic.name, "partitions": partitions})
        return {"topics": topics}

    def _coordinator(self, body: Any) -> dict[str, Any]:
        return {"node_id": _NODE, "host": _HOST, "port": self._port, "error_message": None}

    async def _join(self, body: Any) -> dict[str, Any]:
        return await self._groups[body.group_id].join(body)

    async def _sync(self, body: Any) -> dict[str, Any]:
        return {"assignment": await self._groups[body.group_id].sync(body)}

    def _heartbeat(self, body: Any) -> dict[str, Any]:
        self._groups[body.group_id].heartbeat(body)
        return {}

    def _leave(self, body: Any) -> dict[str, Any]:
        self._groups[body.group_id].leave(body.member_id)
        return {}

    def _commit(self, body: Any) -> dict[str, Any]:
        group, error = self._groups[body.group_id], ErrorCode.none
        try:
            group.check_commit(body.member_id, body.generation_id_or_member_epoch)
        except Refused as refused:
            error = refused.code
        topics = []
        for topic in body.topics:
            for one in topic.partitions if not error else ():
                group.offsets[topic.name, one.partition_index] = one.committed_offset, one.committed_metadata
            told = [{"partition_index": one.partition_index, "error_code": error} for one in topic.partitions]
            topics.append({"name": topic.name, "partitions": told})
        return {"topics": topics}

    def _committed(self, body: Any) -> dict[str, Any]:
        offsets = self._groups[body.group_id].offsets
        wanted: dict[str, list[int]] = defaultdict(list)
        if body.topics is None:
            for name, partition in offsets:
                wanted[name].append(partition)
        else:
            wanted |= {topic.name: list(topic.partition_indexes) for topic in body.topics}
        topics = []
        for name, partitions in wanted.items():
            found = [(one, *offsets.get((name, one), (-1, ""))) for one in partitions]
            told = [{"partition_index": one, "committed_offset": at, "metadata": word} for one, at, word in found]
            topics.append({"name": name, "partitions": told})
        return {"topics": topics}
