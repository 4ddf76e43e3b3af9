"""Dirt: whatever bytes a record holds, the fold goes on, rejects what is bad and uses the good beside it.

Seeded dirt with known reasons (bench/spoiled.py) at some scale, mutated packs and odd JSON against the naive
reference, and what has gone wrong before. ``uv run python -m bench dirt`` does it with a million records.
"""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from engines import Pipeline, Result, by_fold, by_reference, by_replay, runs
from examples import DEPTH, sites
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pipelines import Files, ended, read_all, start_worker
from strategies import EVENING, Scenario, line, rules_file, scenario
from test_fold_properties import ALL_TYPES, LONG

from alerts import rulebook
from alerts.fold import Fold, applied_offsets
from alerts.rejection import REASONS
from alerts.rulebook import Rulebook
from bench import dirt
from bench.spoiled import entry, pack
from sensors import catalogue
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from sensors.quantities import KINDS, QUANTITIES, topic
from sensors.record import Record
from streams import topics
from streams.child import Child
from streams.replay import Replayed
from streams.state_log import reader

pytest_plugins = ["brokers"]

SECONDS = EVENING // 1000
GOOD = entry("F1/depth", EVENING, "0.3")


# With known reasons


@pytest.mark.parametrize(("seed", "spoiled", "minutes", "worst_cases"), [(1, 300, 3, True), (2, 1000, 3, False)])
def test_what_is_spoiled_is_rejected_and_nothing_else_changes(seed, spoiled, minutes, worst_cases):
    """Alerts, state and the number of readings used are those of the log without the dirt."""
    found = dirt.through_fold(dirt.Log(Catalogue.shipped(), seed, spoiled, worst_cases).minutes(minutes + 1))
    assert found.spoiled >= spoiled * minutes
    assert set(found.rejected) == set(REASONS) - {"forged"}  # which takes a key: tests/test_seal.py
    assert found.alerts > 0


# Against the reference

TOKENS = [
    *(b"null", b"true", b"NaN", b"-", b"1e999", b"-0.0", b"5e-324", b"0", b"9" * 40, b".", b"e9", b"1e"),
    *(b'"', b"\\", b"\\u0000", b"\\ud800", b"\\n", b"[", b"]", b"{", b"}", b",", b":", b" ", b"\n", b"\r\n"),
    *(b"\x00", b"\xff", b"\xc3", b"\xe7\xa7", b"\xef\xbb\xbf", b"/", b'"n":', b'"v":"x",', b'"bt":0,', b'"bn":"",'),
    *(b"{},", b"[],", b'"vs":"x",', b'"vb":true,', b'"u":"cm",', b'"bv":1,', b'"t":-1,', b'"foo":[{}],'),
]  # fmt: skip


