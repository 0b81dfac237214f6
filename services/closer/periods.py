"""When a digest's period ends, on the team's own calendar. ●

*daily*: at that time on each day on which the team works. *hourly*: at each full hour within its hours, the first and the
last minute of a stretch included; a stretch without a full hour has its end. A team without hours is taken round the
clock, in UTC. A period begins where the one before ended, so what comes in the night, on a weekend or on a holiday is in
the next one.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.closer.calendar import Calendar, calendar_of
from services.closer.digest import Every
from shared.config.teams import Hours

DAY_MIN = 1440
LOOKED_THROUGH_DAYS = 400
"""A team that has not worked for so long gets no digest."""


def last_end(every: Every, at: int, hours: Hours | None, now: datetime) -> datetime | None:
    """The latest end of a period that is not after `now`. `at`: minutes since midnight, of the daily one. In UTC."""
    today = now.astimezone(zone_of(hours)).date()
    for back in range(LOOKED_THROUGH_DAYS):
        ends = [end for end in _ends(every, at, hours, today - timedelta(days=back)) if end <= now]
        if ends:
            return max(ends)
    return None


def next_end(every: Every, at: int, hours: Hours | None, now: datetime) -> datetime | None:
    """The first one after `now`."""
    # A stretch until midnight ends on the next day.
    yesterday = now.astimezone(zone_of(hours)).date() - timedelta(days=1)
    for on in range(LOOKED_THROUGH_DAYS):
        ends = [end for end in _ends(every, at, hours, yesterday + timedelta(days=on)) if end > now]
        if ends:
            return min(ends)
    return None


def zone_of(hours: Hours | None) -> ZoneInfo:
    return ZoneInfo(hours.zone if hours is not None else "UTC")


def _ends(every: Every, at: int, hours: Hours | None, day: date) -> Iterator[datetime]:
    """Of that day, in order."""
    periods = ((0, DAY_MIN),) if hours is None else _calendar(hours.model_dump_json(), day.year).periods(day)
    if every == "daily":
        if periods:
            yield _moment(zone_of(hours), day, at)
        return
    for start, end in periods:
        full = range(-(-start // 60) * 60, end + 1, 60) or (end,)
        for minute in full:
            yield _moment(zone_of(hours), day, minute)


def _moment(zone: ZoneInfo, day: date, minute: int) -> datetime:
    """A time that daylight saving skips is where the wall clock landed; of one that it repeats, the first."""
    day += timedelta(days=minute // DAY_MIN)
    local = datetime(day.year, day.month, day.day, minute % DAY_MIN // 60, minute % 60, tzinfo=zone)
    return local.astimezone(UTC)


@lru_cache(200)
def _calendar(hours: str, year: int) -> Calendar:
    return calendar_of(Hours.model_validate_json(hours), year)
