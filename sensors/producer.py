"""A producer whose records are stored once each, even where the broker's answer was lost."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError

from sensors.connection import connection


class Started(NamedTuple):
    """``idempotent``: False at a broker that knows no such producers, which is the embedded one."""

    producer: AIOKafkaProducer
    idempotent: bool


async def started(broker: str, **options: Any) -> Started:
    """A producer with ``acks=all``, idempotent where the broker can; KafkaError where it cannot be started.

    ``options`` are aiokafka's.
    """
    try:
        return Started(await _start(broker, enable_idempotence=True, **options), idempotent=True)
    except UnknownError:
        return Started(await _start(broker, **options), idempotent=False)


async def _start(broker: str, **options: Any) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(**connection(broker), acks="all", **options)
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer
