"""Where the time from a reading to its alert goes: on the way to the worker, in it, and from it to who hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from bench.latency import RATE, Stand
from bench.processes import start_worker
from streams.child import Child

_ROUNDS: Final = 3
_SECONDS: Final = 10.0
_STAGES: Final = (
    "sent → fetched by the worker's reading thread",
    "→ taken by its main thread",
    "→ its fold begins",
    "→ alert made",
    "→ in a batch for Kafka",
    "→ heard",
)
_TRACED: Final = Path(__file__).with_name("traced.py")


class Traced(Stand):
    """Its workers write down what they do."""

    def start_worker(self, prefix: str, folder: Path) -> Child:
        self.trace = folder / "trace"
        city = self._sites, "--rules", self._rules, "--prefix", prefix
        return start_worker(self.broker, folder, *city, kapok=(_TRACED, self.trace))

    def passed(self) -> tuple[np.ndarray, float]:
        """(alerts, stages + 1): when, in the last measurement, each alert's reading was sent, passed through its
        worker, and was heard, in s; and the cores that the worker took meanwhile.
        """
        lines = [line.split() for line in self.trace.read_text().splitlines()]
        told = {(site, int(at)): [float(moment) for moment in moments] for site, at, *moments in lines}
        known = [key for key in told if key in self.waits.came]
        first, last = told[known[0]], told[known[-1]]
        ways = [[self.waits.sent[key], *told[key][:5], self.waits.came[key]] for key in known]
        return np.array(ways), (last[6] - first[6]) / (last[5] - first[5])


def rows() -> dict[str, str]:
    """At 10,000 single readings a second through an Apache Kafka: each stage's median and 99th percentile, in ms."""
    stages, kapok, straight, cores = [], [], [], []
    with Traced.up() as stand:
        for _ in range(_ROUNDS):
            kapok.append(stand.measure(RATE, _SECONDS))
            moments, used = stand.passed()
            stages.append(np.percentile(np.diff(moments, axis=1) * 1000, [50, 99], axis=0))
            cores.append(used)
            straight.append(stand.measure(RATE, _SECONDS, straight=True))
    middle = np.median(stages, axis=0)
    found = dict(zip(_STAGES, middle.T.tolist(), strict=True))
    for what, rounds in (("sent → heard", kapok), ("the same by the least that can be done", straight)):
        found[what] = [float(np.median([one[field] for one in rounds])) for field in ("p50", "p99")]
    told = {what: f"p50 {p50:.1f} ms, p99 {p99:.1f} ms" for what, (p50, p99) in found.items()}
    return told | {"cores that the worker takes": f"{np.median(cores):.2f}"}
