"""The fold against the naive reference, and against itself: cut, interleaved, ticked and restored in every way.

``KAPOK_HYPOTHESIS_PROFILE=long`` looks at many more scenarios.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from engines import Pipeline, Result, by_fold, by_reference, by_replay, comparable, records_of, runs
from examples import DEPTH, sites
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from strategies import EVENING, Scenario, line, rules_file, scenario, scenarios, smallest, tick

from alerts import kernels
from sensors import scanner, senml
from sensors.errors import InputError
from sensors.record import Record

LONG = os.environ.get("KAPOK_HYPOTHESIS_PROFILE") == "long"
# A pack by itself is shrunk by hypothesis.
shrunk = settings(phases=list(Phase), max_examples=5000 if LONG else 100)
randoms = st.randoms(use_true_random=False)


@pytest.fixture(scope="module", autouse=True, params=["compiled", "python"])
def scanners(request):
    """Everything twice: as installed, and as it is where nothing could be compiled."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(scanner, "Scanner", scanner.PythonScanner)
            patch.setattr(senml, "_latest_of_clean", senml.latest_of_clean)
            patch.setattr(kernels, "compiled", None)
        yield


def check(drawn: Scenario, one: Callable[[Scenario], Result], other: Callable[[Scenario], Result]) -> None:
    """Both give the same for the scenario; if not, fails with a small one for which they do not."""
    if one(drawn) == other(drawn):
        return

    def differ(smaller: Scenario) -> bool:
        try:
            return one(smaller) != other(smaller)
        except InputError:  # something is missing now
            return False

    small = smallest(drawn, differ)
    text = [small.show()]
    for what, ours, theirs in zip(("alert", "rejected"), one(small), other(small), strict=True):
        text += [f"{what} only here: {item}" for item in ours if item not in theirs]
        text += [f"{what} missing: {item}" for item in theirs if item not in ours]
    pytest.fail("\n".join(text))


def again(rng: Random) -> Callable[[], Random]:
    """The same random numbers each time: what is drawn while a scenario is made smaller is drawn again."""
    seed = rng.getrandbits(32)
    return lambda: Random(seed)


# Against the reference


@pytest.mark.parametrize("block", range(100 if LONG else 7))
def test_bulk(block):
    for seed in range(block * 20, block * 20 + 20):
        drawn = scenario(Random(seed), readings=150, dirty=seed % 4 != 0)
        check(drawn, by_replay, by_reference)
        if seed % 4 == 1:
            check(drawn, by_fold, by_reference)


@given(scenarios())
def test_the_fold_is_the_reference(drawn):
    check(drawn, by_fold, by_reference)


SECONDS = EVENING // 1000
FIELDS: dict[str, list] = {
    "bn": ["F1/", "", "F", 1, None],
    "bt": [SECONDS, 0, SECONDS + 600, -1e999, 1e999, "0", 10**400],
    "bu": ["m", "cm", False],
    "bv": [0, 0.1, 1e999, -(10**400), []],
    "bs": [1, "1"],
    "bver": [10, "10"],
    "n": ["F1/depth", "F2/depth", "1/depth", "depth", "@clock", "F1/rain", "x/depth", "/", 5, None],
    "u": ["m", "mm", "", None, 3],
    "t": [0, SECONDS, SECONDS + 599.9996, 2**28, 2**28 - 0.001, 1e999, 1e300, "t", True],
    "v": [0, 0.1, 0.25, 0.3, -5, 1e999, 10**400, "0.1", True, None],
    "vb": [True, False, 1, None],
    "vs": ["deep", 1],
    "vd": ["AA", None],
    "s": [1, None],
    "ut": [1, "1"],
    "foo": [1, None],
}
# Mostly what a reading is made of, or nearly everything would be malformed.
common = st.fixed_dictionaries(
    {"n": st.sampled_from(["F1/depth", "F2/depth"]), "v": st.sampled_from([0, 0.1, 0.25, 0.3])},
    optional={"t": st.sampled_from([SECONDS, SECONDS + 60, SECONDS - 60, 0]), "bt": st.sampled_from([SECONDS, 0])},
)
odd = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FIELDS.items()})
entries = st.one_of(common, st.tuples(common, odd).map(lambda pair: pair[0] | pair[1]), odd, st.just(None), st.just([]))


@shrunk
@given(
    st.lists(st.tuples(st.sampled_from(["TH-03", "@clock", "EAST", None]), st.lists(entries, max_size=6)), max_size=4)
)
def test_every_pack_is_judged_as_the_reference_does(packs):
    lines = [line("readings.flood", key, pack, timestamp=EVENING) for key, pack in packs]
    drawn = Scenario(sites(), rules_file([{"id": "depth"} | DEPTH], {"depth": {"min": -1, "max": 2}}), lines, 2)
    check(drawn, by_fold, by_reference)


