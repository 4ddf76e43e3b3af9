"""Who may come in, and what each role may see and do. Decided here, on the server; the page only shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from alerts.cases.action import Action, Matcher
from alerts.cases.case import Case
from alerts.parameters import Id
from alerts.routes.directory import Directory
from sensors.catalogue import Catalogue

Role = Literal["viewer", "oncall", "carer", "admin"]
_HASHER = PasswordHasher()  # argon2id with the library's parameters (RFC 9106, low memory)
_NOBODY = _HASHER.hash("nobody has this password")  # so that an unknown name takes as long as a known one


class Scope(NamedTuple):
    """What is seen: the same for all who have the same one. No districts: all of them.

    ``viewer`` sees the city, homes only as counts per community. ``oncall`` sees the homes of their districts too,
    and acts. ``carer`` sees and acts upon the homes of their communities (zones), and nothing else. ``admin``: all.
    """

    role: Role
    districts: frozenset[str] = frozenset()
    communities: frozenset[str] = frozenset()

    def sees(self, kind: str, zone: str, district: str) -> bool:
        """Whether a site, its alerts and its cases are shown one by one."""
        if self.role == "admin":
            return True
        if self.role == "carer":
            return kind == "infrared" and zone in self.communities
        if self.districts and district not in self.districts:
            return False
        return kind != "infrared" or self.role == "oncall"

    def counts(self, zone: str, district: str) -> bool:
        """Whether the homes of a community are shown as a number."""
        if self.role == "carer":
            return zone in self.communities
        return not self.districts or self.role == "admin" or district in self.districts

    def may(self, action: Action, case: Case | None, catalogue: Catalogue) -> bool:
        """Whether an action may be done; ``case`` is the one that it names."""
        if self.role == "viewer":
            return False
        if action.do in ("silence", "maintenance"):
            return action.matcher is not None and self._may_silence(action.matcher, catalogue)
        return case is not None and self.sees(case.kind, case.zone, case.district)

    def may_look_up(self, case: Case) -> bool:
        """Whether who lives in the home of a case may be seen: by its carers, who go there, and by admins."""
        return (
            case.kind == "infrared"
            and self.role in ("carer", "admin")
            and self.sees(case.kind, case.zone, case.district)
        )

    def _may_silence(self, matcher: Matcher, catalogue: Catalogue) -> bool:
        """Those on call silence what lies in their districts; carers nothing, since others rely on the same alerts."""
        if self.role == "admin" or (self.role == "oncall" and not self.districts):
            return True
        if self.role != "oncall":
            return False
        if matcher.district:
            return set(matcher.district) <= self.districts
        known = {**catalogue.sensors, **catalogue.places}
        if matcher.site:
            return all(site in known and known[site].district in self.districts for site in matcher.site)
        of_zone: dict[str, str] = {s.zone: s.district for s in known.values()} if matcher.zone else {}
        return bool(matcher.zone) and all(of_zone.get(zone) in self.districts for zone in matcher.zone)


class Login(NamedTuple):
    """``person`` is the id in the directory by which actions are signed, ``password`` its argon2 hash."""

    person: Id
    name: str
    scope: Scope
    password: str


Logins = Mapping[str, Login]


def logins_of(directory: Directory) -> dict[str, Login]:
    """Those of the directory who may come in, by their id."""
    logins = {}
    for person, entry in directory.people.items():
        if login := entry.login:
            scope = Scope(login.role, frozenset(login.districts), frozenset(login.communities))
            logins[person] = Login(person, entry.name, scope, login.password)
    return logins


def hash_password(password: str) -> str:
    """What goes into the directory."""
    return _HASHER.hash(password)


def check_password(login: Login | None, password: str) -> bool:
    """Takes some 50 ms and 64 MiB on purpose, also for a name that nobody has; to be called off the event loop."""
    try:
        return _HASHER.verify(login.password if login else _NOBODY, password) and login is not None
    except (VerificationError, InvalidHashError):
        return False
