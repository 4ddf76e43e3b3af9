"""`kapok oncall` on real brokers: what comes out is what the log says, whatever happens to the processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import aiohttp
import pytest
from oncall_pipeline import BY, PARTITIONS, START_MS, OnCallTopics
from pipelines import ended, wait_for_line
from typer.testing import CliRunner

from alerts.console.pages import Pages
from alerts.edition import Edition
from alerts.routes import directory as directories
from alerts.routes import routes as routes_files
from alerts.rulebook import SHIPPED as rules_file
from sensors.errors import InputError, RunError
from streams import topics
from streams.apache_kafka import ApacheKafka
from streams.commands import app
from streams.oncall.feed import TopicFeed
from streams.oncall.files import Files
from streams.oncall.players import Players
from streams.oncall.process import OnCall
from streams.oncall.producer import started
from streams.oncall.term import Term
from streams.record import record
from streams.rules_log import rules_log

pytest_plugins = ["brokers"]


@pytest.fixture
def topics_of(broker: str, prefix: str, tmp_path: Path) -> Iterator[OnCallTopics]:
    made = OnCallTopics(broker, prefix, tmp_path)
    yield made
    made.close()


@pytest.fixture
def embedded(embedded_broker: str, prefix: str, tmp_path: Path) -> Iterator[OnCallTopics]:
    made = OnCallTopics(embedded_broker, prefix, tmp_path)
    yield made
    made.close()


@pytest.fixture
def kafka(apache_kafka: str, prefix: str, tmp_path: Path) -> Iterator[OnCallTopics]:
    made = OnCallTopics(apache_kafka, prefix, tmp_path)
    yield made
    made.close()


class Said(NamedTuple):
    code: int
    stdout: str
    stderr: str


def kapok(on: OnCallTopics, *arguments: str) -> Said:
    """``kapok alerts``, as ``main`` runs it."""
    ran = CliRunner().invoke(
        app, ["alerts", arguments[0], "--broker", on.broker, "--prefix", on.prefix, *arguments[1:]]
    )
    code = {InputError: 2, RunError: 3}.get(type(ran.exception), ran.exit_code)  # type: ignore[arg-type]
    return Said(code, ran.stdout, f"{ran.stderr}{ran.exception or ''}")


def test_an_alert_becomes_a_case_that_is_told_answered_and_closed(topics_of: OnCallTopics) -> None:
    on, site = topics_of, topics_of.gauges[0].id
    with ended(on.start()) as running:
        on.until_ready(*running)
        on.feed(START_MS, on.alert(site, 4, START_MS + 500), START_MS + 1000)
        on.until(lambda: len(on.notifications()) > 0, running)
        told = on.notifications()
        assert {one.why for one in told} == {"opened"}
        assert len({one.to for one in told}) == len(told)
        on.feed(on.receipt(told[0], START_MS + 1500), START_MS + 2000)
        on.until(lambda: on.cases()[-1].state == "notified", running)

        found = kapok(on, "list", "--json")
        assert found.code == 0, found.stderr
        assert [json.loads(line)["site"] for line in found.stdout.splitlines()] == [site]
        done = kapok(on, "ack", site, "--by", BY, "--lang", "en")
        assert done.code == 0, done.stderr
        assert "acknowledged" in done.stdout
        on.feed(START_MS + 3_600_000)  # nobody else is called
        done = kapok(
            on, "close", f"flood-depth/{site}", "--by", BY, "--outcome", "helped", "--satisfaction", "5", "--json"
        )
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)["outcome"] == "helped"
        assert kapok(on, "list", "--json").stdout == ""
        assert running[0].stop() == 0
    on.written["actions"] += 2
    on.assert_exact()


def test_a_silence_and_its_end_say_what_was_decided_about_them(embedded: OnCallTopics) -> None:
    """Also to the console, which shows what holds, whatever somebody has written to `actions`."""
    on, site = embedded, embedded.gauges[0].id
    asks = ("--site", site, "--for", "2h", "-m", "the gauge is being cleaned", "--lang", "en")
    board = TopicFeed(on.broker, on.prefix, PARTITIONS, on.edition, None, None)  # type: ignore[arg-type]

    def shown() -> set[str]:
        async def read() -> set[str]:
            ready = asyncio.Event()
            following = asyncio.create_task(board.run(ready.set))
            await ready.wait()
            following.cancel()
            await asyncio.wait({following})
            return set(board.board.quiet)

        return asyncio.run(read())

    with ended(on.start()) as running:
        on.until_ready(*running)
        on.feed(START_MS)
        refused = kapok(on, "silence", "--by", "p-999", *asks)
        assert (refused.code, refused.stderr) == (2, "p-999 is not in the directory"), refused
        done = kapok(on, "silence", "--by", BY, *asks)
        assert done.code == 0, done.stderr
        silence = done.stdout.split()[1]
        assert shown() == {silence}
        refused = kapok(on, "lift", "0b9c", "--by", BY, "--lang", "en")
        assert (refused.code, refused.stderr) == (2, "there is no silence 0b9c"), refused
        refused = kapok(on, "lift", silence, "--by", "p-999", "--lang", "zh")
        assert (refused.code, refused.stderr) == (2, "p-999不在人员名册"), refused
        assert shown() == {silence}
        done = kapok(on, "lift", silence, "--by", BY, "--lang", "en")
        assert (done.code, done.stdout.strip()) == (0, "lifted: what still fires is told now"), done
        assert shown() == set()
        assert running[0].stop() == 0
    on.written["actions"] += 5
    on.assert_exact()


def test_a_silence_of_which_nobody_decides_is_not_said_to_hold(
    embedded: OnCallTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["streams.commands.alerts"], "_WAIT_S", 0.5)
    said = kapok(embedded, "silence", "--by", BY, "--site", embedded.gauges[0].id, "-m", "why")
    assert (said.code, "is kapok oncall running?" in said.stderr) == (3, True), said


def test_after_an_hour_without_on_call_the_first_are_told_and_have_their_time(embedded: OnCallTopics) -> None:
    on, site, minute = embedded, embedded.gauges[0].id, 60_000
    back = START_MS + 60 * minute
    with ended(on.start()) as running:
        on.until_ready(*running)
        on.feed(START_MS)
        on.until_done(START_MS, running)
    on.feed(on.alert(site, 4, START_MS + 10 * minute))
    on.feed(*range(START_MS + 10 * minute, back + 1, 20_000))
    with ended(on.start()) as running:
        on.until_done(back, running)
        assert {one.why for one in on.notifications()} == {"opened"}
        due = on.cases()[-1].due
        assert due is not None
        assert due - back == 5 * minute
        for at in (*range(back + 20_000, due, 20_000), due - 1000):  # one by one: on-call is not behind any more
            on.feed(at)
            on.until_done(at, running)
        assert {one.why for one in on.notifications()} == {"opened"}
        on.feed(due + 1000)
        on.until(lambda: any(one.why == "escalated" for one in on.notifications()), running)
        assert {one.at for one in on.notifications() if one.why == "escalated"} == {due}
        assert running[0].stop() == 0
    on.assert_exact()


def test_what_fires_when_on_call_begins_is_told_as_of_now(embedded: OnCallTopics) -> None:
    on, site, hour = embedded, embedded.gauges[0].id, 3_600_000
    _, key, value = on.alert(site, 4, START_MS)
    on.feed((topics.LAST, key, value), START_MS + 3 * hour)
    on.written.clear()
    with ended(on.start()) as running:
        on.until_ready(*running)
        on.feed(START_MS + 3 * hour + 1000)
        on.until(lambda: len(on.notifications()) > 0, running)
        on.until(lambda: on.folded()[2] == START_MS + 3 * hour + 1000, running)
        assert {(one.why, one.at) for one in on.notifications()} == {("opened", START_MS + 3 * hour)}


def test_a_night_in_a_terminal_in_both_languages(embedded: OnCallTopics, tmp_path: Path) -> None:
    """tail, list, ack, note, escalate and close; and the recorded log afterwards, by these and by other routes."""
    on, site = embedded, embedded.gauges[0].id
    place = ["--broker", on.broker, "--prefix", on.prefix]
    command = [sys.executable, "-m", "streams", "alerts", "tail", *place, "--lang", "zh"]
    with ended(on.start()) as running:
        on.until_ready(*running)
        following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})
        try:
            assert following.stdout is not None
            lines: list[str] = []
            reading = threading.Thread(target=lambda: lines.extend(iter(following.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
            reading.start()
            times = iter(range(START_MS, START_MS + 3_600_000, 1000))

            def seen() -> bool:  # it follows from when it has begun: other gauges until then
                on.feed(on.alert(on.gauges[1].id, 4, at := next(times)), at + 500)
                return bool(lines)

            on.until(seen, running)
            on.feed(on.alert(site, 3, at := next(times)), at + 500)
            on.until(lambda: any(one.site == site for one in on.cases()), running)
            said = {
                ("note", "-m", "泵车已出发"): ("备注", "notes"),
                ("escalate",): ("要求通知下一批", "asks for the next"),
                ("ack",): ("已应答", "answered"),
                ("close", "--outcome", "helped", "--satisfaction", "4"): ("结案", "closed by"),
            }
            zh = kapok(on, "list", "--lang", "zh", "--level", "3")
            assert "等级" in zh.stdout or "橙色" in zh.stdout
            for (do, *options), (chinese, english) in said.items():
                told = kapok(on, do, site, "--by", BY, *options, "--lang", "zh" if do != "ack" else "en")
                assert told.code == 0, told
                assert (english if do == "ack" else chinese) in told.stdout
            on.until(lambda: any(site in line and "结案" in line for line in lines), running)
            of_site = "".join(line for line in lines if site in line)
            assert all(chinese in of_site for chinese, _ in said.values())
            assert "橙色" in of_site
        finally:
            following.terminate()
            following.wait()
        assert running[0].stop() == 0
    on.written["actions"] += 4
    told = on.assert_exact()
    capture, out, other = tmp_path / "night.jsonl", tmp_path / "told.jsonl", tmp_path / "would.jsonl"
    asyncio.run(record(on.broker, capture, prefix=on.prefix, names=[topics.ONCALL_LOG]))
    replay = ["replay", str(capture), "--oncall", str(out)]
    ran = CliRunner().invoke(app, replay)
    assert ran.exit_code == 0, ran.output
    assert Counter(out.read_bytes().splitlines()) == Counter(told.notifications)
    routes = tmp_path / "routes.toml"
    room = '"control-room"'
    steps = f'steps = [{{ tell = {room}, wait = "1m" }}]'
    routes.write_text(f'[[route]]\nid = "all"\notherwise = true\n{steps}\nlast_resort = {room}\n')
    directory = tmp_path / "directory.toml"
    directory.write_text(directories.SHIPPED.read_text())
    ran = CliRunner().invoke(
        app, ["replay", str(capture), "--oncall", str(other), "--routes", str(routes), "--directory", str(directory)]
    )
    assert ran.exit_code == 0, ran.output
    would = [json.loads(line) for line in other.read_bytes().splitlines()]
    assert {one["group"] for one in would} == {"control-room"}
    assert all(one["exercise"] for one in would)
    assert would


def test_a_silence_in_a_terminal_holds_back_until_it_is_lifted(embedded: OnCallTopics) -> None:
    on, site = embedded, embedded.gauges[0].id
    with ended(on.start()) as running:
        on.until_ready(*running)
        on.feed(START_MS)
        made = kapok(on, "silence", "--by", BY, "-m", "清洗水尺", "--site", site, "--for", "2h")
        assert made.code == 0, made.stderr
        on.until(lambda: on.folded()[1][topics.ACTIONS] == 1, running)
        on.feed(on.alert(site, 3, START_MS + 5000), START_MS + 6000)
        on.until(lambda: any(one.silenced for one in on.cases()), running)
        assert on.notifications() == []
        lifted = kapok(on, "lift", made.stdout.split()[1], "--by", BY)
        assert lifted.code == 0, lifted.stderr
        on.until(lambda: len(on.notifications()) > 0, running)
        on.feed(on.alert(site, 0, START_MS + 60_000, 3), START_MS + 61_000)
        on.until(lambda: on.cases()[-1].resolved is not None, running)
        listed = kapok(on, "list", "--lang", "en").stdout
        assert "orange" in listed  # nobody has answered it, so it is not "normal"
        assert "over" in listed
        assert running[0].stop() == 0


def test_bad_actions_are_refused_in_words(embedded: OnCallTopics) -> None:
    on, site = embedded, embedded.gauges[0].id
    with ended(on.start()) as running:
        on.until_ready(*running)
        on.feed(START_MS, on.alert(site, 4, START_MS + 500), START_MS + 1000)
        on.until(lambda: len(on.notifications()) > 0, running)
        for arguments, said in (
            (("ack", "nowhere", "--by", BY), "no such case"),
            (("ack", site, "--by", "nobody"), "nobody"),
            (("close", site, "--by", BY, "--outcome", "gone"), "gone"),
            (("silence", "--by", BY, "-m", "why"), "whole city"),
            (("silence", "--by", BY, "-m", "why", "--site", site, "--for", "long"), "--for"),
        ):
            refused = kapok(on, *arguments)
            assert refused.code == 2, (arguments, refused)
            assert said in refused.stderr, (arguments, refused)
    nothing = kapok(on, "list", "--prefix", "none.")
    assert nothing.code == 3
    assert "kapok oncall" in nothing.stderr


def storm(on: OnCallTopics, seed: int, steps: int, at: dict[int, Callable[[], None]], pause: float = 0.05) -> int:
    """Feeds a storm, and does something before some of its steps; gives the time that it ends."""
    for number, records in enumerate(on.storm(seed, steps)):
        if number in at:
            at[number]()
        on.feed(*records)
        time.sleep(pause)
    return START_MS + (steps - 1) * 45_000 + 2_000


def test_killed_anywhere_it_repeats_and_loses_nothing(topics_of: OnCallTopics, tmp_path: Path) -> None:
    on, rng, steps = topics_of, Random(1), 24
    with ended(on.start()) as running:
        on.until_ready(*running)

        def kill() -> None:
            """While it works, soon after it has put something out that its state does not have yet."""
            wait_for_line(running[0], "on-call works")
            before = len(on.told().notifications)
            on.until(lambda: len(on.told().notifications) > before or len(on.folded()[0].notifications) == before)
            time.sleep(rng.random() * 0.3)
            running[0].kill()
            running[0] = on.start()

        end = storm(on, 1, steps, dict.fromkeys(rng.sample(range(2, steps), 3), kill))
        on.until_done(end, running)
        assert running[0].stop() == 0
    told = on.assert_exact()
    assert len(told.notifications) > 50
    capture, again = tmp_path / "log.jsonl", tmp_path / "again.jsonl"
    asyncio.run(record(on.broker, capture, prefix=on.prefix, names=["oncall.log"]))
    command = [sys.executable, "-m", "streams", "replay", str(capture), "--oncall", str(again)]
    replayed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert replayed.returncode == 0, replayed.stderr
    assert Counter(again.read_bytes().splitlines()) == Counter(told.notifications)


def test_what_never_came_into_the_state_is_not_put_out_again(
    topics_of: OnCallTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process puts everything out and never gets to write its state; the next one folds all of it again."""
    on, steps = topics_of, 12

    async def not_in_time(self: Term) -> None:
        pass

    with monkeypatch.context() as patched:
        patched.setattr(Term, "_write", not_in_time)
        with in_thread(on):
            on.until(on.has_begun)
            end = storm(on, 6, steps, {})
            on.until_done(end)
    with in_thread(on):
        on.feed(end + 1000)
        on.until_done(end + 1000)
    assert len(on.assert_exact().notifications) > 20


