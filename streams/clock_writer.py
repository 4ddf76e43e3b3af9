"""The clock: a tick a second to every partition, from one worker at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from sensors.clock import CLOCK_KEY, tick
from sensors.seal import Seal
from streams.topics import TICKED

_EARLY_S = 0.01  # a sleep may end a little before its time


class ClockWriter:
    """Writes the time to every partition of the reading topics, ``alerts`` and ``actions``, while it is
    elected.

    The elected worker is the one that partition 0 is assigned to: the group's coordinator gives it to
    exactly one. Two might write for a moment, after one was cut off; a fold's clock only goes forward, so
    that changes nothing.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        prefix: str,
        partitions: int,
        elected: Callable[[], bool],
        written: Callable[[], None],
        seal: Seal | None = None,
    ) -> None:
        """``written``: told of each second for which the broker has every tick."""
        self._producer, self._elected, self._written = producer, elected, written
        self._prefix, self._seal = prefix, seal
        self._places = [(name, partition) for name in TICKED for partition in range(partitions)]

    async def run(self) -> None:
        """Ticks at every whole second until cancelled."""
        written = 0
        while True:
            now = time.time()
            await asyncio.sleep(1 - now % 1)
            second = int(time.time() + _EARLY_S)
            if self._elected() and second != written:  # a machine's time that was ahead is put right at some time
                value, written = tick(second * 1000), second
                await asyncio.gather(*[await self._send(value, *place) for place in self._places])
                self._written()

    async def _send(self, value: bytes, name: str, partition: int) -> asyncio.Future[object]:
        headers = [self._seal.header(name, partition, CLOCK_KEY, value)] if self._seal else []
        return await self._producer.send(self._prefix + name, value, CLOCK_KEY, partition, headers=headers)
