"""The archive: readings and alerts to InfluxDB 2, in a consumer group of its own.

Offsets are committed only after the server has accepted the points. After a crash some are therefore written
again, which changes nothing (see ``streams.points``); none is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException

from sensors.connection import connection
from sensors.errors import RunError
from streams import topics
from streams.points import Points

BATCH_POINTS = 5000  # InfluxDB's own advice for writes
_RUN_RECORDS = 100  # turned into points at once: of full packs, some MB
LINGER_S = 0.2  # a batch that is not full waits this long for more
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 10.0
_TIMEOUT_MS = 30_000
_NO_ACCESS = (401, 403, 404)
_REFUSED = (400, 413, 422)  # the request's own fault: no point, too large, outside the bucket's retention

log = logging.getLogger(__name__)


class Archive:
    """``await Archive(…).run(stop)`` copies until ``stop`` is set; RunError when the server turns it away.

    While the server is away or busy it tries again and again and commits nothing. ``points`` counts what the
    server accepted, ``refused`` what it would not take whatever the company.
    """

    def __init__(self, broker: str, url: str, token: str, org: str, bucket: str, prefix: str = "") -> None:
        self.broker, self.prefix = broker, prefix
        self.url, self.org, self.bucket, self._token = url, org, bucket, token
        self.source = Points(prefix)
        self.points = self.refused = 0

    async def run(self, stop: asyncio.Event) -> None:
        await topics.ensure(self.broker, self.prefix)
        async with contextlib.AsyncExitStack() as stack:
            client = InfluxDBClientAsync(url=self.url, token=self._token, org=self.org, timeout=_TIMEOUT_MS)
            writer = (await stack.enter_async_context(client)).write_api()
            # A write of nothing shows a wrong token, organisation or bucket before anything is read.
            if not await self._write(writer, [], stop):
                return
            consumer = AIOKafkaConsumer(
                *self.source.topics,
                **connection(self.broker),
                group_id=f"{self.prefix}kapok-archive",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=6000,  # the next one waits for it after a crash; brokers allow no less
                heartbeat_interval_ms=2000,
            )
            stack.push_async_callback(consumer.stop)
            try:
                await consumer.start()
                while not stop.is_set():
                    await self._round(consumer, writer, stop)
            except KafkaError as error:
                raise RunError(f"the Kafka at {self.broker} cannot be used: {error}") from error

    async def _round(self, consumer: AIOKafkaConsumer, writer: Any, stop: asyncio.Event) -> None:
        fetched: dict[TopicPartition, list[ConsumerRecord]]
        fetched = await consumer.getmany(timeout_ms=int(LINGER_S * 1000), max_records=BATCH_POINTS)
        before, batch = self.points, []
        for line in self._lines(fetched):
            batch.append(line)
            if len(batch) == BATCH_POINTS:
                if not await self._write(writer, batch, stop):
                    return
                batch = []
        if batch and not await self._write(writer, batch, stop):
            return
        if fetched:
            try:
                await consumer.commit({tp: records[-1].offset + 1 for tp, records in fetched.items()})
            except (KafkaError, IllegalStateError) as error:  # others have these partitions now, or will
                log.warning("offsets not committed, what was written may be written again: %s", error)
        if self.points - before < BATCH_POINTS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LINGER_S)

    def _lines(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> Iterator[str]:
        for tp, records in fetched.items():
            for start in range(0, len(records), _RUN_RECORDS):
                yield from self.source.lines(tp.topic, records[start : start + _RUN_RECORDS])

    async def _write(self, writer: Any, batch: Sequence[str], stop: asyncio.Event) -> bool:
        """Writes until the server has the points; False when told to stop before that."""
        delay = _RETRY_FIRST_S
        while True:
            try:
                body = ("\n".join(batch) or "#").encode()  # a comment, where there is no point
                await writer.write(self.bucket, self.org, body, write_precision="ms")
                self.points += len(batch)
                return True
            except ApiException as error:
                reason = _reason(error)
                if error.status in _NO_ACCESS:
                    what = f"the InfluxDB at {self.url} turns us away: {reason}"
                    raise RunError(f"{what} (are --token, --org and --bucket right?)") from error
                if error.status in _REFUSED:
                    return await self._write_apart(writer, batch, stop, reason)
                after = error.headers.get("Retry-After", "") if error.headers else ""
                delay = max(delay, float(after)) if after.isdigit() else delay
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
            pause = delay * random.uniform(0.5, 1)
            log.warning("InfluxDB did not take %d points, again in %.1f s: %s", len(batch), pause, reason)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            if stop.is_set():
                return False
            delay = min(2 * delay, _RETRY_MOST_S)

    async def _write_apart(self, writer: Any, batch: Sequence[str], stop: asyncio.Event, reason: str) -> bool:
        """The halves by themselves, so that one point that cannot be written costs no other."""
        if len(batch) <= 1:
            self.refused += len(batch)
            for point in batch:
                log.warning("InfluxDB refuses a point for good: %s: %s", reason, point[:200])
            return True
        middle = len(batch) // 2
        first, second = batch[:middle], batch[middle:]
        return await self._write(writer, first, stop) and await self._write(writer, second, stop)


def _reason(error: ApiException) -> str:
    try:
        return f"{error.status}: {msgspec.json.decode(error.body)['message']}"
    except (msgspec.DecodeError, TypeError, KeyError):
        return f"{error.status}: {error.reason}"
