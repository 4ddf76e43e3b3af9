"""kapok chaos: the plan is the seed's, the parts do what they say, and a short run on a real Kafka loses nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from sensors.capture import read
from sensors.clock import log
from sensors.errors import InputError
from sensors.record import partition_of
from streams.chaos.load import RULE, TOPIC, Load, canary_zones, gauge, load, simulated, span, woven
from streams.chaos.plan import SHARES, Fault, Kind, plan, shares
from streams.chaos.proxy import Proxy
from streams.chaos.report import Report, Sent, difference, rejected_difference, went_back
from streams.chaos.timeline import QUIET, REST, Phase, Timeline
from streams.child import free_port

pytest_plugins = ["brokers"]


# -- the plan ----------------------------------------------------------------------------------------------------


def test_the_seed_is_the_plan() -> None:
    counts = shares(110)
    assert counts == SHARES
    faults = plan(7, counts, workers=3, session_s=2.0)
    assert faults == plan(7, counts, workers=3, session_s=2.0)
    assert faults != plan(8, counts, workers=3, session_s=2.0)
    assert Counter(fault.kind for fault in faults) == counts


@pytest.mark.parametrize("number", [1, 5, 6, 7, 20, 109])
def test_faults_are_shared_out(number: int) -> None:
    counts = shares(number)
    assert sum(counts.values()) == number
    assert min(counts.values()) >= (1 if number >= len(Kind) else 0)


def test_faults_are_what_they_are_called() -> None:
    faults = plan(1, dict.fromkeys(Kind, 200), workers=2, session_s=6.0)
    of = {kind: [fault for fault in faults if fault.kind == kind] for kind in Kind}
    assert all(set(fault.workers) <= {0, 1} for fault in faults)
    assert all(fault.workers == () for fault in of[Kind.BROKER])
    assert {fault.hard for fault in of[Kind.BROKER]} == {True, False}
    assert min(fault.seconds for fault in of[Kind.STOP]) > 6.0
    assert min(fault.seconds for fault in of[Kind.CUT]) < 6.0 < max(fault.seconds for fault in of[Kind.CUT])
    assert {len(fault.workers) for fault in of[Kind.KILL]} == {1, 2}
    assert not any(fault.hard for fault in of[Kind.KILL] if len(fault.workers) == 2)  # nobody left to wait for
    assert {len(fault.workers) for fault in of[Kind.ROLLING]} == {2}
    assert len({fault.label for fault in faults}) == 13


# -- the proxy ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(free_port(), server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def test_a_proxy_passes_on_what_it_gets() -> None:
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        sent = bytes(range(256)) * 10_000
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.write_eof()
        assert await reader.read() == b""


async def test_a_cut_closes_and_refuses_until_it_is_over() -> None:
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        await proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.restore()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"


async def test_a_silence_keeps_what_was_sent() -> None:
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.silence()
        writer.write(b"a")
        answer = asyncio.create_task(reader.readexactly(1))
        await asyncio.sleep(0.2)
        assert not answer.done()
        await proxy.restore()
        assert await answer == b"a"


async def test_latency_is_added_each_way_and_keeps_the_order() -> None:
    async with echo_behind_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.latency_s = 0.1
        began = time.monotonic()
        writer.write(b"a")
        await asyncio.sleep(0.05)
        proxy.latency_s = 0.01
        writer.write(b"b")
        assert await reader.readexactly(2) == b"ab"
        assert time.monotonic() - began >= 0.1


async def test_a_target_that_is_away_closes_the_connection() -> None:
    async with Proxy(free_port(), free_port()) as proxy:
        reader, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


# -- the load ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Load:
    folder = tmp_path_factory.mktemp("load")
    lines = simulated(20_000, hours=1.0, seed=3, sites=None)
    return load(folder, lines, sites=None, rules=None, partitions=8, every_ms=20_000, seed=3)


def test_every_canary_reading_is_an_alert_of_its_partition(made: Load) -> None:
    zones = canary_zones(8)
    assert [partition_of(zone.encode(), 8) for zone in zones] == list(range(8))
    records = [r for r in log(made.capture, 8) if r.topic == TOPIC and (r.key or b"").startswith(b"CANARY")]
    alerts = Counter(body["zone"] for body in made.direct.bodies() if body["rule"] == RULE)
    assert alerts == Counter(record.key.decode() for record in records if record.key)
    assert set(alerts) == set(zones)
    assert min(alerts.values()) > 170  # in an hour, one every 20 s
    assert len(made.direct.alerts) > sum(alerts.values())  # the day has alerts of its own
    assert all(alert["site"].startswith("CANARY") for alert in made.direct.bodies() if alert["rule"] == RULE)


def test_the_same_seed_is_the_same_load(made: Load, tmp_path: Path) -> None:
    lines = simulated(20_000, hours=1.0, seed=3, sites=None)
    again = load(tmp_path, lines, sites=None, rules=None, partitions=8, every_ms=20_000, seed=3)
    for name in ("sites", "rules", "capture"):
        assert getattr(again, name).read_bytes() == getattr(made, name).read_bytes()
    assert (again.first_ms, again.last_ms) == (made.first_ms, made.last_ms)


def test_the_lines_of_a_capture_stay_as_they_are(made: Load) -> None:
    given = list(read(made.capture))
    zones = ["NEW"]
    lines = list(woven(iter(given), zones, 60_000, 1))
    assert [line for line in lines if line.key != "NEW"] == given
    times = [line.timestamp for line in lines if line.key == "NEW"]
    assert len(times) == pytest.approx(60, abs=2)
    assert all(gauge("NEW").encode() in bytes(line.value) for line in lines if line.key == "NEW")


def test_a_capture_without_times_is_refused(tmp_path: Path) -> None:
    capture = tmp_path / "timeless.jsonl"
    capture.write_text('{"topic": "readings.flood", "key": "z", "raw": "AA=="}\n')
    with pytest.raises(InputError, match="no span of time"):
        span(capture)


# -- the report --------------------------------------------------------------------------------------------------


def sent(alert_id: str, value: bytes = b"", at: float = 0.0, offset: int = 0) -> Sent:
    return Sent(alert_id, value or alert_id.encode(), at, (TOPIC, 0, offset))


def test_lost_invented_and_repeated_are_told_apart() -> None:
    due = {name: name.encode() for name in "abcd"}
    same = difference(due, [sent("b"), sent("a"), sent("d"), sent("c")])
    assert (same.lost, same.invented, same.repeated) == ([], [], [])
    found = difference(due, [sent("a"), sent("b", at=1.0), sent("b", at=2.0), sent("x"), sent("c", b"C"), sent("b")])
    assert found.lost == ["d"]
    assert found.invented == ["x", "c"]
    assert [alert.time_s for alert in found.repeated] == [2.0, 0.0]


def test_rejected_readings_are_counted_each() -> None:
    assert rejected_difference([b"a", b"a", b"b"], [b"a", b"b", b"a"]) == (0, 0)
    assert rejected_difference([b"a", b"a", b"b"], [b"a", b"c", b"d"]) == (2, 2)


def test_an_older_alert_after_a_newer_one_is_noticed() -> None:
    due = [("r/s", b"1"), ("r/t", b"x"), ("r/s", b"2"), ("r/s", b"3")]
    assert went_back(due, [("r/s", b"1"), ("r/s", b"2"), ("r/t", b"x"), ("r/s", b"3"), ("r/s", b"3")]) == (0, 0)
    assert went_back(due, [("r/s", b"1"), ("r/s", b"3"), ("r/s", b"2"), ("r/s", b"3"), ("r/t", b"x")]) == (1, 0)
    assert went_back(due, [("r/s", b"2"), ("r/s", b"3"), ("r/s", b"1")]) == (1, 2)  # and r/t is missing


def fault(kind: Kind) -> Fault:
    return Fault(kind, (0,), seconds=2.0, hard=True, latency_s=0.0, rest_s=0.0)


def test_pauses_and_repeats_belong_to_the_fault_in_which_the_broker_had_them() -> None:
    when = Timeline()
    kill, broker = fault(Kind.KILL), fault(Kind.BROKER)
    when.phases = [
        Phase(QUIET, -1, 100.0),
        Phase(kill.label, 0, 110.0),
        Phase("a killed worker is back", 0, 120.0),
        Phase(QUIET, -1, 130.0),
        Phase(broker.label, 1, 140.0, back=145.0),
        Phase(REST, -1, 150.0),
    ]
    # Readings at offsets 0 to 6, and when the broker had them.
    for following, stored in ((2, 101.0), (3, 110.5), (4, 121.0), (5, 139.9), (6, 146.0), (7, 150.1)):
        when._following[TOPIC, 0].append(following)
        when._stored[TOPIC, 0].append(stored)
    alerts = [
        sent("a", at=101.1, offset=0),
        sent("b", at=101.2, offset=1),
        sent("c", at=112.5, offset=2),  # after the kill
        sent("b", at=112.6, offset=1),  # again
        sent("d", at=121.4, offset=3),
        sent("e", at=146.5, offset=4),  # read before the broker went, alerted after its return
        sent("f", at=146.1, offset=5),
        sent("g", at=190.0, offset=6),  # all at once at the end
    ]
    report = Report(seed=1, workers=2, session_s=2.0)
    found = report.take_alerts({alert.id: alert.value for alert in alerts}, alerts)
    report.take_times([kill, broker], alerts, found.repeated, when)
    assert report.same
    assert report.repeated == 1
    assert report.pauses == {
        "a killed worker is back": (1, 0.4, 0.4),
        broker.label: (1, 1.5, 1.5),
        kill.label: (1, 2.0, 2.0),
        QUIET: (1, 0.2, 0.2),
    }
    assert [row["repeated"] for row in report.faults] == [1, 0]
    assert report.faults[0]["pauses_s"] == {kill.label: 2.0, "a killed worker is back": 0.4}
    assert report.repeats_by_kind == {
        "kill": {"faults": 1, "repeats": 1},
        "broker restart": {"faults": 0, "repeats": 0},
    }
    assert msgspec.json.decode(msgspec.json.encode(report.json()))["pauses"][kill.label]["median"] == 2.0


# -- the command -------------------------------------------------------------------------------------------------


def chaos(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streams", "chaos", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("none.jsonl",), "none.jsonl: cannot read the capture"),
        (("--faults", 3, "--kills", 1), "--faults does not go with"),
        (("--kills", 0), "no faults"),
        (("--keep", "."), "not an empty folder"),
        (("--workers", 1), "workers"),
        (("--session", 0.5), "session"),
    ],
)
def test_bad_arguments_are_refused(options: tuple[object, ...], message: str) -> None:
    done = chaos(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.kafka
@pytest.mark.timeout(900)  # a minute or two where nothing else runs
@pytest.mark.usefixtures("java")
def test_a_few_of_every_fault_change_nothing(tmp_path: Path) -> None:
    counts = {"kills": 2, "stops": 1, "broker-restarts": 1, "cuts": 1, "delays": 1, "restarts": 1}
    options = [word for name, number in counts.items() for word in (f"--{name}", number)]
    done = chaos(*options, "--readings", 100_000, "--seed", 5, "--json", "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert report["same"]
    assert (report["lost"], report["invented"], report["stale"]) == (0, 0, 0)
    assert report["readings"] > 80_000
    assert report["alerts"] > 1000
    assert sorted(report["counts"].values()) == sorted(counts.values())
    assert [fault["fault"] for fault in report["faults"]] == list(range(1, 8))
    assert all(fault["pauses_s"] for fault in report["faults"])
    assert json.loads((tmp_path / "kept/report.json").read_text()) == report