@contextlib.contextmanager
def in_thread(on: OnCallTopics) -> Iterator[None]:
    """On-call in this process, so that it can be hindered."""
    ending: list[Callable[[], object]] = []

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        ending.append(lambda: loop.call_soon_threadsafe(stop.set))
        await OnCall(on.broker, Files(), prefix=on.prefix, partitions=PARTITIONS, delivering=False).run(stop)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        for end in ending:
            end()
        thread.join(30)
    assert not thread.is_alive()


def test_a_standby_takes_over(topics_of: OnCallTopics) -> None:
    on, steps = topics_of, 24
    with ended(on.start()) as running:
        on.until_ready(running[0])
        running.append(on.start())

        def kill() -> None:
            running[0].kill()

        def stop() -> None:
            wait_for_line(running[1], "on-call works")
            running.append(on.start())
            time.sleep(1)
            assert running[1].stop() == 0

        end = storm(on, 3, steps, {6: kill, 18: stop})
        on.until_done(end, running[2:])
        assert running[2].stop() == 0
    on.assert_exact()


@pytest.mark.kafka
def test_one_that_was_cut_off_and_comes_back_does_no_harm(kafka: OnCallTopics) -> None:
    on, steps = kafka, 24
    with ended(on.start()) as running:
        on.until_ready(running[0])
        running.append(on.start())

        def freeze() -> None:
            os.kill(running[0].pid, signal.SIGSTOP)

        def thaw() -> None:
            wait_for_line(running[1], "on-call works")
            os.kill(running[0].pid, signal.SIGCONT)

        end = storm(on, 4, steps, {6: freeze, 18: thaw})
        on.until_done(end, running)
    on.assert_exact(once=False)