def mutated(rng: Random, value: bytes) -> bytes:
    """One to four changes: bits, cuts, copies, and what JSON is made of in places where it does not belong."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randint(0, len(value))
        size = rng.choice([1, 1, 2, 10, 100])
        change = rng.randrange(6)
        if change == 0 and at < len(value):
            value = value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
        elif change == 1:
            value = value[:at] + value[at + size :]
        elif change == 2:
            value = value[:at] + rng.choice(TOKENS) + value[at:]
        elif change == 3:
            value = value[:at] + rng.choice(TOKENS) + value[at + size :]
        elif change == 4:
            value = value[: at + size] + value[at:]
        elif rng.random() < 0.2:
            value = value[:at]
    return value


def with_mutants(rng: Random, drawn: Scenario) -> Scenario:
    """Some records are spoiled, and some have a spoiled copy before or after them."""
    lines = []
    for text in drawn.lines:
        record, luck = json.loads(text), rng.random()
        spoiled = text
        if luck < 0.5:
            value = json.dumps(record["value"], ensure_ascii=False).encode() if "value" in record else b"[1]"
            spoiled = line(record["topic"], record["key"], raw=mutated(rng, value), timestamp=record["timestamp"])
        lines += (
            [spoiled] if luck < 0.2 else [text, spoiled] if luck < 0.4 else [spoiled, text] if luck < 0.5 else [text]
        )
    return replace(drawn, lines=lines)


def legible(value: Any) -> Any:
    """Without lone surrogates, which UTF-8 cannot write."""
    if isinstance(value, dict):
        return {legible(k): legible(v) for k, v in value.items()}
    if isinstance(value, list):
        return [legible(v) for v in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def as_written(result: Result) -> Result:
    alerts, rejected = result
    return alerts, sorted(map(legible, rejected), key=lambda item: json.dumps(item, sort_keys=True))


@pytest.mark.parametrize("block", range(40 if LONG else 3))
def test_mutated_packs_are_judged_as_the_reference_does(block):
    for seed in range(block * 6, block * 6 + 6):
        rng = Random(seed)
        drawn = with_mutants(rng, scenario(rng, readings=150, stamps="all"))
        engine = by_fold if seed % 2 else by_replay
        assert as_written(engine(drawn)) == as_written(by_reference(drawn)), f"seed {seed}"


LITERALS = [
    *("0", "-0", "-0.0", "0.1", "0.3", "0.25e0", "3E-1", "5e-324", "1e-400", "1e999", "-1e999", "1e308", "-1.8e308"),
    *("9007199254740993", "123456789012345678901234567890", "9" * 290, "-" + "1" * 400, "0." + "3" * 400, "01", "1."),
    *(str(SECONDS), f"{SECONDS}.0005", f"{SECONDS + 59}.9995", str(SECONDS + 601), str(2**28), "268435455.9999999"),
    *("null", "true", "false", "[]", "{}", "[[1]]", '{"n":[]}', "NaN", "Infinity", "-Infinity", "", "'x'"),
    *('""', '"m"', '"\\u006d"', '"F1/depth"', '"F1/"', '"depth"', '"F\\u0031/depth"', '"F2/depth"', '"/"', '"@clock"'),
    *('"\\ud83d\\ude00"', '"\\ud800"', '"\\u0000"', '"\x7f"', '"\t"', '"积水"', '"x/depth"', '"F1/depth/"', '"F1//depth"'),
]  # fmt: skip
FIELDS = ["n", "t", "v", "bn", "bt", "bv", "bu", "u", "vb", "vs", "vd", "s", "ut", "bs", "bver", "foo", "", "\\u006e"]
some = st.tuples(st.sampled_from(FIELDS), st.sampled_from(LITERALS))
plain = st.just([("n", '"F1/depth"'), ("t", str(SECONDS)), ("v", "0.3")])
fields = st.one_of(
    plain, st.tuples(plain, st.lists(some, max_size=3)).map(lambda pair: pair[0] + pair[1]), st.lists(some)
)
objects = fields.map(lambda pairs: "{" + ",".join(f'"{field}":{value}' for field, value in pairs) + "}")
texts = st.one_of(objects, objects, objects, st.sampled_from(LITERALS)).flatmap(
    lambda text: st.sampled_from([text, " " + text, text + "\n"])
)


@settings(phases=list(Phase), max_examples=5000 if LONG else 300)
@given(
    st.lists(st.tuples(st.sampled_from(["TH-03", "TH-03", "@clock", None]), st.lists(texts, max_size=5)), max_size=3)
)
def test_odd_json_is_judged_as_the_reference_does(packs):
    lines = [line("readings.flood", key, raw=pack(entries), timestamp=EVENING) for key, entries in packs]
    drawn = Scenario(sites(), rules_file([{"id": "depth"} | DEPTH], {"depth": {"min": -1, "max": 2}}), lines, 1)
    assert as_written(by_fold(drawn)) == as_written(by_reference(drawn))


# What has gone wrong before


def folded(*values: bytes, key: bytes = b"TH-03", rules: list[dict] | None = None) -> Pipeline:
    """Records of flood readings through a fold, each by itself."""
    pipeline = Pipeline(Scenario(sites(), rules_file(rules or [{"id": "depth"} | DEPTH]), [], 1))
    for offset, value in enumerate(values):
        pipeline.apply([Record("readings.flood", 0, offset, EVENING, key, value)])
    return pipeline


def reasons(pipeline: Pipeline) -> list[str]:
    return [json.loads(rejected.value)["reason"] for rejected in pipeline.rejected]


def deeper(calls: int, function: Any) -> Any:
    return function() if not calls else deeper(calls - 1, function)


def test_how_deep_a_pack_may_be_nested_does_not_depend_on_who_reads_it():
    """Python's own limit does, and a pack just below it could be read but not written down again."""

    def read(depth: int) -> list[str]:
        nested = f'{{"n":"x/depth","t":{SECONDS},"v":0,"foo":{"[" * (depth - 2)}"]["{"]" * (depth - 2)}}}'
        return reasons(folded(pack([nested, GOOD])))

    for depth in (100, 101, 300, 500, 900, 990, 100_000):
        expected = ["unknown_sensor"] if depth <= 100 else ["malformed"]
        assert read(depth) == deeper(500, lambda: read(depth)) == expected
    strings = f'{{"n":"x/{"[" * 200}\\"{"{" * 200}\\\\","t":{SECONDS},"v":0}}'
    assert reasons(folded(pack([strings]))) == ["unknown_sensor"]


