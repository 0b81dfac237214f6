"""Working time: against hand-computed tables, and against a slow reference that walks minute by minute."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.closer.calendar import Calendar, UnknownHolidays, calendar_of, utc
from shared.config.teams import Hours

SHANGHAI = Hours(zone="Asia/Shanghai", days={"mon-fri": ("09:00-12:00", "13:00-18:00")}, holidays="CN")
BERLIN_NIGHT = Hours(zone="Europe/Berlin", days={"mon-sun": ("00:00-06:00",)})
BERLIN_ALWAYS = Hours(zone="Europe/Berlin", days={"mon-sun": ("00:00-24:00",)})
BAVARIA = Hours(zone="Europe/Berlin", days={"mon-fri": ("09:00-17:00",)}, holidays="DE-BY")
NEW_YORK = Hours(zone="America/New_York", days={"mon-fri": ("09:00-17:00",)}, holidays="US")
SHORT_SATURDAY = Hours(zone="UTC", days={"mon-fri": ("08:00-20:00",), "sat": ("10:00-16:00",)})
SHORT_FRIDAY = Hours(zone="Asia/Shanghai", days={"mon-thu": ("09:00-18:00",), "fri": ("09:00-13:00",)}, holidays="CN")
MADE_UP_BY_HAND = Hours(
    zone="Asia/Shanghai",
    days={"mon-thu": ("09:00-18:00",), "fri": ("09:00-13:00",)},
    working_days={"2027-02-13": None, "2027-02-14": "mon"},
)
OWN_LIST = Hours(zone="UTC", days={"mon-fri": ("09:00-17:00",)}, holidays=("2026-12-24", "2026-12-25"))
HOLIDAY_WORKED = Hours(
    zone="Europe/Berlin", days={"mon-fri": ("09:00-17:00",)}, holidays="DE", working_days={"2026-05-01": "fri"}
)


def local(hours: Hours, text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(hours.zone))


def after(hours: Hours, start: datetime, amount: str) -> datetime:
    measure = calendar_of(hours, start.astimezone(UTC).year).measure
    at, number, unit = start.timestamp(), int(amount[:-1]), amount[-1]
    if unit == "d":
        return utc(measure.after_days(measure.days_at(at) + number))
    return utc(measure.after_seconds(measure.seconds_at(at) + number * {"m": 60, "h": 3600}[unit]))


@pytest.mark.parametrize(
    ("case", "hours", "start", "amount", "expected"),
    [
        ("over National Day, lunch counts not", SHANGHAI, "2026-09-30T17:00", "8h", "2026-10-08T17:00"),
        ("three days, the third a make-up Saturday", SHANGHAI, "2026-09-30T15:00", "3d", "2026-10-10T15:00"),
        ("a make-up Sunday counts", SHANGHAI, "2026-09-18T10:00", "5d", "2026-09-24T10:00"),
        ("into lunch and out", SHANGHAI, "2026-10-09T11:30", "1h", "2026-10-09T13:30"),
        ("starting in the lunch break", SHANGHAI, "2026-10-09T12:30", "30m", "2026-10-09T13:30"),
        ("a make-up Saturday before Spring Festival", SHANGHAI, "2026-02-13T17:00", "8h", "2026-02-14T17:00"),
        ("Spring Festival is no day", SHANGHAI, "2026-02-14T17:00", "1d", "2026-02-24T17:00"),
        ("three whole days from a Saturday night", SHANGHAI, "2026-10-17T20:00", "3d", "2026-10-21T18:00"),
        ("three whole days from the opening", SHANGHAI, "2026-10-19T09:00", "3d", "2026-10-21T18:00"),
        ("from the moment of closing", SHANGHAI, "2026-10-16T18:00", "1h", "2026-10-19T10:00"),
        ("the hour that spring takes is not worked", BERLIN_NIGHT, "2026-03-29T00:00", "4h", "2026-03-29T05:00"),
        ("the hour that autumn repeats is worked twice", BERLIN_NIGHT, "2026-10-25T00:00", "4h", "2026-10-25T03:00"),
        ("a day of 23 hours is a day", BERLIN_ALWAYS, "2026-03-28T12:00", "1d", "2026-03-29T12:00"),
        ("a day of 25 hours is a day", BERLIN_ALWAYS, "2026-10-24T12:00", "1d", "2026-10-25T12:00"),
        ("Corpus Christi is Bavaria's", BAVARIA, "2026-06-03T16:00", "2h", "2026-06-05T10:00"),
        ("over a weekend of daylight saving", NEW_YORK, "2026-03-06T16:00", "8h", "2026-03-09T16:00"),
        ("the 4th of July on its Friday", NEW_YORK, "2026-07-02T16:00", "2h", "2026-07-06T10:00"),
        ("the middle of Friday, the middle of Saturday", SHORT_SATURDAY, "2026-10-09T14:00", "1d", "2026-10-10T13:00"),
        ("a short day between is a day", SHORT_FRIDAY, "2026-11-05T15:00", "2d", "2026-11-09T15:00"),
        # Saturday 10 October stands for Wednesday 7 October, so it has Wednesday's nine hours.
        ("hours of the weekday it stands for", SHORT_FRIDAY, "2026-10-09T12:00", "10h", "2026-10-10T18:00"),
        ("Friday's hours where no weekday is named", MADE_UP_BY_HAND, "2027-02-12T12:00", "5h", "2027-02-13T13:00"),
        ("the hours of the weekday that is named", MADE_UP_BY_HAND, "2027-02-13T09:00", "13h", "2027-02-14T18:00"),
        ("a list of days", OWN_LIST, "2026-12-23T16:00", "2h", "2026-12-28T10:00"),
        ("a working day wins over a holiday", HOLIDAY_WORKED, "2026-04-30T16:00", "2h", "2026-05-01T10:00"),
        ("over New Year", OWN_LIST, "2026-12-31T16:00", "2h", "2027-01-01T10:00"),
        ("beyond the horizon the week goes on", OWN_LIST, "2026-01-05T09:00", "1500d", "2031-10-07T17:00"),
    ],
)
def test_hand_computed(case: str, hours: Hours, start: str, amount: str, expected: str) -> None:
    assert after(hours, local(hours, start), amount) == local(hours, expected), case


def test_make_up_days_of_2026_are_work_and_rest_days_are_not() -> None:
    calendar = calendar_of(SHANGHAI, 2026)
    for worked in (date(2026, 2, 14), date(2026, 9, 20), date(2026, 10, 10)):
        assert calendar.periods(worked) == ((540, 720), (780, 1080))
        assert "make-up" in calendar.why(worked)
    for rest in (date(2026, 2, 20), date(2026, 10, 6), date(2026, 10, 3)):
        assert calendar.periods(rest) == ()


def test_a_make_up_day_in_december_for_a_rest_in_january_is_found_with_the_year_of_the_rest() -> None:
    # China worked Saturday and Sunday, 29 and 30 December 2001, for 2 and 3 January 2002.
    calendar = calendar_of(SHANGHAI, 2001)
    assert calendar.periods(date(2001, 12, 29))
    assert dict(calendar.made_up)[date(2001, 12, 29)] == date(2002, 1, 2).weekday()


@pytest.mark.parametrize("holidays", ["XX", "DE-XX", "cn", ("24.12.2026",), ("2026-02-30",)])
def test_unknown_holidays_are_refused(holidays: str | tuple[str, ...]) -> None:
    hours = Hours(zone="UTC", days={"mon": ("09:00-17:00",)}, holidays=holidays)
    with pytest.raises(UnknownHolidays):
        calendar_of(hours, 2026)


@pytest.mark.parametrize("hours", [SHANGHAI, SHORT_FRIDAY, BERLIN_NIGHT, MADE_UP_BY_HAND])
def test_a_calendar_survives_json(hours: Hours) -> None:
    calendar = calendar_of(hours, 2026)
    assert Calendar.from_json(calendar.to_json()) == calendar


# ── the slow reference ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Minute:
    at: int
    seconds: int
    """Of work in it."""
    days: float
    """By how much the measure of days rises from its beginning to its end."""


class Reference:
    """Walks minute by minute and asks the local clock each time. Slow, and plain enough to be believed."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._zone = ZoneInfo(calendar.zone)

    def minutes(self, start: int) -> Iterator[Minute]:
        at = start - 2 * 86_400  # the day that `start` is in had certainly not begun
        positions = self._positions(at)
        here, works = next(positions)
        while True:
            following, then_works = next(positions)
            if at >= start:
                yield Minute(at, 60 if works else 0, following - here)
            at, here, works = at + 60, following, then_works

    def _positions(self, at: int) -> Iterator[tuple[float, bool]]:
        """Of each minute: the measure of days at its beginning, and whether it is worked."""
        days, share, today, worked_today = 0, 0.0, date.min, False
        while True:
            here = datetime.fromtimestamp(at, self._zone)
            if here.date() != today:
                # A day in which anything was worked is a day, even if its last hour was skipped.
                if worked_today:
                    days += 1
                today, share, worked_today = here.date(), 0.0, False
            minute = here.hour * 60 + here.minute
            periods = self._calendar.periods(today)
            works = any(start <= minute < end for start, end in periods)
            if works:
                worked_today = True
                whole = sum(end - start for start, end in periods)
                done = sum(min(max(minute - start, 0), end - start) for start, end in periods)
                share = max(share, done / whole)
                yield days + share, True
                # By the end of this minute that much of the day is over, whatever the clock does next.
                share = max(share, (done + 1) / whole)
            else:
                yield days + share, False
            at += 60


