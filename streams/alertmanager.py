"""Alerts of now to a Prometheus Alertmanager: what changes at once, all that fires once a minute.

It reads ``alerts.last``, the newest change of each rule and site, from its beginning, so it needs no memory of its own:
what fired before a restart is told again within seconds, and Alertmanager takes the same alert for the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from alerts.delivery.alertmanager import REPEAT_S, Alertmanager, Board
from sensors.connection import refusal
from sensors.errors import RunError
from streams import topics
from streams.reading import FETCH_MAX_WAIT_MS, consuming

log = logging.getLogger("kapok")

_LOOK_MS = 100
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 15.0


class AlertmanagerFeed:
    """``await AlertmanagerFeed(…).run(stop)`` until ``stop`` is set. While Alertmanager is away what is to be said is
    kept. The topics have to be there.
    """

    def __init__(
        self, broker: str, url: str, *, prefix: str = "", base_url: str | None = None, repeat_s: float = REPEAT_S
    ) -> None:
        self.broker, self.url, self.prefix, self._repeat_s = broker, url, prefix, repeat_s
        self._board = Board(base_url)
        self._pending: list[dict[str, Any]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """RunError when the broker cannot be used at the start."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                consumer = await stack.enter_async_context(consuming(self.broker, fetch_max_wait_ms=FETCH_MAX_WAIT_MS))
                async with topics.admin(self.broker) as client:
                    count = (await topics.counts(client, self.prefix))[topics.LAST]
                places = [TopicPartition(self.prefix + topics.LAST, number) for number in range(count)]
                consumer.assign(places)
                await consumer.seek_to_beginning()
                await self._catch_up(consumer, places)
            except KafkaError as error:
                why = await refusal(self.broker) or error
                raise RunError(f"the alerts of now cannot be read from {self.broker}: {why}") from error
            manager = await stack.enter_async_context(Alertmanager(self.url))
            await self._follow(consumer, manager, stop)

    async def _catch_up(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        """What is over by now was said before, or ends by itself: only what fires is told."""
        for place, end in (await consumer.end_offsets(places)).items():
            while await consumer.position(place) < end:
                await self._read(consumer)
        self._pending = self._board.firing()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        for records in (await consumer.getmany(timeout_ms=_LOOK_MS)).values():
            for record in records:
                if record.value:
                    self._pending += self._board.take(json.loads(record.value))

    async def _follow(self, consumer: AIOKafkaConsumer, manager: Alertmanager, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        repeat, retry, delay = loop.time() + self._repeat_s, loop.time(), _RETRY_FIRST_S
        while not stop.is_set():
            try:
                await self._read(consumer)
            except KafkaError as error:
                log.warning("the alerts of now cannot be read: %s", error)
                await asyncio.sleep(_RETRY_FIRST_S)
            now = loop.time()
            if now >= repeat:
                self._pending += self._board.firing()
                repeat = now + self._repeat_s
            if not self._pending or now < retry:
                continue
            # The newest of each is enough, and the only right one once it has been changed.
            newest = {json.dumps(post["labels"], sort_keys=True): post for post in self._pending}
            try:
                await manager.post(list(newest.values()))
            except (aiohttp.ClientError, TimeoutError) as error:
                pause = delay * random.uniform(0.5, 1)
                log.warning("Alertmanager has not taken %d alerts, again in %.1f s: %s", len(newest), pause, error)
                self._pending, retry, delay = list(newest.values()), now + pause, min(2 * delay, _RETRY_MOST_S)
                continue
            self._pending, delay = [], _RETRY_FIRST_S
