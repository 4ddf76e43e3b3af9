"""What a process has counted, for Prometheus: served as text at ``/metrics``, beside its health (``streams.health``).

Each process has a registry of its own with its own metrics (``streams.worker_metrics`` are a worker's). They are
counted by the batch, never by the reading, and decide nothing: the folds do not know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Info, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

# Upper ends of the buckets of what should take a moment and may take minutes, in seconds.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


disable_created_metrics()  # a process says when it began


class Found(NamedTuple):
    """What is looked up when Prometheus asks: ``values`` gives label values → value, () where there are no labels.

    With ``counter`` it only ever grows, and gets a name that ends in ``_total``.
    """

    name: str
    about: str
    labels: Sequence[str]
    values: Callable[[], Mapping[tuple[str, ...], float]]
    counter: bool = False


class Finder(Collector):
    """Metrics that cost nothing until they are asked for."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._found = list(found)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for one in self._found:
            make = CounterMetricFamily if one.counter else GaugeMetricFamily
            family = make(one.name, one.about, labels=one.labels)
            for labels, value in one.values().items():
                family.add_metric(labels, value)
            yield family


def registry(process: str) -> CollectorRegistry:
    """A registry for one process, with its memory, CPU and open files, and which version of kapok it is."""
    own = CollectorRegistry()
    ProcessCollector(registry=own)
    Info("kapok", "What runs here.", registry=own).info({"version": version("kapok"), "process": process})
    return own


def exposition(own: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """All metrics as text, and its content type, in the format that an ``Accept`` header prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(own), content_type
