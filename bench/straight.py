"""The least that can be done in kapok's place: read, see who changed from dry to wet or back, and say so.

``python bench/straight.py BROKER SOURCE ALERTS PARTITIONS``: one aiokafka consumer, one producer, one loop. No group,
no state that outlives it, no check of anything, no rules. What a reading takes through it the broker and its clients
take.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from alerts.alert import iso
from streams.reading import FETCH_MAX_WAIT_MS

_WET = 0.1  # m, the lowest level of the bench's one rule


class _Reading(msgspec.Struct):
    n: str
    v: float
    bt: int
    t: float = 0.0


_read = msgspec.json.Decoder(list[_Reading]).decode


async def main() -> None:
    broker, source, alerts, partitions = sys.argv[1:]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
    )
    wet: dict[str, bool] = {}
    async with consumer, AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        consumer.assign([TopicPartition(source, partition) for partition in range(int(partitions))])
        while True:
            for place, records in (await consumer.getmany(timeout_ms=1000)).items():
                for record in records:
                    (one,) = _read(record.value)
                    before, wet[one.n] = wet.get(one.n, False), one.v >= _WET
                    if before != wet[one.n]:
                        at = iso(round((one.bt + one.t) * 1000))
                        alert = msgspec.json.encode({"site": one.n.removesuffix("/depth"), "at": at})
                        await producer.send(alerts, alert, partition=place.partition)


if __name__ == "__main__":
    asyncio.run(main())
