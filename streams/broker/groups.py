"""A consumer group of the embedded broker: its members come together, and one of them shares out the partitions."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

from kio.schema.errors import ErrorCode

from streams.broker.log import Refused


@dataclass
class _Member:
    session_s: float
    rebalance_s: float
    protocols: dict[str, bytes]
    assignment: bytes = b""
    joined: asyncio.Future[None] | None = None  # it waits for the others
    expiry: asyncio.TimerHandle | None = None


@dataclass
class Group:
    """``offsets``: what was committed, an offset and a word on it, by topic and partition."""

    offsets: dict[tuple[str, int], tuple[int, str | None]] = field(default_factory=dict)
    _members: dict[str, _Member] = field(default_factory=dict)
    _generation: int = 0
    _protocol: str = ""
    _leader: str = ""
    _synced: asyncio.Future[None] | None = None  # the leader's word is awaited, or was given
    _limit: asyncio.TimerHandle | None = None  # for those who have not come to a rebalance

    async def join(self, asked: Any) -> dict[str, Any]:
        """Waits until all have come; the answer to a JoinGroup."""
        name = asked.member_id
        if name and name not in self._members:
            raise Refused(ErrorCode.unknown_member_id)
        name = name or f"member-{uuid.uuid4()}"
        protocols = {one.name: one.metadata for one in asked.protocols}
        session_s, rebalance_s = asked.session_timeout.total_seconds(), asked.rebalance_timeout.total_seconds()
        others = [one.protocols for other, one in self._members.items() if other != name]
        if not set(protocols).intersection(*others):
            raise Refused(ErrorCode.inconsistent_group_protocol)
        member = self._members.setdefault(name, _Member(session_s, rebalance_s, protocols))
        member.protocols = protocols
        member.joined = joined = member.joined or asyncio.get_running_loop().create_future()
        self._watch(name, None)
        self._gather()
        await joined
        leads = name == self._leader
        members = self._members.items() if leads else ()
        return {
            "generation_id": self._generation,
            "protocol_name": self._protocol,
            "leader": self._leader,
            "member_id": name,
            "members": [{"member_id": one, "metadata": it.protocols[self._protocol]} for one, it in members],
        }

    async def sync(self, asked: Any) -> bytes:
        """A member's part, once the leader has shared out."""
        member = self._known(asked.member_id, asked.generation_id)
        if self._synced is None:
            raise Refused(ErrorCode.rebalance_in_progress)
        if asked.member_id == self._leader and not self._synced.done():
            for one in asked.assignments:
                if one.member_id in self._members:
                    self._members[one.member_id].assignment = one.assignment
            self._synced.set_result(None)
        await asyncio.shield(self._synced)
        return member.assignment

    def heartbeat(self, asked: Any) -> None:
        self._known(asked.member_id, asked.generation_id)
        if self._synced is None:
            raise Refused(ErrorCode.rebalance_in_progress)

    def check_commit(self, member: str, generation: int) -> None:
        """Whether this one may commit now. Who is in no group always may."""
        if generation >= 0:
            self._known(member, generation)
            if self._synced is not None and not self._synced.done():
                raise Refused(ErrorCode.rebalance_in_progress)

    def leave(self, name: str) -> None:
        if name not in self._members:
            raise Refused(ErrorCode.unknown_member_id)
        self._remove(name)

    def _known(self, name: str, generation: int) -> _Member:
        if name not in self._members:
            raise Refused(ErrorCode.unknown_member_id)
        if generation != self._generation:
            raise Refused(ErrorCode.illegal_generation)
        self._watch(name, self._members[name].session_s)
        return self._members[name]

    def _watch(self, name: str, seconds: float | None) -> None:
        """Removes a member that is not heard of for so long; None: it waits for others."""
        member = self._members[name]
        if member.expiry:
            member.expiry.cancel()
        loop = asyncio.get_running_loop()
        member.expiry = None if seconds is None else loop.call_later(seconds, self._remove, name)

    def _remove(self, name: str) -> None:
        self._watch(name, None)
        gone = self._members.pop(name)
        if gone.joined and not gone.joined.done():
            gone.joined.set_exception(Refused(ErrorCode.unknown_member_id))
        self._gather()

    def _gather(self) -> None:
        """Begins a rebalance, unless one has begun, and ends it when all are there."""
        if self._synced is not None and not self._synced.done():
            self._synced.set_exception(Refused(ErrorCode.rebalance_in_progress))
            self._synced.exception()  # nobody may be waiting for it
        self._synced = None
        if all(one.joined for one in self._members.values()):
            self._complete()
        elif self._limit is None:
            longest = max(one.rebalance_s for one in self._members.values())
            self._limit = asyncio.get_running_loop().call_later(longest, self._without_the_missing)

    def _without_the_missing(self) -> None:
        self._limit = None
        for name in [name for name, one in self._members.items() if not one.joined]:
            self._watch(name, None)
            del self._members[name]
        self._complete()

    def _complete(self) -> None:
        if self._limit:
            self._limit.cancel()
        self._limit = None
        self._generation += 1
        if not self._members:
            return
        self._leader = self._leader if self._leader in self._members else next(iter(self._members))
        preferred = self._members[self._leader].protocols
        common = set(preferred).intersection(*(one.protocols for one in self._members.values()))
        self._protocol = next(name for name in preferred if name in common)
        self._synced = asyncio.get_running_loop().create_future()
        for name, one in self._members.items():
            assert one.joined
            if not one.joined.done():
                one.joined.set_result(None)
            one.joined, one.assignment = None, b""
            self._watch(name, one.session_s)
