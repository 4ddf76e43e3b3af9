"""The console under load: 20 new red alerts a second among 5,000 sites, from a gauge's reading to the browser's page.

The readings go through the fold and the Desk, in the console's process, so they are in the figures too.
"""

from __future__ import annotations

import asyncio
import json
import time
from itertools import count, cycle

import msgspec
import numpy as np

from sensors.catalogue import Catalogue
from sensors.city import geojson
from sensors.errors import RunError
from tests import chromium
from tests.consoles import Browser, City, Running, console

SITES, ALERTS_S, SECONDS, CLIENTS = 5_000, 20, 15, 200
_START = 1_777_600_000_000
_WATCH = """
window.seen = {};
new MutationObserver((changes) => {
  const now = performance.timeOrigin + performance.now();
  for (const change of changes) for (const node of change.addedNodes) {
    const id = node.dataset?.id;
    if (id && !(id in window.seen)) window.seen[id] = now;
  }
}).observe(document.getElementById("list"), { childList: true });
"""


def rows() -> dict[str, str]:
    """What was measured → its figures. RunError where there is no Chromium."""
    if not chromium.found():
        raise RunError("needs Debian's chromium and chromium-driver")
    catalogue = _catalogue()
    page = asyncio.run(_in_a_browser(catalogue))
    sockets = asyncio.run(_at_sockets(catalogue))
    return {
        f"reading → alert in the page, one browser, {ALERTS_S}/s, {SITES} sites": _told(page),
        f"reading → alert at {CLIENTS} sockets": _told(sockets),
    }


def _catalogue() -> Catalogue:
    """The shipped city, and as many gauges more."""
    city = json.loads(geojson())
    gauges = [f for f in city["features"] if f["properties"]["role"] == "sensor" and f["properties"]["kind"] == "flood"]
    drawn = sum(f["properties"]["kind"] in ("flood", "rain") for f in city["features"])
    rng = np.random.default_rng(1)
    for number, model in zip(range(SITES - drawn), cycle(gauges), strict=False):
        lon, lat = (np.array(model["geometry"]["coordinates"]) + rng.normal(0, 0.02, 2)).round(5).tolist()
        more = model | {"id": f"GZ-MORE-{number}", "geometry": {"type": "Point", "coordinates": [lon, lat]}}
        city["features"].append(more)
    return Catalogue.parse(json.dumps(city).encode())


async def _feed(running: Running, settle_s: float) -> dict[str, float]:
    """A gauge after the other goes to red. Case id → when its reading came (s since 1970)."""
    city, sent = running.city, {}
    gauges = [s for s in city.catalogue.sensors.values() if s.kind == "flood"]
    for sensor in gauges[:50]:  # the first calls make tables
        _read(city, sensor.id, sensor.zone, 0.0, _START)
    await asyncio.sleep(settle_s)
    began, now = time.monotonic(), count(_START + 60_000, 1000 // ALERTS_S)
    for number, sensor in enumerate(gauges[: ALERTS_S * SECONDS]):
        await asyncio.sleep(max(0.0, began + number / ALERTS_S - time.monotonic()))
        came = time.time()
        _read(city, sensor.id, sensor.zone, 0.4, next(now))
        sent[city.board.case_of[f"flood-depth/{sensor.id}"]] = came
    await asyncio.sleep(2)
    return sent


def _read(city: City, gauge: str, zone: str, depth: float, at_ms: int) -> None:
    city.readings("flood", zone, msgspec.json.encode([{"n": f"{gauge}/depth", "t": at_ms / 1000, "v": depth}]), at_ms)


async def _in_a_browser(catalogue: Catalogue) -> list[float]:
    async with console(City(catalogue)) as running:
        page = await asyncio.to_thread(chromium.Window)
        try:
            await asyncio.to_thread(page.login, running.address, "admin")
            await asyncio.to_thread(page.run, _WATCH)
            sent = await _feed(running, 1)
            seen = await asyncio.to_thread(page.run, "return window.seen")
        finally:
            await asyncio.to_thread(page.driver.quit)
    return _delays(sent, {case: at / 1000 for case, at in seen.items()})


async def _at_sockets(catalogue: Catalogue) -> list[float]:
    async with console(City(catalogue)) as running, Browser(running.address) as browser:
        await browser.login("admin")
        seen: list[dict[str, float]] = [{} for _ in range(CLIENTS)]

        async def listen(mine: dict[str, float]) -> None:
            async with await browser.live() as socket:
                async for message in socket:
                    now = time.time()
                    if message.data.startswith('{"t":"some"'):
                        for item in json.loads(message.data)["items"]:
                            mine.setdefault(item["id"], now)

        listening = [asyncio.create_task(listen(mine)) for mine in seen]
        sent = await _feed(running, 5)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return [delay for mine in seen for delay in _delays(sent, mine)]


def _delays(sent: dict[str, float], seen: dict[str, float]) -> list[float]:
    if lost := sent.keys() - seen.keys():
        raise RunError(f"{len(lost)} of {len(sent)} alerts did not arrive")
    return [(seen[case] - came) * 1000 for case, came in sent.items()]


def _told(delays: list[float]) -> str:
    p50, p99, most = np.percentile(delays, [50, 99, 100])
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {most:.0f} ms ({len(delays)} arrivals)"
