"""The scanners, compiled and in Python, against ``senml.resolve``: what they call clean is what it says, to the bit."""

from __future__ import annotations

import json
import os
import struct
from random import Random

import msgspec
import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from sensors import capture, scanner, senml
from sensors.capture import Line
from sensors.clock import CLOCK_KEY, CaptureLog, log
from sensors.record import Record, Records
from sensors.scanner import NOT_CLEAN, OF_THE_CLOCK, PythonScanner, Scanned, scan
from sensors.senml import Reading

SECONDS = 1_714_800_000
NAMES = ["F1/depth", "F2/depth", "F10/depth", "x" * 60 + "/depth"]
ZONES = ["TH-03", "EAST"]
ZONE_OF = [0, 0, 1, 1]

# Packs are small: many, and hypothesis makes them smaller.
many = settings(
    phases=list(Phase), max_examples=20_000 if os.environ.get("KAPOK_HYPOTHESIS_PROFILE") == "long" else 150
)


@pytest.fixture(params=["compiled", "python"], scope="module")
def made(request):
    """Scanner types: the one in use, and the one that stands in for it."""
    if request.param == "compiled" and scanner.Scanner is PythonScanner:
        assert not os.environ.get("KAPOK_CI"), "sensors/_packs.c was not compiled"
        pytest.skip("sensors/_packs.c was not compiled")
    return scanner.Scanner if request.param == "compiled" else PythonScanner


def new(made, unit: str | None = "m", truths: bool = False):
    names, zones = [name.encode() for name in NAMES], [zone.encode() for zone in ZONES]
    return made(names, ZONE_OF, zones, unit and unit.encode(), truths)


def records(packs: list[bytes | None], key: bytes | None = b"TH-03") -> list[Record]:
    return [Record("readings.flood", 0, n, None, key, pack) for n, pack in enumerate(packs)]


def bits(x: float) -> bytes:
    return struct.pack("<d", x)


def resolved(pack: bytes | None, key: str | None, unit: str | None, truths: bool) -> list[tuple[int, int, bytes]]:
    """(channel, time, value) of each reading of a pack that has to be clean."""
    found = []
    for _, reading in senml.resolve(senml.load(pack)):
        assert isinstance(reading, Reading)
        channel = NAMES.index(reading.name)
        assert key == ZONES[ZONE_OF[channel]]
        assert unit is None or reading.unit in (None, unit)
        assert isinstance(reading.value, bool | float)
        assert truths or not isinstance(reading.value, bool)
        found.append((channel, reading.time_ms, bits(float(reading.value))))
    return found


def check(found: Scanned, packs: list[bytes | None], key: str, unit: str | None, truths: bool) -> None:
    """Each pack is not clean, or what ``resolve`` says of it."""
    assert len(found.sizes) == len(packs)
    start = 0
    for pack, size in zip(packs, found.sizes.tolist(), strict=True):
        if size == NOT_CLEAN:
            continue
        rows = slice(start, start := start + size)
        columns = found.channel[rows].tolist(), found.time[rows].tolist(), map(bits, found.value[rows].tolist())
        assert list(zip(*columns, strict=True)) == resolved(pack, key, unit, truths), pack
    assert start == len(found.channel) == len(found.time) == len(found.value)


