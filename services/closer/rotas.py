"""Whose turn it is: `rotas:` of teams.yaml, and who is away. ●

The members of a rota in turn, from whoever had the last one; who is away is passed over, and outside the rota's hours nobody's
turn comes. Whose turn was last is a row (`closer.rota`), moved in the transaction that opens the case, so each turn is had once.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache

from services.closer.calendar import calendar_of
from shared.config.teams import Hours, Member, Rota, Teams


class Rotas:
    """Those of one configuration."""

    def __init__(self, teams: Teams) -> None:
        self._rotas: Mapping[str, Rota] = {rota.name: rota for rota in teams.rotas}
        members: dict[str, list[Member]] = {}
        for member in teams.everybody:
            members.setdefault(member.email.lower(), []).append(member)
        self._members = members

    def whose(self, name: str, last: str | None, now: datetime) -> str | None:
        """Whose turn comes after `last`'s; None where nobody's does, or where there is no such rota any more."""
        rota = self._rotas.get(name)
        if rota is None or (rota.hours is not None and not _works(rota.hours, now)):
            return None
        everybody = [one.lower() for one in rota.members]
        start = everybody.index(last) + 1 if last in everybody else 0
        zone = rota.hours.zone_info() if rota.hours is not None else UTC
        today = now.astimezone(zone).date()
        return next((one for one in everybody[start:] + everybody[:start] if not self._is_away(one, today)), None)

    def there(self, person: str, now: datetime) -> str | None:
        """That person; None where they are away, or are not in teams.yaml any more."""
        known = person.lower()
        return known if known in self._members and not self._is_away(known, now.date()) else None

    def _is_away(self, person: str, day: date) -> bool:
        return any(away.first <= day <= away.last for member in self._members[person] for away in member.away)


@lru_cache(maxsize=256)
def _works_on(hours: str, day: date) -> tuple[tuple[int, int], ...]:
    return calendar_of(Hours.model_validate_json(hours), day.year).periods(day)


def _works(hours: Hours, now: datetime) -> bool:
    local = now.astimezone(hours.zone_info())
    minute = local.hour * 60 + local.minute
    return any(start <= minute < end for start, end in _works_on(hours.model_dump_json(), local.date()))
