"""Fetch sessions (KIP-227), which aiokafka does without: a fetch names the partitions that have changed since the last.

A worker reads all partitions of four topics that it owns. A broker that is asked for each of them each time, and tells
of each, spends most of a small fetch on those that have nothing, and so does its client. With a session the broker
remembers what is fetched, a fetch says what is new, and the answer tells of what has something. It builds on aiokafka
0.14 from within (names with an underscore are its).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka.protocol.fetch import FetchRequest

_WITH_SESSIONS: Final = 7  # the version of the request from which on there are sessions
_LAST_EPOCH: Final = 2**31 - 1

_Place = tuple[str, int]  # topic and partition
_Fetch = tuple[int, int, int]  # partition, offset, bytes at most


class _Session(NamedTuple):
    """What a broker remembers; ``epoch`` is that of the next fetch, with 0 all is told anew."""

    number: int = 0
    epoch: int = 0
    places: Mapping[_Place, _Fetch] = {}


class _InSession(FetchRequest):
    """A fetch, as all that is wanted and as what has changed."""

    def __init__(self, whole: FetchRequest, session: _Session, wanted: Mapping[_Place, _Fetch]) -> None:
        known = session.places if session.epoch else {}
        changed = {place: fetch for place, fetch in wanted.items() if known.get(place) != fetch}
        parts = whole._max_wait_ms, whole._min_bytes, whole._max_bytes, whole._isolation_level
        super().__init__(*parts, _by_topic(changed), whole._rack_id)
        self._whole, self._session = whole, session
        self._forgotten = _by_topic({place: place[1] for place in known.keys() - wanted.keys()})

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class.API_VERSION < _WITH_SESSIONS:
            return self._whole.build(request_struct_class)
        built: Any = super().build(request_struct_class)
        built.session_id, built.session_epoch = self._session.number, self._session.epoch
        built.forgotten_topics_data = self._forgotten
        return built


def _by_topic(places: Mapping[_Place, Any]) -> list[tuple[str, list[Any]]]:
    topics = defaultdict(list)
    for (topic, _), told in places.items():
        topics[topic].append(told)
    return list(topics.items())


class _Sessions:
    """In the place of a client's ``send``: its fetches are in a session with each broker."""

    def __init__(self, send: Callable[..., Awaitable[Any]]) -> None:
        self._send, self._sessions = send, defaultdict[int, _Session](_Session)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await self._send(node, request, **options)
        session = self._sessions[node]
        self._sessions[node] = session._replace(epoch=0)  # until it has answered nobody knows what the broker knows
        wanted = {(topic, one[0]): one for topic, fetches in request.topics for one in fetches}
        answer = await self._send(node, _InSession(request, session, wanted), **options)
        if answer.API_VERSION >= _WITH_SESSIONS and not answer.error_code and answer.session_id:
            self._sessions[node] = _Session(answer.session_id, session.epoch % _LAST_EPOCH + 1, wanted)
        return answer


def fetch_in_sessions(client: Any) -> None:
    """Lets an aiokafka client fetch so, where the broker can."""
    client.send = _Sessions(client.send).send
