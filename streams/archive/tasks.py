"""What InfluxDB makes of the readings by itself: means, greatest values and sums for 5 minutes and for an hour.

A task looks back over several of its spans and writes them anew, so that late readings, and those that came after the
archive had been held up, are in. Suspect readings are left out. Of people's homes only counts of a community are kept:
``homes`` that reported, those of them that were ``active`` (someone moved), and ``presses`` of the button.
"""

from __future__ import annotations

from collections.abc import Callable
from string import Template
from typing import Final, NamedTuple


class Span(NamedTuple):
    """``name`` is also the bucket's; ``back``: how much a task goes through each time (a Flux duration)."""

    name: str
    back: str


SHORT: Final = Span("5m", "20m")
LONG: Final = Span("1h", "3h")

_FLUX = Template("""import "date"

option task = {name: "$name", every: $every, offset: 1m}

stop = date.truncate(t: now(), unit: $every)
start = date.sub(d: $back, from: stop)

readings = (quantities) => from(bucket: "$readings")
    |> range(start: start, stop: stop)
    |> filter(fn: (r) => r._measurement == "readings" and r._field == "value" and r.quality != "suspect")
    |> filter(fn: (r) => contains(value: r.quantity, set: quantities))
    |> drop(columns: ["quality"])
means = readings(quantities: ["depth", "count"])
    |> aggregateWindow(every: $every, fn: mean, createEmpty: false, timeSrc: "_start")
    |> set(key: "_field", value: "mean")
greatest = readings(quantities: ["depth", "count"])
    |> aggregateWindow(every: $every, fn: max, createEmpty: false, timeSrc: "_start")
    |> set(key: "_field", value: "max")
sums = readings(quantities: ["rain", "in", "out"])
    |> aggregateWindow(every: $every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> set(key: "_field", value: "sum")
union(tables: [means, greatest, sums])
    |> to(bucket: "$target")
    |> yield(name: "readings")

homes = (quantity) => from(bucket: "$infrared")
    |> range(start: start, stop: stop)
    |> filter(fn: (r) => r._measurement == "readings" and r._field == "value" and r.quantity == quantity)
    |> group(columns: ["district", "zone"])
    |> window(every: $every)
counted = (tables=<-, field) => tables
    |> duplicate(column: "_start", as: "_time")
    |> keep(columns: ["_time", "_value", "district", "zone"])
    |> set(key: "_measurement", value: "care")
    |> set(key: "_field", value: field)
    |> group(columns: ["_measurement", "_field", "district", "zone"])
places = (tables=<-) => tables
    |> unique(column: "place")
    |> map(fn: (r) => ({r with _value: 1}))
    |> count()
reporting = homes(quantity: "motion") |> places() |> counted(field: "homes")
active = homes(quantity: "motion") |> filter(fn: (r) => r._value > 0.0) |> places() |> counted(field: "active")
presses = homes(quantity: "button") |> filter(fn: (r) => r._value > 0.0) |> count() |> counted(field: "presses")
union(tables: [reporting, active, presses])
    |> to(bucket: "$target")
    |> yield(name: "care")
""")


def all_tasks(bucket: Callable[[str], str]) -> dict[str, str]:
    """The Flux of each task by its name; ``bucket`` gives a bucket's full name."""
    return {
        bucket(span.name): _FLUX.substitute(
            name=bucket(span.name),
            every=span.name,
            back=span.back,
            readings=bucket("readings"),
            infrared=bucket("infrared"),
            target=bucket(span.name),
        )
        for span in (SHORT, LONG)
    }
