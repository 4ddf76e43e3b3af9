"""A Faust transport that hands an agent whole runs of consecutive records instead of one record at a time.

Faust spends about 70 µs on each record, whatever the settings; an event per run makes that a cost per
thousands of records, and a reading's cost is then only decoding and folding. A topic is made for it by
``schema=RunSchema()``.

Faust's bookkeeping of offsets is not used: it acknowledges an event whose agent raised or was cancelled,
and has been seen to skip records after a rebalance. What has been applied is known to the folds alone, so
they say where to read (``Positions``), and this transport checks that every run begins where the last one
ended: too far on, and it seeks back; too far back, and it drops what was there already.

It builds on Faust 0.15.3 and aiokafka 0.14 from within (names with an underscore are theirs): both are
pinned.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Protocol

import faust
from faust.tables.manager import TableManager
from faust.transport import drivers
from faust.transport.drivers import aiokafka as stock
from faust.types import TP, ConsumerMessage

from sensors.record import Record, first_and_last
from streams.consumer_thread import ConsumerThread
from streams.tenure import Tenure

log = logging.getLogger(__name__)

URL_SCHEME: Final = "runs"
_PAUSE_S: Final = 0.02
_WAIT_S: Final = 1.0
_offset = attrgetter("offset")


class Positions(Protocol):
    """Where to read on; the worker knows it from the state of its folds."""

    def starts(self) -> Mapping[TP, int]:
        """The next offset to be applied, for each partition whose fold is loaded."""

    def kept(self) -> Mapping[TP, int]:
        """The next offset after those that the written state contains: committed, for lag displays."""

    def look_ahead(self, tp: TP, records: Sequence[Record]) -> None:
        """Told in the consumer's thread what has been fetched and will come in a run."""

    def cut_short(self, tp: TP, due: int) -> None:
        """Told when the log has nothing at the offset that is due, and begins again before it."""


class Run:
    """Consecutive records of one partition; ``start`` is the offset that was due, ``end`` that after the last, and
    ``epoch`` counts seeks.
    """

    __slots__ = ("end", "epoch", "records", "start", "tp")

    def __init__(self, tp: TP, start: int, epoch: int, records: Sequence[Record]) -> None:
        self.tp, self.start, self.epoch, self.records = tp, start, epoch, records
        self.end = first_and_last(records)[1] + 1


