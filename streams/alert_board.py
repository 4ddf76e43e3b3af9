"""The alerts of now on a terminal: what, where, since when, how bad, the reading against its threshold."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from alerts.levels import LEVEL_NAMES
from alerts.message import LEVELS_ZH, duration, title
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue

STYLES = (
    "green",
    "bold white on blue",
    "bold black on yellow",
    "bold black on dark_orange",
    "bold white on red",
)
MARKS = ("✓", "●", "▲", "◆", "■")  # so that levels can be told apart without colour

_WORDS: dict[str, dict[str, str]] = {
    "zh": {
        "title": "木棉 kapok：城市运行预警",
        "columns": "级别 何时起 何处 何事 读数 阈值",
        "none": "目前没有预警",
        "readings": "读数",
        "changes": "级别变化",
        "now": "进行中",
        "more": "… 另有 {} 条",
    },
    "en": {
        "title": "kapok 木棉: the city's alerts",
        "columns": "level since where what reading threshold",
        "none": "no alerts at the moment",
        "readings": "readings",
        "changes": "changes of level",
        "now": "active",
        "more": "… and {} more",
    },
}
_TIMERS = ("dwell", "inactivity", "silence")


class AlertBoard:
    """Takes alerts as they come. ``render`` draws all of it; ``line`` is one alert for where no terminal is."""

    def __init__(
        self,
        catalogue: Catalogue,
        rulebook: Rulebook,
        lang: str,
        about: str = "",
    ) -> None:
        self._names = {s.id: s.name for s in (*catalogue.sensors.values(), *catalogue.places.values())}
        self._rules = {rule.id: rule for rule in rulebook.rules}
        self._zone: ZoneInfo = rulebook.timezone
        self._lang, self._about = lang, about
        self.on_alert: Callable[[dict[str, Any]], None] | None = None  # told of each change
        self._active: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()
        self.levels: Counter[int] = Counter()
        self.readings = self.changes = 0
        self._event_ms: int | None = None
        self._rates: deque[tuple[float, int]] = deque(maxlen=30)

    def published(self, readings: int, event_ms: int) -> None:
        """So many more readings are on the topics, up to this event time."""
        self.readings += readings
        self._event_ms = event_ms
        self._rates.append((time.monotonic(), self.readings))

    def take(self, alert: dict[str, Any]) -> None:
        """A change of level; one that was already taken is passed over."""
        if alert["id"] in self._seen:
            return
        self._seen.add(alert["id"])
        self.changes += 1
        self.levels[alert["level"]] += 1
        key = f"{alert['rule']}/{alert['site']}"
        if alert["level"]:
            self._active[key] = alert
        else:
            self._active.pop(key, None)
        if self.on_alert is not None:
            self.on_alert(alert)

    def line(self, alert: dict[str, Any]) -> Text:
        """One alert in one line."""
        level = alert["level"]
        names = LEVELS_ZH if self._lang == "zh" else LEVEL_NAMES
        text = Text(f"{self._local(alert['at'])} ")
        text.append(f" {MARKS[level]} {names[level]} ", STYLES[level])
        return text.append(f" {alert['message'][self._lang]}")

    def render(self, console: Console) -> Panel:
        """The board at the size of the console."""
        words = _WORDS[self._lang]
        rows = max(3, console.height - 9)
        table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
        for number, column in enumerate(words["columns"].split()):
            table.add_column(
                column,
                justify="right" if number > 3 else "left",
                no_wrap=True,
                ratio=2 if number in (2, 3) else None,
            )
        active = sorted(self._active.values(), key=lambda a: (a["level"], a["at"]), reverse=True)
        for alert in active[:rows]:
            table.add_row(*self._row(alert))
        parts: list[Any] = [self._header(), Text(""), table if active else Text(words["none"], style="dim")]
        if len(active) > rows:
            parts.append(Text(words["more"].format(len(active) - rows), style="dim"))
        return Panel(Group(*parts), title=words["title"], subtitle=self._about, border_style="red3")

    def summary(self) -> str:
        """What there was, in one line."""
        names = LEVELS_ZH if self._lang == "zh" else LEVEL_NAMES
        by_level = ", ".join(f"{self.levels[n]} {names[n]}" for n in range(4, -1, -1) if self.levels[n])
        words = _WORDS[self._lang]
        return f"{self.readings:,} {words['readings']}, {self.changes:,} {words['changes']} ({by_level or 0})"

    def _header(self) -> Text:
        words, names = _WORDS[self._lang], LEVELS_ZH if self._lang == "zh" else LEVEL_NAMES
        text = Text()
        if self._event_ms is not None:
            text.append(datetime.fromtimestamp(self._event_ms / 1000, self._zone).strftime("%Y-%m-%d %H:%M"), "bold")
        text.append(f"   {self.readings:,} {words['readings']} ({self._rate():,.0f}/s)   {words['now']}: ")
        counts = Counter(alert["level"] for alert in self._active.values())
        for level in range(4, 0, -1):
            text.append(f" {MARKS[level]} {names[level]} {counts[level]} ", STYLES[level])
            text.append(" ")
        return text

    def _rate(self) -> float:
        if len(self._rates) < 2:
            return 0.0
        (began, before), (ended, after) = self._rates[0], self._rates[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def _row(self, alert: dict[str, Any]) -> tuple[Any, ...]:
        level, lang = alert["level"], self._lang
        names = LEVELS_ZH if lang == "zh" else LEVEL_NAMES
        rule = self._rules.get(alert["rule"])
        what = title(alert["type"], rule.name if rule else {}, alert["rule"], lang)
        where = f"{alert['district']} {self._names.get(alert['site'], alert['site'])}"
        mark = Text(f" {MARKS[level]} {names[level]} ", STYLES[level])
        return (
            mark,
            self._local(alert["onset"]),
            where,
            what,
            self._amount(alert, "value"),
            self._amount(alert, "threshold"),
        )

    def _amount(self, alert: dict[str, Any], field: str) -> str:
        if alert["type"] in _TIMERS:
            return duration(alert[field], self._lang)
        if alert["type"] == "occupancy":
            return f"{alert[field]:.0%}"
        return "" if alert["type"] == "press" else f"{round(alert[field], 3):.10g} {alert['unit']}"

    def _local(self, time_text: str) -> str:
        return datetime.fromisoformat(time_text).astimezone(self._zone).strftime("%H:%M")
