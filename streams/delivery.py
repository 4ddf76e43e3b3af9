"""The delivery of notifications: a consumer group of its own, that tells people and writes what became of it.

At least once: an offset is committed only when all before it have a receipt that ends them (``delivered`` or
``gave_up``) and that the broker has acknowledged. Whoever takes over a partition reads its receipts back first, so what
has such a receipt is never told again; what was told without one, because of a kill at that moment, is told once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import tzinfo
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from alerts.cases.notification import Notification, Receipt
from alerts.delivery.channel import Channels
from alerts.delivery.courier import Addressee, Courier
from alerts.delivery.text import TIMEZONE
from sensors.connection import connection, refusal
from sensors.errors import RunError
from streams.patience import patient
from streams.reading import read_between
from streams.topics import NOTIFICATIONS, RECEIPTS

log = logging.getLogger("kapok")

_UNDER_WAY = 20_000  # notifications
_COMMIT_S = 0.2
_LEAVE_S = 3.0  # for what is being said when a partition is given up; shorter than a session
_AGAIN_S = 0.5
_DAY_MS = 86_400_000  # clocks of different machines differ by less
_ENDS = ("delivered", "gave_up")


class Share:
    """One partition's notifications: what is under way, and what has been told."""

    def __init__(self, place: TopicPartition) -> None:
        self.place = place
        self.loaded, self.closing = False, asyncio.Event()
        self.ended: set[str] = set()  # notifications with a receipt that ends them
        self.tried: dict[str, Counter[str]] = defaultdict(Counter)
        self.tasks: set[asyncio.Task[None]] = set()
        self._last: dict[tuple[str, str], asyncio.Task[None]] = {}  # (case, person): what is told there last
        self._open: dict[int, bool] = {}  # offset: whether it is done; in order
        self._committed = self.next = -1

    def note(self, receipt: Receipt) -> None:
        """Takes in a receipt that the broker has."""
        if receipt.status in _ENDS:
            self.ended.add(receipt.notification)
            self.tried.pop(receipt.notification, None)
        elif receipt.notification not in self.ended:
            tried = self.tried[receipt.notification]
            tried[receipt.channel] = max(tried[receipt.channel], receipt.attempt)

    def open(self, offset: int) -> None:
        self._open[offset] = False

    def close(self, offset: int) -> None:
        """It needs nothing more; what may be committed follows from it."""
        self._open[offset] = True
        while self._open and self._open[first := next(iter(self._open))]:
            del self._open[first]
            self.next = first + 1

    def commitable(self) -> int | None:
        return self.next if self.next > self._committed else None

    def committed(self, offset: int) -> None:
        self._committed = offset

    def after(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        """Keeps a task, and that it is the last one for this case and person."""
        self.tasks.add(task)
        self._last[key] = task

        def forget(done: asyncio.Task[None]) -> None:
            self.tasks.discard(done)
            if self._last.get(key) is done:
                del self._last[key]

        task.add_done_callback(forget)

    def before(self, key: tuple[str, str]) -> asyncio.Task[None] | None:
        return self._last.get(key)


class Delivery(ConsumerRebalanceListener):
    """``await Delivery(…).run(stop)`` tells people until ``stop`` is set; any number may run, they share the work.

    ``people`` finds a person of the directory by id, and is asked each time, so a directory that was read again counts
    at once. ``told`` hears of each one told how long that took, from the broker's timestamp of its notification on.
    The topics have to be there. ``delivered``, ``failed`` and ``gave_up`` of ``counts`` are receipts written.
    """

    def __init__(
        self,
        broker: str,
        people: Callable[[str], Addressee | None],
        *,
        prefix: str = "",
        base_url: str | None = None,
        timezone: tzinfo = TIMEZONE,
        channels: Channels | None = None,
        told: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.broker, self.prefix = broker, prefix
        self._people, self._base_url, self._timezone, self._channels = people, base_url, timezone, channels
        self.counts: Counter[str] = Counter()
        self._told = told
        self._shares: dict[TopicPartition, Share] = {}
        self._room = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """RunError when the broker cannot be used at the start."""
        channels = self._channels or await asyncio.to_thread(Channels)
        async with contextlib.AsyncExitStack() as stack:
            self._producer = AIOKafkaProducer(**connection(self.broker), acks="all")
            patient(self._producer.client)
            options = connection(self.broker) | {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
            self._reader = AIOKafkaConsumer(**options, fetch_max_wait_ms=20)
            self._consumer = AIOKafkaConsumer(
                **options,
                group_id=f"{self.prefix}kapok-delivery",
                session_timeout_ms=6000,  # brokers allow no less
                heartbeat_interval_ms=1000,
                fetch_max_wait_ms=20,
            )
            try:
                for client in (self._producer, self._reader, self._consumer):
                    stack.push_async_callback(client.stop)
                    await client.start()
            except KafkaError as error:
                why = await refusal(self.broker) or error
                raise RunError(f"the Kafka at {self.broker} cannot be used by delivery: {why}") from error
            self._consumer.subscribe([self.prefix + NOTIFICATIONS], listener=self)
            self._courier = Courier(self._people, channels, base_url=self._base_url, timezone=self._timezone)
            commits = asyncio.create_task(self._commit_often())
            try:
                while not stop.is_set():
                    await self._round()
            finally:
                commits.cancel()
                await self._leave(list(self._shares.values()))

    # -- what comes -------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        if self._failure is not None:
            raise self._failure
        if sum(len(share.tasks) for share in self._shares.values()) >= _UNDER_WAY:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), _COMMIT_S)
            return
        for place, records in (await self._consumer.getmany(timeout_ms=100, max_records=1000)).items():
            share = self._shares.get(place)
            if share is None:
                continue  # somebody else has it now
            try:
                if not share.loaded:
                    await self._load(share, records[0].timestamp)
            except KafkaError as error:
                log.warning("delivery cannot read its receipts just now, again in %.1f s: %s", _AGAIN_S, error)
                with contextlib.suppress(IllegalStateError):
                    self._consumer.seek(place, records[0].offset)
                await asyncio.sleep(_AGAIN_S)
                continue
            for record in records:
                self._take(share, record)

    async def _load(self, share: Share, since_ms: int) -> None:
        """Reads the partition's receipts back. None of those wanted is older than the first notification fetched."""
        place = TopicPartition(self.prefix + RECEIPTS, share.place.partition)
        ends = await self._reader.end_offsets([place])
        since = max(0, min(since_ms, time.time_ns() // 1_000_000) - _DAY_MS)
        found = (await self._reader.offsets_for_times({place: since}))[place]
        async for _, records in read_between(self._reader, {place: found.offset if found else 0}, ends):
            for record in records:
                with contextlib.suppress(ValueError):
                    share.note(Receipt.parse(record.value or b""))
        share.loaded = True

    def _take(self, share: Share, record: ConsumerRecord) -> None:
        share.open(record.offset)
        try:
            notification = Notification.parse(record.value or b"")
        except ValueError as error:
            where = f"{record.topic} partition {record.partition} offset {record.offset}"
            log.error("%s is no notification, and is passed over: %s", where, error)
            share.close(record.offset)
            return
        key = notification.case, notification.to
        task = asyncio.create_task(self._tell(share, record, notification, share.before(key)))
        share.after(key, task)

    async def _tell(
        self, share: Share, record: ConsumerRecord, notification: Notification, before: asyncio.Task[None] | None
    ) -> None:
        """Tells a person, after what they are told of the same case before it."""
        if before is not None:
            await asyncio.wait({before})
        if share.closing.is_set():
            return
        try:
            if notification.within is None and notification.id not in share.ended:
                receive = partial(self._receive, share, record)
                tried = share.tried[notification.id]
                if not await self._courier.deliver(notification, receive, tried, share.closing):
                    return
            share.close(record.offset)
        except Exception as error:  # a fault of ours: the process ends, and what is not committed is told again
            self._failure = error
        finally:
            self._room.set()

    # -- what goes --------------------------------------------------------------------------------------------

    async def _receive(self, share: Share, of: ConsumerRecord, receipt: Receipt) -> None:
        """Writes a receipt to the partition of its notification; returns when the broker has it."""
        name, partition = self.prefix + RECEIPTS, share.place.partition
        while True:
            try:
                await self._producer.send_and_wait(name, receipt.value, of.key, partition)
                break
            except KafkaError as error:
                log.warning("a receipt is not written yet, again in %.1f s: %s", _AGAIN_S, error)
                await asyncio.sleep(_AGAIN_S)
        share.note(receipt)
        self.counts[receipt.status] += 1
        if receipt.status == "delivered":
            self._told(max(0.0, time.time() - of.timestamp / 1000))

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_S)
            await self._commit(self._shares.values())

    async def _commit(self, shares: Iterable[Share]) -> None:
        offsets = {share.place: offset for share in shares if (offset := share.commitable()) is not None}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except (KafkaError, IllegalStateError) as error:  # receipts are read back, so nothing is told again
            log.info("offsets of notifications are not committed yet: %s", error)
            return
        for place, offset in offsets.items():
            if share := self._shares.get(place):
                share.committed(offset)

    async def _leave(self, shares: list[Share]) -> None:
        """Lets what is being said come to its receipt, commits, and drops the rest, which its next owner tells."""
        for share in shares:
            share.closing.set()
        tasks = {task for share in shares for task in share.tasks}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_LEAVE_S)
            for task in late:
                task.cancel()
        await self._commit(shares)
        for share in shares:
            self._shares.pop(share.place, None)

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Before the group shares out anew."""
        await self._leave([share for place in revoked if (share := self._shares.get(place))])

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """After it."""
        self._shares |= {place: Share(place) for place in assigned}
