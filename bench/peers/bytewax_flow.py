"""One level rule with hysteresis in Bytewax: a stateful step, whose state a recovery store keeps."""

import os

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow

UP = ((0.10, 1), (0.20, 2), (0.27, 4))
DOWN = ((0.07, 1), (0.17, 2), (0.24, 4))


class Entry(msgspec.Struct):
    """A SenML record."""

    n: str = ""
    v: float | None = None
    t: float = 0
    bn: str | None = None
    bt: float | None = None


decode = msgspec.json.Decoder(list[Entry]).decode
encode = msgspec.json.Encoder().encode


def highest(thresholds, value):
    return max((level for threshold, level in thresholds if value >= threshold), default=0)


def by_zone(record):
    """(zone, pack), or None for a tick."""
    return None if record.key == b"@clock" else (record.key.decode(), record.value)


def level_rule(levels, pack):
    """The alerts of a pack. The state of a zone: the level of each sensor that is not at 0."""
    levels = {} if levels is None else levels
    alerts = []
    base_name, base_time = "", 0
    for entry in decode(pack):
        if entry.bn is not None:
            base_name = entry.bn
        if entry.bt is not None:
            base_time = entry.bt
        value = entry.v
        if value is None:
            continue
        site = (base_name + entry.n).rpartition("/")[0]
        before = levels.get(site, 0)
        if value < 0.07 and not before:
            continue
        level = min(max(before, highest(UP, value)), highest(DOWN, value))
        if level != before:
            levels[site] = level
            at = round((base_time + entry.t) * 1000)
            alerts.append({"site": site, "level": level, "previous": before, "at": at, "value": value})
    if alerts:
        levels = {site: level for site, level in levels.items() if level}
    return levels, alerts


def message(keyed):
    alert = keyed[1]
    return KafkaSinkMessage(key=alert["site"].encode(), value=encode(alert))


brokers = [os.environ["COURSE_BROKER"]]
flow = Dataflow("level-rule")
records = op.input("readings", flow, KafkaSource(brokers, [os.environ["COURSE_SOURCE"]]))
packs = op.filter_map("by-zone", records, by_zone)
changes = op.stateful_flat_map("level-rule", packs, level_rule)
op.output("alerts", op.map("message", changes, message), KafkaSink(brokers, os.environ["COURSE_ALERTS"]))
