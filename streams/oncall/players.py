"""The demo's on-call: a console at a free port, and a person of each role to be played by hand."""

from __future__ import annotations

import contextlib
import re
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from alerts.console.login import hash_password
from alerts.console.pages import AGAIN, Pages
from alerts.routes.directory import SHIPPED, Directory
from alerts.routes.residents import AUDIT_FILE
from streams.child import Child, free_port

_PHONES = 8477  # the port of all contacts in the shipped directory
_ROLES = ("oncall", "carer", "viewer", "admin")


class Players:
    """``logins`` are role → person of the shipped directory, all with the same ``password``, another in each demo."""

    def __init__(self) -> None:
        self.password = secrets.token_urlsafe(6)
        self.port, self._phones = free_port(), free_port()
        self.told = 0
        self.address = f"http://127.0.0.1:{self.port}"
        duty = Directory.shipped().duty
        carers = next(group for group in sorted(duty.groups) if group.startswith("carers-"))
        others = iter(sorted(Directory.shipped().people))
        self.logins = {role: next(others) for role in _ROLES} | {"carer": duty.groups[carers].members[0]}

    def start(self, broker: str, prefix: str, folder: Path) -> Child:
        """``kapok oncall`` over the topics of the demo, with its files and its log in the folder."""
        directory, routes_log = folder / "directory.toml", folder / "oncall.log"
        directory.write_text(self._directory())
        command = [sys.executable, "-m", "streams", "oncall", "--broker", broker, "--prefix", prefix]
        command += ["--directory", str(directory), "--console", f"127.0.0.1:{self.port}", "--url", self.address]
        return Child("on-call", command, routes_log, {AUDIT_FILE: str(folder / "audit.jsonl")})

    def about(self, lang: str) -> str:
        """What to tell those who play: where the console is, and who they may be."""
        who = ", ".join(f"{person} ({role})" for role, person in self.logins.items())
        missing = ", ".join(Pages().missing)
        if lang == "zh":
            without = f"  没有地图和曲线：安装时未能取得 {missing}，联网后运行 {AGAIN}" if missing else ""
            return f"值班台 {self.address}  登录 {who}  密码 {self.password}{without}"
        without = f"  it has no map and no charts: {missing} could not be fetched; with a network: {AGAIN}"
        return f"console {self.address}  log in as {who}  password {self.password}{without if missing else ''}"

    def _directory(self) -> str:
        """The shipped one, in which these people have a login."""
        text, secret = SHIPPED.read_text(), hash_password(self.password)
        for role, person in self.logins.items():
            login = f'login = {{ role = "{role}", password = "{secret}" }}'
            text = re.sub(rf"(?m)^({re.escape(person)} = \{{ )", rf"\g<1>{login}, ", text, count=1)
        return text.replace(f"//127.0.0.1:{_PHONES}/", f"//127.0.0.1:{self._phones}/")

    @contextlib.asynccontextmanager
    async def phones(self) -> AsyncIterator[None]:
        """What everybody in the shipped directory is reached by: takes every message, and counts them as ``told``."""

        async def take(request: web.Request) -> web.Response:
            await request.read()
            self.told += 1
            return web.Response()

        app = web.Application()
        app.add_routes([web.post("/{rest:.*}", take)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._phones).start()
            yield
        finally:
            await runner.cleanup()
