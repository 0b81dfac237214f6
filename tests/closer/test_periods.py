"""When a digest's period ends: on the team's own calendar, whatever the zone, the season and the holidays."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.closer.digest import Every
from services.closer.periods import last_end, next_end
from shared.config.teams import Hours

NINE = 9 * 60
OFFICE = Hours.model_validate(
    {"zone": "Asia/Shanghai", "days": {"mon-fri": ["09:00-12:00", "13:00-18:00"]}, "holidays": "CN"}
)
BERLIN = Hours.model_validate(
    {"zone": "Europe/Berlin", "days": {"mon-fri": ["08:30-17:30"]}, "holidays": ["2026-12-24"]}
)
SHORT = Hours.model_validate({"zone": "UTC", "days": {"mon": ["09:10-09:50"]}})
NIGHT = Hours.model_validate({"zone": "America/New_York", "days": {"mon-sun": ["00:00-24:00"]}})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


ROWS: list[tuple[str, Every, Hours | None, str, str, str]] = [
    ("a working day", "daily", OFFICE, "2026-11-24T09:30+08:00", "2026-11-24T09:00+08:00", "2026-11-25T09:00+08:00"),
    ("just before", "daily", OFFICE, "2026-11-24T08:59+08:00", "2026-11-23T09:00+08:00", "2026-11-24T09:00+08:00"),
    ("the very moment", "daily", OFFICE, "2026-11-24T09:00+08:00", "2026-11-24T09:00+08:00", "2026-11-25T09:00+08:00"),
    ("a weekend", "daily", OFFICE, "2026-11-22T12:00+08:00", "2026-11-20T09:00+08:00", "2026-11-23T09:00+08:00"),
    ("a week of holidays", "daily", OFFICE, "2026-10-05T12:00+08:00", "2026-09-30T09:00+08:00", "2026-10-08T09:00+08:00"),
    ("a make-up Saturday", "daily", OFFICE, "2026-10-10T12:00+08:00", "2026-10-10T09:00+08:00", "2026-10-12T09:00+08:00"),
    ("Christmas Eve", "daily", BERLIN, "2026-12-24T12:00+01:00", "2026-12-23T09:00+01:00", "2026-12-25T09:00+01:00"),
    ("round the clock", "daily", None, "2026-11-22T12:00Z", "2026-11-22T09:00Z", "2026-11-23T09:00Z"),
    ("within a stretch", "hourly", OFFICE, "2026-11-24T10:30+08:00", "2026-11-24T10:00+08:00", "2026-11-24T11:00+08:00"),
    ("at lunch", "hourly", OFFICE, "2026-11-24T12:30+08:00", "2026-11-24T12:00+08:00", "2026-11-24T13:00+08:00"),
    ("at night", "hourly", OFFICE, "2026-11-24T23:30+08:00", "2026-11-24T18:00+08:00", "2026-11-25T09:00+08:00"),
    ("hours that begin at half past", "hourly", BERLIN, "2026-11-24T08:45+01:00", "2026-11-23T17:00+01:00", "2026-11-24T09:00+01:00"),
    ("no full hour at all", "hourly", SHORT, "2026-11-24T00:00Z", "2026-11-23T09:50Z", "2026-11-30T09:50Z"),
    ("midnight ends a day", "hourly", NIGHT, "2026-11-24T00:10-05:00", "2026-11-24T00:00-05:00", "2026-11-24T01:00-05:00"),
    ("the hour that comes twice", "hourly", NIGHT, "2026-11-01T01:30-05:00", "2026-11-01T01:00-04:00", "2026-11-01T02:00-05:00"),
    ("the hour that is skipped", "hourly", NIGHT, "2026-03-08T03:30-04:00", "2026-03-08T03:00-04:00", "2026-03-08T04:00-04:00"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "every", "hours", "now", "last", "following"), ROWS, ids=[row[0] for row in ROWS])
def test_the_last_and_the_next(
    case: str, every: Every, hours: Hours | None, now: str, last: str, following: str
) -> None:
    assert last_end(every, NINE, hours, at(now)) == at(last), case
    assert next_end(every, NINE, hours, at(now)) == at(following), case


def test_a_team_that_is_off_for_longer_than_a_year_has_none() -> None:
    mondays = [str(date(2025, 6, 2) + timedelta(days=7 * week)) for week in range(160)]
    hours = Hours.model_validate({"zone": "UTC", "days": {"mon": ["09:00-10:00"]}, "holidays": mondays})
    assert last_end("daily", NINE, hours, at("2026-11-24T00:00Z")) is None
    assert next_end("hourly", NINE, hours, at("2026-11-24T00:00Z")) is None


@given(
    st.sampled_from([OFFICE, BERLIN, SHORT, NIGHT, None]),
    st.sampled_from(["daily", "hourly"]),
    st.datetimes(datetime(2026, 1, 2), datetime(2027, 12, 30), timezones=st.just(UTC)),
    st.integers(0, 1439),
)
def test_whatever_the_moment_it_lies_between_them_and_they_meet(
    hours: Hours | None, every: Every, now: datetime, minute: int
) -> None:
    last, following = last_end(every, minute, hours, now), next_end(every, minute, hours, now)
    assert last is not None
    assert following is not None
    assert last <= now < following
    # Nothing lies between: whoever looks a moment before the next end still finds the last one.
    assert last_end(every, minute, hours, following - timedelta(seconds=1)) == last
    assert last_end(every, minute, hours, following) == following
