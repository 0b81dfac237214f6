"""Dates as people write them; what only the whole column settles, and what nothing does."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Misuse
from shared.files.dates import Dates, NotADate, date_format, order_of, serial

DAY = datetime(2025, 3, 4, tzinfo=UTC)
MORNING = datetime(2025, 3, 4, 10, 11, tzinfo=UTC)
AFTERNOON = datetime(2025, 3, 4, 15, 11, 12, tzinfo=UTC)

READ: list[tuple[Any, datetime]] = [
    ("2025-03-04", DAY),
    ("2025/3/4", DAY),
    ("2025.3.4", DAY),
    ("20250304", DAY),
    ("2025年3月4日", DAY),
    ("２０２５／３／４", DAY),
    ("2025年3月4日 星期二 10:11", MORNING),
    ("2025年03月04日(火) 10時11分", MORNING),
    ("2025-03-04T10:11", MORNING),
    ("2025-03-04 10:11:00.000", MORNING),
    ("2025-03-04T10:11:00Z", MORNING),
    ("2025-03-04T10:11:00+00:00", MORNING),
    ("2025-03-04T18:11:00+08:00", MORNING),
    ("2025-03-04T18:11:00+0800", MORNING),
    ("2025-03-04 10:11:00 UTC", MORNING),
    ("2025-03-04 18:11:00 UTC+8", MORNING),
    ("2025-03-04 18:11 GMT+8:00", MORNING),
    ("20250304101100", MORNING),
    ("20250304T101100Z", MORNING),
    ("2025/3/4 下午3:11:12", AFTERNOON),
    ("2025/3/4 午後 3:11:12", AFTERNOON),
    ("2025/3/4 3:11:12 PM", AFTERNOON),
    ("2025-03-04 上午10:11", MORNING),
    ("2025-03-04 12:00 AM", DAY),
    ("4.3.2025", DAY),
    ("04.03.25", DAY),
    ("04.03.2025, 10:11 Uhr", MORNING),
    ("25/12/2025", datetime(2025, 12, 25, tzinfo=UTC)),
    ("12/25/2025", datetime(2025, 12, 25, tzinfo=UTC)),
    ("03/03/2025", datetime(2025, 3, 3, tzinfo=UTC)),
    ("Mar 4, 2025", DAY),
    ("March 4th 2025", DAY),
    ("4 March 2025 10:11", MORNING),
    ("4-Mar-2025", DAY),
    ("04-MAR-25", DAY),
    ("Tue, 04 Mar 2025 10:11:00 +0000", MORNING),
    ("Tuesday, March 4, 2025 at 10:11 AM", MORNING),
    ("4. März 2025", DAY),
    ("4 de marzo de 2025", DAY),
    (45720, DAY),
    (45720.0, DAY),
    ("45720", DAY),
    ("45720.424305555556", MORNING),
    (1741083060, MORNING),
    (1741083060000, MORNING),
    ("1741083060", MORNING),
    (datetime(2025, 3, 4), DAY),
    (MORNING, MORNING),
]


@pytest.mark.parametrize(("written", "meant"), READ, ids=[str(row[0]) for row in READ])
def test_a_date_is_read(written: Any, meant: datetime) -> None:
    assert Dates().read(written) == meant


@pytest.mark.parametrize(
    "written",
    ["yesterday", "2025-02-30", "2025-13-01", "31/31/2025", "25:61 2025-03-04", "0025-03-04", "9999-01-01", "12", "3.5",
     "2025-03-04 25:00", "2025-03-04 10:11 +99:00", "5 stars", "2025-03", "१२/०३/२०२५ x", 7, 10.5],
)  # fmt: skip
def test_what_is_no_date_says_so(written: Any) -> None:
    with pytest.raises(NotADate):
        Dates().read(written)


def test_a_time_without_a_zone_is_of_the_zone_given() -> None:
    shanghai = Dates(ZoneInfo("Asia/Shanghai"))
    assert shanghai.read("2025-03-04 18:11") == MORNING
    assert shanghai.read("2025-03-04T10:11Z") == MORNING, "its own zone wins"
    assert shanghai.read(datetime(2025, 3, 4, 18, 11)) == MORNING


ORDERS: list[tuple[list[Any], str]] = [
    (["03/04/2025", "25/12/2025"], "day first"),
    (["03/04/2025", "12/25/2025"], "month first"),
    (["03/04/2025", "05-06-2025"], "unsettled"),
    (["25/12/2025", "12/25/2025", "03/04/2025"], "contradictory"),
    (["2025-03-04", "04.03.2025", "3/3/2025", "", None, 45720, "no date"], "clear"),
    ([], "clear"),
]


@pytest.mark.parametrize(("cells", "order"), ORDERS, ids=[row[1] for row in ORDERS])
def test_the_whole_column_tells_the_order(cells: list[Any], order: str) -> None:
    assert order_of(cells) == order


def test_the_order_is_kept_to_and_never_assumed() -> None:
    assert Dates(order="day first").read("03/04/2025") == datetime(2025, 4, 3, tzinfo=UTC)
    assert Dates(order="month first").read("03/04/2025") == DAY
    assert Dates(order="contradictory").read("25/12/2025") == datetime(2025, 12, 25, tzinfo=UTC)
    for order in ("clear", "contradictory", "unsettled"):
        with pytest.raises(NotADate, match="--date-format DMY or MDY"):
            Dates(order=order).read("03/04/2025")


def test_a_pattern_is_kept_to() -> None:
    order, pattern = date_format("%d.%m.%y %H-%M")
    assert order is not None
    dates = Dates(order=order, pattern=pattern)
    assert dates.read("04.03.25 10-11") == MORNING
    with pytest.raises(NotADate, match="is not written as"):
        dates.read("2025-03-04")
    assert date_format("dmy") == ("day first", None)
    assert date_format(None) == (None, None)


@pytest.mark.parametrize("given", ["DD/MM", "", "%Q"])
def test_what_is_no_date_format_is_refused(given: str) -> None:
    with pytest.raises(Misuse, match="--date-format"):
        date_format(given)


moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0))
zones = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, zones)
def test_what_is_written_as_iso_is_read_back(at: datetime, zone: timezone) -> None:
    assert Dates().read(at.replace(tzinfo=zone).isoformat()) == at.replace(tzinfo=zone)


@given(moments, st.booleans())
def test_a_spreadsheets_days_are_read_back(at: datetime, from_1904: bool) -> None:
    epoch = datetime(1904, 1, 1) if from_1904 else datetime(1899, 12, 30)
    assert serial((at - epoch) / timedelta(days=1), from_1904=from_1904) == at


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        assert Dates(order="day first").read(text).tzinfo is not None
    except NotADate:
        return
