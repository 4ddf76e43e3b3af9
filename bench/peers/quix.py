"""One level rule with hysteresis in Quix Streams: a stateful apply, whose state RocksDB and a changelog topic keep."""

import os

import msgspec
from quixstreams import Application

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


def highest(thresholds, value):
    return max((level for threshold, level in thresholds if value >= threshold), default=0)


def level_rule(pack, zone, timestamp, headers, state):
    """The alerts of a pack. The state of a zone: the level of each sensor that is not at 0."""
    alerts = []
    if zone == "@clock":
        return alerts
    levels = state.get("levels", {})
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
        state.set("levels", {site: level for site, level in levels.items() if level})
    return alerts


def main():
    app = Application(
        broker_address=os.environ["COURSE_BROKER"],
        consumer_group=os.environ["COURSE_ID"],
        auto_offset_reset="earliest",
        state_dir=os.environ["COURSE_FOLDER"],
        loglevel="WARNING",
    )
    readings = app.topic(os.environ["COURSE_SOURCE"], key_deserializer="str", value_deserializer="bytes")
    alerts = app.topic(os.environ["COURSE_ALERTS"], key_serializer="str", value_serializer="json")
    sdf = app.dataframe(readings)
    sdf = sdf.apply(level_rule, stateful=True, metadata=True, expand=True)
    sdf.to_topic(alerts, key=lambda alert: alert["site"])
    app.run()


if __name__ == "__main__":
    main()
