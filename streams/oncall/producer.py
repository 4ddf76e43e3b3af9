"""The producer of on-call: a lost answer has nothing written twice, where the broker can see to that."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError

from sensors.connection import connection
from streams.patience import patient
from streams.topics import REJECTED_RECORD_BYTES


async def started(broker: str) -> AIOKafkaProducer:
    """A producer with ``acks=all``, idempotent but for the embedded broker, which knows none and loses no answer."""
    try:
        return await _start(broker, idempotent=True)
    except UnknownError:
        return await _start(broker, idempotent=False)


async def _start(broker: str, *, idempotent: bool) -> AIOKafkaProducer:
    options = {"acks": "all", "enable_idempotence": idempotent, "max_request_size": REJECTED_RECORD_BYTES}
    producer = AIOKafkaProducer(**connection(broker), **options)
    patient(producer.client)
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer
