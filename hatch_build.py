"""Compiles sensors/_*.c, the extension sensors._packs. Where there is no C compiler kapok does without, only slower."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = "sensors/_packs"
# Contraction would round a sum once where Python rounds twice.
FLAGS = ["-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-unused-parameter"]


class Compiled(BuildHookInterface[Any]):
    """Puts the extension next to its source, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        name = MODULE + sysconfig.get_config_var("EXT_SUFFIX")
        built = Path(self.root, name)
        built.unlink(missing_ok=True)
        if why := self._compile(built):
            self.app.display_warning(f"{MODULE} was not compiled, kapok will be slower: {why}")
            return
        build_data["pure_python"], build_data["infer_tag"] = False, True
        if version != "editable":
            build_data["force_include"][str(built)] = name

    def _compile(self, built: Path) -> str:
        """Why there is no extension ("": there is one)."""
        compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
        link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
        include = sysconfig.get_paths()["include"]
        making = built.with_suffix(".making")
        sources = sorted(map(str, Path(self.root, "sensors").glob("_*.c")))
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
