"""When a team works: an exact calendar, and time measured on it.

A `Calendar` is a value: zone, weekly periods, and the very days that are off or made up over a horizon. It is
kept with a case, so neither an edit of teams.yaml nor a new release of python-holidays moves a running clock.

Two measures run on it, both standing still outside working hours:
- *seconds*: true elapsed working time. A period that daylight saving cuts short is as short as it really was.
- *days*: each day with working hours counts one, however long it is, and within a day the measure is the share of
  the day's work that is done, by the team's own clock on the wall. So `1d` from three o'clock on Thursday is three
  o'clock on Friday; from the middle of a long Friday it is the middle of a short Saturday; and three days from
  before Monday's opening is Wednesday's close: the first moment at which three whole working days are over.

A minute is a working minute when the local clock then shows a time within one of the day's periods. An hour that
daylight saving skips is not worked, an hour that it repeats is worked twice if its times are within a period.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from shared.config.teams import DAYS, Hours, minutes, weekdays

FRIDAY = 4
DAY_S = 86_400
# What is owed is due within weeks; beyond the horizon only the weekly hours are known.
HORIZON_YEARS = 3
# A clock that starts on New Year's Eve in one zone starts in the old year of another.
LEAD_IN_DAYS = 35
# Times are kept to the millisecond; less than that is rounding.
_EPSILON_DAYS = 1e-9
_EPSILON_S = 1e-4

Periods = tuple[tuple[int, int], ...]
"""Minutes since midnight, in order, without overlap."""


class UnknownHolidays(ValueError):
    """Neither a code that python-holidays knows nor a list of days."""


class Measure(Protocol):
    """Working time as a number that only rises. `after_*` is the first moment at which that much is over."""

    def seconds_at(self, at: float) -> float: ...

    def after_seconds(self, total: float) -> float: ...

    def days_at(self, at: float) -> float: ...

    def after_days(self, total: float) -> float: ...


class _RoundTheClock:
    """A team without hours: every second counts, and a day is 24 of them."""

    def seconds_at(self, at: float) -> float:
        return at

    def after_seconds(self, total: float) -> float:
        return total

    def days_at(self, at: float) -> float:
        return at / DAY_S

    def after_days(self, total: float) -> float:
        return total * DAY_S


ROUND_THE_CLOCK: Measure = _RoundTheClock()


@dataclass(frozen=True)
class Calendar:
    zone: str
    week: tuple[Periods, ...]
    """From Monday."""
    off: tuple[tuple[date, str], ...]
    """Days without work within the horizon that the weekly hours would have worked, and why."""
    made_up: tuple[tuple[date, int], ...]
    """Days within the horizon that keep the hours of that weekday (Monday = 0)."""
    first: date
    last: date

    def periods(self, day: date) -> Periods:
        weekday = self._made_up.get(day)
        if weekday is not None:
            return self.week[weekday]
        return () if day in self._off else self.week[day.weekday()]

    def why(self, day: date) -> str:
        """What sort of day it is, for `explain`."""
        made_up = self._made_up.get(day)
        if made_up is not None:
            return f"make-up working day, {DAYS[made_up]}'s hours"
        if day in self._off:
            return self._off[day] or "holiday"
        return "working day" if self.week[day.weekday()] else "day off"

    @cached_property
    def working_days_a_week(self) -> int:
        return sum(1 for periods in self.week if periods)

    @cached_property
    def measure(self) -> "BusinessTime":
        return BusinessTime(self)

    @cached_property
    def _off(self) -> Mapping[date, str]:
        return dict(self.off)

    @cached_property
    def _made_up(self) -> Mapping[date, int]:
        return dict(self.made_up)

    def to_json(self) -> dict[str, Any]:
        return {
            "zone": self.zone,
            "week": [[list(period) for period in periods] for periods in self.week],
            "off": {day.isoformat(): name for day, name in self.off},
            "made_up": {day.isoformat(): weekday for day, weekday in self.made_up},
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calendar":
        return cls(
            zone=data["zone"],
            week=tuple(tuple((start, end) for start, end in periods) for periods in data["week"]),
            off=tuple((date.fromisoformat(day), name) for day, name in data["off"].items()),
            made_up=tuple((date.fromisoformat(day), weekday) for day, weekday in data["made_up"].items()),
            first=date.fromisoformat(data["first"]),
            last=date.fromisoformat(data["last"]),
        )


def calendar_of(hours: Hours, year: int) -> Calendar:
    """The team's calendar for clocks that start in that year. Raises `UnknownHolidays`.

    `working_days` wins over holidays, so a calendar that the library does not know yet can be put right by hand."""
    first = date(year, 1, 1) - timedelta(days=LEAD_IN_DAYS)
    last = date(year + HORIZON_YEARS, 12, 31)
    week = week_of(hours)
    off, made_up = statutory(hours.holidays, first, last)
    for day_text, weekday in hours.working_days.items():
        day = date.fromisoformat(day_text)
        if first <= day <= last:
            made_up[day] = FRIDAY if weekday is None else weekdays(weekday)[0]
    return Calendar(
        zone=hours.zone,
        week=week,
        off=tuple(sorted((day, name) for day, name in off.items() if day not in made_up and week[day.weekday()])),
        made_up=tuple(sorted(made_up.items())),
        first=first,
        last=last,
    )


def week_of(hours: Hours) -> tuple[Periods, ...]:
    week: list[Periods] = [()] * 7
    for name, periods in hours.days.items():
        for weekday in weekdays(name):
            week[weekday] = tuple(minutes(period) for period in periods)
    return tuple(week)


def statutory(of: str | tuple[str, ...], first: date, last: date) -> tuple[dict[date, str], dict[date, int]]:
    """Days off with their names, and make-up working days with the weekday whose hours they keep.

    Raises `UnknownHolidays`."""
    if isinstance(of, tuple):
        try:
            days = {date.fromisoformat(day): "holiday" for day in of}
        except ValueError as error:
            raise UnknownHolidays(f"{error}: days are written 2026-12-24") from None
        return {day: name for day, name in days.items() if first <= day <= last}, {}
    off: dict[date, str] = {}
    made_up: dict[date, int] = {}
    for year in range(first.year, last.year + 1):
        named, worked = _national(of, year)
        off.update({day: name for day, name in named.items() if first <= day <= last})
        made_up.update({day: weekday for day, weekday in worked.items() if first <= day <= last})
    return off, made_up


# As python-holidays writes the day that a day off was traded for, in its English.
_US_DATE = re.compile(r"\b(\d\d)/(\d\d)/(\d{4})\b")


@lru_cache(256)
def _national(code: str, year: int) -> tuple[Mapping[date, str], Mapping[date, int]]:
    import holidays  # half a second, for who has no case yet to reckon with

    country, _, subdivision = code.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=subdivision or None, years=year)
    except NotImplementedError:
        raise UnknownHolidays(
            f"{code!r} is not a country that python-holidays knows (CN, DE, DE-BY), nor a list of days"
        ) from None
    off = {day: _US_DATE.sub(r"\3-\1-\2", str(name)) for day, name in found.items() if day.year == year}
    stands_for = {work: rest.weekday() for rest, work in _substitutions(found)}
    # A day worked in December may make up for one in January: the library lists it with the year of the rest.
    made_up = {day: stands_for.get(day, FRIDAY) for day in found.weekend_workdays}
    return off, made_up


def _substitutions(found: Any) -> Iterator[tuple[date, date]]:
    """Which day off each make-up working day was traded for, of all years that the library knows."""
    for year, rows in getattr(found, "special_public_holidays", {}).items():
        for row in rows if isinstance(rows[0], tuple) else (rows,):
            # (month, day off, month, day worked[, year worked]); rows of a named holiday hold its name instead.
            if len(row) >= 4 and all(isinstance(part, int) for part in row):
                yield date(year, row[0], row[1]), date(row[4] if len(row) > 4 else year, row[2], row[3])


# ── time measured on a calendar ───────────────────────────────────────────────────────────────────────────────────


class BusinessTime:
    """A calendar unrolled into spans of work on the UTC line, so that every question is one bisection."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._zone = ZoneInfo(calendar.zone)
        self._next = calendar.first
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._seconds: list[float] = []
        """Working seconds before each span."""
        self._days: list[float] = []
        """Working days before each span."""
        self._shares: list[float] = []
        """How much of its day each span is."""
        self._total_s = 0.0
        self._total_days = 0
        self._unroll(calendar.last)

    def seconds_at(self, at: float) -> float:
        self._reach(at)
        span = bisect_right(self._starts, at) - 1
        if span < 0:
            return 0.0
        return self._seconds[span] + min(at, self._ends[span]) - self._starts[span]

    def after_seconds(self, total: float) -> float:
        while self._total_s < total:
            self._further()
        span = max(bisect_left(self._seconds, total - _EPSILON_S) - 1, 0)
        return self._starts[span] + total - self._seconds[span]

    def days_at(self, at: float) -> float:
        self._reach(at)
        span = bisect_right(self._starts, at) - 1
        if span < 0:
            return 0.0
        start, end = self._starts[span], self._ends[span]
        if at >= end:
            return self._days[span] + self._shares[span]
        return self._days[span] + self._shares[span] * (at - start) / (end - start)

    def after_days(self, total: float) -> float:
        while self._total_days < total + 1:
            self._further()
        span = max(bisect_left(self._days, total - _EPSILON_DAYS) - 1, 0)
        share, done = self._shares[span], total - self._days[span]
        if done > share + _EPSILON_DAYS:
            # The wall clock leapt over this moment (daylight saving): it is where the wall clock landed.
            return self._starts[span + 1]
        start, end = self._starts[span], self._ends[span]
        return start + (end - start) * (min(done / share, 1.0) if share else 0.0)

    def _reach(self, at: float) -> None:
        while not self._ends or self._ends[-1] < at:
            self._further()

    def _further(self) -> None:
        self._unroll(self._next + timedelta(days=366))

    def _unroll(self, last: date) -> None:
        day = self._next
        while day <= last:
            periods = self._calendar.periods(day)
            if periods:
                self._add(day, periods)
            day += timedelta(days=1)
        self._next = day

    def _add(self, day: date, periods: Periods) -> None:
        whole = sum(end - start for start, end in periods)
        done = furthest = 0.0
        spans = list(_spans(self._zone, day, periods))
        if not spans:
            return
        for start, end, before, after in spans:
            # Where the wall clock is set back, its second time round brings the share no further.
            share_from, share_to = max(before / whole, furthest), max(after / whole, furthest)
            furthest = share_to
            self._starts.append(start)
            self._ends.append(end)
            self._seconds.append(self._total_s + done)
            self._days.append(self._total_days + share_from)
            self._shares.append(share_to - share_from)
            done += end - start
        self._total_s += done
        self._total_days += 1


