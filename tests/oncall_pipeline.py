"""Topics of on-call for tests: alerts, ticks and actions go in, and what came out is held against its log."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from random import Random
from typing import Any

from pipelines import read_all

from alerts.alert import iso
from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.desk import Desk
from alerts.cases.notification import Notification, Receipt
from alerts.edition import Edition
from alerts.routes.routes import Routes
from sensors.catalogue import Catalogue
from sensors.clock import CLOCK_KEY, tick
from streams import topics
from streams.child import Child
from streams.oncall import journal
from streams.oncall.journal import Config, Journal
from streams.oncall.producer import started
from streams.rules_log import rules_log

PARTITIONS = 4
START_MS = 1_792_512_000_000
BY = "p-001"


class Told:
    """What the topics hold, as told to whoever reads them."""

    def __init__(self, cases: list[bytes], notifications: list[bytes], decisions: list[bytes]) -> None:
        self.cases, self.notifications, self.decisions = cases, notifications, decisions

    @property
    def all(self) -> Counter[bytes]:
        return Counter([*self.cases, *self.notifications, *self.decisions])


class OnCallTopics:
    """``feed`` writes, ``assert_exact`` holds what came out against a fold of ``oncall.log`` by a new Desk."""

    def __init__(self, broker: str, prefix: str, folder: Path) -> None:
        self.broker, self.prefix, self.folder = broker, prefix, folder
        self.edition = Edition.read(None, None)
        self.catalogue = Catalogue.shipped()
        self.gauges = [s for s in self.catalogue.sensors.values() if s.kind == "flood"]
        self.written: Counter[str] = Counter()
        self._seq: Counter[str] = Counter()
        self._started = 0
        self._loop = asyncio.new_event_loop()
        self._do(self._make())

    def close(self) -> None:
        self._do(self._producer.stop())
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(what)

    async def _make(self) -> None:
        await topics.ensure(self.broker, self.prefix, PARTITIONS, names=(*topics.ALL, *topics.ONCALL))
        self._producer = await started(self.broker)
        async with rules_log(self.broker, self._producer, self.prefix) as rules:
            await rules.publish(self.edition)

    def start(self, *options: str) -> Child:
        """A process as a user starts it."""
        self._started += 1
        command = [sys.executable, "-m", "streams", "oncall", "--broker", self.broker, "--prefix", self.prefix]
        command += ["--no-console", "--no-delivery", *options]
        return Child(f"oncall {self._started}", command, self.folder / f"oncall-{self._started}.log")

    # -- what goes in -----------------------------------------------------------------------------------------

    def alert(
        self, site: str, level: int, at_ms: int, previous: int = 0, rule: str = "flood-depth"
    ) -> tuple[str, bytes, bytes]:
        """(topic, key, value) of a change of level; each is an episode of its own, or ends the one before."""
        sensor = self.catalogue.sensors[site]
        key = f"{rule}/{site}"
        if not previous:
            self._seq[f"{key} onset"], self._seq[key] = at_ms, -1
        self._seq[key] += 1
        onset = iso(self._seq[f"{key} onset"])
        body = {
            "id": f"{key}/{onset}/{self._seq[key]}", "rule": rule, "type": "level", "kind": sensor.kind, "site": site,
            "zone": sensor.zone, "district": sensor.district, "level": level, "previous": previous,
            "status": "firing" if level else "resolved", "onset": onset, "at": iso(at_ms), "seq": self._seq[key],
            "value": 0.5, "threshold": 0.4, "unit": "m", "message": {"zh": "积水", "en": "water"},
            "ruleset": self.edition.ruleset,
        }  # fmt: skip
        return topics.ALERTS, key.encode(), json.dumps(body, sort_keys=True, ensure_ascii=False).encode()

    def action(self, do: str, case: str, at_ms: int, **fields: Any) -> tuple[str, bytes, bytes]:
        self._seq["actions"] += 1
        action = Action(id=f"a-{self._seq['actions']}", do=do, by=BY, at=at_ms, case=case, **fields)  # type: ignore[arg-type]
        return topics.ACTIONS, case.rpartition("/")[0].encode(), action.value

    def receipt(self, notification: Notification, at_ms: int) -> tuple[str, bytes, bytes]:
        one = Receipt(
            id=f"{notification.id}/sms/1", notification=notification.id, case=notification.case, to=notification.to,
            channel="sms", attempt=1, status="delivered", at=at_ms,
        )  # fmt: skip
        return topics.RECEIPTS, notification.key.encode(), one.value

    async def _tick(self, at_ms: int) -> None:
        places = [(name, p) for name in (topics.ALERTS, topics.ACTIONS) for p in range(PARTITIONS)]
        send, value = self._producer.send, tick(at_ms)
        await asyncio.gather(*[await send(self.prefix + name, value, CLOCK_KEY, p) for name, p in places])

    def feed(self, *records: tuple[str, bytes, bytes] | int) -> None:
        """Records, and times of ticks, one after the other."""

        async def run() -> None:
            for one in records:
                if isinstance(one, int):
                    await self._tick(one)
                else:
                    topic, key, value = one
                    await self._producer.send_and_wait(self.prefix + topic, value, key)
                    self.written[topic] += 1

        self._do(run())

    def storm(self, seed: int, steps: int) -> list[list[tuple[str, bytes, bytes] | int]]:
        """Steps of a bad day: alerts of many gauges up and down, answers, notes, closings, each with a tick."""
        rng, levels, found = Random(seed), dict.fromkeys([g.id for g in self.gauges[:12]], 0), []
        onsets: dict[str, int] = {}
        for step in range(steps):
            at = START_MS + step * 45_000
            records: list[tuple[str, bytes, bytes] | int] = []
            for site in rng.sample(sorted(levels), 2):
                before, level = levels[site], rng.choice([level for level in range(5) if level != levels[site]])
                if not before:
                    onsets[site] = at
                records.append(self.alert(site, level, at, before))
                levels[site] = level
            if onsets and rng.random() < 0.7:
                site = rng.choice(sorted(onsets))
                case = f"flood-depth/{site}/{iso(onsets[site])}"
                do = rng.choice(["ack", "note", "escalate", "close"])
                fields = {"note": {"text": "去看了"}, "close": {"outcome": "helped"}}.get(do, {})
                records.append(self.action(do, case, at + 1, **fields))
            found.append([*records, at + 2_000])
        return found

    # -- what comes out ---------------------------------------------------------------------------------------

    def told(self) -> Told:
        values: dict[str, list[bytes]] = {}
        for name in (topics.CASES, topics.NOTIFICATIONS, topics.DECISIONS):
            found = self._do(read_all(self.broker, [self.prefix + name], PARTITIONS))
            values[name] = [record.value for record in found]
        return Told(*values.values())

    def notifications(self) -> list[Notification]:
        return [Notification.parse(value) for value in self.told().notifications]

    def cases(self) -> list[Case]:
        return [Case.parse(value) for value in self.told().cases]

    def folded(self) -> tuple[Told, Counter[str], int]:
        """What the log comes to by itself; how many records of each topic count in it; and its newest tick."""
        found = self._do(read_all(self.broker, [self.prefix + topics.ONCALL_LOG], PARTITIONS))
        reading, desk, told = Journal(), None, Told([], [], [])
        counted: Counter[str] = Counter()
        sources: set[tuple[Any, ...]] = set()
        for record in sorted(found, key=lambda record: record.offset):
            entry = reading.take(record)
            if isinstance(entry, Config):
                routes = Routes.unpack(bytes(entry.routes))
                if desk is None:
                    desk = Desk(routes, self.edition.catalogue, self.edition.rulebook)
                else:
                    desk.configure(routes, self.edition.catalogue, self.edition.rulebook)
            elif entry is not None:
                assert desk is not None
                if entry.source is not None:
                    assert entry.source not in sources, "counted twice"
                    sources.add(entry.source)
                    counted[entry.source.topic] += 1
                outcome = desk.apply(entry)
                told.cases += [case.value for case in outcome.cases]
                told.notifications += [one.value for one in outcome.notifications]
                told.decisions += [one.value for one in outcome.decisions]
        return told, counted, reading.clock or 0

    def has_begun(self) -> bool:
        """Whether an intake has said where it begins: what is fed from then on is read."""
        found = self._do(read_all(self.broker, [self.prefix + topics.ONCALL_LOG], PARTITIONS))
        return any(record.key == journal.BEGIN_KEY for record in found)

    def until(self, true: Callable[[], bool], running: Iterable[Child] = (), seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            for child in running:
                child.check()
            assert time.monotonic() < deadline, "\n".join(
                path.read_text()[-3000:] for path in sorted(self.folder.glob("oncall-*.log"))
            )
            time.sleep(0.1)

    def until_ready(self, *running: Child) -> None:
        self.until(self.has_begun, running)

    def until_done(self, at_ms: int, running: Iterable[Child] = ()) -> None:
        """Until all that was fed is in the log, up to a tick, and what comes of it is out."""

        def done() -> bool:
            told, counted, clock = self.folded()
            return clock >= at_ms and counted == self.written and self.told().all.keys() == told.all.keys()

        self.until(done, running)

    def assert_exact(self, *, once: bool = True) -> Told:
        """All that was fed counts once, and what came out is what the log comes to; each once, unless told."""
        expected, counted, _ = self.folded()
        assert counted == self.written
        told = self.told()
        if once:
            assert told.all == expected.all
        assert told.all.keys() == expected.all.keys()
        last = self._do(read_all(self.broker, [self.prefix + topics.CASES_LAST], PARTITIONS))
        newest = {Case.parse(value).key: value for value in expected.cases}
        assert {record.key.decode(): record.value for record in last} == newest
        return told


__all__ = ["BY", "PARTITIONS", "START_MS", "OnCallTopics", "Told", "journal"]
