"""The seal of the clock: ticks and announcements without it move nothing, wherever they come from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from engines import Pipeline, lines_of, records_of, runs, settings_of
from hypothesis import given
from hypothesis import strategies as st
from strategies import Scenario, scenario
from test_succession import EDITIONS, START, change, flood

from alerts.edition import recorded
from alerts.fold import PARTITION_ROW, Fold, Outcome
from alerts.succession import Succession
from sensors.announcement import RULES_KEY
from sensors.capture import Writer
from sensors.clock import CLOCK_KEY, tick
from sensors.errors import InputError
from sensors.quantities import KINDS, topic
from sensors.record import Record, Records
from sensors.seal import HEADER, KEY_FILE, Seal
from streams.replay import replay

SEAL = Seal([b"k" * 32])
OTHER = Seal([b"o" * 32])
TICK = Record("readings.flood", 2, 7, START, CLOCK_KEY, tick(START))


def test_a_seal_holds_for_its_record_in_its_place_only() -> None:
    sealed = SEAL.sealed(TICK)
    assert SEAL.holds("readings.flood", sealed)
    assert SEAL.holds("readings.flood", sealed._replace(offset=9, timestamp=None, topic="ops1.readings.flood"))
    assert not SEAL.holds("readings.rain", sealed)
    assert not SEAL.holds("readings.flood", sealed._replace(partition=3))
    assert not SEAL.holds("readings.flood", sealed._replace(value=tick(START + 1)))
    assert not SEAL.holds("readings.flood", sealed._replace(key=RULES_KEY))
    assert not SEAL.holds("readings.flood", TICK)
    assert not SEAL.holds("readings.flood", TICK._replace(headers=((HEADER, b""),)))
    assert not OTHER.holds("readings.flood", sealed)


def test_a_new_key_seals_and_the_old_one_is_still_believed() -> None:
    both = Seal([b"n" * 32, b"k" * 32])
    assert both.holds("readings.flood", SEAL.sealed(TICK))
    assert Seal([b"n" * 32]).holds("readings.flood", both.sealed(TICK))


@pytest.mark.parametrize("text", ["", "\n", "5ec2e7" * 8, "not hex 5ec2e7\n", "5ec2e7" * 11 + "\n5ec2e7\n", "5ec2e7é"])
def test_what_is_no_key_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "clock.key"
    file.write_text(text)
    monkeypatch.setenv(KEY_FILE, str(file))
    with pytest.raises(InputError, match="not a key of 32 bytes in hex") as raised:
        Seal.configured()
    assert "5ec2e7" not in f"{raised.value}{raised.value.__cause__}"
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot read the clock's key"):
        Seal.configured()


# In the fold


class Sealed(Pipeline):
    """With a key; ``seal=None``: as without one."""

    def __init__(self, drawn: Scenario, seal: Seal | None) -> None:
        self._seal = seal
        super().__init__(drawn)

    def new_fold(self, partition: int | None) -> Fold:
        where = {"partition": partition, "partitions": self.partitions}
        return Fold(self.catalogue, self.rulebook, **where, seal=self._seal)

    def everything(self, records: Iterable[Record], most: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Alerts, what was rejected but not forged, and the state."""
        for run in runs(records, most):
            self.apply(run)
        state = [row for fold in self.folds for key, row in sorted(fold.checkpoint().items()) if key != PARTITION_ROW]
        rejected = [json.loads(one.value) for one in self.rejected if one.reason != "forged"]
        told = [json.dumps({k: v for k, v in one.items() if k != "offset"}).encode() for one in rejected]
        return [alert.value for alert in self.alerts], told, state