class RunSchema(faust.Schema):
    """Marks a topic as read in runs: ``event.value`` is a list of Run, of a partition each."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            runs, message.value = message.value, None  # Faust keeps messages for a while: let the records go
            return app.create_event(None, runs, None, message)

        return decode


class NoTables(TableManager):
    """Faust's table manager, which also ends a rebalance, without its wait of 1 s at the start."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class Consumer(stock.Consumer):
    """Fetches runs, in order and without holes, from where the folds stand."""

    app: Any
    _thread: ConsumerThread

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.epoch: dict[TP, int] = {}
        self._next: dict[TP, int] = {}
        self._short = False  # whether something is left on the shelf for want of room
        self._back: set[TP] = set()  # to be sought before the next fetch
        self._holes: dict[TP, tuple[int, int]] = {}  # where a run began too far on: (due, came)
        self._gaps: dict[TP, tuple[tuple[int, int], int]] = {}  # (due, fetched), and in how many quiet fetches

    @property
    def positions(self) -> Positions:
        positions: Positions = self.app.positions
        return positions

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def tenure(self) -> Tenure:
        """As it is just now."""
        return self._thread.tenure()

    def seek_back(self, tp: TP) -> None:
        """Reads on from where the fold stands, from the next fetch on; runs fetched until then are stale."""
        self._back.add(tp)

    async def perform_seek(self) -> None:
        """Seeks to where the folds stand, not to what was committed: the end of a rebalance, for Faust."""
        self._holes.clear()
        await self._seek_where(set(self.positions.starts()))

    async def _seek_where(self, wanted: set[TP]) -> None:
        offsets = {tp: due for tp, due in self.positions.starts().items() if tp in wanted}
        for tp, due in offsets.items():
            self.epoch[tp] = self.epoch.get(tp, 0) + 1
            self._next[tp] = due
            self._read_offset[tp] = due or None
        self._back -= wanted
        await self._thread.seek_all(offsets)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hands over what comes until told to stop; Faust's own makes four tasks for each event."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for tp, message in self.getmany(timeout=_WAIT_S):
                    if self.app.flow_control.is_active():  # then it does not wait: the topic has room, see _wanted
                        await self.callback(message)
                    else:
                        await self.wait_first(self.callback(message), self.suspend_flow.wait())
                    self._read_offset[tp] = message.offset
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not fetcher.should_stop:  # told to stop: in a rebalance Faust would take it for a crash
                raise

    def _wanted(self) -> set[TP]:
        """The partitions that are read and whose topic has room for more on its way to the folds: that bounds the
        memory, and a topic that is slow to fold holds up no other.
        """
        channels = self.app.topics._topic_name_index
        full = {topic for topic in channels if any(channel.queue.full() for channel in channels[topic])}
        self._short = bool(full)
        active: set[TP] = self._get_active_partitions()
        return {tp for tp in active if tp.topic not in full} if full else active

    def has_room_again(self) -> None:
        """Told when a topic's next event is taken."""
        if self._short:
            self._thread.look_again()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """An event for each topic that has something: a list of runs."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        if self._back:
            await self._seek_where(self._back.copy())
        generation, epoch = self.app.consumer_generation_id, self.epoch.copy()
        # Faust resumes the partitions before it seeks, and clears the queues after that: fetch when all is over.
        if self.app.rebalancing or not self._get_active_partitions():
            await self.sleep(_PAUSE_S)
            return
        fetched = await self._thread.fetched(self._wanted, timeout)
        if self.should_stop:
            return
        if not fetched:
            if not self._short:
                self._look_for_lost()
            return
        runs: dict[str, list[Run]] = {}
        for tp, records in fetched.items():
            if (
                not self.flow_active
                or generation != self.app.consumer_generation_id
                or epoch.get(tp) != self.epoch.get(tp)
            ):
                self.seek_back(tp)  # fetched across a seek: whether before or after it cannot be told
            elif records := self._from_next(tp, records):
                run = Run(tp, self._next[tp], self.epoch[tp], records)
                self._next[tp] = run.end
                runs.setdefault(tp.topic, []).append(run)
        for of_topic in runs.values():
            yield of_topic[-1].tp, self._to_message(of_topic[-1].tp, of_topic)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """An event for Faust, at the last offset of the last of these runs."""
        runs: Any = record
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            runs[-1].end - 1,
            0.0,  # for windows, of which there are none
            0,
            [],
            None,
            runs,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _look_for_lost(self) -> None:
        """Seeks back where more was fetched than was applied, and still is one quiet fetch later."""
        if self.app.rebalancing:
            return
        fetched = self._thread.positions()
        for tp, due in self.positions.starts().items():
            gap = due, fetched.get(tp, due)
            if gap[0] >= gap[1]:
                self._gaps.pop(tp, None)
                continue
            before, times = self._gaps.get(tp, (gap, 0))
            times = times + 1 if before == gap else 1
            self._gaps[tp] = gap, times
            if times % 2 == 0:  # in vain where a transaction's markers end the log: it looks the same
                self.seek_back(tp)

    def _from_next(self, tp: TP, records: Sequence[Record]) -> Sequence[Record]:
        """The records from the one that is due on; none if it was passed over, and then it is sought."""
        due = self._next.get(tp)
        if due is None:  # no fold for it (yet)
            return []
        first, last = first_and_last(records)
        if first < due:
            if last < due:  # not there, so aiokafka started over
                self.positions.cut_short(tp, due)
            records = records[bisect_left(records, due, key=_offset) :]
        if records and (first := first_and_last(records)[0]) > due:
            hole = (due, first)
            if self._holes.get(tp) != hole:
                self._holes[tp] = hole
                self.seek_back(tp)
                return []
            # Read again from there, and the same: expired records, or a transaction's markers, which take
            # offsets.
            log.warning("%s partition %d has no records from %d to %d", tp.topic, tp.partition, due, hole[1] - 1)
        return records

    # What Faust counts as acknowledged is thrown away; what the written state contains is committed.
    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        for tp in tps:
            self._acked[tp].clear()
            self._acked_index[tp].clear()
        return {tp: offset for tp, offset in self.positions.kept().items() if self._should_commit(tp, offset)}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Events are runs, so their offsets have gaps by nature."""

    def on_buffer_full(self, tp: TP) -> None:
        """A full queue holds up the fetcher by itself."""


class Transport(stock.Transport):
    """``faust.App(broker="kafka://…", broker_consumer="runs://…")``"""

    Consumer = Consumer


def register() -> None:
    """Makes ``runs://`` known to Faust."""
    drivers.TRANSPORTS.aliases[URL_SCHEME] = f"{__name__}:Transport"
