"""Draws docs/console-*.webp: a simulated afternoon in the console. Run: uv run python docs/console_pictures.py"""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.chromium import DESK, PHONE, window  # noqa: E402
from tests.consoles import City, console  # noqa: E402

HOURS = 16.4  # of the simulated day: the squall is over the city


def main() -> None:
    city = City()
    start = city.simulate("day", hours=HOURS + 1)
    city.run_to(start + round(HOURS * 3_600_000))
    asyncio.run(_draw(city))


async def _draw(city: City) -> None:
    async with console(city) as running:
        await asyncio.to_thread(_pictures, running.address)


def _pictures(address: str) -> None:
    for size, name in ((DESK, "desk"), (PHONE, "phone")):
        with window(size) as page:
            page.login(address, "admin")
            if size == PHONE:
                page.click("#list li:first-child button")
                page.until("return document.querySelector('#detail canvas') !== null")
            time.sleep(1)  # for the map to be drawn
            shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 55})
            (HERE / f"console-{name}.webp").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
