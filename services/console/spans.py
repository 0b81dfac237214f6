"""What an address asks the measures for: a span, what it is cut by, and the address of the rows behind a number. ●"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.datastructures import QueryParams

from services.console.bases import BYS, By, Part
from services.console.metrics import Measure
from shared.clock import YEARS
from shared.web.problems import malformed

SPANS: Mapping[str, timedelta] = {
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
USUAL = "7d"
"""Where nothing is said; and what is counted in the background too."""


@dataclass(frozen=True, slots=True)
class Span:
    start: datetime
    end: datetime

    @property
    def before(self) -> "Span":
        """As long, and just before it."""
        return Span(self.start - (self.end - self.start), self.start)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for."""

    span: str
    start: str
    end: str
    by: By | None

    @classmethod
    def read(cls, given: QueryParams) -> "Asked":
        """Whatever is no value of ours is as if it were not there: an old link goes on working."""
        span, by = given.get("span", ""), given.get("by", "")
        return cls(
            span if span in SPANS else USUAL,
            given.get("from", "").strip(),
            given.get("to", "").strip(),
            by if by in BYS else None,
        )

    @property
    def usual(self) -> bool:
        """What is counted in the background too."""
        return self.span == USUAL and not self.start and not self.end and self.by in (None, "team")

    @property
    def parts(self) -> dict[str, str]:
        dates = {"from": self.start, "to": self.end} if self.start or self.end else {"span": self.span}
        return dates | {"by": self.by or ""}

    def between(self, now: datetime, zone: ZoneInfo) -> Span:
        """Raises 400."""
        end = _moment(self.end, "to", zone, end=True) if self.end else now
        start = _moment(self.start, "from", zone) if self.start else end - SPANS[self.span]
        if start >= end:
            raise malformed("from: must lie before to")
        return Span(start, end)


def rows_address(measure: Measure, part: Part, span: Span, group: tuple[By, str | None] | None) -> str:
    """A group without a name has none in the address either."""
    parts: dict[str, str] = {"part": part, **moments(span)}
    if group is not None:
        parts |= {"by": group[0]} | ({"group": group[1]} if group[1] is not None else {})
    return f"/measures/{measure.name}/rows?{urlencode(parts)}"


def moments(span: Span) -> dict[str, str]:
    return {"from": exactly(span.start), "to": exactly(span.end)}


def exactly(moment: datetime) -> str:
    """To the microsecond: a row more or less would be another number."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str, name: str, zone: ZoneInfo, *, end: bool = False) -> datetime:
    """A day, of which `end` is the end, or a moment. Raises 400."""
    try:
        if len(text) == len("2026-11-23"):
            day = date.fromisoformat(text) + timedelta(days=1 if end else 0)
            moment = datetime.combine(day, time(), zone)
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or moment.year not in YEARS:
            raise ValueError
    except (ValueError, OverflowError):
        raise malformed(f"{name}: a day as 2026-11-23, or a moment as 2026-11-23T09:30:00Z") from None
    return moment.astimezone(UTC)
