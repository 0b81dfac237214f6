"""teams.yaml: who there is, when they work, and how they wish to hear."""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from shared.config import Config
from shared.config.document import ConfigError, Document, Issue
from shared.folding import fold
from shared.people import ROLES, People, Person, Role

FILE = "teams.yaml"
# A team's name is part of a topic's name, so it follows Kafka's legal characters, without the dot.
TeamName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
RotaName = TeamName
Address = Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=320)]
Weekday = int
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PERIOD = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(([01]\d|2[0-3]):([0-5]\d)|24:00)\Z")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hours(_Strict):
    """`{zone: Asia/Shanghai, days: {mon-fri: ["09:00-12:00", "13:00-18:00"]}, holidays: CN}`"""

    zone: str = "UTC"
    days: dict[str, tuple[str, ...]]
    holidays: str | tuple[str, ...] = ()
    """A country code as python-holidays knows it (`CN`, `DE-BY`), or days: `["2026-12-24", …]`."""
    working_days: dict[str, str | None] = Field(default_factory=dict)
    """Make-up days: `{"2026-10-10": fri}`: a day that keeps that weekday's hours; null: Friday's."""

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not a time zone (IANA names, such as Asia/Shanghai)")
        return value

    @field_validator("days")
    @classmethod
    def _days(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        seen: set[int] = set()
        for name, periods in value.items():
            for day in weekdays(name):
                if day in seen:
                    raise ValueError(f"{DAYS[day]} stands twice")
                seen.add(day)
            last = 0
            for start, end in (minutes(period) for period in periods):
                if start < last or end <= start:
                    raise ValueError(f"{name}: periods must be in order and must not overlap")
                last = end
        if not any(value.values()):
            raise ValueError("a team that never works cannot keep a clock: give at least one period")
        return value

    def zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


def weekdays(name: str) -> list[Weekday]:
    """`mon`, `mon-fri`, `sat-mon` → numbers from Monday = 0. Raises ValueError."""
    first, _, last = name.partition("-")
    if first not in DAYS or (last and last not in DAYS):
        raise ValueError(f"{name!r} is not a day or a range of days (mon, mon-fri)")
    start = DAYS.index(first)
    count = (DAYS.index(last or first) - start) % 7 + 1
    return [(start + i) % 7 for i in range(count)]


def minutes(period: str) -> tuple[int, int]:
    """`09:00-12:00` → minutes since midnight. Raises ValueError."""
    if not _PERIOD.match(period):
        raise ValueError(f'{period!r} is not a period: write "09:00-12:00", in quotes')
    start, end = period.split("-")
    return tuple(int(part[:2]) * 60 + int(part[3:]) for part in (start, end))  # type: ignore[return-value]


class Away(_Strict):
    """From the first day to the last, both included."""

    first: date = Field(alias="from")
    last: date = Field(alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"it ends on {self.last}, before it begins on {self.first}")
        return self


class Member(_Strict):
    email: Address
    languages: tuple[str, ...] = ()
    name: str | None = None
    role: Role = "agent"
    slack: Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,20}$")] | None = None
    """Their id in Slack (profile → ⋮ → Copy member ID): whoever presses a button there is this person."""
    away: tuple[Away, ...] = ()
    """When nothing is handed to them."""

    def is_known_as(self, channel: str, who: str) -> bool:
        """Whether that is what the channel calls them."""
        return getattr(self, channel, None) == who


class Subscription(_Strict):
    """One way for the team to hear. What else it holds is its channel's to read."""

    model_config = ConfigDict(extra="allow", frozen=True)

    channel: str


class Team(_Strict):
    name: TeamName
    hours: Hours | None = None
    """None: round the clock."""
    known_as: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = ()
    """What the tools that feedback comes from call this team: `Billing EU`, or `zendesk-eu:360001234567` in one source."""
    members: tuple[Member, ...] = ()
    subscribe: tuple[Subscription, ...] = ()


class Rota(_Strict):
    """Whose turn it is: its members one after the other."""

    name: RotaName
    members: Annotated[tuple[Address, ...], Field(min_length=1)]
    """By their addresses; each a member of a team, or one of `people`."""
    hours: Hours | None = None
    """Outside these hours nobody's turn comes; None: round the clock."""


class Teams(_Strict):
    default_team: TeamName
    teams: Annotated[tuple[Team, ...], Field(min_length=1)]
    people: tuple[Member, ...] = ()
    """Who is in no team, and looks in or keeps house."""
    rotas: tuple[Rota, ...] = ()
    journey: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [team.name for team in self.teams]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two teams have the name {twice!r}")
        if self.default_team not in names:
            raise ValueError(f"default_team {self.default_team!r} is not among the teams ({', '.join(names)})")
        rotas = [rota.name for rota in self.rotas]
        twice = next((name for name in rotas if rotas.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rotas have the name {twice!r}")
        for rota in self.rotas:
            stranger = next((one for one in rota.members if one.lower() not in self.addresses), None)
            if stranger is not None:
                raise ValueError(f"rota {rota.name!r}: {stranger} is no member of a team and none of the people")
        return self

    @property
    def everybody(self) -> Iterable[Member]:
        return (*(member for team in self.teams for member in team.members), *self.people)

    @property
    def addresses(self) -> list[str]:
        """Everybody's, in small letters."""
        return list(dict.fromkeys(member.email.lower() for member in self.everybody))

    @property
    def names(self) -> list[str]:
        return [team.name for team in self.teams]

    @property
    def known_as(self) -> dict[str, str]:
        """What a team is called, folded → its name."""
        return {fold(one): team.name for team in self.teams for one in (team.name, *team.known_as)}

    def get(self, name: str) -> Team | None:
        return next((team for team in self.teams if team.name == name), None)


def teams_of(config: Config) -> Teams:
    """Who there is. How a team hears is read by whoever tells it, so the secrets under `subscribe` need not be set here.
    Raises `ConfigError`."""
    return read_teams(config.document(FILE, but="subscribe"))


def read_teams(document: Document) -> Teams:
    """Raises `ConfigError`."""
    teams = document.read(Teams)
    if issues := list(_known_twice(teams, document)):
        raise ConfigError(issues)
    return teams


def _known_twice(teams: Teams, document: Document) -> Iterator[Issue]:
    whose = {fold(name): name for name in teams.names}
    for place, team in enumerate(teams.teams):
        for number, known in enumerate(team.known_as):
            other = whose.setdefault(fold(known), team.name)
            if other != team.name:
                yield document.issue(("teams", place, "known_as", number), f"{known!r} is {other!r} already")


def everybody(placed: Iterable[tuple[Member, str]]) -> People:
    """(member, team or nothing) → people. Who stands in several places has all of their teams, and the highest of their
    roles."""
    found: dict[str, Person] = {}
    for member, team in placed:
        email = member.email.lower()
        known = found.get(email) or Person(email, member.role)
        found[email] = Person(
            email,
            max(known.role, member.role, key=ROLES.index),
            known.name or member.name or "",
            (*known.teams, team) if team else known.teams,
            known.languages or member.languages,
        )
    return People(found.values())
