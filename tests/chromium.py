"""A real Chromium, of Debian's packages chromium and chromium-driver, for the console's tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.consoles import PASSWORD

WAIT_S = 60
DESK, PHONE = (1600, 900), (390, 844)


def found() -> bool:
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


needed = pytest.mark.skipif(
    not found() and not os.environ.get("KAPOK_CI"), reason="needs Debian's chromium and chromium-driver"
)


class Window:
    """One browser with its own cookies; ``size`` in CSS pixels."""

    def __init__(self, size: tuple[int, int] = DESK, lang: str = "zh-CN") -> None:
        os.environ |= {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--no-first-run", f"--lang={lang}", f"--accept-lang={lang}", "--hide-scrollbars", "--autoplay-policy=user-gesture-required",
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def login(self, address: str, name: str, query: str = "") -> None:
        self.driver.get(f"{address}/login{query}")
        self.enter(name)

    def enter(self, name: str) -> None:
        """Logs in at the page of that."""
        self.driver.find_element(By.NAME, "name").send_keys(name)
        self.driver.find_element(By.NAME, "password").send_keys(PASSWORD)
        self.click("#login button.main")
        self.until("return document.body.dataset.ready === 'yes'")

    def until(self, script: str, *arguments: Any) -> Any:
        """Waits for a script to return something true."""
        return WebDriverWait(self.driver, WAIT_S, 0.05).until(
            lambda driver: driver.execute_script(script, *arguments), script
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        """A click as by a finger: what lies on top gets it."""
        self.until("return document.querySelector(arguments[0]) !== null", selector)
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def text(self, selector: str) -> str:
        """What is read there, in one line."""
        return " ".join(str(self.run("return document.querySelector(arguments[0])?.innerText || ''", selector)).split())

    def press(self, *keys: str) -> None:
        """On the keyboard, for whatever has the focus at that moment."""
        webdriver.ActionChains(self.driver, duration=10).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What the browser complained of, violations of the content security policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requested(self) -> list[str]:
        """The addresses of all requests so far."""
        import json

        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        sockets = [m["params"] for m in messages if m["method"] == "Network.webSocketCreated"]
        return [one["request"]["url"] for one in asked] + [one["url"] for one in sockets]

    def picture(self, name: str) -> Path | None:
        """Kept where ``KAPOK_ARTEFACTS`` says."""
        folder = os.environ.get("KAPOK_ARTEFACTS")
        if not folder:
            return None
        path = Path(folder, f"console-{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
        return path


@contextlib.contextmanager
def window(size: tuple[int, int] = DESK, lang: str = "zh-CN") -> Iterator[Window]:
    opened = Window(size, lang)
    try:
        yield opened
    finally:
        opened.driver.quit()