def test_a_number_means_the_same_with_a_bad_neighbour():
    """Whichever way a pack is read: 300 digits are a number still, and 309 are infinite."""
    for text in ("9" * 299, "1" + "0" * 299, "1" + "0" * 308, "1" + "0" * 309, "0." + "0" * 300 + "9", "5e-324"):
        big = entry("F1/depth", EVENING, text)
        alone, beside = folded(pack([big])), folded(pack([big, "7"]))
        assert [a.value for a in alone.alerts] == [a.value for a in beside.alerts], text
        assert reasons(beside) == ["malformed", *reasons(alone)]


def test_a_long_name_unit_or_key_is_not_copied_for_each_reading():
    """A base field of 100 KB and 2,000 readings; without care that is 200 MB for a pack of 150 KB."""
    long, rest = "x" * 100_000, [f'{{"n":"depth","v":{n}}}' for n in range(2000)]
    cases = [
        (pack([f'{{"bn":"{long}/","bt":{SECONDS},"n":"y","v":0}}', *rest]), b"TH-03", "unknown_sensor"),
        (pack([f'{{"bn":"F1/{long}","bt":{SECONDS},"n":"y","v":0}}', *rest]), b"TH-03", "wrong_quantity"),
        (pack([f'{{"bn":"F1/","bu":"{long}","bt":{SECONDS},"n":"depth","v":0}}', *rest]), b"TH-03", "wrong_quantity"),
        (pack([f'{{"bn":"F1/","bt":{SECONDS},"n":"depth","v":0}}', *rest]), long.encode(), "wrong_zone"),
    ]
    for value, key, reason in cases:
        tracemalloc.start()
        pipeline = folded(value, key=key)
        written = sum(len(rejected.value) + len(rejected.key or b"") for rejected in pipeline.rejected)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert set(reasons(pipeline)) == {reason}
        assert written < 10_000_000
        assert peak < 30_000_000


def test_a_pack_of_bad_readings_takes_a_bounded_multiple_of_its_size():
    """What is bad in the same way shares its reason, and holds on to nothing that was only needed to find it."""
    count = 100_000
    tracemalloc.start()
    pipeline = folded(pack(["1"] * count))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pipeline.rejected) == count
    assert held / count < 200
    assert peak / count < 500


def test_numbers_at_the_edges_of_floats_and_clocks_at_the_edges_of_time():
    """Rules without limits: sums and differences overflow, timers are due after the last date that there is."""
    rules = [*ALL_TYPES, {"id": "crowd", "type": "rise", "kind": "crowd", "quantity": "count", "window": "5m",
                          "levels": {"red": 1}}]  # fmt: skip
    risk = next(rule for rule in rules if rule["type"] == "waterlog_risk")
    values = [0, 1e308, -1e308, 1.7976931348623157e308, 5e-324, -0.0, 1e306, -1e306, 2**53 + 1]
    now, far = (
        [SECONDS, SECONDS + 60, SECONDS + 700],
        [2**28, 10**11, 253_402_290_000, 253_402_300_799, 253_402_300_799.999],
    )
    sensors = {"flood": ("TH-03", ["F1/depth", "F2/depth"]), "rain": ("TH-03", ["R1/rain"]),
               "infrared": ("YX-1", ["Bed/motion", "Bath/motion", "Door/motion", "Bed/button"]),
               "crowd": ("EAST", ["K1/in", "K1/out", "K2/in", "K2/count", "K1/count"])}  # fmt: skip
    for seed in range(60):
        rng = Random(seed)
        some_rules, times = (rules, now) if seed % 2 else ([r for r in rules if r is not risk], now + far)
        pipeline = Pipeline(Scenario(sites(), rules_file(some_rules, timezone="Asia/Shanghai"), [], 1))
        for offset in range(30):
            time = rng.choice(times) + rng.choice([0, 0.001, 60])
            if rng.random() < 0.25:
                for kind in KINDS:
                    pipeline.apply([Record(topic(kind), 0, offset, None, CLOCK_KEY, tick(int(time * 1000)))])
                continue
            kind = rng.choice(KINDS)
            zone, names = sensors[kind]
            value = json.dumps([{"n": rng.choice(names), "t": time, "v": rng.choice(values)} for _ in range(3)])
            pipeline.apply([Record(topic(kind), 0, offset, None, zone.encode(), value.encode())])
        alerts, _ = pipeline.result()
        assert all(abs(alert["value"]) < float("inf") for alert in alerts)
        pipeline.folds[0].checkpoint()


