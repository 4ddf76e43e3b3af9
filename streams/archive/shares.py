"""The partitions that this archive process has, and what it knows of each: how its readings are to be judged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition

from alerts.fold import applied_offsets
from alerts.judgement import Judged, Judgement
from alerts.succession import GENERATION_ROW, generation_of
from sensors.errors import RunError
from sensors.quantities import KINDS, topic
from sensors.seal import Seal
from streams.rules_log import RulesLog
from streams.state_log import Snapshot, StateWriter, reader
from streams.topics import ARCHIVE_STATE

log = logging.getLogger("kapok.archive")


class Share:
    """One partition number: the judgement of its four topics, and its written state."""

    def __init__(self, judgement: Judgement, state: StateWriter, begins: Mapping[str, int]) -> None:
        """``begins``: per kind the first offset that the log still has."""
        self.judgement, self._state, self._begins = judgement, state, begins
        self._written: dict[str, int] = dict(judgement.fold.offsets)

    @property
    def changed(self) -> bool:
        return self.judgement.fold.offsets != self._written

    def following(self) -> dict[str, int]:
        """Per kind the offset after what has been judged."""
        return {kind: max(offset + 1, self._begins[kind]) for kind, offset in self.judgement.fold.offsets.items()}

    def state(self) -> Callable[[], Awaitable[None]]:
        """The state as of now; to be written when all that was judged by now is in the database."""
        self._written = dict(self.judgement.fold.offsets)
        return partial(self._state.write, self.judgement.checkpoint())


class Shares(ConsumerRebalanceListener):
    """Which partitions are whose changes as archives come and go; ``epoch`` counts the changes. ``archived``: of all
    topics, the offsets up to which what this one has is in the database.

    A partition that is taken over is judged on from its written state, and read from where that ends: what its last
    owner wrote to the database after that is judged and written once more, as the same points.
    """

    def __init__(
        self, broker: str, prefix: str, partitions: int, rules: RulesLog, producer: AIOKafkaProducer, judged: Judged
    ) -> None:
        self._broker, self._prefix, self._partitions = broker, prefix, partitions
        self._rules, self._producer, self._judged, self._seal = rules, producer, judged, Seal.configured()
        self._kinds = {prefix + topic(kind): kind for kind in KINDS}
        self.owned: dict[int, Share] = {}
        self.archived: dict[TopicPartition, int] = {}
        self.epoch = 0
        self.failure: Exception | None = None

    def follow(self, consumer: AIOKafkaConsumer, names: Iterable[str]) -> None:
        """Subscribes the consumer; from then on its partitions are these."""
        self._consumer = consumer
        consumer.subscribe(list(names), listener=self)

    def kind(self, name: str) -> str | None:
        """The kind whose readings a topic has; None for other topics."""
        return self._kinds.get(name)

    def read_again(self, place: TopicPartition) -> None:
        """Goes back to what is due of a topic with readings, if its partition is one of these."""
        share = self.owned.get(place.partition)
        if share is not None:
            self._consumer.seek(place, share.following()[self._kinds[place.topic]])

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.epoch += 1
        self.owned, self.archived = {}, {}

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        numbers = {tp.partition for tp in assigned if tp.topic in self._kinds}
        try:
            owned = await self._loaded(numbers) if numbers else {}
            archived = await self._taken_over(owned, {tp for tp in assigned if tp.topic not in self._kinds})
            # All at once: what is read between the one and the other would be passed over.
            self.owned, self.archived = owned, archived
            for number in owned:
                for name in self._kinds:
                    self.read_again(TopicPartition(name, number))
            self.epoch += 1
        except asyncio.CancelledError:
            raise
        except Exception as error:  # aiokafka would only log it
            self.failure = error

    async def _taken_over(self, owned: Mapping[int, Share], others: set[TopicPartition]) -> dict[TopicPartition, int]:
        """Where what is archived ends now; ``others``: of topics that are not judged."""
        ends = await self._consumer.beginning_offsets(list(others)) if others else {}
        for place in others:
            ends[place] = await self._consumer.committed(place) or ends[place]
        for number, share in owned.items():
            following = share.following()
            ends |= {TopicPartition(name, number): following[kind] for name, kind in self._kinds.items()}
        return ends

    async def _loaded(self, numbers: set[int]) -> dict[int, Share]:
        state = self._prefix + ARCHIVE_STATE
        owned: dict[int, Share] = {}
        async with reader(self._broker, state, numbers) as states:
            await states.catch_up()
            places = [TopicPartition(name, number) for name in self._kinds for number in numbers]
            begins = await states.consumer.beginning_offsets(places)
            ends = await states.consumer.end_offsets(places)
            for number in sorted(numbers):
                whole = not any(begins[TopicPartition(name, number)] for name in self._kinds)
                found = states.snapshot(number, lambda row: sum(applied_offsets(row).values()))
                begin = {kind: begins[TopicPartition(name, number)] for name, kind in self._kinds.items()}
                judgement = self._restored(number, found, whole)
                owned[number] = Share(judgement, StateWriter(self._producer, state, number, found), begin)
                following = owned[number].following()
                for name, kind in self._kinds.items():
                    place, due = TopicPartition(name, number), following[kind]
                    if due > ends[place]:
                        what = f"{name} partition {number} ends before offset {due}, up to which it is archived"
                        raise RunError(f"{what}: was the topic made anew? Delete {state} too, or use another --prefix")
        log.info("archiving partitions %s", ", ".join(map(str, sorted(numbers))))
        return owned

    def _restored(self, number: int, found: Snapshot, whole: bool) -> Judgement:
        """As the written state has it. Without one: under the first rules if the log is whole, else under the newest,
        since the change to them may have expired with what is missing.
        """
        editions = self._rules.editions
        row = found.rows.pop(GENERATION_ROW, None)
        generation = (self._rules.first if whole else self._rules.newest) if row is None else generation_of(row)
        if generation not in editions:
            what = f"the archive's state is of edition {generation} of the rules, which topic {self._prefix}rules lacks"
            raise RunError(f"{what}: was the topic made anew? Delete {self._prefix}{ARCHIVE_STATE} too")
        judgement = Judgement(editions, generation, number, self._partitions, self._judged, self._seal)
        if found.rows:
            judgement.fold.restore(found.rows)
        return judgement
