"""Draws docs/demo.svg: what `kapok demo` shows after half a minute. Run: uv run python docs/pictures.py"""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

from rich.console import Console

from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.simulators import simulate
from streams.alert_board import AlertBoard
from streams.commands.demo import AHEAD_MS, DAY_STARTS_AT, HOUR_MS
from streams.demo import Demo

SECONDS = 30


def main() -> None:
    catalogue, rulebook = Catalogue.shipped(), Rulebook.shipped()
    start_ms = simulate("day", catalogue).setting.start_ms + round(DAY_STARTS_AT * HOUR_MS)
    run = simulate("day", catalogue, seed=0, start_ms=start_ms, hours=3)
    board = AlertBoard(catalogue, rulebook, "zh", "day, seed 0, 120×")
    asyncio.run(Demo(run, board, speed=120, workers=1, ahead_ms=AHEAD_MS, seconds=SECONDS).run())
    console = Console(record=True, width=118, height=26, file=io.StringIO(), force_terminal=True)
    console.print(board.render(console))
    svg = console.export_svg(title="uv run kapok demo", font_aspect_ratio=0.61)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # the reader's own fonts will do
    Path(__file__).with_name("demo.svg").write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
