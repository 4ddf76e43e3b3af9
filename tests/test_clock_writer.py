"""The writer of the clock, on a broker: a machine's time that is put right is told from then on."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from sensors.clock import read_ticks
from streams import clock_writer, topics
from streams.clock_writer import ClockWriter

pytest_plugins = ["brokers"]


class Machine:
    """A machine's time, some seconds from the right one."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


async def test_a_time_that_was_ahead_holds_up_no_tick_when_it_is_right_again(
    embedded_broker: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.ensure(embedded_broker, prefix, 1)
    machine = Machine()
    monkeypatch.setattr(clock_writer, "time", machine)
    name = f"{prefix}readings.flood"
    producer = AIOKafkaProducer(bootstrap_servers=embedded_broker)
    consumer = AIOKafkaConsumer(name, bootstrap_servers=embedded_broker, auto_offset_reset="earliest")

    async def ahead() -> float:
        """By how much the next tick is, in s."""
        (((time_ms, _),), _) = read_ticks((await consumer.getone()).value)
        return time_ms / 1000 - time.time()

    async with producer, consumer:
        writing = asyncio.create_task(ClockWriter(producer, prefix, 1, lambda: True, lambda: None).run())
        for machine.ahead in (0, 3600, 0):
            while not machine.ahead - 60 < await ahead() < machine.ahead + 60:
                pass
        writing.cancel()
