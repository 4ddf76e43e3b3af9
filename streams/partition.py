"""One partition number at the worker that owns it: its fold, its output and its written state."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping

from alerts.fold import Fold, Outcome
from sensors.quantities import KINDS, topic
from streams.outbox import Headers, Outbox
from streams.state_log import StateWriter
from streams.takeover import SENT_ROW, Found, mark, sent_row
from streams.topics import ALERTS, LAST, REJECTED
from streams.transport import Run

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
        fold: Fold,
        found: Found,
        outbox: Outbox,
        state: StateWriter,
        alert_ends: Callable[[], Mapping[int, int]],
    ) -> None:
        """``alert_ends``: where the partitions of ``alerts`` ended when the broker was last asked."""
        self.number, self.fold, self._outbox, self._state = number, fold, outbox, state
        self._sent, self._sent_since = found.sent.places, found.sent.since
        self._alert_ends = lambda: alert_ends() or found.sent.ends
        self._names = {prefix + topic(kind): kind for kind in KINDS}
        self.next = {kind: max(fold.offsets[kind] + 1, found.begins[kind]) for kind in KINDS}
        self.kept = {kind: fold.offsets[kind] + 1 for kind in KINDS}
        self._alerts, self._last, self._rejected = prefix + ALERTS, prefix + LAST, prefix + REJECTED
        self._changed = False
        self._applied_at = self._written_at = time.monotonic()
        self._writing = asyncio.Lock()

    def apply(self, kind: str, run: Run) -> None:
        """Folds a run and hands over what comes of it, without a pause in between."""
        outcome = self.fold.apply(kind, run.records)
        self.next[kind] = max(self.next[kind], run.records[-1].offset + 1)
        self._changed, self._applied_at = True, time.monotonic()
        if outcome.alerts or outcome.rejected:
            self._publish(outcome)

    def _publish(self, outcome: Outcome) -> None:
        for alert in outcome.alerts:
            key, source = alert.key.encode(), alert.source
            headers = _headers(source.topic, source.partition, source.offset)
            if self._sent and (seen := mark(alert.value)) in self._sent:
                del self._sent[seen]  # the last owner sent it, and did not come to write it into the state
            else:
                self._outbox.put(self.number, self._alerts, key, alert.value, headers)
            self._outbox.put(self.number, self._last, key, alert.value, headers)
        numbers: Counter[int] = Counter()
        for one in outcome.rejected:
            record = one.record
            # With its number within the record: repeated after a failure, it can be told from a twin.
            number = b"%d" % numbers[record.offset]
            numbers[record.offset] += 1
            headers = [*_headers(record.topic, self.number, record.offset), ("number", number)]
            partition = self.number if one.key is None else None
            self._outbox.put(self.number, self._rejected, one.key, one.value, headers, partition)

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
            rows, following = self.fold.checkpoint(), {kind: self.fold.offsets[kind] + 1 for kind in KINDS}
            rows[SENT_ROW] = sent_row(self._since())
            self._changed = False
            await self._outbox.settled(self.number)
            await self._state.write(rows)
            self._written_at = time.monotonic()
            self.kept = following

    def _since(self) -> Mapping[int, int]:
        """From where on the partitions of ``alerts`` may hold alerts that the state as of now lacks."""
        offsets = {name: self.fold.offsets[kind] for name, kind in self._names.items()}
        self._sent = {seen: at for seen, at in self._sent.items() if at[1] > offsets.get(at[0], at[1])}
        if not self._sent:  # all that the state lacks is still to be sent, and comes after the ends known by now
            self._sent_since = self._alert_ends()
        return self._sent_since


def _headers(name: str, partition: int, offset: int) -> Headers:
    return [("topic", name.encode()), ("partition", b"%d" % partition), ("offset", b"%d" % offset)]