numbers = st.one_of(
    st.sampled_from(
        ["0", "-0", "-0.0", "0.25", "1e3", "1E-2", "01", "+1", ".5", "1.", "1e", "-", "1e999", "NaN", "true"]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers().map(str),
)
times = st.one_of(
    st.sampled_from(
        ["1714800000", "1714800000.5", "60", "-60", "0", "268435456", "268435455.999", "1e11", "253402300799.9996"]
    ),
    st.decimals(min_value=SECONDS, max_value=SECONDS + 1000, places=4).map(str),
    numbers,
)
texts = st.sampled_from(
    ['"F1/"', '"F2/"', '"F"', '""', '"1/depth"', '"depth"', '"F1/depth"', '"F10/depth"', '"\\u0046"', '"é"', "5"]
)
units = st.sampled_from(['"m"', '"m"', '"mm"', '""', "null"])
FIELDS = {
    "n": texts, "bn": texts, "t": times, "bt": times, "u": units, "bu": units, "v": numbers,
    "vb": st.sampled_from(["true", "false", "null", "tru", "1"]), "bv": numbers, "vs": texts, "foo": numbers,
}  # fmt: skip
space = st.sampled_from(["", "", "", " ", "\n\t\r ", "\f"])
usual = st.fixed_dictionaries(
    {"n": st.sampled_from(['"F1/depth"', '"F2/depth"']), "t": times, "v": numbers}, optional={"u": st.just('"m"')}
)
base = st.fixed_dictionaries({"bn": st.sampled_from(['"F1/"', '"F2/"', '""'])}, optional={"bt": times, "bu": units})
short = st.fixed_dictionaries({"n": st.sampled_from(['"depth"']), "v": numbers}, optional={"t": times})
odd = st.dictionaries(st.sampled_from(list(FIELDS)), st.none()).flatmap(
    lambda drawn: st.fixed_dictionaries({name: FIELDS[name] for name in drawn})
)
entries = st.one_of(usual, usual, base, short, short, odd, st.tuples(base, short).map(lambda two: two[0] | two[1]))


@st.composite
def packs(draw) -> bytes:
    """SenML as text: the order of the fields, spaces, and now and then a field twice or a byte that is another."""

    def written(entry: dict[str, str]) -> str:
        fields = draw(st.permutations(list(entry.items())))
        if fields and draw(st.integers(0, 30)) == 0:
            fields.append(fields[0])
        return "{" + ",".join(f'{draw(space)}"{name}"{draw(space)}:{text}{draw(space)}' for name, text in fields) + "}"

    body = f",{draw(space)}".join(map(written, draw(st.lists(entries, max_size=5))))
    pack = bytearray(f"{draw(space)}[{draw(space)}{body}{draw(space)}]{draw(space)}".encode())
    if draw(st.integers(0, 3)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(pack)))
            pack[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(pack)


HEAD = f'[{{"bn":"F1/","bt":{SECONDS},'.encode()


@many
@given(st.lists(st.one_of(packs(), st.none()), max_size=4), st.sampled_from(["TH-03", "EAST"]), st.booleans())
@example([HEAD + b'"n":"depth","v":0.1}]', HEAD + b'"n":"depth","v":0.2}', b'[{"n":"depth"}]'], "TH-03", False)
@example([HEAD + b'"u":"m"},{"n":"depth","v":1}]', HEAD + b'"bu":"mm"},{"n":"depth","v":1}]'], "TH-03", False)
@example([HEAD + b'"bu":"m"},{"n":"depth","v":-0},{"bn":"F2/","n":"depth","v":-0.0}]'], "TH-03", False)
@example([HEAD + b'"n":"depth","v":1,"v":2}]', HEAD + b'"n":"depth","v":1,"vb":true}]'], "TH-03", True)
def test_what_is_clean_is_what_resolve_says(made, drawn, key, truths):
    unit = None if truths else "m"
    check(scan(new(made, unit, truths), records(drawn, key.encode())), drawn, key, unit, truths)


@many
@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_can_be_scanned(made, drawn):
    check(scan(new(made), records(list(drawn))), list(drawn), "TH-03", "m", False)


def test_broken_packs_can_be_scanned(made):
    """Good packs cut anywhere, and with any few bytes changed."""
    rng = Random(1)
    good = senml.encode(
        [(sensor, "depth", SECONDS * 1000 + n * 500, 0.1 * n) for n, sensor in enumerate(["F1", "F2"] * 3)]
    )
    drawn: list[bytes | None] = [good[:end] for end in range(len(good))]
    for _ in range(20_000):
        pack = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            pack[rng.randrange(len(pack))] = rng.choice(b'{}[]",:0-.eE\\tnvb \x00\xff' + pack)
        drawn.append(bytes(pack))
    check(scan(new(made), records(drawn)), drawn, "TH-03", "m", False)


@many
@given(st.lists(numbers, min_size=1, max_size=20))
@example(
    ["0.1", "1e22", "1e23", "9007199254740993", "9007199254740992.5", "0.30000000000000004", "18446744073709551615"]
)
@example(
    ["18446744073709551616", "1.7976931348623157e+308", "2.2250738585072014e-308", "0." + "0" * 39 + "1", "-1E+22"]
)
@example([f"{digits}e-{places}" for digits in (1, 9, 3 * 5**20, 10**19 - 1) for places in (17, 22, 23, 27, 28)])
def test_numbers_are_what_python_makes_of_them(made, drawn):
    drawn = [HEAD + b'"n":"depth","v":' + text.encode() + b"}]" for text in drawn]
    check(scan(new(made), records(list(drawn))), drawn, "TH-03", "m", False)


def test_numbers_half_way_between_two_floats_are_rounded_to_even(made):
    rng, drawn = Random(2), []
    for _ in range(3000):
        odd = rng.getrandbits(54) | 1 << 53 | 1  # a float's 53 bits, and half a step
        places = rng.randint(1, 3)
        digits = str(odd * 10**places >> places) + rng.choice(["", "1"])
        drawn.append(HEAD + f'"n":"depth","v":{digits[:-places]}.{digits[-places:]}}}]'.encode())
    found = scan(new(made), records(list(drawn)))
    check(found, drawn, "TH-03", "m", False)
    assert (found.sizes == 1).mean() > 0.5


@many
@given(packs())
def test_the_latest_time_of_a_pack_is_that_of_its_readings(pack):
    try:
        readings = senml.resolve(senml.load(pack))
    except senml.Malformed:
        readings = []
    found = [r.time_ms for _, r in readings if isinstance(r, Reading) and r.time_ms < senml.END_OF_TIME]
    assert senml.latest_time(pack) == max(found, default=None)
    assert senml.latest_of_clean(pack) in (None, max(found, default=None))


def test_usual_packs_are_clean(made):
    """What the gateway, the simulators and most others write is read the quick way."""
    at = SECONDS * 1000
    drawn: list[bytes | None] = [
        senml.encode([("F1", "depth", at, 0.1), ("F2", "depth", at + 60_000, -0.002), ("F1", "depth", at + 1, 1e-5)]),
        json.dumps([{"n": "F1/depth", "u": "m", "t": SECONDS + 0.5, "v": 0.1 + 0.2}], indent=1).encode(),
        HEAD + b'"n":"depth","v":1},{"t":60,"n":"depth","v":2},{"bn":"F2/","n":"depth","v":3}]',
    ]
    found = scan(new(made), records(drawn))
    assert found.sizes.tolist() == [3, 1, 3]
    check(found, drawn, "TH-03", "m", False)
    long = [[{"n": NAMES[3], "t": SECONDS, "v": n} for n in range(1000)]] * 100
    found = scan(new(made), records([json.dumps(pack).encode() for pack in long], b"EAST"))
    assert found.sizes.tolist() == [1000] * 100
    assert found.value.tolist() == list(range(1000)) * 100


def test_records_are_told_apart_by_key_and_have_their_stamps(made):
    pack = senml.encode([("F1", "depth", SECONDS * 1000, 0.1)])
    keys = [b"TH-03", b"@clock", b"EAST", None, b"nowhere", b"TH-03"]
    stamps = [5, None, -3, 2**70, -(2**70), 0]
    drawn = [
        Record("readings.flood", 0, n, stamp, key, pack)
        for n, (key, stamp) in enumerate(zip(keys, stamps, strict=True))
    ]
    found = scan(new(made), drawn)
    assert found.sizes.tolist() == [1, OF_THE_CLOCK, NOT_CLEAN, NOT_CLEAN, NOT_CLEAN, 1]
    assert found.stamps.tolist() == [5, -1, -1, senml.END_OF_TIME, -1, 0]
    assert [len(column) for column in scan(new(made), [])] == [0] * 5


def test_truth_values_are_for_those_who_have_them(made):
    pack = HEAD + b'"n":"depth","vb":true},{"bt":1714800060,"n":"depth","vb":false}]'
    assert scan(new(made), records([pack])).sizes.tolist() == [NOT_CLEAN]
    found = scan(new(made, None, True), records([pack]))
    assert found.value.tolist() == [1.0, 0.0]


# Records as columns


def batch(offset: int, rows: list[tuple[int, bytes | None, bytes | None, list]], compression: int = 0) -> bytes:
    """A Kafka batch of (timestamp, key, value, headers) from this offset on."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 30)
    for number, (stamp, key, value, headers) in enumerate(rows):
        builder.append(number, stamp, key, value, headers)
    data = bytearray(builder.build())
    data[:8] = offset.to_bytes(8, "big")
    return bytes(data)


small = st.one_of(st.none(), st.binary(max_size=20), st.binary(min_size=60, max_size=200))
kafka_rows = st.tuples(st.integers(0, 2**42), small, small, st.just([]) | st.just([("h", b"x"), ("i", None)]))


@many
@given(st.lists(st.lists(kafka_rows, min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 20), st.data())
def test_kafka_batches_are_unpacked_as_aiokafka_does(batches, start, data):
    kafka_records = pytest.importorskip("sensors._packs").kafka_records
    text, offset = b"", 0
    for rows in batches:
        text += batch(offset, rows)
        offset += len(rows) + data.draw(st.integers(0, 2))
    wanted, memory = [], MemoryRecords(text)
    while memory.has_next():
        wanted += [(r.offset, r.timestamp, r.key, r.value) for r in memory.next_batch() if r.offset >= start]
    columns = np.frombuffer(kafka_records(text, 0, len(text), start), np.int64).reshape(-1, 6)
    same = np.zeros(len(columns), np.int64)
    found = Records(("t",), text, same, same + 3, columns[:, 0], columns[:, 1], columns[:, 2:])
    assert list(found) == [Record("t", 3, *rest) for rest in wanted] == [found[n] for n in range(len(found))]
    assert list(found[1:3]) == list(found)[1:3]
    broken = bytearray(text)
    for _ in range(3):
        at = data.draw(st.integers(0, len(text) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    kafka_records(bytes(broken), 0, len(broken), start)  # whatever it finds, it finds it there
    for end in data.draw(st.lists(st.integers(0, len(text)), max_size=5)):
        kafka_records(text, 0, end, start)


def lines_of(text: bytes) -> list[Line]:
    return [line for _, line in capture.lines(text, 1, "")]


stamps = st.sampled_from(["", ',"timestamp":1714800000000', ',"timestamp":1714800070000', ',"timestamp":1714799990001'])
capture_rows = st.tuples(
    st.sampled_from(["readings.flood", "readings.rain", "alerts"]),
    st.sampled_from(['"TH-03"', '"EAST"', "null", '"@clock"', '"\\u0041"', '"é"']),
    packs().filter(lambda pack: b"\n" not in pack and is_json(pack)) | st.just(b"[]"),
    st.tuples(stamps, st.sampled_from(["", ',"partition":1', ',"partition":9,"offset":12', ', "offset":3'])).map(
        "".join
    ),
)


def is_json(pack: bytes) -> bool:
    """And of no time that is far from the others: ticks are minutes."""
    try:
        msgspec.json.decode(pack)  # NaN is none, whatever Python says
    except (ValueError, msgspec.DecodeError):
        return False
    latest = senml.latest_time(pack)
    return latest is None or abs(latest - SECONDS * 1000) < 10_000_000


@many
@given(
    st.lists(capture_rows, max_size=12),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.sampled_from([None, SECONDS * 1000 + 500_000]),
)
def test_a_capture_from_a_file_is_the_log_that_its_lines_make(tmp_path_factory, rows, newline, partitions, until):
    text = b"\n".join(
        f'{{"topic":"{name}","key":{key},"value":'.encode() + pack + rest.encode() + b"}"
        for name, key, pack, rest in rows
    )
    path = tmp_path_factory.getbasetemp() / "capture.jsonl"
    path.write_bytes(text + (b"\n" if newline else b""))
    wanted = list(log(lines_of(text), partitions, until))
    assert list(log(path, partitions, until)) == wanted
    if not any(record.key == CLOCK_KEY for record in wanted if record.offset < 0) and b"@clock" not in text:
        for name in ("readings.flood", "readings.rain"):
            of_lines, of_file = (
                [record for piece in CaptureLog(source, partitions, until).pieces() for record in piece.of(name)]
                for source in (lines_of(text), path)
            )
            assert [r for r in of_file if r.key != CLOCK_KEY] == [r for r in of_lines if r.key != CLOCK_KEY]
            assert ticks_that_matter(of_file) == ticks_that_matter(of_lines)


def ticks_that_matter(records: list[Record]) -> list[tuple[int, int | None]]:
    """(number of other records before, time) of the first and the last tick of each break between records."""
    found: dict[int, list[int | None]] = {}
    others = 0
    for record in records:
        if record.key == CLOCK_KEY:
            found.setdefault(others, []).append(record.timestamp)
        else:
            others += 1
    return [(at, time) for at, times in found.items() for time in {times[0]: 0, times[-1]: 0}]


def test_the_checksum_of_batches() -> None:
    """By RFC 3720, B.4, and the same with and without the processor's instruction."""
    packs = pytest.importorskip("sensors._packs", reason="sensors/_packs.c was not compiled")
    for plainly in (False, True):
        assert packs.crc32c(bytes(32), plainly) == 0x8A9136AA
        assert packs.crc32c(b"\xff" * 32, plainly) == 0x62A8AB43
        assert packs.crc32c(bytes(range(32)), plainly) == 0x46DD794E
        assert packs.crc32c(b"123456789", plainly) == 0xE3069283
