"""Routes: which groups hear of an alert, by the text of the files alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from alerts.cases.routing import Route, Step
from alerts.routes.duty import Duty
from alerts.routes.routes import Routes, RoutesFile
from alerts.source import Source
from sensors.errors import InputError, RunError

MINUTE = 60_000
FLOOD = {
    "kind": "flood",
    "rule": "flood-depth",
    "type": "level",
    "district": "天河区",
    "zone": "TH-03",
    "site": "GZ-TH-0012",
    "level": 3,
}
LONG_STAY = {
    "kind": "infrared",
    "rule": "home-dwell",
    "type": "dwell",
    "district": "黄埔区",
    "zone": "HP-C01",
    "site": "H-1A2B",
    "level": 3,
}
OTHERWISE = (
    '[[route]]\nid = "otherwise"\notherwise = true\nsteps = [{ tell = "desk", wait = "5m" }]\nlast_resort = "boss"\n'
)
DUTY = Duty.model_validate({"groups": {"desk": ["p-1"], "boss": ["p-2"], "crew-TH": ["p-3"], "kin-H-1A2B": ["p-4"]}})


def routes(text: str, duty: Duty = DUTY) -> Routes:
    source = Source(text + OTHERWISE, "routes.toml")
    return Routes(RoutesFile.parse(source), duty, source)


def route(settings: str, tell: str = "desk") -> str:
    return f'[[route]]\n{settings}\nsteps = [{{ tell = "{tell}", wait = "5m" }}]\nlast_resort = "boss"\n'


def ids(found: Routes, alert: dict[str, Any]) -> list[str]:
    return [one.id for one in found.routes(alert)]


@cache
def shipped() -> Routes:
    return Routes.shipped()


def told(alert: dict[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    return [(one.id, [step.groups for step in one.steps]) for one in shipped().routes(alert)]


# -- the shipped ones, flow by flow ---------------------------------------------------------------------------


def test_a_long_stay_tells_the_street_office_then_those_who_live_near() -> None:
    assert shipped().routes(LONG_STAY) == (
        Route(
            "elder-care",
            (
                Step(("street-office-huangpu",), 5 * MINUTE),
                Step(("carers-HP-C01", "volunteers-huangpu"), 10 * MINUTE),
            ),
            repeat=3,
            last_resort=("control-room",),
        ),
    )


def test_the_call_button_tells_carers_doctor_and_relatives_at_once_and_a_person_closes_it() -> None:
    home = next(name.removeprefix("relatives-") for name in shipped().duty.groups if name.startswith("relatives-"))
    (found,) = shipped().routes({**LONG_STAY, "rule": "call-button", "type": "press", "site": home, "level": 4})
    assert found.steps[0].groups == ("carers-HP-C01", "doctor-HP-C01", f"relatives-{home}")
    assert found.by_person
    (without,) = shipped().routes({**LONG_STAY, "rule": "call-button", "type": "press", "site": "H-none", "level": 4})
    assert without.steps[0].groups == ("carers-HP-C01", "doctor-HP-C01")


@pytest.mark.parametrize("rule", ["flood-depth", "waterlog-risk"])
def test_a_flood_tells_its_districts_drainage_crew_and_traffic_police(rule: str) -> None:
    assert told({**FLOOD, "rule": rule}) == [
        ("flood", [("drainage-tianhe", "traffic-tianhe"), ("flood-control-tianhe",)]),
    ]
    assert told({**FLOOD, "rule": rule, "level": 1}) == [("ponding", [("drainage-tianhe",)])]


def test_a_crowd_tells_the_venues_security_and_the_districts_police() -> None:
    station = {
        "kind": "crowd",
        "rule": "crowd-occupancy",
        "type": "occupancy",
        "district": "越秀区",
        "zone": "GZ-STATION",
        "site": "GZ-STATION",
        "level": 4,
    }
    assert told(station) == [("crowding", [("security-GZ-STATION",)]), ("crush", [("police-yuexiu",)])]
    assert told({**station, "level": 2}) == [("crowding", [("security-GZ-STATION",)])]
    segment = {**station, "zone": "GZ-RUN-04", "site": "GZ-RUN-04"}
    assert told(segment) == [("marathon", [("marathon",)]), ("crush", [("police-yuexiu",)])]


@pytest.mark.parametrize("kind", ["flood", "rain", "infrared", "crowd"])
def test_a_silent_sensor_tells_maintenance_with_hours_to_go(kind: str) -> None:
    silent = {**FLOOD, "kind": kind, "rule": f"{kind}-silence", "type": "silence", "level": 2}
    (found,) = shipped().routes(silent)
    assert found.steps == (Step(("maintenance",), 240 * MINUTE),)


# -- matching -------------------------------------------------------------------------------------------------


def test_every_route_that_matches_applies_in_the_files_order() -> None:
    found = routes(
        route('id = "b"') + route('id = "a"\ndistrict = ["天河区", "越秀区"]') + route('id = "c"\nrule = "other"')
    )
    assert ids(found, FLOOD) == ["b", "a"]


@pytest.mark.parametrize(
    ("setting", "matches"),
    [
        ('kind = "flood"', True),
        ('kind = "rain"', False),
        ('type = "level"', True),
        ('zone = ["TH-*", "YX-01"]', True),
        ('zone = "TH-1*"', False),
        ('site = "GZ-TH-0012"', True),
        ('site = "GZ-TH-001"', False),
        ('level = "orange"', True),
        ('level = ["yellow", "red"]', False),
        ('district = "天河区"\nlevel = "orange"\nrule = "flood-depth"', True),
        ('district = "天河区"\nlevel = "orange"\nrule = "waterlog-risk"', False),
    ],
)
def test_each_field_that_is_given_has_to_match(setting: str, matches: bool) -> None:
    assert ids(routes(route(f'id = "a"\n{setting}')), FLOOD) == (["a"] if matches else ["otherwise"])


def test_an_alert_is_never_told_to_nobody() -> None:
    """A district that is new, whose crew nobody has written down yet: the route for everything else has it, too."""
    found = routes('[districts]\n"天河区" = "TH"\n' + route('id = "a"', tell="crew-{district}"))
    assert ids(found, FLOOD) == ["a"]
    assert ids(found, {**FLOOD, "district": "新区"}) == ["a", "otherwise"]
    assert ids(found, {**FLOOD, "level": 0}) == []


def test_groups_are_filled_in_from_the_alert() -> None:
    text = '[[route]]\nid = "a"\nsteps = [{ tell = "{kind}-{rule}-{type}-{zone}-{district}", also = ["kin-{site}", "pets-{site}"], wait = "90s" }]\nlast_resort = "boss"\n'
    (found, _) = routes(text + route('id = "b"')).routes({**LONG_STAY, "district": "HP"})
    assert found.steps == (Step(("infrared-home-dwell-dwell-HP-C01-HP", "kin-H-1A2B"), 90_000),)


# -- on the log -----------------------------------------------------------------------------------------------


def test_what_goes_on_the_log_gives_the_same_answers_and_the_same_bytes() -> None:
    back = Routes.unpack(shipped().pack())
    assert back.pack() == shipped().pack()
    for alert in (FLOOD, LONG_STAY):
        assert back.routes(alert) == shipped().routes(alert)
    for group in shipped().duty.groups:
        assert back.on_duty(group, 1_714_800_000_000) == shipped().on_duty(group, 1_714_800_000_000)


@pytest.mark.parametrize(
    "value", [b"", b"[]", b'{"version":2}', b'{"version":1}', b'{"version":1,"routes":{},"duty":{}}']
)
def test_what_is_not_routes_is_refused(value: bytes) -> None:
    with pytest.raises(RunError):
        Routes.unpack(value)


# -- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[[route]]\nid = "a"\nsteps = []\nlast_resort = "boss"\n', 3, "route a: `steps`"),
        (route('id = "a"\nrepeat = 6'), 3, "repeat"),
        (route('id = "a"\nlevel = "purple"'), 3, "purple"),
        (route('id = "a"\n\nwhen = "night"'), 4, "unknown setting `when`"),
        (route('id = "a"', tell="crew-{street}"), 3, "{street}"),
        (route('id = "a"', tell="crew {zone}"), 3, "group's id"),
        (route('id = "a"') * 2, 5, "there twice"),
        ('[[route]]\nid = "a"\nsteps = [{ tell = "desk", wait = "soon" }]\nlast_resort = "boss"\n', 3, "soon"),
        (OTHERWISE.replace("otherwise = true", "otherwise = true\nkind = 'rain'").replace("id = ", "id = 'x' #"), 1, "matches on nothing"),
        (OTHERWISE.replace('"otherwise"', '"other"'), None, "one route"),
        ("[routes]\n", 1, "unknown setting"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what(text: str, line: int | None, says: str) -> None:
    with pytest.raises(InputError) as caught:
        routes(text)
    assert says in str(caught.value)
    assert caught.value.line == line
    assert caught.value.file == "routes.toml"
