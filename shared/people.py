"""People at the console: who they are and what they may. ●

Who there is stands in teams.yaml (members of teams, and `people:` beside them), so whoever is taken out of it is out at the
next click, whatever session they hold (`shared.sessions`).

A service that acts for a person passes on a *pass*: who it is and what they may, signed with FLYWHEEL_SECRET and good for
a minute, as `Authorization: Bearer fwp_…`. So the closer knows whom to name, and nobody keeps a key for anybody.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from shared.links import Links

Role = Literal["viewer", "agent", "lead", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Each may what the one before may."""
OPERATOR = "operator@localhost"
"""Who started the process, and so may everything: nobody else can read its terminal."""
PASS_LASTS_S = 60.0
PASS_PREFIX = "fwp_"  # noqa: S105 - what a pass begins with
_PURPOSE = "person"

_READ = frozenset({"feedback:read", "cases:read"})
_ACT = _READ | {"feedback:write", "cases:write"}
SCOPES_OF: Final[Mapping[Role, frozenset[str]]] = {
    "viewer": _READ,
    "agent": _ACT,
    "lead": _ACT,
    "admin": frozenset({"admin"}),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as the configuration in force knows them."""

    email: str
    role: Role
    name: str = ""
    teams: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    def is_at_least(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def shown(self) -> str:
        return self.name or self.email.partition("@")[0]


class People:
    """Everybody there is."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._by_email = {person.email.lower(): person for person in people}

    def find(self, email: str) -> Person | None:
        return self._by_email.get(email.lower())

    def of_team(self, team: str) -> list[Person]:
        return [person for person in self._by_email.values() if team in person.teams]

    def all(self) -> list[Person]:
        return list(self._by_email.values())


# ── passes ──


class Pass(NamedTuple):
    """For whom a service asks another one."""

    workspace: str
    actor: str
    """A pseudonym: it stands on topics that are kept for good."""
    name: str
    """What colleagues see."""
    role: Role

    @property
    def scopes(self) -> frozenset[str]:
        return SCOPES_OF[self.role]


def sign_pass(links: Links, for_whom: Pass) -> str:
    return PASS_PREFIX + links.sign(_PURPOSE, json.dumps(for_whom))


def read_pass(links: Links, token: str) -> Pass | None:
    """None: it is not ours, or too old."""
    payload = links.read(_PURPOSE, token.removeprefix(PASS_PREFIX), PASS_LASTS_S)
    return Pass(*json.loads(payload)) if payload is not None else None
