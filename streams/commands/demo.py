"""kapok demo: the whole pipeline on this machine, with a simulated city."""

from __future__ import annotations

import asyncio
import contextlib
import locale
import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.connection import forget_settings
from sensors.seal import forget_key
from sensors.simulators import SCENARIOS, Run, simulate
from streams.alert_board import AlertBoard
from streams.commands.options import Lang, seconds

if TYPE_CHECKING:
    from streams.oncall.players import Players

HOUR_MS = 3_600_000
DAY_STARTS_AT = 14.0  # local hour: the squall of the simulated day comes in the afternoon
AHEAD_MS = 3_000_000  # of the start, published at once


def demo(
    lang: Annotated[Lang | None, typer.Option(help="Of the alerts; without it: the system's.")] = None,
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="Ends by itself, as after 30s.")] = None,
    scenario: Annotated[str, typer.Option(help=f"One of {', '.join(SCENARIOS)}.")] = "day",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another day.")] = 0,
    speed: Annotated[float, typer.Option(min=1, max=10_000, help="Seconds of the day a second.")] = 120,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Worker processes.")] = 1,
) -> None:
    """Shows the main job: a simulated day through Kafka and the rules, its alerts live. Ctrl-C ends all of it."""
    forget_settings()
    forget_key()
    lasts = None if for_ is None else seconds(for_, "--for")
    catalogue, rulebook = Catalogue.shipped(), Rulebook.shipped()
    start_ms = None
    if scenario == "day":
        midnight = simulate("day", catalogue).setting.start_ms
        start_ms = midnight + round(DAY_STARTS_AT * HOUR_MS)
    run = simulate(scenario, catalogue, seed=seed, start_ms=start_ms, hours=24 - DAY_STARTS_AT if start_ms else None)
    language = lang or (Lang.zh if (locale.getlocale()[0] or "").lower().startswith(("zh", "chinese")) else Lang.en)
    console = Console(highlight=False)
    from streams.oncall.players import Players  # here, because it takes a while to import

    players = Players()
    about = f"{scenario}, seed {seed}, {speed:g}×  {players.about(language.value)}"
    board = AlertBoard(catalogue, rulebook, language.value, about)
    if not console.is_terminal:
        console.print(players.about(language.value), soft_wrap=True)
        board.on_alert = lambda alert: console.print(board.line(alert), soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_show(run, board, console, players, speed, workers, lasts))
    console.print(board.summary())


async def _show(
    run: Run, board: AlertBoard, console: Console, players: Players, speed: float, workers: int, seconds: float | None
) -> None:
    from streams.demo import Demo  # here, because its client takes a while to import

    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda: task and task.cancel())
    demo = Demo(run, board, players=players, speed=speed, workers=workers, ahead_ms=AHEAD_MS, seconds=seconds)
    with contextlib.suppress(asyncio.CancelledError):
        if not console.is_terminal:
            await demo.run()
            return
        with Live(console=console, refresh_per_second=4, screen=True, get_renderable=lambda: board.render(console)):
            await demo.run()