def forgeries(rng: Random, records: list[Record]) -> list[Record]:
    """What a gateway could write: ticks of any time, unsealed, wrongly sealed, or sealed for another place or time."""
    out: list[Record] = []
    seen: list[Record] = []
    for record in records:
        if rng.random() < 0.3:
            value = tick((record.timestamp or START) + rng.choice([-3_600_000, 1000, 59_000, 3_600_000]))
            false = record._replace(key=CLOCK_KEY, value=value, headers=())
            choices = [false, OTHER.sealed(false), false._replace(headers=((HEADER, b"\xff" * rng.randrange(70)),))]
            if seen:  # repeated elsewhere, and in its own place with another time
                old = rng.choice(seen)
                if old[:2] != record[:2]:
                    choices.append(false._replace(value=old.value, headers=old.headers))
                if old.value != value:
                    choices.append(false._replace(headers=old.headers))
            out.append(rng.choice(choices))
        out.append(record)
        if record.key == CLOCK_KEY:
            seen.append(record)
    offsets: dict[tuple[str, int], int] = {}
    numbered = []
    for record in out:
        offset = offsets[record[:2]] = offsets.get(record[:2], -1) + 1
        numbered.append(record._replace(offset=offset))
    return numbered


@given(st.integers(0, 10_000), st.sampled_from([1, 1000]))
def test_forged_ticks_change_nothing(seed: int, most: int) -> None:
    rng = Random(seed)
    drawn = replace(scenario(rng, readings=120), partitions=rng.choice([1, 2]))
    # One without a value cannot be sealed.
    records = [SEAL.sealed(r) for r in records_of(drawn) if r.key != CLOCK_KEY or r.value is not None]
    expected = Sealed(drawn, None).everything(records, most)
    forged = forgeries(rng, records)
    under_attack = Sealed(drawn, SEAL)
    assert under_attack.everything(forged, most) == expected
    reasons = [one.reason for one in under_attack.rejected]
    assert reasons.count("forged") == sum(r.key == CLOCK_KEY and not SEAL.holds(r.topic, r) for r in forged)


def test_an_old_tick_repeated_in_its_own_place_moves_nothing() -> None:
    fold = Fold(*settings_of(scenario(Random(1), readings=5)), seal=SEAL)
    old, new = (SEAL.sealed(TICK._replace(value=tick(time))) for time in (START, START + 60_000))
    for record, clock in ((old, START), (new, START + 60_000), (old, START + 60_000)):
        assert not fold.apply("flood", [record._replace(timestamp=START + 60_000)]).rejected
        assert fold.clock["flood"] == clock


def test_a_forged_tick_is_told_as_it_came() -> None:
    drawn = scenario(Random(1), readings=5)
    fold = Fold(*settings_of(drawn), seal=SEAL)
    outcome = fold.apply("flood", [TICK._replace(headers=SEAL.sealed(TICK._replace(partition=3)).headers)])
    (told,) = [json.loads(one.value) for one in outcome.rejected]
    assert (told["reason"], told["key"], told["partition"], told["offset"]) == ("forged", "@clock", 2, 7)
    assert "seal" in told["detail"]
    assert "raw" in told
    assert fold.clock["flood"] is None


def test_a_forged_announcement_holds_nothing_up() -> None:
    def apply(seal: Seal | None) -> tuple[Succession, Outcome]:
        one, outcome = Succession(EDITIONS, 3, 0, 1, seal), Outcome()
        for kind in KINDS:
            genuine = Record(topic(kind), 0, 2, START, RULES_KEY, change(5, START).value)
            forged = genuine._replace(offset=0, value=change(8, START).value)
            records = [forged, SEAL.sealed(genuine)] if kind == "flood" else [SEAL.sealed(genuine)]
            outcome.add(one.apply(kind, records))
        return one, outcome

    believed, _ = apply(None)
    assert believed.generation == 3  # the others are waited for, for ever
    one, outcome = apply(SEAL)
    assert one.generation == 5
    assert [(r.reason, r.offset) for r in outcome.rejected] == [("forged", 0)]
    late = flood(("G3", 0.3), minute=1)._replace(topic=topic("flood"), offset=3)
    assert [alert.key for alert in one.apply("flood", [late]).alerts] == ["depth/G3"]


# On the way


def batch(records: Iterable[Record]) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    for number, record in enumerate(records):
        builder.append(number, 1, record.key, record.value, list(record.headers))
    return bytes(builder.build())