def test_alerts_from_before_its_first_start_are_told_while_they_last(embedded: OnCallTopics) -> None:
    """Of those that are over nobody is told; of those that fire everybody is."""
    on, (over, fires) = embedded, (embedded.gauges[0].id, embedded.gauges[1].id)
    before = [on.alert(over, 3, START_MS), on.alert(over, 0, START_MS + 1, 3), on.alert(fires, 3, START_MS + 2)]
    lasts = [("alerts.last", key, value) for _, key, value in before]
    on.feed(*before, *lasts, START_MS + 1000)
    with ended(on.start()) as running:
        on.until_ready(*running)
        on.until(lambda: len(on.notifications()) > 0, running)
        on.feed(on.alert(over, 4, START_MS + 2000), START_MS + 3000)
        on.until(lambda: len(on.cases()) >= 2, running)
    assert {case.site for case in on.cases()} == {over, fires}
    assert {one.level for one in on.notifications() if one.to} == {3, 4}


@pytest.mark.kafka
def test_a_broker_that_is_killed_and_comes_back_loses_nothing(java: None, tmp_path: Path) -> None:
    with ApacheKafka(tmp_path / "kafka") as broker:
        on, steps = OnCallTopics(broker.address, "", tmp_path), 24
        with contextlib.closing(on), ended(on.start()) as running:
            on.until_ready(*running)

            def restart() -> None:
                broker.process.kill()
                broker.start()

            end = storm(on, 5, steps, {8: restart})
            on.until_done(end, running)
            assert running[0].stop() == 0
            on.assert_exact()


