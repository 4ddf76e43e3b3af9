"""docker/compose.yaml on loopback: the same commands, environments and health checks, without containers.

What a container would find at a service's name and port is at a free port of 127.0.0.1 here, what it would find in a
volume or a mounted file is in a folder, and the programs are those that are installed here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from streams.child import Child, free_port

DOCKER = Path(__file__).parent.parent.parent / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
_PORT = {"kafka": (9092, 9093, 9094, 9095), "influxdb": (8086,), "prometheus": (9090,), "alertmanager": (9093,)}
_HERE = Path(sys.executable).parent


class Stack:
    """The services in ``folder``; ``ports`` has the port here for a service's port there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {(name, port): free_port() for name, ports in _PORT.items() for port in ports}
        self.ports |= {(name, 8080): free_port() for name, one in SERVICES.items() if "8080" in str(one)}
        self.ports["oncall", 8480] = free_port()
        for name in ("keys", "audit"):
            (folder / name).mkdir()

    def here(self, name: str, text: str) -> str:
        """A text of a service as it is to be here: paths, ports and hosts."""
        for volume in SERVICES[name].get("volumes", []):
            source, target, *_ = volume.split(":")
            if source.startswith("./"):
                text = text.replace(target, str(DOCKER / source))
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)  # where nobody has set anything else
        text = re.sub(r"(?<![\w.])/(keys|audit|prometheus|alertmanager)(?=/|$)", rf"{self.folder}/\1", text)
        for (service, port), own in self.ports.items():
            text = re.sub(rf"\b{service}:{port}\b", f"127.0.0.1:{own}", text)
        local = {str(port): str(own) for (service, port), own in self.ports.items() if service == name}
        swap = re.compile(r"(127\.0\.0\.1|0\.0\.0\.0|localhost|)(:|/(?=\d+$))(" + "|".join(local or ["-"]) + r")\b")
        text = swap.sub(lambda found: f"127.0.0.1{found[2]}{local[found[3]]}", text)
        return text.replace("$$", "$")

    def environment(self, name: str) -> dict[str, str]:
        """Its environment, where nobody has set anything else."""
        given = {
            n: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(v)) for n, v in SERVICES[name].get("environment", {}).items()
        }
        if "KAPOK_HOSTS" in given:  # all of them are here
            given["KAPOK_HOSTS"] += " 127.0.0.1"
        return {n: self.here(name, value) for n, value in given.items()}

    def command(self, name: str) -> list[str]:
        """What the container would run, its image's own entry point being left to the caller."""
        service = SERVICES[name]
        entry = service.get("entrypoint") or (["kapok"] if service["image"].startswith("kapok:") else [])
        return [self.here(name, word) for word in [*entry, *service["command"]]]

    def _environ(self, name: str) -> dict[str, str]:
        path = f"{_HERE}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(DOCKER.parent), **self.environment(name)}

    def once(self, name: str) -> str:
        """Runs a service that ends; what it said."""
        command = self.command(name)
        done = subprocess.run(command, env=self._environ(name), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, name: str, command: list[str] | None = None) -> Child:
        return Child(name, command or self.command(name), self.folder / f"{name}.log", env=self._environ(name))

    def healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        kind, *command = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        words = [self.here(name, word) for word in command]
        return subprocess.run(words, env=self._environ(name), capture_output=True, check=False).returncode == 0
