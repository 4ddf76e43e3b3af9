"""`kapok check` finds a route to nobody, and says in which file and line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from alerts.routes import check as routes_check
from alerts.routes.directory import SHIPPED as DIRECTORY
from alerts.routes.directory import Directory
from alerts.routes.routes import SHIPPED as ROUTES
from alerts.routes.routes import Routes, RoutesFile
from alerts.rulebook import SHIPPED as RULES
from alerts.rulebook import Rulebook
from alerts.source import Source
from sensors.catalogue import Catalogue
from streams.commands import app

CATALOGUE, RULEBOOK = Catalogue.shipped(), Rulebook.shipped()
SUNDAY = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Asia/Shanghai"))


def found(
    routes: str | None = None, directory: str | None = None, rules: Rulebook = RULEBOOK
) -> tuple[list[str], list[str]]:
    people = Directory.parse(Source(directory or DIRECTORY.read_text(), "directory.toml"))
    source = Source(routes or ROUTES.read_text(), "routes.toml")
    ways = Routes(RoutesFile.parse(source), people.duty, source)
    at = round(SUNDAY.timestamp() * 1000)
    errors, warnings = routes_check.check(ways, people, rules, CATALOGUE, at)
    return [str(error) for error in errors], [str(warning) for warning in warnings]


def changed(file: Path, before: str, after: str) -> tuple[str, int]:
    """The text of a shipped file with one thing changed, and its line."""
    text = file.read_text()
    assert text.count(before) == 1, before
    return text.replace(before, after), text[: text.index(before)].count("\n") + 1


def test_somebody_hears_of_each_alert_that_the_shipped_rules_can_raise() -> None:
    assert found() == ([], [])


def test_a_group_that_is_not_there() -> None:
    text, line = changed(
        ROUTES, '{ tell = ["drainage-{district}", "traffic-{district}"]', '{ tell = ["crew-{district}"]'
    )
    assert found(text) == (
        [
            f"routes.toml:{line}: route flood: group crew-tianhe and 10 more not in the directory, to be told of flood-depth at GZ-TH-0001 (add it below [group], or correct the route)"
        ],
        [
            f"directory.toml:{n}: group traffic-{code} is told of nothing (no route leads to it)"
            for n, code in traffic()
        ],
    )


def traffic() -> list[tuple[int, str]]:
    lines = enumerate(DIRECTORY.read_text().splitlines(), 1)
    return sorted(
        ((n, line.split(" ")[0].removeprefix("traffic-")) for n, line in lines if line.startswith("traffic-")),
        key=lambda one: one[1],
    )


def test_a_last_resort_that_is_not_there_and_a_district_without_a_name() -> None:
    text, line = changed(ROUTES, 'last_resort = "control-room-lead"', 'last_resort = "the-boss"')
    errors, _ = found(text)
    assert errors == [
        f"routes.toml:{line}: route otherwise: group the-boss not in the directory, to be told of flood-depth at GZ-TH-0001 (add it below [group], or correct the route)"
    ]
    text, _ = changed(ROUTES, '"从化区" = "conghua"\n', "")
    errors, _ = found(text)
    assert errors
    assert all("give 从化区 a name below [districts]" in error for error in errors)


def test_a_route_that_no_alert_goes_by() -> None:
    text, line = changed(ROUTES, 'zone = "GZ-RUN-*"', 'zone = ["GZ-RUM-*"]')
    errors, warnings = found(text)
    assert errors == [
        f"routes.toml:{line}: route marathon: `zone`: nothing in rules and catalogue is 'GZ-RUM-*' (correct it, or take it out)"
    ]
    assert any("route otherwise: tells of crowd-occupancy at level 2 (GZ-RUN-01 for one)" in w for w in warnings)
    text, line = changed(
        ROUTES,
        'id = "rainstorm"\nrule = "rainstorm"\nlevel = ["blue", "yellow"]',
        'id = "rainstorm"\nrule = "call-button"\nlevel = ["blue", "yellow"]',
    )
    errors, _ = found(text)
    assert errors == [
        f"routes.toml:{line - 1}: route rainstorm: no alert of these rules and this catalogue goes by it (correct what it matches on, or take it out)"
    ]


def test_a_rule_that_is_new_and_has_no_route_of_its_own_is_told_of_as_a_warning() -> None:
    rule = '[[rule]]\nid = "flash"\nkind = "flood"\ntype = "rise"\nquantity = "depth"\nwindow = "5m"\nlevels = { red = 0.2 }\n'
    errors, warnings = found(rules=Rulebook.parse(RULES.read_text() + rule))
    assert errors == []
    assert [w for w in warnings if "flash" in w and "otherwise" in w and "level 4" in w]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('doctor-TH-C01 = {', 'doctor-TH-C01 = { rotas = ["doctors"], ', "group doctor-TH-C01: there is no rota 'doctors' (add [rota.doctors], or correct it)"),
        ('doctor-TH-C01 = { name = "TH-C01 签约医生", members = [', 'doctor-TH-C01 = { name = "TH-C01 签约医生", members = ["nobody", ', "group doctor-TH-C01: there is no person 'nobody' (add them below [person])"),
    ],
)  # fmt: skip
def test_an_unknown_rota_or_person(before: str, after: str, says: str) -> None:
    text, line = changed(DIRECTORY, before, after)
    assert found(directory=text)[0] == [f"directory.toml:{line}: {says}"]


def test_an_unknown_person_in_a_rota_even_on_one_day_or_in_a_swap() -> None:
    for setting in (
        'days = { 2027-01-01 = "nobody" }',
        'swaps = [{ from = 2027-01-01T08:00:00, until = 2027-01-02T08:00:00, person = "p-001", with = "nobody" }]',
    ):
        text, line = changed(DIRECTORY, "[rota.street-office-liwan]\n", f"[rota.street-office-liwan]\n{setting}\n")
        assert found(directory=text)[0] == [
            f"directory.toml:{line}: rota street-office-liwan: there is no person 'nobody' (add them below [person])"
        ]


def test_a_gap_between_hand_overs_weeks_ahead() -> None:
    """From the weekend on nobody of maintenance is there until Monday."""
    text, _ = changed(DIRECTORY, ', "Sat-Sun 08:30-08:30"', "")
    line = DIRECTORY.read_text().split("\nmaintenance = ")[0].count("\n") + 2
    assert found(directory=text)[0] == [
        f"directory.toml:{line}: group maintenance: nobody is on duty from Sun 2026-11-22 12:00 to Mon 2026-11-23 08:30 (let the `hours` of its rotas follow each other, or give it members)"
    ]
    text, _ = changed(DIRECTORY, '"Mon-Fri 17:30-08:30"', '"Mon-Fri 17:31-08:30"')
    assert "nobody is on duty from Mon 2026-11-23 17:30 to Mon 2026-11-23 17:31" in found(directory=text)[0][0]


def test_a_person_without_a_contact_is_an_error_where_they_would_be_told() -> None:
    lines = DIRECTORY.read_text().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if line.startswith("p-001 = "))
    errors, _ = found(directory="".join([*lines[:at], 'p-001 = { name = "x" }\n', *lines[at + 1 :]]))
    assert errors == [
        f"directory.toml:{at + 1}: person p-001 is told of alerts, but has no contact (give `contacts`, or take them out of groups and rotas)"
    ]
    _, warnings = found(directory="".join([*lines[:at], 'p-x = { name = "x" }\n', *lines[at:]]))
    assert warnings == [
        f"directory.toml:{at + 1}: person p-x is in no group and has no login (take out whom you do not need to know)"
    ]


def test_an_address_that_nobody_can_be_told_at_is_an_error_and_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    text, line = changed(DIRECTORY, "json://127.0.0.1:8477/dingtalk/p-001", "dingtalk://token@/13800138000")
    assert found(directory=text)[0] == [
        f"directory.toml:{line}: person p-001: the address of dingtalk cannot be used (write it as an apprise URL)"
    ]
    assert "13800138000" not in "".join(capfd.readouterr())


def test_a_home_that_is_not_in_the_catalogue_is_warned_of() -> None:
    text, line = changed(DIRECTORY, "[home]\n", '[home]\nH-gone = { resident = "x", address = "y" }\n')
    assert found(directory=text)[1] == [
        f"directory.toml:{line + 1}: home H-gone is not in the catalogue (take out whom you do not need to know)"
    ]


def test_a_home_whose_resident_nobody_knows_is_warned_of() -> None:
    lines = DIRECTORY.read_text().splitlines(keepends=True)
    alone = [n for n, line in enumerate(lines) if line.startswith("H-") and "relatives" not in line]
    table = lines.index("[home]\n") + 1
    assert found(directory="".join(line for n, line in enumerate(lines) if n not in alone[:2]))[1] == [
        f"directory.toml:{table}: home {lines[alone[0]].split()[0]} and 1 more of the catalogue are not below [home] (without it nobody finds out where to go)"
    ]


def test_a_login_for_a_place_that_there_is_not() -> None:
    login = '{ role = "oncall", districts = ["天和区", "天河区"], communities = ["TH-C99"], password = "$argon2id$x" }'
    text, line = changed(DIRECTORY, "[person]\n", f'[person]\np-x = {{ name = "x", login = {login} }}\n')
    assert found(directory=text)[0] == [
        f"directory.toml:{line + 1}: person p-x: `login`: there is no {word} in the catalogue (correct it, or take it out)"
        for word in ("TH-C99", "天和区")
    ]


def test_the_command_exits_with_2_and_tells_all_errors(tmp_path: Path) -> None:
    text, _ = changed(ROUTES, 'last_resort = "control-room-lead"', 'last_resort = "the-boss"')
    routes = tmp_path / "routes.toml"
    routes.write_text(text.replace('"GZ-RUN-*"', '"GZ-RUM-*"'))
    run = CliRunner().invoke(app, ["check", "--routes", str(routes)])
    assert run.exit_code == 2
    assert [line.split(": ")[2] for line in run.stderr.splitlines()] == ["route otherwise", "route marathon"]
    assert "warning: " in run.stdout
    assert CliRunner().invoke(app, ["check"]).exit_code == 0


def test_with_a_catalogue_of_ones_own_the_shipped_routes_are_not_looked_at(tmp_path: Path) -> None:
    sites = tmp_path / "sites.geojson"
    sites.write_text('{"type": "FeatureCollection", "features": []}')
    assert CliRunner().invoke(app, ["check", "--sites", str(sites)]).exit_code == 0
    assert CliRunner().invoke(app, ["check", "--sites", str(sites), "--directory", str(DIRECTORY)]).exit_code == 2