def columns(text: bytes) -> Records:
    found = pytest.importorskip("sensors._packs").kafka_records(text, 0, len(text), 0)
    rows = np.frombuffer(found, np.int64).reshape(-1, 6)
    same = np.zeros(len(rows), np.int64)
    return Records(("t",), text, same, same, rows[:, 0], rows[:, 1], rows[:, 2:], framed=True)


def test_headers_of_the_clock_are_read_from_kafkas_batches() -> None:
    headers = (("a", b""), (HEADER, b"x" * 300), ("é", b"\xff"))
    sent = [
        Record("t", 0, 0, 1, CLOCK_KEY, tick(START), headers),
        Record("t", 0, 1, 1, b"TH-01", b"[]", headers),
        Record("t", 0, 2, 1, RULES_KEY, b"[]"),
        Record("t", 0, 3, 1, CLOCK_KEY, None, headers),
        Record("t", 0, 4, 1, None, b"[]", headers),
    ]
    read = columns(batch(sent))
    wanted = [headers, (), (), (), ()]
    assert [record.headers for record in read] == wanted
    assert [read[number].headers for number in range(5)] == wanted
    assert [record.headers for record in read[2:]] == wanted[2:]


@given(st.binary(max_size=30), st.integers(0, 200))
def test_whatever_is_where_headers_should_be_is_no_error(noise: bytes, cut: int) -> None:
    text = batch([SEAL.sealed(TICK)])
    read = columns(text)
    at = read.spans.item(0, 2) + read.spans.item(0, 3)
    read.text = text[:at] + noise + text[at : len(text) - cut]
    assert isinstance(read[0].headers, tuple)


# In a capture


def test_a_replay_with_the_key_does_as_the_worker_did(tmp_path: Path) -> None:
    drawn = replace(scenario(Random(3), readings=300, dirty=False), partitions=2)
    ticked = [SEAL.sealed(record) for record in records_of(drawn)]
    assert any(record.key == CLOCK_KEY for record in ticked)
    live = Sealed(drawn, SEAL)
    attacked = forgeries(Random(4), ticked)
    expected = live.everything(attacked, 1000)[0]
    capture = tmp_path / "capture.jsonl"
    with Writer(capture) as out:
        for record in attacked:
            headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
            key = None if record.key is None else record.key.decode()
            where = {"timestamp": record.timestamp, "partition": record.partition, "offset": record.offset}
            out.write(record.topic, key, record.value, **where, headers=headers or None)
    with_key = replay(capture, *settings_of(drawn), partitions=2, seal=SEAL)
    assert sorted(with_key.alerts.values()) == sorted(expected)
    assert sorted(with_key.rejected) == sorted(one.value for one in live.rejected)
    # Without it the recording is believed, forgeries and all.
    assert not any(b'"forged"' in one for one in replay(capture, *settings_of(drawn), partitions=2).rejected)


def test_ticks_that_a_replay_makes_itself_need_no_seal() -> None:
    drawn = replace(scenario(Random(5), readings=100, dirty=False), partitions=2)
    lines = [line for line in lines_of(drawn) if line.key != "@clock"]
    sealed, plain = (replay(lines, *settings_of(drawn), partitions=2, seal=seal) for seal in (SEAL, None))
    assert sealed.lines() == plain.lines()


def test_forged_announcements_do_not_say_where_a_capture_begins(tmp_path: Path) -> None:
    capture = tmp_path / "capture.jsonl"
    with Writer(capture) as out:
        for generation in (3, 5):
            out.write("rules", "x", EDITIONS[generation].pack(), partition=0, offset=generation)
        for generation, seal in ((5, None), (8, SEAL)):
            record = Record("readings.flood", 1, 0, START, RULES_KEY, change(generation, START).value)
            headers = {name: value.decode() for name, value in (seal.sealed(record) if seal else record).headers}
            out.write("readings.flood", "@rules", record.value, partition=1, headers=headers or None)
        out.write("readings.flood", "@clock", tick(START), partition=1)
    believed, checked = recorded(capture), recorded(capture, SEAL)
    assert believed is not None
    assert checked is not None
    assert (believed.first, checked.first) == (3, 5)
