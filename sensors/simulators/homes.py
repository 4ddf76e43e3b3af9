"""Homes of elderly people who live alone: infrared sensors through their days, and three of them need help.

A sensor reports a motion at once, and then not again for some seconds; at its interval it reports that
nothing moved.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sensors.catalogue import Sensor
from sensors.simulators.packs import DAY, HOUR, MINUTE, SECOND, STRETCH, Channels, Pack, Schedule, Setting
from sensors.simulators.routine import AWAY, Habits, Stay, ordinary_day
from sensors.simulators.truth import Expected, Truth

INTERVAL = 120 * SECOND
HOLD_OFF = 10 * SECOND  # between two motions reported by one sensor
RETURN = 10 * MINUTE  # somebody who comes home has moved about for certain after this time
ROOMS = ("bed", "living", "bathroom", "entrance")
BUTTON = "call"  # the `room` of a call button


class Homes:
    """All homes with the four rooms; on the first day one resident falls, one sits too long, one calls."""

    def __init__(self, setting: Setting, truth: Truth) -> None:
        self.setting, self.truth = setting, truth
        rooms: dict[str, dict[str, Sensor]] = {}
        for sensor in setting.catalogue.sensors.values():
            if sensor.kind == "infrared":
                rooms.setdefault(sensor.place, {})[sensor.room or ""] = sensor
        self.homes = sorted(home for home, found in rooms.items() if found.keys() >= set(ROOMS))
        motions = [(rooms[home][room], "motion") for home in self.homes for room in ROOMS]
        buttons = [(rooms[home][BUTTON], "button") for home in self.homes if BUTTON in rooms[home]]
        self.channels = Channels(setting, "infrared", [*motions, *buttons])
        self.sensors = {sensor.id for sensor, _ in (*motions, *buttons)}
        rng = setting.rng("residents")
        self._schedule = Schedule(setting, INTERVAL, rng.integers(0, 1_000_000, len(self.sensors)))
        self._habits = [Habits.draw(rng) for _ in self.homes]
        self._falls, self._sits, self._calls = -1, -1, -1
        if len(self.homes) > 2:
            self._falls, self._sits, self._calls = rng.choice(len(self.homes), 3, replace=False).tolist()
        self._call_ms = setting.midnight_ms + round(rng.uniform(10, 11) * HOUR)
        self._button = {s.place: len(motions) + i for i, (s, _) in enumerate(buttons)}
        self._stay: list[tuple[str, int, bool]] = [("", 0, False)] * len(self.homes)  # room, since, just back

    def packs(self) -> Iterator[Pack]:
        """All packs, in the order in which the broker gets them."""
        motions = self._presses()
        empty = np.zeros((0, 2), np.int64)
        for begin in self.setting.stretches():
            if (begin - self.setting.midnight_ms) % DAY == 0:
                motions = np.concatenate([motions, self._motions_of(begin)])
            now = motions[:, 0] < begin + STRETCH
            events, motions = motions[now], motions[~now] if not now.all() else empty
            quiet = self._quiet(begin, events)
            time, channel = np.concatenate([events, quiet]).T
            moved = np.concatenate([np.ones(len(events), bool), np.zeros(len(quiet), bool)])
            yield from self.channels.packs(time, channel, moved)
        self._close_stays()

    def _presses(self) -> np.ndarray:
        """(time, channel) of the call button's one press."""
        channel = self._button.get(self.homes[self._calls]) if self._calls >= 0 else None
        if channel is None:
            return np.zeros((0, 2), np.int64)
        if self.setting.start_ms <= self._call_ms < self.setting.end_ms:
            home = self.homes[self._calls]
            self.truth.event("call", home, self._call_ms, None)
            for rule in self.truth.of("press", "infrared"):
                level = rule.table(self.setting.catalogue.places[home])
                until = self._call_ms + rule.parameters.reset
                self.truth.expect(Expected.exactly(rule.id, home, level, self._call_ms, until))
        return np.array([[self._call_ms, channel]])

    def _motions_of(self, midnight: int) -> np.ndarray:
        """(time, channel) of the motions of a day in all homes, in order of time."""
        found = []
        first = midnight == self.setting.midnight_ms
        for home in range(len(self.homes)):
            rng = np.random.default_rng([self.setting.seed, home, midnight // DAY])
            falls, sits = first and home == self._falls, first and home == self._sits
            stays = ordinary_day(rng, self._habits[home], midnight, falls=falls, sits=sits)
            for stay in stays:
                if stay.still is not None:
                    fallen = stay.begin + round(stay.still * SECOND)
                    self.truth.event("fall", self.homes[home], fallen, stay.end)
            time, room = self._motions_in(rng, stays)
            self._follow(home, time, room)
            found.append(np.stack([time, home * len(ROOMS) + room], axis=1))
        events = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
        return events[np.argsort(events[:, 0], kind="stable")]

    def _motions_in(self, rng: np.random.Generator, stays: list[Stay]) -> tuple[np.ndarray, np.ndarray]:
        """(times, rooms): one at the beginning of each stay, the others at random, no two at one time."""
        stays = [stay for stay in stays if stay.room != AWAY]
        begin = np.array([stay.begin for stay in stays])
        length = np.array([min(s.end - s.begin, (s.still or DAY) * SECOND) for s in stays])
        counts = rng.poisson(length / (np.array([s.gap for s in stays]) * SECOND) * self.setting.scale)
        within = rng.random(counts.sum()) * np.repeat(length, counts)
        time = np.concatenate([begin, np.repeat(begin, counts) + within.astype(np.int64)])
        stay = np.concatenate([np.arange(len(stays)), np.repeat(np.arange(len(stays)), counts)])
        order = np.lexsort((time, stay))
        time, stay = time[order], stay[order]
        hold_off = round(HOLD_OFF / self.setting.scale)
        kept = (np.diff(time, prepend=-DAY) >= hold_off) | (np.diff(stay, prepend=-1) != 0)
        time, stay = time[kept], stay[kept]
        kept = np.diff(time, prepend=-1) > 0
        return time[kept], np.array([ROOMS.index(s.room) for s in stays])[stay[kept]]

    def _quiet(self, begin: int, events: np.ndarray) -> np.ndarray:
        """(time, channel) of the reports of sensors that saw nothing since their report before."""
        times, interval = self._schedule.times(begin), self._schedule.interval_ms
        steps, channels = times.shape
        # an event keeps the next report of its sensor back; what falls behind the last one is let through
        since = events[:, 0] - begin - self._schedule.phase[events[:, 1]]
        step = np.searchsorted(self._schedule.offsets, since)
        quiet = np.ones((steps + 1, channels), bool)
        quiet[np.minimum(step, steps), events[:, 1]] = False
        rows, channel = np.nonzero(quiet[:steps])
        time = times[rows, channel]
        if interval > 1:  # never twice at one time
            taken = np.isin(time * channels + channel, events[:, 0] * channels + events[:, 1])
            time, channel = time[~taken], channel[~taken]
        return np.stack([time, channel], axis=1)

    def _follow(self, home: int, time: np.ndarray, room: np.ndarray) -> None:
        """Stays in a room as the sensors can see them: from the first motion there to the first elsewhere."""
        told = self.setting.wanted(time)
        time, room = time[told], room[told]
        turns = np.flatnonzero(np.diff(room, prepend=-1))
        for at, number in zip(time[turns].tolist(), room[turns].tolist(), strict=True):
            before, since, back = self._stay[home]
            if ROOMS[number] != before:
                self._end_stay(home, before, since, at, back)
                self._stay[home] = ROOMS[number], at, before == "entrance"

    def _close_stays(self) -> None:
        for home, (room, since, back) in enumerate(self._stay):
            self._end_stay(home, room, since, None, back)

    def _end_stay(self, home: int, room: str, since: int, end: int | None, back: bool) -> None:
        """Expects what a stay raises; who is just back is noticed some minutes after the first motion."""
        place = self.homes[home]
        stop = self.setting.end_ms if end is None else end
        for rule in self.truth.of("dwell", "infrared"):
            waits = rule.table(self.setting.catalogue.places[place]).get(room, {})
            for level, wait in waits.items():
                earliest, latest = since + wait, since + wait + (RETURN if back else 0)
                if earliest < stop:
                    sure = [(latest, end)] if latest < stop else []
                    self.truth.expect(Expected(rule.id, place, level, (earliest, end), (earliest, end), sure))
        if room == "living" and stop - since > 3 * HOUR:
            self.truth.event("long sit", place, since, end)
