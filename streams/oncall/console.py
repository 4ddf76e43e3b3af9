"""The console, served by the process of on-call."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from alerts.console.app import create_app
from alerts.console.login import Login, logins_of
from alerts.console.server import Server
from alerts.edition import Edition
from alerts.routes.directory import Directory
from alerts.routes.residents import AuditLog
from sensors.errors import InputError
from streams.oncall.feed import TopicFeed, Who

log = logging.getLogger("kapok")


class ConsoleSettings(NamedTuple):
    """Where it listens, by which ``names`` it is reached beside that, and what for https. ``behind_https``: a proxy
    before it speaks https.
    """

    address: str
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    behind_https: bool = False

    @property
    def place(self) -> tuple[str, int]:
        """Host and port; InputError where that is none."""
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise InputError(f"--console {self.address}: not an address to listen at", hint="HOST:PORT, 127.0.0.1:8480")
        return host.strip("[]"), int(port)

    def check(self) -> None:
        """InputError where it cannot be served like that."""
        host, _ = self.place
        if (self.certificate is None) != (self.key is None):
            raise InputError("--certificate and --key go together")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise InputError("cannot be read: no such file", file=file)
        if host not in ("127.0.0.1", "::1", "localhost") and not (self.certificate or self.behind_https):
            what = f"--console {self.address}: passwords and homes would cross the network in the clear"
            raise InputError(what, hint="give --certificate and --key, or --behind-https where a proxy does it")
        AuditLog.configured()


class Console:
    """``read`` when the directory was read again; ``run`` until cancelled."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._logins: dict[str, Login] = {}
        self._feed: TopicFeed | None = None

    def read(self, directory: Directory) -> None:
        """From now on these people may come in."""
        found = logins_of(directory)
        self._logins.clear()
        self._logins.update(found)
        if not found:
            log.warning("nobody in the directory has a login: nobody can come into the console")

    def follow(self, edition: Edition) -> None:
        """From now on it shows these rules and sites."""
        if self._feed is not None:
            self._feed.follow(edition)

    async def run(
        self, broker: str, prefix: str, partitions: int, edition: Edition, who: Who, producer: AIOKafkaProducer
    ) -> None:
        """Serves it once the topics are read back; RunError where it cannot."""
        settings = self._settings
        host, port = settings.place
        self._feed = feed = TopicFeed(broker, prefix, partitions, edition, who, producer)
        secure = settings.behind_https or settings.certificate is not None
        names = {host, *settings.names} | ({"127.0.0.1", "localhost"} if host in ("127.0.0.1", "localhost") else set())
        app = create_app(feed, self._logins, AuditLog.configured(), names, secure=secure)
        certificate, key = (None if file is None else str(file) for file in (settings.certificate, settings.key))
        server = Server(app, host, port, certificate=certificate, key=key)
        ready = asyncio.Event()
        feeding = asyncio.create_task(feed.run(ready.set))
        waiting = asyncio.create_task(ready.wait())
        serving: asyncio.Task[None] | None = None
        try:
            await asyncio.wait({feeding, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not feeding.done():
                serving = asyncio.create_task(server.serve())
                log.info("the console is at %s", server.address)
                await asyncio.wait({feeding, serving}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (feeding, serving):
                if ended is not None and ended.done():
                    ended.result()
        finally:
            server.should_exit = True
            feeding.cancel()
            waiting.cancel()
            await asyncio.gather(feeding, waiting, *([serving] if serving else []), return_exceptions=True)
