"""A producer whose records are stored once each, even where the broker's answer was lost."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaProducer

from sensors.connection import connection


async def started(broker: str, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer with ``acks=all``; KafkaError where it cannot be started.

    ``options`` are aiokafka's.
    """
    producer = AIOKafkaProducer(**connection(broker), acks="all", enable_idempotence=True, **options)
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer
