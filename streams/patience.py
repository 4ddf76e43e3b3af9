"""Waiting for a broker that is away, which aiokafka 0.14 does not do."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.client import AIOKafkaClient

_WAIT_S = 0.1  # aiokafka's own retry_backoff


def patient(client: AIOKafkaClient) -> None:
    """Lets a client wait a moment after it has asked in vain for its cluster's metadata.

    One whose partitions have no leader asks again at once, and while a broker that was ended in order is away that is
    all it does: a whole core, which the broker could use to come back, and a thousand lines of log a second.
    """
    update = client._metadata_update

    async def update_or_wait(*args: Any) -> Any:
        updated = await update(*args)
        if not updated:
            await asyncio.sleep(_WAIT_S)
        return updated

    client._metadata_update = update_or_wait
