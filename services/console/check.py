"""What the console takes of a configuration: who there is, and where teams work. ●

It is a reader only. What is wrong in teams.yaml, the services that work by it say; and a secret of a team's, which the console
has no use for, need not be in its environment: what cannot be filled in here is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ValidationError

from shared.config import Config
from shared.config.teams import Member, everybody
from shared.people import People


@dataclass(frozen=True, slots=True)
class Crew:
    names: tuple[str, ...] = ()
    zones: Mapping[str, ZoneInfo] = field(default_factory=dict)
    people: People = field(default_factory=lambda: People(()))


def check(config: Config) -> Crew:
    """Never refuses."""
    data = config.partly("teams.yaml").data
    teams = [team for team in _list(data, "teams") if isinstance(team.get("name"), str)]
    placed = [(member, team["name"]) for team in teams for member in _members(team, "members")]
    return Crew(
        names=tuple(team["name"] for team in teams),
        zones={team["name"]: zone for team in teams if (zone := _zone(team)) is not None},
        people=everybody([*placed, *((member, "") for member in _members(data, "people"))]),
    )


def _list(data: Any, name: str) -> list[dict[str, Any]]:
    found = data.get(name) if isinstance(data, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _members(data: Any, name: str) -> Iterable[Member]:
    for one in _list(data, name):
        try:
            yield Member.model_validate(one)
        except ValidationError:
            continue


def _zone(team: Mapping[str, Any]) -> ZoneInfo | None:
    hours = team.get("hours")
    zone = hours.get("zone", "UTC") if isinstance(hours, dict) else None
    return ZoneInfo(zone) if zone in available_timezones() else None
