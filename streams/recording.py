"""How a recording is getting on, for people and for Prometheus: one that goes on for days is a backup."""

from __future__ import annotations

from typing import NamedTuple

from streams.metrics import Finder, Found, registry


class RecordingHealth(NamedTuple):
    """``ready``: something is recorded. ``timestamp``: of the newest record, in ms."""

    ready: bool
    records: int
    timestamp: int | None


class Recording:
    """``progress`` is told by ``record``; ``health`` and ``registry`` are what is served."""

    def __init__(self) -> None:
        self._now = RecordingHealth(False, 0, None)
        self.registry = registry("record")

        def until() -> dict[tuple[str, ...], float]:
            return {} if self._now.timestamp is None else {(): self._now.timestamp / 1000}

        records, newest = "kapok_recorded_records", "kapok_recorded_timestamp_seconds"
        self.registry.register(
            Finder(
                [
                    Found(records, "Records in the capture.", (), lambda: {(): self._now.records}, counter=True),
                    Found(newest, "Of the newest of them, since 1970.", (), until),
                ]
            )
        )

    def health(self) -> RecordingHealth:
        """How it is just now."""
        return self._now

    def progress(self, records: int, at_ms: int | None) -> None:
        """So many records are written, up to this timestamp."""
        self._now = RecordingHealth(True, records, at_ms)
