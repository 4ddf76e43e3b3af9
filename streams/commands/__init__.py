"""The command line. Exit codes: 0 done, 1 alerts differ from what was expected, 2 bad input, 3 could not run."""

from __future__ import annotations

import io
import sys
import traceback
from typing import NoReturn

import typer
from rich.console import Console

from sensors.errors import NO_ROOM, InputError, RunError
from streams.commands.access import access
from streams.commands.alerts import app as alerts
from streams.commands.archive import archive
from streams.commands.bench import bench
from streams.commands.broker import broker
from streams.commands.chaos import chaos
from streams.commands.check import check
from streams.commands.demo import demo
from streams.commands.directory import app as directory
from streams.commands.import_ import import_csv
from streams.commands.oncall import oncall
from streams.commands.record import record
from streams.commands.replay import replay
from streams.commands.simulate import simulate
from streams.commands.worker import worker
from streams.ending import last_words
from streams.log_lines import plain_logs

app = typer.Typer(
    name="kapok",
    help="A city's sensor readings become alerts that someone acts on in time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, worker, oncall, broker, record, replay, simulate, check, archive, chaos, bench):
    app.command()(command)
app.command("import")(import_csv)
app.add_typer(alerts, name="alerts")
app.add_typer(access, name="access")
app.add_typer(directory, name="directory")


def main() -> None:
    """The ``kapok`` command."""
    plain_logs()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without arrows or Chinese still gets the rest
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except (InputError, RunError) as error:
        stderr.print(last_words(error), markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.errno not in NO_ROOM:
            _broke()
        told = RunError(
            f"cannot be written: {error.strerror} (what is there of it is not whole: make room, call it again)"
        )
        stderr.print(last_words(told), markup=False)
        sys.exit(told.exit_code)
    except Exception:
        _broke()


def _broke() -> NoReturn:
    """A fault of kapok's own: shown whole, and not taken for alerts that differ, which is what Python's own 1 says."""
    traceback.print_exc()
    sys.exit(RunError.exit_code)
