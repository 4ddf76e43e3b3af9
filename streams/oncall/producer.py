"""The producer of on-call: a lost answer has nothing written twice, where the broker can see to that."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from sensors import producer
from streams.patience import patient
from streams.topics import REJECTED_RECORD_BYTES


async def started(broker: str) -> AIOKafkaProducer:
    """Not idempotent at the embedded broker, which knows no such producers and loses no answer."""
    made, _ = await producer.started(broker, max_request_size=REJECTED_RECORD_BYTES)
    patient(made.client)
    return made
