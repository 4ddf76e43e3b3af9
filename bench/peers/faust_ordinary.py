"""One level rule with hysteresis in Faust, as its documentation shows: an agent, a table, JSON."""

import os

import faust

UP = ((0.10, 1), (0.20, 2), (0.27, 4))
DOWN = ((0.07, 1), (0.17, 2), (0.24, 4))

app = faust.App(
    os.environ["COURSE_ID"],
    broker="kafka://" + os.environ["COURSE_BROKER"],
    datadir=os.environ["COURSE_FOLDER"],
    topic_partitions=int(os.environ["COURSE_PARTITIONS"]),
    web_enabled=False,
)
readings = app.topic(os.environ["COURSE_SOURCE"], key_type=str, value_serializer="json")
alerts = app.topic(os.environ["COURSE_ALERTS"], key_type=str, value_serializer="json")
levels = app.Table("levels", default=int)


def highest(thresholds, value):
    return max((level for threshold, level in thresholds if value >= threshold), default=0)


@app.agent(readings)
async def level_rule(packs):
    async for zone, pack in packs.items():
        if zone == "@clock":
            continue
        base_name, base_time = "", 0
        for entry in pack:
            base_name, base_time = entry.get("bn", base_name), entry.get("bt", base_time)
            value = entry.get("v")
            if value is None:
                continue
            site = (base_name + entry["n"]).rpartition("/")[0]
            before = levels[site]
            level = min(max(before, highest(UP, value)), highest(DOWN, value))
            if level != before:
                levels[site] = level
                at = round((base_time + entry.get("t", 0)) * 1000)
                alert = {"site": site, "level": level, "previous": before, "at": at, "value": value}
                await alerts.send(key=site, value=alert)


if __name__ == "__main__":
    app.main()
