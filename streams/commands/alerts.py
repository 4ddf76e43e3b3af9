"""``kapok alerts``: the cases that are open, and what one does about them, in a terminal."""

from __future__ import annotations

import asyncio
import locale
import sys
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alerts.alert import iso
from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from alerts.levels import LEVEL_NAMES
from alerts.message import LEVELS_ZH
from sensors.errors import InputError, RunError
from streams.alert_board import MARKS, STYLES
from streams.commands.cap import cap
from streams.commands.options import BrokerOption, Lang, PrefixOption, seconds

_WAIT_S = 15.0  # for what is decided about an action


class Outcome(StrEnum):
    helped = "helped"
    no_help_needed = "no_help_needed"
    false_alarm = "false_alarm"
    passed_on = "passed_on"
    other = "other"


_WORDS: dict[str, dict[str, Any]] = {
    "zh": {
        "columns": ("级别", "状态", "自", "案件", "何事", "通知了", "应答人"),
        "states": {"open": "未送达", "notified": "未应答", "acknowledged": "已应答", "closed": "已结案"},
        "over": "，已解除",
        "none": "目前没有未结案的警情",
    },
    "en": {
        "columns": ("level", "state", "since", "case", "what", "told", "answered by"),
        "states": {state: state for state in ("open", "notified", "acknowledged", "closed")},
        "over": ", over",
        "none": "no open cases at the moment",
    },
}

JsonOption = Annotated[bool, typer.Option("--json", help="A case a line, as on the topic; nothing else on stdout.")]
LangOption = Annotated[Lang | None, typer.Option("--lang", help="Without it: the system's.")]
ByOption = Annotated[
    str, typer.Option("--by", envvar="KAPOK_PERSON", metavar="ID", help="Who does it: an id of the directory.")
]
CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="Its id or rule/site, or a site with one open case.")]
TextOption = Annotated[str | None, typer.Option("--text", "-m", help="In your own words.")]
DistrictOption = Annotated[list[str] | None, typer.Option("--district", help="Only these.")]
LevelOption = Annotated[int, typer.Option("--level", min=0, max=4, help="At least as high, 1 blue to 4 red.")]

app = typer.Typer(no_args_is_help=True, help="Cases in a terminal, and alerts as CAP 1.2.")
app.command()(cap)


