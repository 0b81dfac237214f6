"""Dates as people and their tools write them. Pure.

`03/04/2025` is the third of April or the fourth of March, and only the whole column can tell: one `25/12/2025` in it
settles all. `order_of` looks; what no row settles is asked of a person (`--date-format`), never assumed. With dots it
is the day first, everywhere that dots are used. A time without a zone is of the zone that was given.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Literal

from shared.errors import Misuse

Order = Literal["day first", "month first", "contradictory", "unsettled", "clear"]
"""How `03/04/2025` is read. `clear`: nothing in the column needs it; `contradictory`: some rows are only right one way
and some only the other."""

YEARS = range(1900, 2200)
EXCEL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  a spreadsheet knows no zones
_SERIALS = (20_000, 80_000)
"""Days since then: 1954 to 2119. What is less or more is more likely to be something else."""
_UNIX_S, _UNIX_MS = (10**9 // 4, 5 * 10**9), (10**12 // 4, 5 * 10**12)

_MONTH_NAMES = (
    "january jan enero ene januar jänner jan",
    "february feb febrero februar",
    "march mar marzo märz maerz mär mrz",
    "april apr abril abr",
    "may mayo mai",
    "june jun junio juni",
    "july jul julio juli",
    "august aug agosto ago",
    "september sep sept septiembre setiembre",
    "october oct octubre oktober okt",
    "november nov noviembre",
    "december dec diciembre dic dezember dez",
)
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
_MONTH = "(" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?"
_ZONE = r"(?P<zone>z|utc|gmt|(?:utc|gmt)?[+-]\d\d?(?::?\d\d)?)?(?: ?\([a-z ]+\))?"
_TIME = (
    r"(?:(?:[ t,]|, | at | um | a las )*(?P<before>上午|下午|晚上|午前|午後)? ?"
    r"(?P<hour>\d{1,2})(?:[:h時时点]|点)(?P<minute>\d{2})分?(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?秒?)?"
    r"(?: uhr)? ?(?P<after>[ap]\.?m\.?)? ?" + _ZONE + ")?"
)
_WEEKDAY = r"(?:[^\W\d]{2,10}\.?,? )?"
_FORMS = tuple(
    re.compile(pattern + _TIME, re.IGNORECASE)
    for pattern in (
        r"(?P<y>\d{4})(?:[-/.年]) ?(?P<m>\d{1,2})(?:[-/.月]) ?(?P<d>\d{1,2})日?"
        r"(?: ?\(?(?:星期|周|週)?[一二三四五六日天月火水木金土](?:曜日)?\)?)?",
        r"(?P<a>\d{1,2})(?P<sep>[-/.]) ?(?P<b>\d{1,2})(?P=sep) ?(?P<y>\d{4}|\d{2})",
        _WEEKDAY
        + r"(?P<d>\d{1,2})(?:st|nd|rd|th|\.)?[ -]*(?:of |de )?(?P<name>"
        + _MONTH
        + r"),?[ -]*(?:de |del )?(?P<y>\d{4}|\d{2})",
        _WEEKDAY + r"(?P<name>" + _MONTH + r") ?(?P<d>\d{1,2})(?:st|nd|rd|th)?,? (?P<y>\d{4})",
    )
)
_COMPACT = re.compile(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)(?:t?(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?" + _ZONE + ")?", re.I)  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_AFTERNOON = {"下午", "晚上", "午後", "pm"}


class NotADate(ValueError):
    """Says what is wrong with it, for people."""


@dataclass(frozen=True, slots=True)
class Dates:
    """How the dates of a column are read."""

    zone: tzinfo = UTC
    order: Order = "clear"
    pattern: str | None = None
    """As `strptime` takes it, where a person gave one."""

    def read(self, cell: Any) -> datetime:
        """Aware. Raises `NotADate`."""
        if isinstance(cell, datetime):
            return cell if cell.tzinfo else cell.replace(tzinfo=self.zone)
        if self.pattern is not None:
            return self._by_pattern(str(cell))
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            return self._number(float(cell))
        text = _plain(str(cell))
        for form in _FORMS:
            if found := form.fullmatch(text):
                return self._made(found.groupdict(), cell)
        if (found := _COMPACT.fullmatch(text)) and int(found["y"]) in YEARS:
            return self._made(found.groupdict(), cell)
        if _NUMBER.fullmatch(text):
            return self._number(float(text))
        raise NotADate(f"“{_cut(cell)}” is not a date")

    def _by_pattern(self, text: str) -> datetime:
        assert self.pattern is not None
        try:
            found = datetime.strptime(text.strip(), self.pattern)  # noqa: DTZ007  the zone is put on below
        except ValueError:
            raise NotADate(f"“{_cut(text)}” is not written as {self.pattern}") from None
        return found if found.tzinfo else found.replace(tzinfo=self.zone)

    def _made(self, found: dict[str, str | None], cell: Any) -> datetime:
        year = int(found["y"] or 0)
        if len(found["y"] or "") == 2:
            year += 2000 if year < 70 else 1900
        if found.get("name"):
            month, day = _MONTHS[str(found["name"]).rstrip(".").lower()], int(found["d"] or 0)
        elif found.get("a"):
            day, month = self._ordered(int(found["a"] or 0), int(found["b"] or 0), found["sep"] or "", cell)
        else:
            month, day = int(found["m"] or 0), int(found["d"] or 0)
        if year not in YEARS:
            raise NotADate(f"“{_cut(cell)}”: the year {year} is not one of ours")
        hour, minute, second = (int(found.get(part) or 0) for part in ("hour", "minute", "second"))
        micro = int((found.get("fraction") or "0").ljust(6, "0")[:6])
        half = (found.get("after") or found.get("before") or "").replace(".", "").lower()
        if half and hour <= 12:
            hour = hour % 12 + (12 if half in _AFTERNOON else 0)
        try:
            return datetime(year, month, day, hour, minute, second, micro, _zone(found.get("zone")) or self.zone)
        except ValueError:
            raise NotADate(f"“{_cut(cell)}” is no day or no time that there is") from None

    def _ordered(self, first: int, second: int, sep: str, cell: Any) -> tuple[int, int]:
        """(day, month)"""
        if sep == "." or first > 12:
            return first, second
        if second > 12:
            return second, first
        if self.order == "day first":
            return first, second
        if self.order == "month first":
            return second, first
        if first == second:
            return first, second
        raise NotADate(f"“{_cut(cell)}” may be day/month or month/day: say which by --date-format DMY or MDY")

    def _number(self, value: float) -> datetime:
        if _SERIALS[0] <= value <= _SERIALS[1]:
            return serial(value).replace(tzinfo=self.zone)
        for (least, most), unit in ((_UNIX_S, 1.0), (_UNIX_MS, 1000.0)):
            if least <= value <= most:
                return datetime.fromtimestamp(value / unit, UTC)
        raise NotADate(f"“{value:g}” is not a date")


def serial(value: float, *, from_1904: bool = False) -> datetime:
    """The days since 1899-12-30 (or 1904-01-01) of a spreadsheet, to the nearest millisecond."""
    days = value + 1462 if from_1904 else value
    return EXCEL_EPOCH + timedelta(milliseconds=round(days * 86_400_000))


def order_of(cells: Iterable[Any]) -> Order:
    """Of a whole column: what it says of the order of day and month."""
    day_first = month_first = either = False
    for cell in cells:
        if not isinstance(cell, str) or not (found := _FORMS[1].fullmatch(_plain(cell))) or found["sep"] == ".":
            continue
        first, second = int(found["a"]), int(found["b"])
        day_first |= first > 12 >= second
        month_first |= second > 12 >= first
        either |= first <= 12 and second <= 12 and first != second
    if day_first and month_first:
        return "contradictory"
    if day_first or month_first:
        return "day first" if day_first else "month first"
    return "unsettled" if either else "clear"


def date_format(given: str | None) -> tuple[Order | None, str | None]:
    """`--date-format`: DMY, MDY, YMD, or a pattern of strptime's. Raises `Misuse`."""
    if given is None:
        return None, None
    word = given.strip().upper()
    if word in {"DMY", "MDY", "YMD"}:
        return {"DMY": "day first", "MDY": "month first", "YMD": "clear"}[word], None  # type: ignore[return-value]
    if "%" not in given:
        raise Misuse(f"--date-format: DMY, MDY, YMD, or a pattern such as %d/%m/%Y %H:%M, not {given!r}")
    try:
        datetime.strptime(datetime(2025, 3, 4).strftime(given), given)  # noqa: DTZ001, DTZ007
    except ValueError as error:
        raise Misuse(f"--date-format: {given!r} is no pattern of strptime's ({error})") from None
    return "clear", given


def looks_like_a_date(text: str) -> bool:
    plain = _plain(text)
    return len(plain) <= 40 and any(form.fullmatch(plain) for form in _FORMS)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _zone(text: str | None) -> tzinfo | None:
    if not text:
        return None
    offset = re.sub(r"utc|gmt|z|:", "", text, flags=re.IGNORECASE)
    if not offset:
        return UTC
    digits = offset[1:]
    hours, minutes = (int(digits), 0) if len(digits) <= 2 else (int(digits[:-2]), int(digits[-2:]))
    if hours > 14 or minutes > 59:
        raise NotADate(f"“{text}” is no zone")
    return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1))


def _cut(cell: Any) -> str:
    text = str(cell)
    return text if len(text) <= 40 else text[:40] + "…"
