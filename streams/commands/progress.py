"""How far long work has come, where a terminal is there to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def bar(name: str, total: float | None, *more: ProgressColumn) -> Iterator[Callable[..., None] | None]:
    """A bar until the end of the block; gives rich's update of it, for ``completed``, ``total`` and the text ``what``.

    None where stderr is no terminal.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn(name), BarColumn(), TextColumn("{task.fields[what]}"), TimeElapsedColumn())
    with Progress(*columns, *more, console=console, transient=True) as display:
        yield partial(display.update, display.add_task("", total=total, what=""))
