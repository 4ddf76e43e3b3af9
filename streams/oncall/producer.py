"""The producer of on-call: a lost answer has nothing written twice."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from sensors import producer
from streams.patience import patient
from streams.topics import REJECTED_RECORD_BYTES


async def started(broker: str) -> AIOKafkaProducer:
    """An idempotent one that bears with a broker that is away."""
    made = await producer.started(broker, max_request_size=REJECTED_RECORD_BYTES)
    patient(made.client)
    return made