def test_routes_that_are_read_again_hold_from_then_on(embedded: OnCallTopics, tmp_path: Path) -> None:
    """And what cannot be used changes nothing; the old ones do not come back by a restart with the old file."""
    on, routes = embedded, tmp_path / "routes.toml"
    shipped = routes_files.SHIPPED.read_text()
    everything = (
        '[[route]]\nid = "all"\nsteps = [{ tell = "control-room", wait = "5m" }]\nlast_resort = "control-room"\n'
    )
    everything += "otherwise = true\n"
    routes.write_text(shipped)
    sites = [gauge.id for gauge in on.gauges]
    with ended(on.start("--routes", str(routes))) as running:
        on.until_ready(*running)
        on.feed(START_MS, on.alert(sites[0], 4, START_MS + 500), START_MS + 1000)
        on.until(lambda: len(on.notifications()) > 0, running)
        routes.write_text("[[route]]")
        running[0].send(signal.SIGHUP)
        wait_for_line(running[0], "routes and directory stay as they were")
        routes.write_text(everything)
        running[0].send(signal.SIGHUP)
        on.until(lambda: running[0].log.read_text().count("on-call goes by routes") == 2, running)
        time.sleep(0.5)
        on.feed(on.alert(sites[1], 4, START_MS + 1500), START_MS + 2000)
        on.until(lambda: any(one.route == "all" for one in on.notifications()), running)
        assert running[0].stop() == 0
        routes.write_text(shipped)
        running[0] = on.start("--routes", str(routes))
        wait_for_line(running[0], "were replaced since")
        on.feed(on.alert(sites[2], 4, START_MS + 2500), START_MS + 3000)
        on.until_done(START_MS + 3000, running)
    by_site = {one.key.split("/")[1]: one.route for one in on.notifications()}
    assert by_site[sites[0]] != "all"
    assert (by_site[sites[1]], by_site[sites[2]]) == ("all", "all")
    on.assert_exact()


