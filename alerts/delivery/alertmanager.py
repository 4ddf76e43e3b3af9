"""Alerts to a Prometheus Alertmanager, by its v2 API: what fires, what is over, again and again as it wants it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from alerts.levels import LEVEL_NAMES

REPEAT_S: Final = 60.0
HOLD_S: Final = 300.0
"""An alert that is not repeated for so long is over for Alertmanager; its own default for alerts without an end."""
_AT_ONCE = 1000  # alerts in a request
_LABELS = ("rule", "site", "kind", "district", "zone")


class Board:
    """What fires, as Alertmanager has to be told. The level is a label, so a change of level ends one alert there and
    begins another.
    """

    def __init__(self, base_url: str | None = None) -> None:
        self._firing: dict[str, dict[str, Any]] = {}
        self._base_url = base_url

    def take(self, alert: dict[str, Any]) -> list[dict[str, Any]]:
        """What to post for one change of level, the newest of its rule and site."""
        key, posts = f"{alert['rule']}/{alert['site']}", []
        before = self._firing.pop(key, None)
        if before is not None and before["level"] != alert["level"]:
            posts.append(self._post(before, alert["at"]))
        if alert["level"]:
            self._firing[key] = alert
            posts.append(self._post(alert, None))
        elif before is None and alert["previous"]:  # it was told of by a process before this one
            posts.append(self._post(alert | {"level": alert["previous"]}, alert["at"]))
        return posts

    def firing(self) -> list[dict[str, Any]]:
        """What to post again."""
        return [self._post(alert, None) for alert in self._firing.values()]

    def _post(self, alert: dict[str, Any], ended: str | None) -> dict[str, Any]:
        labels = {"alertname": alert["rule"], **{name: str(alert[name]) for name in _LABELS}}
        labels["level"] = LEVEL_NAMES[alert["level"]]
        ends = ended or (datetime.now(UTC) + timedelta(seconds=HOLD_S)).isoformat(timespec="milliseconds")
        found = {
            "labels": labels,
            "annotations": {"summary": alert["message"]["en"], "summary_zh": alert["message"]["zh"]},
            "startsAt": alert["onset"],
            "endsAt": ends,
        }
        if self._base_url:
            case = quote(f"{alert['rule']}/{alert['site']}/{alert['onset']}", safe="/:")
            found["generatorURL"] = f"{self._base_url.rstrip('/')}/?case={case}"
        return found


class Alertmanager:
    """One Alertmanager at a URL such as ``http://127.0.0.1:9093``; ``async with Alertmanager(url) as manager``."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"

    async def __aenter__(self) -> Alertmanager:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def post(self, alerts: list[dict[str, Any]]) -> None:
        """aiohttp.ClientError or TimeoutError when it did not take them."""
        for start in range(0, len(alerts), _AT_ONCE):
            async with self._session.post(self._url, json=alerts[start : start + _AT_ONCE]) as answer:
                if not answer.ok:
                    said = (await answer.text())[:200]
                    raise aiohttp.ClientError(f"Alertmanager does not take alerts: {answer.status} {said}")