@shrunk
@given(st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20).map(str.encode), st.none()), max_size=6))
def test_whatever_a_record_holds_the_next_one_is_read(values):
    drawn = Scenario(sites(), rules_file([{"id": "depth"} | DEPTH]), [], 1)
    pipeline = Pipeline(drawn)
    records = [Record("readings.flood", 0, n, None, b"TH-03", value) for n, value in enumerate(values)]
    good = json.dumps([{"n": "F1/depth", "t": SECONDS, "v": 0.3}]).encode()
    pipeline.apply([*records, Record("readings.flood", 0, len(records), None, b"\xff", b"[]")])
    pipeline.apply([Record("readings.flood", 0, len(records) + 1, None, b"TH-03", good)])
    assert [alert["level"] for alert in pipeline.result()[0]] == [4]
    assert {item["reason"] for item in pipeline.result()[1]} <= {"malformed"}


# Against itself


def streams(records: list[Record]) -> dict[tuple[str, int], list[Record]]:
    """What a consumer sees: an order within each topic and partition, and none between them."""
    found: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        found[record.topic, record.partition].append(record)
    return found


def fetched(rng: Random, records: list[Record]):
    """The streams in pieces, in any order."""
    waiting = streams(records)
    while waiting:
        stream = rng.choice(sorted(waiting))
        count = rng.choice([1, 1, 2, 3, 10, 50, 1000])
        yield waiting[stream][:count]
        waiting[stream] = waiting[stream][count:]
        if not waiting[stream]:
            del waiting[stream]


@given(scenarios(), st.sampled_from([1, 2, 7]))
def test_chunks_change_nothing(drawn, most):
    check(drawn, lambda s: by_fold(s, most), by_fold)


@given(scenarios(), randoms)
def test_neither_chunks_nor_the_interleaving_of_topics_change_anything(drawn, rng):
    same = again(rng)

    def by_fetches(s: Scenario) -> Result:
        pipeline = Pipeline(s)
        for run in fetched(same(), records_of(s)):
            pipeline.apply(run)
        return pipeline.result()

    check(drawn, by_fetches, by_fold)


def anywhere(result: Result) -> Result:
    rejected = [{k: v for k, v in item.items() if k not in ("partition", "offset")} for item in result[1]]
    return comparable(result[0], rejected)


@given(scenarios(ticks="none"), st.sampled_from([1, 2, 5]))
def test_the_number_of_partitions_changes_nothing(drawn, partitions):
    check(drawn, lambda s: anywhere(by_fold(replace(s, partitions=partitions))), lambda s: anywhere(by_fold(s)))


@given(scenarios(ticks="none"))
def test_one_fold_for_all_zones_does_what_one_per_partition_does(drawn):
    def by_one_fold(s: Scenario) -> Result:
        whole = Pipeline(replace(s, partitions=1))
        whole.folds = [whole.new_fold(None)]
        for run in runs(records_of(whole.scenario)):
            whole.apply(run)
        return whole.result()

    check(drawn, lambda s: anywhere(by_one_fold(s)), lambda s: anywhere(by_fold(s)))


class Restarting(Pipeline):
    """A pipeline whose folds are lost now and then, and go on from their last checkpoint."""

    def __init__(self, drawn: Scenario, rng: Random, *, lossy: bool) -> None:
        super().__init__(drawn)
        self.rng, self.lossy = rng, lossy
        self.rows: list[dict[bytes, bytes]] = [{} for _ in self.folds]

    def run(self) -> None:
        log = streams(records_of(self.scenario))
        while self.step(log):
            partition = self.rng.randrange(self.partitions)
            luck = self.rng.random()
            if luck < 0.3:
                self.rows[partition] |= self.folds[partition].checkpoint()
            if luck < (0.5 if self.lossy else 0.3):
                self.folds[partition] = self.new_fold(partition)
                self.folds[partition].restore(self.rows[partition])

    def step(self, log: dict[tuple[str, int], list[Record]]) -> bool:
        """Some records of one stream, from a little before where its fold is."""
        waiting = [key for key, records in log.items() if self.offset(*key) + 1 < len(records)]
        if not waiting:
            return False
        key = self.rng.choice(sorted(waiting))
        start = max(0, self.offset(*key) + 1 - self.rng.choice([0, 0, 1, 5]))
        self.apply(log[key][start : self.offset(*key) + 1 + self.rng.choice([1, 2, 10, 100])])
        return True

    def offset(self, topic: str, partition: int) -> int:
        return self.folds[partition].offsets[topic.removeprefix("readings.")]


@given(scenarios(), randoms)
def test_checkpoint_and_restore_anywhere_change_nothing(drawn, rng):
    same = again(rng)

    def by_restarts(s: Scenario) -> Result:
        pipeline = Restarting(s, same(), lossy=False)
        pipeline.run()
        return pipeline.result()

    check(drawn, by_restarts, by_fold)