@st.composite
def weeks(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    def text(minute: int) -> str:
        return f"{minute // 60:02d}:{minute % 60:02d}"

    days: dict[str, tuple[str, ...]] = {}
    for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"):
        cuts = sorted(draw(st.sets(st.integers(0, 96).map(lambda quarter: quarter * 15), max_size=6)))
        periods = tuple(f"{text(a)}-{text(b)}" for a, b in zip(cuts[::2], cuts[1::2], strict=False))
        days[day] = periods
    if not any(days.values()):
        days["wed"] = ("09:00-12:00", "13:00-18:00")
    return days


# Zones that change at night, at midnight, by half an hour, at the end of a day, or never; and what they did in 2026.
TURNS: Mapping[str, tuple[str, ...]] = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    "America/Santiago": ("2026-04-05", "2026-09-06"),
    "America/Havana": ("2026-03-08", "2026-11-01"),
    "Africa/Cairo": ("2026-04-24", "2026-10-30"),
    "Asia/Beirut": ("2026-03-29", "2026-10-25"),
    "Asia/Shanghai": ("2026-10-01", "2026-10-10"),
    "Asia/Kathmandu": ("2026-05-01", "2026-12-31"),
}


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and a minute within three days of a turn of its clocks."""
    zone = draw(st.sampled_from(sorted(TURNS)))
    turn = datetime.fromisoformat(draw(st.sampled_from(TURNS[zone]))).replace(tzinfo=ZoneInfo(zone))
    return zone, int(turn.timestamp()) // 60 * 60 + draw(st.integers(-3 * 1440, 2 * 1440)) * 60


@settings(max_examples=60, deadline=None)
@given(
    moments(),
    weeks(),
    st.sets(st.integers(-5, 25), max_size=6),
    st.dictionaries(st.integers(-5, 25), st.sampled_from(["mon", "fri", "sun", None]), max_size=3),
    st.integers(1, 40 * 60),
)
def test_seconds_agree_with_the_minute_walker(
    moment: tuple[str, int],
    days: dict[str, tuple[str, ...]],
    off: set[int],
    made_up: dict[int, str | None],
    amount_min: int,
) -> None:
    calendar, start = _calendar(moment, days, off, made_up)
    left = amount_min * 60
    expected = None
    for minute in Reference(calendar).minutes(start):
        left -= minute.seconds
        if left == 0:
            expected = minute.at + 60
            break
        if minute.at > start + 40 * 86_400:
            return  # so little work that the walk is not worth it
    measure = calendar.measure
    found = measure.after_seconds(measure.seconds_at(start) + amount_min * 60)
    assert found == pytest.approx(expected, abs=1e-3)
    assert measure.seconds_at(found) - measure.seconds_at(start) == pytest.approx(amount_min * 60, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    moments(),
    weeks(),
    st.sets(st.integers(-5, 25), max_size=6),
    st.dictionaries(st.integers(-5, 25), st.sampled_from(["mon", "fri", "sun", None]), max_size=3),
    st.integers(1, 6),
)
def test_days_agree_with_the_minute_walker(
    moment: tuple[str, int],
    days: dict[str, tuple[str, ...]],
    off: set[int],
    made_up: dict[int, str | None],
    amount: int,
) -> None:
    calendar, start = _calendar(moment, days, off, made_up)
    done = 0.0
    window = None
    for minute in Reference(calendar).minutes(start):
        done += minute.days
        if done >= amount - 1e-9:
            window = (minute.at, minute.at + 60)
            break
        if minute.at > start + 40 * 86_400:
            return
    assert window is not None
    measure = calendar.measure
    found = measure.after_days(measure.days_at(start) + amount)
    assert window[0] - 1e-3 <= found <= window[1] + 1e-3


def _calendar(
    moment: tuple[str, int], days: dict[str, tuple[str, ...]], off: set[int], made_up: dict[int, str | None]
) -> tuple[Calendar, int]:
    zone, start = moment
    first = datetime.fromtimestamp(start, ZoneInfo(zone)).date()
    hours = Hours(
        zone=zone,
        days=days,
        holidays=tuple(sorted((first + timedelta(days=n)).isoformat() for n in off)),
        working_days={(first + timedelta(days=n)).isoformat(): weekday for n, weekday in made_up.items()},
    )
    return calendar_of(hours, 2026), start


@settings(max_examples=60, deadline=None)
@given(moments(), weeks(), st.lists(st.integers(0, 20 * 86_400), min_size=2, max_size=20))
def test_working_time_only_rises_and_its_inverse_is_the_first_such_moment(
    moment: tuple[str, int], days: dict[str, tuple[str, ...]], steps: list[int]
) -> None:
    calendar, start = _calendar(moment, days, set(), {})
    measure = calendar.measure
    times = [start + step for step in sorted(steps)]
    for reached in ([measure.seconds_at(at) for at in times], [measure.days_at(at) for at in times]):
        assert reached == sorted(reached)
    for at in times:
        assert measure.after_seconds(measure.seconds_at(at)) <= at + 1e-3
        assert measure.after_days(measure.days_at(at)) <= at + 1e-3


def test_a_day_that_was_traded_for_says_so_with_a_date_that_reads_one_way_everywhere() -> None:
    team = Hours(zone="Europe/Riga", days={"mon-fri": ("09:00-17:00",)}, holidays="LV")
    reasons = [why for _, why in calendar_of(team, 2024).off]
    assert any("from 2024-12-14" in why for why in reasons)
    assert not any("/" in why for why in reasons)
