"""Readings a second through the fold alone, on one core: packs of 500, singles, and a simulated day of the city."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from alerts.fold import Fold
from alerts.rulebook import Rulebook
from bench import data
from sensors.catalogue import Catalogue
from sensors.simulators import simulate
from streams.replay import replay

ROUNDS = 5


def level_rule(pack: int, run: int, sensors: int = 10_000, zones: int = 20, minutes: int = 40) -> float:
    """Readings a second of CPU with one level rule, decoding included; a fetch brings ``run`` records."""
    with tempfile.TemporaryDirectory() as folder:
        sites, rules = data.write_city(Path(folder), sensors, zones)
        catalogue, rulebook = Catalogue.load(sites), Rulebook.load(rules)
    log = list(data.records(sensors, zones, minutes, pack, 1))
    folds = [Fold(catalogue, rulebook) for _ in range(ROUNDS + 1)]

    def once() -> None:
        fold = folds.pop()
        for first in range(0, len(log), run):
            fold.apply("flood", log[first : first + run])

    return sensors * minutes / _median_seconds(once)


def shipped_day(hours: float = 4.0) -> float:
    """Readings a second of CPU of a simulated storm's afternoon, all shipped rules, from the capture's lines on."""
    catalogue, rulebook = Catalogue.shipped(), Rulebook.shipped()
    midnight = simulate("day", catalogue).setting.start_ms
    run = simulate("day", catalogue, seed=1, start_ms=midnight + 14 * 3_600_000, hours=hours)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "day.jsonl")
        readings = run.write(path)

        def once() -> None:
            replay(path, catalogue, rulebook)

        return readings / _median_seconds(once)


def _median_seconds(once: Callable[[], None]) -> float:
    once()
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        once()
        times.append(time.process_time() - began)
    return statistics.median(times)