@given(scenarios(), randoms)
def test_after_a_loss_the_same_alerts_come_again_as_the_same_bytes(drawn, rng):
    same = again(rng)

    def by_losses(s: Scenario) -> Result:
        pipeline = Restarting(s, same(), lossy=True)
        pipeline.run()
        alerts = {}
        for alert in pipeline.alerts:
            assert alerts.setdefault(alert.id, alert).value == alert.value
        pipeline.alerts = list(alerts.values())
        return once(pipeline.result())

    check(drawn, by_losses, lambda s: once(by_fold(s)))


WAITS = {"yellow": "2m", "red": "10m"}
HOME: dict = {"kind": "infrared", "away_room": "entrance"}
ALL_TYPES: list[dict] = [
    {"id": "level", "for": "1m"} | DEPTH,
    {"id": "rise", "window": "5m"} | DEPTH | {"type": "rise"},
    {"id": "sum", "levels": {"red": {"window": "3m", "sum": 1}}}
    | {"type": "window_sum", "kind": "rain", "quantity": "rain"},
    {"id": "dwell", "type": "dwell", "rooms": {"bathroom": WAITS}} | HOME,
    {"id": "still", "type": "inactivity", "levels": WAITS, "away_levels": WAITS} | HOME,
    {"id": "call", "type": "press", "kind": "infrared", "level": "red", "reset": "1m"},
    *({"id": f"dead-{kind}", "type": "silence", "kind": kind, "levels": WAITS} for kind in ("flood", "crowd")),
    {"id": "full", "type": "occupancy", "kind": "crowd", "levels": {"red": 0.5}, "reset": "03:00"},
    {"id": "risk", "type": "waterlog_risk", "kind": "flood", "levels": {"red": 0.1}},
]


def test_a_restart_between_any_two_records_of_a_topic_loses_nothing():
    """Readings behind the clock too: what they make due, only the next tick shows."""
    minute = 60_000
    lines: list[str] = []
    for n in range(0, 36, 6):  # over 03:00 in Guangzhou, with more and more lag
        now, then = EVENING + n * minute, (EVENING + n * minute - (n // 2) * minute) / 1000
        lines += tick(now, now)
        room = "Bath" if n % 4 else "Door"
        for kind, zone, entries in (
            ("flood", "TH-03", [{"n": "F1/depth", "v": 0.3 * (n % 4)}, {"n": "F2/depth", "v": 0.2}]),
            ("rain", "TH-03", [{"n": "R1/rain", "v": n % 5}]),
            ("infrared", "YX-1", [{"n": f"{room}/motion", "v": 1}, {"n": "Bed/button", "v": n % 4 // 2}]),
            ("crowd", "EAST", [{"n": "K1/in", "v": 30}, {"n": "K2/out", "v": 9}]),
        ):
            lines.append(line(f"readings.{kind}", zone, [{"t": then} | entry for entry in entries], timestamp=now))
    lines += tick(EVENING + 60 * minute, EVENING + 60 * minute)
    drawn = Scenario(sites(), rules_file(ALL_TYPES, timezone="Asia/Shanghai"), lines, 1)
    wanted, log = by_fold(drawn), records_of(drawn)
    assert {alert["rule"] for alert in wanted[0]} == {rule["id"] for rule in ALL_TYPES}
    assert wanted == by_reference(drawn)
    for cut in range(len(log)):
        pipeline = Pipeline(drawn)
        for run in runs(log[:cut]):
            pipeline.apply(run)
        rows = pipeline.folds[0].checkpoint()
        pipeline.folds[0] = pipeline.new_fold(0)
        pipeline.folds[0].restore(rows)
        for run in runs(log[cut:]):
            pipeline.apply(run)
        assert pipeline.result() == wanted, f"after {cut} records"


def once(result: Result) -> Result:
    """Rejected readings may come again, and a pack may hold the same one twice."""
    return result[0], [item for n, item in enumerate(result[1]) if item not in result[1][:n]]


def with_ticks(rng: Random, lines: list[str], first: int, last: int) -> list[str]:
    """Ticks anywhere, in any number, but none ahead of a reading still to come."""
    earliest, least = [], last
    for text in reversed(lines):
        times = [entry.get("t", 0) + entry.get("bt", 0) for entry in json.loads(text)["value"]]
        least = min([least, *(round(t * 1000) for t in times)])
        earliest.append(least)
    result, now, often = tick(first, first), first, rng.choice([0.0, 0.1, 0.9])
    for text, until in zip(lines, reversed(earliest), strict=True):
        while now < until and rng.random() < often:
            now = rng.choice([until, min(until, now + 60_000), rng.randint(now, until)])
            result += tick(now, now)
        result.append(text)
    return result + tick(last, last)


@given(scenarios(dirty=False, ticks="none", stamps="all", plain=True), randoms)
def test_for_readings_in_order_the_spacing_of_ticks_changes_nothing(drawn, rng):
    first, last = EVENING - 60_000, EVENING + 3 * 3_600_000
    same = again(rng)

    def ticked(s: Scenario) -> Result:
        return by_fold(replace(s, lines=with_ticks(same(), s.lines, first, last)))

    check(drawn, ticked, lambda s: by_fold(replace(s, lines=tick(first, first) + s.lines + tick(last, last))))
