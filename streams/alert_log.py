"""All alerts that are on the topic now, read from its beginning."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sensors.clock import CLOCK_KEY
from sensors.connection import connection
from sensors.errors import InputError, RunError
from streams import topics

_STOP_S = 5.0


async def alert_log(broker: str, prefix: str) -> list[dict[str, Any]]:
    """Their bodies, by time; those of a rule at a site in the order of the topic. InputError without the topic."""
    async with topics.admin(broker) as client:
        there = await topics.counts(client, prefix)
    name = prefix + topics.ALERTS
    if topics.ALERTS not in there:
        raise InputError(f"no topic {name} at {broker}", hint="is the --prefix right?")
    consumer = AIOKafkaConsumer(**connection(broker), enable_auto_commit=False, auto_offset_reset="earliest")
    found: list[tuple[int, int, bytes]] = []
    try:
        await consumer.start()
        places = [TopicPartition(name, partition) for partition in range(there[topics.ALERTS])]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [(one.partition, one.offset, one.value) for one in records if one.key != CLOCK_KEY]
    except KafkaError as error:
        raise RunError(f"the alerts could not be read from {name} at {broker}: {error}") from error
    finally:
        await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=_STOP_S)
    return sorted((json.loads(value) for _, _, value in sorted(found)), key=lambda alert: str(alert["at"]))