@app.command("list")
def list_(
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    closed: Annotated[bool, typer.Option("--closed", help="Also the last closed one of each rule and site.")] = False,
    district: DistrictOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """The cases that are open, the worst first."""
    from streams.oncall.actions import CaseDesk

    async def read() -> list[Case]:
        async with CaseDesk(broker, prefix) as desk:
            return list((await desk.cases()).values())

    wanted = _filter(district, level)
    found = [case for case in asyncio.run(read()) if (closed or case.state != "closed") and wanted(case)]
    found.sort(key=lambda case: (case.state == "closed", -max(case.level, case.highest), case.opened, case.id))
    if json:
        _write(found)
    else:
        _show(found, _language(lang))


@app.command()
def tail(
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    district: DistrictOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Every change of a case as it comes, until Ctrl-C."""
    from streams.oncall.actions import CaseDesk

    wanted, console, language = _filter(district, level), Console(highlight=False), _language(lang)

    async def follow() -> None:
        async with CaseDesk(broker, prefix) as desk:
            async for case in desk.follow():
                if wanted(case) and json:
                    _write([case])
                elif wanted(case):
                    console.print(_line(case, language), soft_wrap=True)

    asyncio.run(follow())


@app.command()
def ack(
    case: CaseArgument,
    by: ByOption,
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    text: TextOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Say that you look after it: nobody else is called."""
    _do(case, by, broker, prefix, json, lang, do="ack", text=text)


@app.command()
def note(
    case: CaseArgument,
    by: ByOption,
    text: Annotated[str, typer.Option("--text", "-m", help="In your own words.")],
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Write something down about a case."""
    _do(case, by, broker, prefix, json, lang, do="note", text=text)


@app.command()
def escalate(
    case: CaseArgument,
    by: ByOption,
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    text: TextOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Have the next in the chain told at once."""
    _do(case, by, broker, prefix, json, lang, do="escalate", text=text)


@app.command()
def close(
    case: CaseArgument,
    by: ByOption,
    outcome: Annotated[Outcome, typer.Option(help="What became of it.")],
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    satisfaction: Annotated[int | None, typer.Option(min=1, max=5, help="As the people helped told.")] = None,
    text: TextOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Say what became of it; the others who were told hear of it."""
    _do(case, by, broker, prefix, json, lang, do="close", outcome=outcome.value, satisfaction=satisfaction, text=text)


@app.command()
def silence(
    by: ByOption,
    text: Annotated[str, typer.Option("--text", "-m", help="Why.")],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long, as 2h.")] = "1h",
    kind: Annotated[list[str] | None, typer.Option(help="Of these kinds.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Of these rules.")] = None,
    district: DistrictOption = None,
    zone: Annotated[list[str] | None, typer.Option(help="In these zones.")] = None,
    site: Annotated[list[str] | None, typer.Option(help="At these sites.")] = None,
    level: Annotated[list[int] | None, typer.Option(min=1, max=4, help="Of these levels.")] = None,
    maintenance: Annotated[bool, typer.Option("--maintenance", help="Somebody works on these sites.")] = False,
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    lang: LangOption = None,
) -> None:
    """Tell nobody of some alerts for a while; nothing holds back a call for help."""
    lasts = round(seconds(for_, "--for") * 1000)
    fields = {"kind": kind, "rule": rule, "district": district, "zone": zone, "site": site, "level": level}
    matcher = {name: tuple(values) for name, values in fields.items() if values}

    def made(now: int) -> Action:
        do = "maintenance" if maintenance else "silence"
        return _action(do=do, by=by, at=now, matcher=matcher, since=now, until=now + lasts, text=text)

    action, _ = _decided(broker, prefix, made, lang)
    Console(highlight=False).print(f"{action.do} {action.id} until {iso(action.until or 0)}", markup=False)


@app.command()
def lift(
    silence: Annotated[str, typer.Argument(metavar="ID", help="As `silence` said.")],
    by: ByOption,
    broker: BrokerOption = "127.0.0.1:9092",
    prefix: PrefixOption = "",
    lang: LangOption = None,
) -> None:
    """End a silence or a maintenance; what still fires is told then."""
    _, decision = _decided(broker, prefix, lambda now: _action(do="lift", by=by, at=now, lifts=silence), lang)
    Console(highlight=False).print(getattr(decision.reason, _language(lang)), markup=False)


def _decided(
    broker: str, prefix: str, make: Callable[[int], Action], lang: Lang | None
) -> tuple[Action, Case | Decision]:
    """Writes one that is not about a case."""
    from streams.oncall.actions import CaseDesk

    async def write() -> tuple[Action, Case | Decision | None]:
        async with CaseDesk(broker, prefix) as desk:
            action = make(await desk.now_ms())
            return action, await desk.do(action, _WAIT_S)

    return _accepted(*asyncio.run(write()), lang)


def _do(wanted: str, by: str, broker: str, prefix: str, json: bool, lang: Lang | None, **fields: Any) -> None:
    from streams.oncall.actions import CaseDesk, find

    async def write() -> tuple[Action, Case | Decision | None]:
        async with CaseDesk(broker, prefix) as desk:
            case = find(await desk.cases(), wanted)
            action = _action(case=case.id, by=by, at=await desk.now_ms(), **fields)
            return action, await desk.do(action, _WAIT_S)

    _, case = _accepted(*asyncio.run(write()), lang)
    assert isinstance(case, Case)
    if json:
        _write([case])
    else:
        Console(highlight=False).print(_line(case, _language(lang)), soft_wrap=True)


def _accepted(action: Action, decided: Case | Decision | None, lang: Lang | None) -> tuple[Action, Case | Decision]:
    """What was decided, if it was; InputError with the reason where it was refused."""
    if decided is None:
        what = f"the {action.do} is written, and nothing was decided about it within {_WAIT_S:g} s"
        raise RunError(f"{what}: is kapok oncall running? It will be when it is")
    if decided.change == "refused" if isinstance(decided, Case) else not decided.accepted:
        raise InputError(getattr(decided.reason, _language(lang)))
    return action, decided


def _action(**fields: Any) -> Action:
    try:
        given = {name: value for name, value in fields.items() if value is not None}
        return Action.model_validate({"id": uuid.uuid4().hex, **given})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        what = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"--{where}: {what}" if where else what) from None


def _filter(district: list[str] | None, level: int) -> Callable[[Case], bool]:
    return lambda case: (not district or case.district in district) and max(case.level, case.highest) >= level


def _language(lang: Lang | None) -> str:
    if lang is not None:
        return lang.value
    return "zh" if (locale.getlocale()[0] or "").lower().startswith(("zh", "chinese")) else "en"


def _write(cases: Iterable[Case]) -> None:
    sys.stdout.buffer.write(b"".join(case.value + b"\n" for case in cases))
    sys.stdout.buffer.flush()


def _show(cases: list[Case], lang: str) -> None:
    console, words = Console(highlight=False), _WORDS[lang]
    if not cases:
        console.print(words["none"])
        return
    table = Table(*words["columns"], box=None, pad_edge=False, header_style="dim")
    for case in cases:
        state, told = words["states"][case.state], ", ".join(case.told)
        over = words["over"] if case.resolved is not None and case.state != "closed" else ""
        mark = _mark(case.level or case.highest, lang)
        row = (mark, state + over, _local(case.opened), case.key, _what(case, lang), told)
        table.add_row(*row, case.acknowledged_by or "")
    console.print(table)


def _line(case: Case, lang: str) -> Text:
    text = Text(f"{_local(case.at)} ").append_text(_mark(case.level, lang))
    state = _WORDS[lang]["states"][case.state]
    return text.append(f" {case.key}  {state}: {getattr(case.reason, lang)}")


def _mark(level: int, lang: str) -> Text:
    names = LEVELS_ZH if lang == "zh" else LEVEL_NAMES
    return Text(f" {MARKS[level]} {names[level]} ", STYLES[level])


def _what(case: Case, lang: str) -> str:
    message = case.alert.get("message")
    return str(message.get(lang, "")) if isinstance(message, dict) else ""


def _local(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%m-%d %H:%M:%S")