@pytest.mark.parametrize("kind", ["flood", "rain", "infrared", "crowd"])
def test_a_burst_of_one_sensor_does_not_make_the_state_larger(kind):
    """A row of state is to fit into one batch: else the worker ends, and ends again whenever it is started."""
    sensor = next(s for s in Catalogue.shipped().sensors.values() if s.kind == kind)
    name = f"{sensor.id}/{next(iter(QUANTITIES[kind]))}"

    def size(readings: int) -> int:
        fold = Fold(Catalogue.shipped(), Rulebook.shipped())
        for each in KINDS:
            fold.apply(each, [Record(topic(each), 0, 0, EVENING, CLOCK_KEY, tick(EVENING))])
        burst = pack([entry(name, EVENING + n, str(n % 2)) for n in range(readings)])
        assert fold.apply(kind, [Record(topic(kind), 0, 1, EVENING, sensor.zone.encode(), burst)]).rejected == []
        return len(fold.checkpoint()[sensor.zone.encode()])

    assert size(5_000) < size(50) + 1_000


# Through a worker


def large(now: int) -> list[Record]:
    """Flood records of 1 to 3 MB, and some that are small and hard to take."""
    gauge = next(s for s in Catalogue.shipped().sensors.values() if s.kind == "flood")
    late = entry(f"{gauge.id}/depth", now - 3_600_000, "0")
    values = [
        pack([late] * 25_000 + ["7"] + [late] * 25_000),
        pack([entry(f"nobody{n}/depth{'é' * 100}", now, "0") for n in range(5_000)]),
        b"\xff" * 2_000_000,
        pack([f'{{"n":"{"x" * 3_000_000}/y","t":{now / 1000},"v":0,"more":[1e15,"{"é" * 1000}"]}}']),
        pack(["1", "[" * 600 + "]" * 600]),
        b"[" * 1_000_000,
    ]
    keys = [gauge.zone.encode()] * len(values) + [b"\x01" * 300_000, b"\xff" * 300_000]
    values += [pack([late])] * 2
    return [Record("readings.flood", 0, -1, now, key, value) for key, value in zip(keys, values, strict=True)]


async def publish(broker: str, prefix: str, records: list[Record]) -> None:
    limit = topics.REPLAY_RECORD_BYTES
    async with AIOKafkaProducer(bootstrap_servers=broker, max_request_size=limit) as producer:
        sent = [
            await producer.send(
                prefix + r.topic, r.value, r.key, r.partition, timestamp_ms=r.timestamp, headers=list(r.headers)
            )
            for r in records
        ]
        assert [(await one).offset for one in sent] == [record.offset for record in records]


async def all_applied(broker: str, prefix: str, records: list[Record], worker: Child) -> None:
    """Waits until the worker's state has the last record of each partition."""
    last = {(r.topic, r.partition): r.offset for r in records}
    partitions = sorted({partition for _, partition in last})
    async with reader(broker, prefix + topics.STATE, partitions) as states:
        while last:
            worker.check()
            await states.poll(50)
            for partition in partitions:
                for row in states.partition_rows(partition):
                    for kind, offset in applied_offsets(row).items():
                        if last.get((topic(kind), partition), offset + 1) <= offset:
                            del last[topic(kind), partition]


async def test_a_worker_stays_up_and_writes_down_all_that_is_rejected(broker: str, prefix: str, tmp_path: Path) -> None:
    minutes = list(dirt.Log(Catalogue.shipped(), 3, 600, worst_cases=False).minutes(4))
    came = [record for minute in minutes for kind in KINDS for record in minute.dirt[kind]]
    came = [r for r in came if r.key is not None or r.value is not None] + large(minutes[-1].now)
    records = list(dirt.placed(Random(1), came, topics.PARTITIONS))

    city = Catalogue.shipped(), Rulebook.shipped()
    folds = [Fold(*city, partition=p) for p in range(topics.PARTITIONS)]
    outcomes = [folds[run[0].partition].apply(run[0].topic.removeprefix("readings."), run) for run in runs(records)]
    clean = Fold(*city)
    alerts = Counter(a.value for m in minutes for kind in KINDS for a in clean.apply(kind, m.clean[kind]).alerts)
    rejected = Counter(one.value for outcome in outcomes for one in outcome.rejected)
    assert sum(rejected.values()) > 8_000
    assert len(alerts) > 0

    await topics.ensure(broker, prefix, live=False)
    await publish(broker, prefix, records)
    files = Files(catalogue.SHIPPED, rulebook.SHIPPED, tmp_path, None, Replayed())
    worker = start_worker(files, broker, prefix, tmp_path / "worker.log", "--no-clock")
    with ended(worker):
        await all_applied(broker, prefix, records, worker)
        assert Counter(r.value for r in await read_all(broker, [prefix + topics.ALERTS])) == alerts
        assert Counter(r.value for r in await read_all(broker, [prefix + topics.REJECTED])) == rejected
        assert worker.stop() == 0