def _spans(zone: ZoneInfo, day: date, periods: Periods) -> Iterator[tuple[float, float, float, float]]:
    """(start, end, minutes of the day's work before it, and after it by the wall clock) of each span of work."""
    midnight, following = _midnight(zone, day), _midnight(zone, day + timedelta(days=1))
    before = 0.0
    if following - midnight == DAY_S:
        for start, end in periods:
            yield midnight + start * 60, midnight + end * 60, before, before + end - start
            before += end - start
        return
    # A day on which the clocks change: minute by minute, for it comes twice a year.
    at, span, furthest = midnight - 3 * 3600, None, 0.0
    while at < following + 3 * 3600:
        local = datetime.fromtimestamp(at, zone)
        minute = local.hour * 60 + local.minute
        worked = _worked_before(periods, minute) if local.date() == day else None
        # A span ends where the work ends, where the wall clock jumps, and where its second time round is over.
        if span is not None and (worked is None or worked != span[3] or span[2] < furthest == worked):
            yield span
            furthest, span = max(furthest, span[3]), None
        if worked is not None:
            span = (span[0], at + 60, span[2], worked + 1) if span else (at, at + 60, worked, worked + 1)
        at += 60
    if span is not None:
        yield span


def _worked_before(periods: Periods, minute: int) -> float | None:
    """Minutes of work before that minute of the day; None: it is none of the day's working minutes."""
    before = 0
    for start, end in periods:
        if start <= minute < end:
            return float(before + minute - start)
        before += end - start
    return None


def _midnight(zone: ZoneInfo, day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def days_between(calendar: Calendar, since: datetime, until: datetime) -> Iterable[tuple[date, Periods, str]]:
    """The calendar's days from one moment to another, as the team's zone dates them."""
    zone = ZoneInfo(calendar.zone)
    day, last = since.astimezone(zone).date(), until.astimezone(zone).date()
    while day <= last:
        yield day, calendar.periods(day), calendar.why(day)
        day += timedelta(days=1)


def utc(at: float) -> datetime:
    """To the millisecond."""
    return datetime.fromtimestamp(round(at, 3), UTC)
