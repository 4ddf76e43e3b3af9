"""One partition number at the worker that owns it: its fold, its output and its written state."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from alerts.alert import Alert
from alerts.fold import Outcome
from alerts.rejection import Rejected
from alerts.succession import Succession
from sensors.quantities import KINDS, topic
from sensors.record import Record
from streams.outbox import Body, Bulk, Headers, Outbox
from streams.state_log import StateWriter
from streams.takeover import SENT_ROW, Found, mark, sent_row
from streams.topics import ALERTS, LAST, REJECTED
from streams.transport import Run
from streams.worker_metrics import WorkerMetrics

_WRITE_EVERY_S = 1.0
_WRITE_WHEN_IDLE_S = 0.1
_BETWEEN_WRITES_S = 0.4


class Partition:
    """Folds the runs of the four reading topics, and writes the state behind.

    ``next``: per kind the offset that is due. ``kept``: the same for what the written state contains.
    """

    def __init__(
        self,
        number: int,
        prefix: str,
        succession: Succession,
        found: Found,
        outbox: Outbox,
        state: StateWriter,
        alert_ends: Callable[[], Mapping[int, int]],
        metrics: WorkerMetrics,
    ) -> None:
        """``alert_ends``: where the partitions of ``alerts`` ended when the broker was last asked."""
        self.number, self.succession, self._outbox, self.state = number, succession, outbox, state
        self._metrics = metrics
        self._sent, self._sent_since = found.sent.places, found.sent.since
        self._alert_ends = lambda: alert_ends() or found.sent.ends
        self._lasts: dict[bytes, Body] = {}  # by key the newest alert that was there already
        self._prefix = prefix
        self._names = {prefix + topic(kind): kind for kind in KINDS}
        self.told = dict.fromkeys(KINDS, -1)  # the generation of the rules last announced by this worker
        offsets = succession.fold.offsets
        self._begins = found.begins
        self.next = self.applied()
        self.kept = {kind: offsets[kind] + 1 for kind in KINDS}
        self._alerts, self._last, self._rejected = prefix + ALERTS, prefix + LAST, prefix + REJECTED
        self._changed = False
        self._applied_at = self._written_at = time.monotonic()
        self._writing = asyncio.Lock()

    def applied(self) -> dict[str, int]:
        """Per kind the offset after what is folded: ``next``, but where a topic waits for others before new rules."""
        return {kind: max(offset + 1, self._begins[kind]) for kind, offset in self.succession.fold.offsets.items()}

    def apply(self, kind: str, run: Run) -> None:
        """Folds a run and hands over what comes of it, without a pause in between."""
        outcome = self.succession.apply(kind, run.records)
        self.next[kind] = max(self.next[kind], run.end)
        self._take(outcome)

    def look_ahead(self, kind: str, records: Sequence[Record]) -> None:
        """Called in the consumer's thread with what will be applied later."""
        self.succession.fold.scan(kind, records)

    def look_again(self) -> None:
        """Goes on where it waited for rules that were not known before."""
        self._take(self.succession.look_again())

    def _take(self, outcome: Outcome) -> None:
        self._changed, self._applied_at = True, time.monotonic()
        self._metrics.folded(outcome)
        if outcome.alerts or outcome.rejected:
            self._publish(outcome)

    def _publish(self, outcome: Outcome) -> None:
        lasts: dict[bytes, Body] = {}
        for alert in outcome.alerts:
            key, body = alert.key.encode(), partial(_alert, alert)
            if self._sent and (seen := mark(alert.value)) in self._sent:
                del self._sent[seen]  # the last owner sent it, and did not come to write it into the state
                self._lasts[key] = body
            else:
                self._outbox.put(self.number, self._alerts, key, body, done=partial(self._metrics.delivered, alert))
                lasts[key] = body
                self._lasts.pop(key, None)
        for key, newest in lasts.items():
            self._outbox.put(self.number, self._last, key, newest)
        if not self._sent:
            self._put_lasts()
        if outcome.rejected:
            records = _rejections(self._prefix, outcome.rejected, self.number)
            size = sum(one.size for one in outcome.rejected)
            self._outbox.put_bulk(self.number, self._rejected, records, len(outcome.rejected), size)

    def _put_lasts(self) -> None:
        """Makes sure of ``alerts.last``, which the last owner may not have come to; the newest of each key will do."""
        for key, body in self._lasts.items():
            self._outbox.put(self.number, self._last, key, body)
        self._lasts.clear()

    def due(self) -> bool:
        """Whether the state should be written now: about once a second, and soon when nothing more comes."""
        now = time.monotonic()
        since_written, idle = now - self._written_at, now - self._applied_at
        soon = idle >= _WRITE_WHEN_IDLE_S and since_written >= _BETWEEN_WRITES_S
        return self._changed and not self._writing.locked() and (soon or since_written >= _WRITE_EVERY_S)

    async def write(self) -> None:
        """Writes the state as of now, once all alerts that it contains are acknowledged."""
        async with self._writing:
            if not self._changed:
                return
            rows, offsets = self.succession.checkpoint(), self.succession.fold.offsets
            following = {kind: offsets[kind] + 1 for kind in KINDS}
            rows[SENT_ROW] = sent_row(self._since())
            self._changed = False
            self._put_lasts()
            await self._outbox.settled(self.number)
            await self.state.write(rows)
            self._written_at = time.monotonic()
            self.kept = following

    def _since(self) -> Mapping[int, int]:
        """From where on the partitions of ``alerts`` may hold alerts that the state as of now lacks."""
        offsets = {name: self.succession.fold.offsets[kind] for name, kind in self._names.items()}
        self._sent = {seen: at for seen, at in self._sent.items() if at[1] > offsets.get(at[0], at[1])}
        if not self._sent:  # all that the state lacks is still to be sent, and comes after the ends known by now
            self._sent_since = self._alert_ends()
        return self._sent_since


def _alert(alert: Alert) -> tuple[bytes, Headers]:
    source = alert.source
    return alert.value, _headers(source.topic, source.partition, source.offset)


def _rejections(prefix: str, rejected: Iterable[Rejected], partition: int) -> Bulk:
    """The records for ``readings.rejected``, made when they are sent."""
    numbers: Counter[int] = Counter()
    for one in rejected:
        # With its number within the record: repeated after a failure, it can be told from a twin.
        number = b"%d" % numbers[one.offset]
        numbers[one.offset] += 1
        headers = [*_headers(prefix + one.topic, partition, one.offset), ("number", number)]
        key = one.key
        yield (partition if key is None else None), key, one.value, headers


def _headers(name: str, partition: int, offset: int) -> list[tuple[str, bytes]]:
    return [("topic", name.encode()), ("partition", b"%d" % partition), ("offset", b"%d" % offset)]
