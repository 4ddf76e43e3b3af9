"""A real Prometheus over real processes, with the shipped alert rules, and time that runs faster for it."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from test_watching import DOCKER, tool

from streams.child import Child, accepts, free_port

_UNITS = {"s": 1, "m": 60, "h": 3600}
_GROUPS = {"worker": ("kapok worker", "kapok readings"), "oncall": ("kapok on call",), "archive": ("kapok archive",)}


class Watcher:
    """``firing``: the alerts that somebody is told of now."""

    def __init__(self, url: str, process: Child) -> None:
        self.url, self._process = url, process

    def asked(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        """Of an expression that gives one series or none."""
        found = self.asked("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    @property
    def firing(self) -> set[str]:
        found = self.asked("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def until(self, true: Callable[[], bool], running: Iterable[Child] = ()) -> None:
        """Waits for it; the test's own time limit ends it where it does not come about."""
        while not true():
            self._process.check()
            for one in running:
                one.check()
            time.sleep(0.2)

    @property
    def fired(self) -> set[str]:
        """Those that have fired at some time."""
        found = self.asked("query", query='last_over_time(ALERTS{alertstate="firing"}[1h])')["result"]
        return {one["metric"]["alertname"] for one in found}

    def until_fires(self, name: str, running: Iterable[Child] = ()) -> None:
        self.until(lambda: name in self.firing, running)

    def until_fired(self, *names: str, running: Iterable[Child] = ()) -> None:
        self.until(lambda: set(names) <= self.fired, running)

    def until_over(self, name: str, running: Iterable[Child] = ()) -> None:
        self.until(lambda: name not in self.firing, running)


@contextmanager
def watching(folder: Path, targets: Mapping[str, Sequence[int]], *, faster: int = 10) -> Iterator[Watcher]:
    """``targets``: job → ports on loopback; the rules are those about these jobs.

    All that the rules and the scraping say of time is divided by ``faster``.
    """
    folder.mkdir()
    config = yaml.safe_load((DOCKER / "prometheus/prometheus.yaml").read_text())
    interval = f"{10_000 // faster}ms"
    config = {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), interval),
        "rule_files": config["rule_files"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in targets.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    rules = yaml.safe_load(_sooner((DOCKER / "prometheus/rules.yaml").read_text(), faster))
    wanted = [group for group in rules["groups"] if any(group["name"] in _GROUPS[job] for job in targets)]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": wanted}))
    port = free_port()
    command = [tool("prometheus"), f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    process = Child("prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "prometheus.log")
    try:
        process.wait_for(lambda: accepts(port), 60)
        yield Watcher(f"http://127.0.0.1:{port}", process)
    finally:
        process.stop()


def _sooner(rules: str, faster: int) -> str:
    def sooner(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * _UNITS[found[3]] * 1000 // faster}ms"

    return re.sub(r"(for: |\[|offset )(\d+)([smhd])\b", sooner, rules)
