"""Alerts as CAP 1.2 (OASIS Common Alerting Protocol), for warning centres and neighbouring cities.

An episode of a rule at a site is one Alert, an Update for each further change of level, and a Cancel; the later ones
refer to all the earlier ones. The same alert is the same bytes. What comes from a replay has the status Exercise.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any, Final
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement

from alerts.delivery.text import TIMEZONE, advice
from alerts.levels import LEVEL_NAMES
from alerts.message import LEVELS_ZH, title
from sensors.catalogue import Catalogue, Place

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
SENDER: Final = "kapok@localhost"
_SEVERITIES = ("Minor", "Minor", "Moderate", "Severe", "Extreme")  # normal, blue … red
_URGENCIES = ("Past", "Future", "Expected", "Immediate", "Immediate")
_CATEGORIES = {"flood": "Met", "rain": "Met", "infrared": "Health", "crowd": "Safety"}
_FORECAST = "waterlog_risk"
_CERTAINTIES = {_FORECAST: "Possible", "silence": "Unknown", "dwell": "Likely", "inactivity": "Likely"}
_DIVISIONS = {  # GB/T 2260, the codes of China's administrative divisions
    "荔湾区": "440103", "越秀区": "440104", "海珠区": "440105", "天河区": "440106", "白云区": "440111",
    "黄埔区": "440112", "番禺区": "440113", "花都区": "440114", "南沙区": "440115", "从化区": "440117",
    "增城区": "440118",
}  # fmt: skip
_SITE_KM = 0.1  # our choice: around a gauge, a station, a venue
_COMMUNITY_KM = 1.0  # a home's point is its community's centre, see docs/catalogue.md


class Cap:
    """Makes CAP messages of alerts' bodies, in the order of the topic.

    ``sender`` identifies who warns (by the standard, an address in a domain of theirs). ``names``: by rule its names in
    ``zh`` and ``en``. ``base_url``: of the console.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        names: dict[str, dict[str, str]] | None = None,
        *,
        sender: str = SENDER,
        base_url: str | None = None,
        timezone: tzinfo = TIMEZONE,
        exercise: bool = False,
    ) -> None:
        if not sender or any(letter in sender for letter in " ,<&"):
            raise ValueError(f"{sender!r} cannot be a CAP sender: it may hold no blank, comma, < or &")
        self._catalogue, self._names, self._sender, self._base_url = catalogue, names or {}, sender, base_url
        self._timezone, self._exercise = timezone, exercise
        self._episodes: dict[str, dict[str, str]] = {}  # rule/site: alert id → its reference, of the episode so far

    def messages(self, alerts: Iterable[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
        """(identifier, XML) of each alert; one that comes again gives nothing."""
        for alert in alerts:
            key = f"{alert['rule']}/{alert['site']}"
            episode = self._episodes.setdefault(key, {})
            if alert["id"] in episode:
                continue
            earlier = [] if alert["previous"] == 0 else list(episode.values())
            if not earlier:
                episode.clear()
            yield alert["id"], self.message(alert, earlier)
            episode[alert["id"]] = f"{self._sender},{alert['id']},{self._time(alert['at'])}"

    def message(self, alert: dict[str, Any], earlier: Iterable[str] = ()) -> bytes:
        """One alert; ``earlier`` are the references (sender,identifier,sent) of the episode's messages before it."""
        references = " ".join(earlier)
        home = alert["kind"] == "infrared"
        root = Element("alert", xmlns=NAMESPACE)
        _add(root, "identifier", alert["id"])
        _add(root, "sender", self._sender)
        _add(root, "sent", self._time(alert["at"]))
        _add(root, "status", "Exercise" if self._exercise else "Actual")
        _add(root, "msgType", "Alert" if not references else "Update" if alert["level"] else "Cancel")
        _add(root, "source", alert["rule"])
        _add(root, "scope", "Restricted" if home else "Public")
        if home:
            _add(root, "restriction", "elder care staff of the community")
        if self._exercise:
            _add(root, "note", "演练，无需处置 / EXERCISE: from a replay, nobody is to act on it")
        if references:
            _add(root, "references", references)
        for lang, code in (("zh", "zh-CN"), ("en", "en")):
            self._info(root, alert, lang, code)
        ElementTree.indent(root)
        return ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n"

    def _info(self, root: Element, alert: dict[str, Any], lang: str, code: str) -> None:
        level, kind = int(alert["level"]), str(alert["type"])
        head = {"zh": "【演练】", "en": "EXERCISE "}[lang] if self._exercise else ""
        info = SubElement(root, "info")
        _add(info, "language", code)
        _add(info, "category", "Infra" if kind == "silence" else _CATEGORIES.get(str(alert["kind"]), "Other"))
        _add(info, "event", title(kind, self._names.get(alert["rule"], {}), alert["rule"], lang))
        _add(info, "responseType", ("AllClear", "Monitor", "Prepare", "Execute", "Execute")[level])
        forecast = kind == _FORECAST and level > 0
        _add(info, "urgency", "Expected" if forecast and level > 2 else _URGENCIES[level])
        _add(info, "severity", _SEVERITIES[level])
        _add(info, "certainty", _CERTAINTIES.get(kind, "Observed"))
        _add(info, "onset", self._time(alert["onset"]))
        _add(info, "senderName", {"zh": "木棉 kapok", "en": "kapok"}[lang])
        _add(info, "headline", f"{head}{alert['message'][lang]}"[:160])
        _add(info, "description", f"{head}{alert['message'][lang]}")
        _add(info, "instruction", advice(alert, level, lang, "opened" if level else "resolved"))
        if self._base_url:
            case = quote(f"{alert['rule']}/{alert['site']}/{alert['onset']}", safe="/:")
            _add(info, "web", f"{self._base_url.rstrip('/')}/?case={case}")
        colour = LEVELS_ZH[level] if lang == "zh" else LEVEL_NAMES[level]
        found = {"level": colour, **{name: alert[name] for name in ("value", "threshold", "unit", "ruleset")}}
        for name, value in found.items():
            if value is not None:
                parameter = SubElement(info, "parameter")
                _add(parameter, "valueName", name)
                _add(parameter, "value", value)
        self._area(info, alert)

    def _area(self, info: Element, alert: dict[str, Any]) -> None:
        catalogue, area = self._catalogue, SubElement(info, "area")
        site = catalogue.sensors.get(alert["site"]) or catalogue.places.get(alert["site"])
        _add(area, "areaDesc", f"{alert['district']}{site.name if site else alert['site']}")
        if site is not None and site.lon is not None and site.lat is not None:
            radius = _COMMUNITY_KM if alert["kind"] == "infrared" else _SITE_KM
            if isinstance(site, Place) and site.area_km2:
                radius = math.sqrt(site.area_km2 / math.pi)
            _add(area, "circle", f"{site.lat:.5f},{site.lon:.5f} {radius:.2f}")
        if division := _DIVISIONS.get(alert["district"]):
            geocode = SubElement(area, "geocode")
            _add(geocode, "valueName", "GB/T 2260")
            _add(geocode, "value", division)

    def _time(self, iso: str) -> str:
        """As CAP wants it: no fractions, and an offset instead of Z."""
        return datetime.fromisoformat(iso).astimezone(self._timezone).replace(microsecond=0).isoformat()


def _add(parent: Element, name: str, value: object) -> None:
    SubElement(parent, name).text = "".join(letter for letter in str(value) if letter >= " " or letter in "\n\t")
