"""The plan of a run: which faults, in which order, whom they hit, for how long. All of it drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What is done; docs/reliability.md says how."""

    KILL = "kill"
    STOP = "stop"
    BROKER = "broker restart"
    CUT = "cut"
    DELAY = "delay"
    ROLLING = "rolling restart"


# Of 110 faults. The long run of docs/reliability.md has just these.
SHARES: Mapping[Kind, int] = {
    Kind.KILL: 60,
    Kind.STOP: 15,
    Kind.BROKER: 15,
    Kind.CUT: 10,
    Kind.DELAY: 5,
    Kind.ROLLING: 5,
}
_ALL_OF_THEM = {Kind.KILL: 0.1, Kind.CUT: 0.3, Kind.DELAY: 0.5}  # how often it hits every worker at once
_REST_S = (0.5, 2.0)  # of quiet before a fault


@dataclass(frozen=True)
class Fault:
    """One fault. ``workers``: the numbers of those that it hits, none for the broker.

    ``seconds``: how long it lasts, where that is for the plan to say. ``hard``: of the broker, killed and not asked
    to end; of a cut, connections are closed and refused instead of falling silent; of a kill, the worker is started
    again only when the others have taken over. ``latency_s``: of a delay, each way. ``rest_s``: of quiet before it.
    """

    kind: Kind
    workers: tuple[int, ...]
    seconds: float
    hard: bool
    latency_s: float
    rest_s: float

    @property
    def label(self) -> str:
        """What it is, in words; faults of one label can be compared."""
        every = " of all workers" if len(self.workers) > 1 else ""
        match self.kind:
            case Kind.KILL:
                return f"kill -9{every}, started again " + ("later" if self.hard else "at once")
            case Kind.BROKER:
                return "broker killed, back" if self.hard else "broker ended, back"
            case Kind.CUT:
                return f"connections{every} " + ("refused" if self.hard else "silent")
            case Kind.DELAY:
                return f"connections{every} slow"
            case Kind.STOP:
                return "stopped past the session"
            case Kind.ROLLING:
                return "rolling restart"


def shares(number: int) -> dict[Kind, int]:
    """So many faults divided among the kinds as ``SHARES`` says; each kind has its turn from 6 faults on."""
    total = sum(SHARES.values())
    counts = {kind: number * share // total for kind, share in SHARES.items()}
    if number >= len(SHARES):
        counts = {kind: max(1, count) for kind, count in counts.items()}
    counts[Kind.KILL] += number - sum(counts.values())
    return counts


def plan(seed: int, counts: Mapping[Kind, int], workers: int, session_s: float) -> list[Fault]:
    """The faults, in order: same arguments, same faults. ``session_s``: after so long a worker counts as dead."""
    rng = Random(seed)
    kinds = [kind for kind in Kind for _ in range(counts.get(kind, 0))]
    rng.shuffle(kinds)
    return [_fault(rng, kind, workers, session_s) for kind in kinds]


def _fault(rng: Random, kind: Kind, workers: int, session_s: float) -> Fault:
    chosen: tuple[int, ...] = (rng.randrange(workers),)
    every = rng.random() < _ALL_OF_THEM.get(kind, 0)
    if kind == Kind.BROKER:
        chosen = ()
    elif kind == Kind.ROLLING or every:
        chosen = tuple(rng.sample(range(workers), workers))
    lasts = {
        Kind.STOP: (session_s + 1, session_s + 4),
        Kind.BROKER: (0.2, 3.0),
        Kind.CUT: (0.5, 2 * session_s),  # shorter than a session, or longer
        Kind.DELAY: (2.0, 6.0),
    }
    low, high = lasts.get(kind, (0.0, 0.0))
    seconds = rng.uniform(low, high)
    # With nobody left to take over, who was killed comes back at once.
    hard = rng.random() < 0.5 and not (kind == Kind.KILL and len(chosen) == workers)
    return Fault(kind, chosen, seconds, hard, rng.uniform(0.02, 0.3), rng.uniform(*_REST_S))


def expected_seconds(fault: Fault, session_s: float) -> float:
    """About how long it takes until all is well again; only how fast the capture is fed depends on it."""
    own = {
        Kind.KILL: session_s + 5,
        Kind.STOP: 3.0,
        Kind.BROKER: 8.0,
        Kind.CUT: 3.0,
        Kind.DELAY: 2.0,
        Kind.ROLLING: 6.0 * len(fault.workers),
    }
    return fault.rest_s + fault.seconds + own[fault.kind]
