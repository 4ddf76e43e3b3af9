"""A capture as the log that its readings would have made: partitions, offsets, timestamps, ticks (contract, 6)."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

from . import readings

MINUTE = 60_000
TOPICS = [f"readings.{kind}" for kind in ("flood", "rain", "infrared", "crowd")]


def log(capture_lines: Iterable[str], partitions: int, until: int | None) -> Iterator[dict]:
    lines = [parse(line) for line in capture_lines]
    lines = [line for line in lines if line["topic"] in TOPICS]
    ticking = any(line["key"] == "@clock" for line in lines)
    offsets: dict[tuple[str, int], int] = defaultdict(int)

    def record(topic: str, partition: int, key: str | None, value: bytes, timestamp: int | None) -> dict:
        offset = offsets[topic, partition]
        offsets[topic, partition] += 1
        return {"topic": topic, "partition": partition, "offset": offset, "key": key, "value": value,
                "timestamp": timestamp}  # fmt: skip

    def ticks(first: int, last: int) -> Iterator[dict]:
        for time in range(first, last + 1, MINUTE):
            pack = json.dumps([{"n": "@clock", "t": time / 1000}]).encode()
            for topic in TOPICS:
                for partition in range(partitions):
                    yield record(topic, partition, "@clock", pack, time)

    largest: int | None = None  # time so far
    next_minute = 0
    for line in lines:
        time = line_time(line)
        if time is not None:
            if largest is None:
                next_minute = (time // MINUTE + 1) * MINUTE
            elif not ticking and time >= next_minute:
                yield from ticks(next_minute, time)
                next_minute = (time // MINUTE + 1) * MINUTE
            largest = time if largest is None else max(largest, time)
        stamp = line["timestamp"] if line["timestamp"] is not None else largest
        for partition in partitions_of(line, partitions):
            yield record(line["topic"], partition, line["key"], line["bytes"], stamp)
    if until is not None and largest is not None and not ticking:
        yield from ticks(next_minute, until)


def parse(text: str) -> dict:
    line = json.loads(text)
    if "raw" in line:
        value = base64.b64decode(line["raw"])
    else:
        # The value's own text, not a re-encoding of it: numbers stay as they were written.
        at = text.index('"value":') + len('"value":')
        at += len(text[at:]) - len(text[at:].lstrip())
        end = json.JSONDecoder().raw_decode(text, at)[1]
        value = text[at:end].encode()
    return {"topic": line["topic"], "key": line.get("key"), "bytes": value, "timestamp": line.get("timestamp"),
            "partition": line.get("partition")}  # fmt: skip


def line_time(line: dict) -> int | None:
    """Its timestamp, else the largest absolute time in its pack."""
    if line["timestamp"] is not None:
        return line["timestamp"]
    entries = readings.entries(line["bytes"])
    if entries is None:
        return None
    resolved = readings.resolve(entries, clock_record=line["key"] == "@clock")
    times = [r.time for _, r in resolved if isinstance(r, readings.Resolved) and r.time <= readings.END_OF_TIME]
    return max(times, default=None)


def partitions_of(line: dict, partitions: int) -> Iterable[int]:
    given = line["partition"]
    if line["key"] == "@clock":
        return range(partitions) if given is None or given >= partitions else [given]
    if line["key"] is not None:
        return [readings.partition(line["key"], partitions)]
    return [given if given is not None and given < partitions else 0]
