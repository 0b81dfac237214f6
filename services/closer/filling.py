"""A series that is new is counted from the feedback that there is, as far back as its definitions look: a signal knows the past
weeks from its first minute.

The same routed value gives the same hits, and a hit is a row with a key, so counting again what was counted as it came changes
nothing. Hits are noted, as the handler notes them, and the judge adds them up.
"""

from datetime import datetime, timedelta

from services.closer.counting import Row, count, rows_of
from services.closer.records import value_of
from services.closer.signals import Series, Signals
from services.closer.transactions import Driver, Transactions
from shared.clock import Clock

SETTLES_AFTER = timedelta(minutes=2)
"""Until then every process has the definition, and counts by it."""
LATE = timedelta(minutes=5)
"""How long feedback may be on its way from its door to the cases, when one definition takes over from another."""
AHEAD = timedelta(minutes=1)
"""Doors have clocks of their own."""
GAP = timedelta(minutes=5)
NOTED_EVERY = timedelta(seconds=20)
"""How far is counted, where it is counted as it comes."""
FILLED_AT_ONCE = timedelta(days=1)
ROWS_AT_ONCE = 500

_ASKED_FOR = """
INSERT INTO closer.series (workspace, series, since, until)
SELECT $1, s.series, $2::timestamptz, s.until FROM unnest($3::text[], $4::timestamptz[]) AS s (series, until)
ON CONFLICT (workspace, series) DO UPDATE SET since = excluded.since
"""
HEARD_SINCE = "SELECT min(hour) FROM published.heard WHERE workspace = $1"
_COUNTED_UNTIL = "SELECT series, since, until FROM closer.series WHERE workspace = $1 AND series = ANY ($2)"
_TO_FILL = """
SELECT since, until FROM closer.series WHERE workspace = $1 AND series = $2 FOR UPDATE SKIP LOCKED
"""
_FILLED = "UPDATE closer.series SET until = $3 WHERE workspace = $1 AND series = $2"
_SAID = """
SELECT value::text AS value FROM closer.feedback WHERE workspace = $1 AND received_at >= $2 AND received_at < $3
"""


class Filler:
    """Several processes may run one each."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions, self._clock = transactions, clock

    async def fill(self, signals: Signals) -> tuple[frozenset[str], bool]:
        """A step. (The series of which enough is counted to judge, whether there is more for us to fill at once.)"""
        if not signals:
            return frozenset(), False
        now = self._clock.now()
        known, ours = await self._asked_for(signals, now), False
        for series in signals.series.values():
            since, until = known[series.id]
            if until < since + SETTLES_AFTER or now - until >= NOTED_EVERY:
                filled = await self._fill_on(signals, series, now)
                known[series.id] = (since, filled or until)
                ours |= filled is not None
        settled = frozenset(identity for identity, (since, until) in known.items() if until >= since)
        return settled, ours and len(settled) < len(known)

    async def _asked_for(self, signals: Signals, now: datetime) -> dict[str, tuple[datetime, datetime]]:
        """Series → (since when it is asked for, until when it is counted). What nobody counted for a while, because no process
        had its definition or none ran, is asked for anew."""
        async with self._transactions.begin() as driver:
            rows = await driver.fetch(_COUNTED_UNTIL, signals.workspace, list(signals.series))
            known = {row["series"]: (row["since"], row["until"]) for row in rows}
            anew = {}
            if len(known) < len(signals.series):
                first: datetime = await driver.fetchval(HEARD_SINCE, signals.workspace) or now
                for one in signals.series.values():
                    if one.id not in known:
                        anew[one.id] = (now, min(now, max(first, now - one.compared)))
            anew |= {one: (now, until) for one, (since, until) in known.items() if since <= until < now - GAP}
            if anew:
                untils = [until for _, until in anew.values()]
                await driver.execute(_ASKED_FOR, signals.workspace, now, list(anew), untils)
        return known | anew

    async def _fill_on(self, signals: Signals, series: Series, now: datetime) -> datetime | None:
        """One step; up to when it is counted then. None: another process is at it."""
        async with self._transactions.begin() as driver:
            row = await driver.fetchrow(_TO_FILL, signals.workspace, series.id)
            if row is None:
                return None
            since: datetime = row["since"]
            until: datetime = row["until"]
            if until < since:
                end = min(until + FILLED_AT_ONCE, since)
                await self._count_again(driver, signals, series, until, end)
            elif until >= since + SETTLES_AFTER:
                end = now
            elif now >= since + SETTLES_AFTER:
                # What came while some processes counted by the definitions before.
                end = now
                await self._count_again(driver, signals, series, since - LATE, end + AHEAD)
            else:
                return until
            await driver.execute(_FILLED, signals.workspace, series.id, end)
            return end

    async def _count_again(
        self, driver: Driver, signals: Signals, series: Series, start: datetime, end: datetime
    ) -> None:
        cursor = driver.cursor(_SAID, signals.workspace, start, end, prefetch=ROWS_AT_ONCE)
        rows: list[Row] = []
        async for row in cursor:
            value = value_of(row["value"])
            if value is not None:
                rows += rows_of(value, signals.hits(value, (series,)))
            if len(rows) >= ROWS_AT_ONCE:
                await count(driver, rows)
                rows = []
        await count(driver, rows)
