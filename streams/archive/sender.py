"""Lines on their way to InfluxDB: several batches at a time, each tried until it is accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from influxdb_client.rest import ApiException

from streams.archive.database import NO_ACCESS, Database, reason_of
from streams.archive.lines import Lines

BATCH_POINTS = 5000  # InfluxDB's own advice for writes
_AT_ONCE = 3  # one batch to be parsed, one to be stored, one on its way
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 10.0
_REFUSED = (400, 413, 422)  # the request's own fault: no point, too large, outside the bucket's retention
_SAY_EVERY_S = 10.0  # of a server that is away

log = logging.getLogger("kapok.archive")

Refuse = Callable[[str, str, str], Awaitable[None]]  # bucket, line, reason


class Backoff:
    """Waits longer each time, up to 10 s, each time by chance between half of that and all of it."""

    def __init__(self) -> None:
        self._delay = _RETRY_FIRST_S
        self._woken = False

    def next_delay(self) -> float:
        """How long to wait this time, in s."""
        delay, self._delay = self._delay, min(2 * self._delay, _RETRY_MOST_S)
        return delay * random.uniform(0.5, 1)

    async def wait(self, least: float = 0.0, woken: asyncio.Event | None = None) -> None:
        """At least ``least`` seconds, and after that no longer than until ``woken`` is set; but not twice running."""
        rest = max(0.0, self.next_delay() - least)
        await asyncio.sleep(least)
        if woken is None or self._woken:
            self._woken = False
            await asyncio.sleep(rest)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), rest)
                self._woken = True


class Sender:
    """``put`` hands over lines, ``settled`` waits until all of them are in the database, or refused for good.

    ``kept``: how long each bucket keeps its points, in s (0: for ever). ``refuse`` is told of each point that the
    server would not take whatever the company. ``points`` counts what it accepted, ``refused`` those it did not, and
    ``expired`` those older than their bucket keeps any.
    """

    def __init__(self, writer: Any, database: Database, kept: Mapping[str, int], refuse: Refuse) -> None:
        self._writer, self._database, self._kept, self._refuse = writer, database, kept, refuse
        self.points = self.refused = self.expired = self.failures = 0
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._said = 0.0
        self._through = asyncio.Event()  # something got through after the last failure: the others need wait no more

    async def put(self, bucket: str, lines: Lines) -> None:
        """Takes a batch of lines as soon as fewer than three are under way."""
        await self._free.acquire()
        task = asyncio.create_task(self._send(bucket, lines))
        self._under_way.add(task)
        task.add_done_callback(self._sent)
        self._raise()

    async def settled(self) -> None:
        """Waits until all that was put is done with."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._raise()

    async def abandon(self) -> None:
        """Gives up what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._free.release()
        if not task.cancelled() and self._failed is None:
            self._failed = task.exception()

    def _raise(self) -> None:
        if self._failed is not None:
            raise self._failed

    async def _send(self, bucket: str, lines: Lines) -> None:
        """Until the server has the lines; RunError when it turns us away."""
        backoff = Backoff()
        while lines:
            least = 0.0
            try:
                body = lines.text()
                await self._writer.write(self._database.bucket(bucket), self._database.org, body, write_precision="ms")
                self._through.set()
                self.points += len(lines)
                return
            except ApiException as error:
                reason = reason_of(error)
                if error.status in NO_ACCESS:
                    raise self._database.turned_away(reason) from error
                if error.status in _REFUSED:
                    left = self._unexpired(bucket, lines)
                    if len(left) < len(lines):
                        lines = left
                        continue
                    await self._send_apart(bucket, lines, reason)
                    return
                after = error.headers.get("Retry-After", "") if error.headers else ""
                least = min(float(after), 60.0) if after.isdigit() else 0.0
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
            self._through.clear()
            self.failures += 1
            if time.monotonic() - self._said > _SAY_EVERY_S:
                self._said = time.monotonic()
                log.warning("InfluxDB did not take %d points, tried again until it does: %s", len(lines), reason)
            await backoff.wait(least, self._through)

    async def _send_apart(self, bucket: str, lines: Lines, reason: str) -> None:
        """The halves by themselves, so that one point that cannot be written costs no other."""
        if len(lines) == 1:
            (line,) = lines
            await self._refuse(self._database.bucket(bucket), line, reason)
            self.refused += 1
            return
        middle = len(lines) // 2
        await self._send(bucket, lines.cut(0, middle))
        await self._send(bucket, lines.cut(middle))

    def _unexpired(self, bucket: str, lines: Lines) -> Lines:
        """The lines that the bucket still keeps: the server refuses the others, and that is how it should be."""
        seconds = self._kept[bucket]
        if not seconds:
            return lines
        left = lines.since(int((time.time() - seconds) * 1000))
        self.expired += len(lines) - len(left)
        return left
