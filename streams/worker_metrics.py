"""A worker's metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from faust.types import TP
from prometheus_client import Counter as Count
from prometheus_client import Histogram

from alerts.alert import Alert
from alerts.batch import GRADES
from alerts.fold import Outcome
from alerts.rejection import REASONS
from sensors.quantities import KINDS, topic
from streams.broker_certificate import Certificate
from streams.log_ends import LogEnds
from streams.metrics import SECONDS, Finder, Found, registry
from streams.outbox import Outbox

if TYPE_CHECKING:
    from streams.partition import Partition


class WorkerMetrics:
    """``ready``: whether all partitions assigned are loaded.

    ``live``: whether the records' timestamps are of now; those of a replay say nothing about latency.
    """

    def __init__(self, ready: Callable[[], bool], *, live: bool) -> None:
        self.registry = own = registry("worker")
        own.register(Finder([Found("kapok_ready", "1 when its share is loaded.", (), lambda: {(): ready()})]))
        self._live = live
        self._readings = Count("kapok_readings", "Readings that could be used.", ["kind", "grade"], registry=own)
        self._rejected = Count("kapok_rejected", "Readings that could not be used.", ["kind", "reason"], registry=own)
        self._alerts = Count("kapok_alerts", "Changes of level, by the new level.", ["rule", "level"], registry=own)
        self._latency = Histogram(
            "kapok_alert_latency_seconds",
            "From the broker's timestamp of a reading or tick until the alert that came of it was acknowledged.",
            buckets=SECONDS,
            registry=own,
        )
        self.ticks = Count("kapok_ticks", "Seconds for which this worker has written the clock.", registry=own)
        self.rebalances = Count("kapok_rebalances", "Times that partitions were assigned.", registry=own)
        self.folding = Count("kapok_fold_seconds", "Time spent folding.", registry=own)
        # from 0 on, so that the first one counts as a rise too
        self._graded = {(kind, grade): self._readings.labels(kind, grade) for kind in KINDS for grade in GRADES}
        for kind in KINDS:
            for reason in REASONS:
                self._rejected.labels(kind, reason)

    def watch(
        self,
        partitions: int,
        owned: Callable[[], Mapping[int, Partition]],
        lag: Callable[[], Mapping[TP, int]],
        outbox: Outbox,
        ends: LogEnds,
        certificate: Certificate,
    ) -> None:
        """Has the rest looked up whenever somebody asks."""

        def each(value: Callable[[Partition], float]) -> Callable[[], dict[tuple[str, ...], float]]:
            return lambda: {(str(number),): value(one) for number, one in owned().items()}

        def behind() -> dict[tuple[str, ...], float]:
            return {(tp.topic, str(tp.partition)): records for tp, records in lag().items()}

        def clocks() -> dict[tuple[str, ...], float]:
            times = {(k, number): one.succession.fold.clock[k] for number, one in owned().items() for k in KINDS}
            return {(kind, str(number)): ms / 1000 for (kind, number), ms in times.items() if ms is not None}

        def certificate_end() -> dict[tuple[str, ...], float]:
            return {} if certificate.until is None else {(): certificate.until}

        place, part = ("topic", "partition"), ("partition",)
        found = [
            Found("kapok_partitions", "Of each topic.", (), lambda: {(): partitions}),
            Found("kapok_lag_records", "Records still to be folded.", place, behind),
            Found("kapok_clock_timestamp_seconds", "The last tick folded, since 1970.", ("kind", "partition"), clocks),
            Found("kapok_state_rows", "Rows of the state.", part, each(lambda one: one.state.rows)),
            Found("kapok_state_bytes", "Bytes in them.", part, each(lambda one: one.state.size)),
            Found(
                "kapok_rules_generation", "Of the rules in force.", part, each(lambda one: one.succession.generation)
            ),
            Found(
                "kapok_outbox_records", "Alerts and rejections not acknowledged yet.", (), lambda: {(): outbox.waiting}
            ),
            Found("kapok_acknowledged", "Those acknowledged.", (), lambda: {(): outbox.acknowledged}, counter=True),
            Found("kapok_broker_certificate_timestamp_seconds", "When it ends.", (), certificate_end),
            Found("kapok_broker_answers", "Asked where topics end.", (), lambda: {(): ends.round}, counter=True),
        ]
        self.registry.register(Finder(found))

    def folded(self, outcome: Outcome) -> None:
        """What a run of records has come to."""
        for graded, count in outcome.graded.items():
            self._graded[graded].inc(count)
        if outcome.rejected:
            reasons = Counter((one.topic, one.reason) for one in outcome.rejected)
            for kind in KINDS:
                for reason in REASONS:
                    self._rejected.labels(kind, reason).inc(reasons[topic(kind), reason])
        if outcome.alerts:
            levels = Counter((alert.body["rule"], str(alert.level)) for alert in outcome.alerts)
            for labels, count in levels.items():
                self._alerts.labels(*labels).inc(count)

    def delivered(self, alert: Alert) -> None:
        """An alert was acknowledged just now."""
        if self._live and alert.stamp_ms is not None:
            self._latency.observe(max(0.0, time.time() - alert.stamp_ms / 1000))