def test_the_demo_says_that_there_is_no_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = [Players().about(lang) for lang in ("zh", "en")]
    monkeypatch.setattr("streams.oncall.players.Pages", lambda: Pages(tmp_path))
    without = [Players().about(lang) for lang in ("zh", "en")]
    assert all("echarts.min.js" in text and "uv sync --reinstall-package kapok" in text for text in without)
    if not Pages().missing:
        assert not any("echarts" in text for text in said)


def test_all_of_it_in_one_process(embedded: OnCallTopics, tmp_path: Path) -> None:
    """Somebody's phone takes the message, the case is notified, and the console shows it to who has logged in."""
    on, site, players = embedded, embedded.gauges[0].id, Players()

    async def seen() -> list[str]:
        origin = {"origin": players.address}
        async with aiohttp.ClientSession(players.address, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            login = {"name": players.logins["admin"], "password": players.password}
            async with session.post("/login", json=login, headers=origin) as answer:
                assert answer.status == 204
            async with session.ws_connect("/live", headers=origin) as live:
                return [str(item) for item in (await live.receive_json())["items"]]

    async def publish(old: str, new: str) -> None:
        rules = tmp_path / "rules.toml"
        rules.write_text(rules_file.read_text().replace(old, new))
        producer = await started(on.broker)
        async with rules_log(on.broker, producer, on.prefix) as published:
            await published.publish(Edition.read(rules, None))
        await producer.stop()

    async def run() -> None:
        async with players.phones():
            with ended(players.start(on.broker, on.prefix, tmp_path)) as running:
                await asyncio.to_thread(on.until_ready, *running)
                await asyncio.to_thread(on.feed, START_MS, on.alert(site, 4, START_MS + 500), START_MS + 1000)
                await asyncio.to_thread(
                    on.until, lambda: bool(on.cases()) and on.cases()[-1].state == "notified", running
                )
                await asyncio.to_thread(wait_for_line, running[0], "the console is at")
                assert any(site in item for item in await seen())
                assert players.told > 0
                assert "ponding" in str(await seen())
                await publish('en = "ponding"', 'en = "water on the road"')  # and the console goes by the new rules
                async with asyncio.timeout(60):
                    while "water on the road" not in str(await seen()):
                        await asyncio.sleep(0.2)

    asyncio.run(run())
