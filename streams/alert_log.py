"""All alerts that are on the topic now, read from its beginning."""

from __future__ import annotations

import json
from typing import Any

from aiokafka import TopicPartition

from sensors.clock import CLOCK_KEY
from sensors.errors import InputError
from streams import topics
from streams.failure import kafka_errors
from streams.reading import consuming, read_all


async def alert_log(broker: str, prefix: str) -> list[dict[str, Any]]:
    """Their bodies, by time; those of a rule at a site in the order of the topic. InputError without the topic."""
    async with topics.admin(broker) as client:
        there = await topics.counts(client, prefix)
    name = prefix + topics.ALERTS
    if topics.ALERTS not in there:
        raise InputError(f"no topic {name} at {broker}", hint="is the --prefix right?")
    places = [TopicPartition(name, partition) for partition in range(there[topics.ALERTS])]
    found: list[tuple[int, int, bytes]] = []
    with kafka_errors(f"the alerts could not be read from {name} at {broker}"):
        async with consuming(broker) as consumer:
            async for _, records in read_all(consumer, places):
                found += [(one.partition, one.offset, one.value) for one in records if one.key != CLOCK_KEY]
    return sorted((json.loads(value) for _, _, value in sorted(found)), key=lambda alert: str(alert["at"]))
