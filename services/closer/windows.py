"""How much came: within a window, and before it, as `rates` judges it. Sums are kept by minutes, and so are windows.

What past weeks brought does not change, so it is kept for a while and not added up anew for every event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.closer.filling import AHEAD, HEARD_SINCE
from services.closer.rates import Past, Sums
from services.closer.signals import Definition
from services.closer.transactions import Driver
from shared.habits import WEEK, WEEKS

PAST_KEPT = timedelta(minutes=5)
PASTS_MAX = 10_000

_SUMS = """
SELECT group_name, sum(came)::int AS came, sum(total) AS total, sum(squares) AS squares FROM closer.counted
WHERE workspace = $1 AND series = $2 AND group_name = ANY ($3) AND minute >= $4 AND minute <= $5 GROUP BY group_name
"""
# For each week, what came an hour later, at the same time, and an hour earlier.
_WEEKS = """
SELECT array_agg(came ORDER BY moved DESC) AS came FROM (
    SELECT back, moved, coalesce((SELECT sum(came) FROM closer.counted
        WHERE workspace = $1 AND series = $2 AND group_name = $3
          AND minute >= $4::timestamptz - make_interval(hours => back * 168 - moved)
          AND minute <= $5::timestamptz - make_interval(hours => back * 168 - moved)), 0)::int AS came
    FROM generate_series(1, $6::int) AS back, generate_series(-1, 1) AS moved) AS each GROUP BY back ORDER BY back
"""


@dataclass(frozen=True, slots=True)
class Window:
    """To the minute, as sums are kept."""

    start: datetime
    end: datetime

    @classmethod
    def until(cls, now: datetime, within: timedelta) -> "Window":
        minute = now.replace(second=0, microsecond=0)
        return cls(minute - within, minute + AHEAD)


class Counts:
    """Of one workspace."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._heard_since: datetime | None = None
        self._pasts: dict[tuple[str, str, str], tuple[datetime, Past]] = {}

    async def within(self, driver: Driver, one: Definition, groups: Sequence[str], window: Window) -> dict[str, Sums]:
        """Group → what came, of those of which anything did."""
        return await self._of(driver, one, groups, window.start, window.end)

    async def _of(
        self, driver: Driver, one: Definition, groups: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, Sums]:
        rows = await driver.fetch(_SUMS, self._workspace, one.series, groups, start, end)
        return {row["group_name"]: Sums(row["came"], row["total"], row["squares"]) for row in rows}

    async def past(self, driver: Driver, one: Definition, group: str, window: Window) -> Past:
        """What this group brought before, as its test asks."""
        if one.more_than is not None:
            return Past()
        key = (one.name, one.series, group)
        known = self._pasts.get(key)
        if known is not None and known[0] <= window.end < known[0] + PAST_KEPT:
            return known[1]
        if one.falls is not None:
            start = window.end - timedelta(hours=WEEKS * WEEK)
            before = await self._of(driver, one, [group], start, window.start - timedelta(minutes=1))
            found = Past(scores=before.get(group, Sums()))
        else:
            found = Past(weeks=await self._weeks(driver, one, group, window))
        if found.weeks or found.scores.came >= one.at_least:  # what says nothing yet soon may
            if len(self._pasts) >= PASTS_MAX:
                self._pasts.clear()
            self._pasts[key] = (window.end, found)
        return found

    async def _weeks(self, driver: Driver, one: Definition, group: str, window: Window) -> Sequence[Sequence[int]]:
        """Of the weeks in which anything was heard of anybody already."""
        if self._heard_since is None:
            self._heard_since = await driver.fetchval(HEARD_SINCE, self._workspace)
        if self._heard_since is None:
            return ()
        known = int((window.start - self._heard_since) / timedelta(hours=WEEK))
        weeks = min(WEEKS, known)
        values = (self._workspace, one.series, group, window.start, window.end - AHEAD, weeks)
        return [row["came"] for row in await driver.fetch(_WEEKS, *values)] if weeks > 0 else ()
