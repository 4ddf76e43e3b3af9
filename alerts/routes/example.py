"""The example of a directory that fits the shipped catalogue; ``python -m alerts.routes.example`` writes it anew.

Everybody and every address is invented, and every contact is a port of this machine, so nobody is ever told by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from alerts.routes.directory import SHIPPED
from alerts.routes.routes import SHIPPED as ROUTES
from alerts.routes.routes import RoutesFile
from alerts.source import Source
from sensors.catalogue import Catalogue

SINCE = "2024-01-01"  # a Monday
_SURNAMES = "陈梁黄李何冯邓叶潘卢谭苏曾罗麦关区霍简冼"
_GIVEN = "伟芳强英华娟良贞杰玲豪欣然仪辉婷轩彤康珊明"
_HEAD = """# An example for the demo, made by `python -m alerts.routes.example`. Everybody in it is invented.
# A real one has names, addresses and phones of people: keep it apart from this file, and encrypted
# (kapok directory encrypt; docs/privacy.md). docs/oncall.md explains the words.

timezone = "Asia/Shanghai"
"""


class _Example:
    def __init__(self, catalogue: Catalogue, districts: dict[str, str]) -> None:
        self._numbers = count(1)
        self._people: list[str] = []
        self._groups: list[str] = []
        self._rotas: list[str] = []
        self._homes: list[str] = []
        crowded = {place.district for place in catalogue.places.values() if place.kind == "crowd"}
        for name, code in districts.items():
            self._district(name, code, crowds=name in crowded)
        homes = [place for place in catalogue.places.values() if place.kind == "infrared"]
        for zone in dict.fromkeys(home.zone for home in homes):
            self._members(f"carers-{zone}", f"{zone} 护理员", 2)
            self._members(f"doctor-{zone}", f"{zone} 签约医生", 1)
        for number, home in enumerate(homes):
            self._home(number, home.id, home.district)
        for venue in (place for place in catalogue.places.values() if place.kind == "crowd"):
            if not venue.zone.startswith("GZ-RUN-"):
                self._members(f"security-{venue.zone}", f"{venue.name}安保", 2)
        self._members("marathon", "马拉松赛事指挥部", 2)
        self._city()

    def __str__(self) -> str:
        tables = {"person": self._people, "group": self._groups, "home": self._homes}
        parts = ["\n".join([f"[{name}]", *lines]) for name, lines in tables.items()]
        return "\n\n".join([_HEAD.rstrip(), parts[0], parts[1], *self._rotas, parts[2]]) + "\n"

    def _district(self, name: str, code: str, *, crowds: bool) -> None:
        """Three crews take turns by the week; the police and the offices by the day."""
        self._rota(f"drainage-{code}", f"{name}排水抢险队", 3, 'handover = "Mon 08:30"', together=2)
        offices = {"traffic": "交警", "police": "公安", "flood-control": "三防办", "street-office": "街道值班室"}
        for group, word in offices.items():
            if crowds or group != "police":
                self._rota(f"{group}-{code}", name + word, 2, 'handover = "08:00"')
        self._members(f"volunteers-{code}", f"{name}志愿者", 2)

    def _city(self) -> None:
        """The control room is there day and night; those who repair sensors in office hours."""
        holiday = "holidays = [{{ from = 2027-02-05, until = 2027-02-12, turns = [{turns}] }}]  # Spring Festival"
        rooms = [self._person() for _ in range(4)]
        self._rota_of("control-room", rooms, 'handover = "08:00"', holiday.format(turns=", ".join(rooms[:2])))
        self._named("control-room", "市应急值班室", 'rotas = ["control-room"]')
        day, night = [self._person() for _ in range(3)], rooms[:2]
        hours = {
            "maintenance-day": (day, '["Mon-Fri 08:30-17:30"]'),
            "maintenance-night": (night, '["Mon-Fri 17:30-08:30", "Sat-Sun 08:30-08:30"]'),
        }
        for rota, (people, when) in hours.items():
            self._rota_of(rota, people, 'handover = "Mon 08:30"', f"hours = {when}")
        self._named("maintenance", "传感器维护", 'rotas = ["maintenance-day", "maintenance-night"]')
        self._members("maintenance-lead", "传感器维护负责人", 1)
        self._members("control-room-lead", "市应急值班室负责人", 1)

    def _home(self, number: int, home: str, district: str) -> None:
        resident = _SURNAMES[number * 7 % len(_SURNAMES)] + ("婆婆" if number % 3 else "伯")
        own = ""
        if number % 3 == 0:  # the others have nobody near
            relative = self._person()
            own = f", groups = {{ relatives = [{relative}] }}"
        address = f"{district}木棉路{number + 1}号"
        self._homes.append(
            f'{home} = {{ resident = "{resident}", address = "{address}", phone = "020-0000-{number:04d}"{own} }}'
        )

    def _members(self, group: str, name: str, people: int) -> None:
        self._named(group, name, f"members = [{', '.join(self._person() for _ in range(people))}]")

    def _named(self, group: str, name: str, who: str) -> None:
        self._groups.append(f'{group} = {{ name = "{name}", {who} }}')

    def _rota(self, group: str, name: str, turns: int, handover: str, together: int = 1) -> None:
        people = [", ".join(self._person() for _ in range(together)) for _ in range(turns)]
        self._rota_of(group, [f"[{turn}]" if together > 1 else turn for turn in people], handover)
        self._named(group, name, f'rotas = ["{group}"]')

    def _rota_of(self, rota: str, turns: list[str], *settings: str) -> None:
        lines = [f"[rota.{rota}]", f"turns = [{', '.join(turns)}]", settings[0], f"since = {SINCE}", *settings[1:]]
        self._rotas.append("\n".join(lines))

    def _person(self) -> str:
        """Adds a person, and gives the id in quotes."""
        number = next(self._numbers)
        person = f"p-{number:03d}"
        name = _SURNAMES[number * 3 % len(_SURNAMES)] + _GIVEN[number * 5 % len(_GIVEN)]
        channels = ", ".join(self._channels(number, person))
        language = ', language = "en"' if number % 25 == 0 else ""
        self._people.append(f'{person} = {{ name = "{name}"{language}, contacts = {{ {channels} }} }}')
        return f'"{person}"'

    def _channels(self, number: int, person: str) -> Iterator[str]:
        for channel in ("dingtalk", "sms") if number % 2 else ("sms", "mail"):
            yield f'{channel} = "json://127.0.0.1:8477/{channel}/{person}"'


def directory() -> str:
    """The text of ``directory.toml``."""
    routes = RoutesFile.parse(Source.read(ROUTES, "the routes"))
    return str(_Example(Catalogue.shipped(), routes.districts))


if __name__ == "__main__":
    Path(SHIPPED).write_text(directory())
