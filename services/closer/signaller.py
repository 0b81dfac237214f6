"""Adds up what was counted and has it judged (`judging`), for ever.

One process at a time does (an advisory lock for as long as the transaction): a limit that two batches reach together is
seen whole by one judge.
"""

from datetime import timedelta

from services.closer import metrics
from services.closer.filling import Filler
from services.closer.judging import Turn
from services.closer.signals import NO_SIGNALS, Signals
from services.closer.subscribers import NOBODY, Subscribers
from services.closer.transactions import Transactions
from services.closer.turns import Turns
from services.closer.windows import Counts
from shared.clock import Clock
from shared.habits import WEEK, WEEKS
from shared.telemetry import get_logger

IDLE_S = 2.0
NOTES_AT_ONCE = 2_000
SWEEP_S = 600.0
HITS_KEPT = timedelta(days=8)
SUMS_KEPT = timedelta(hours=(WEEKS + 1) * WEEK + 48)
STRAY_AFTER = timedelta(hours=1)
SWEPT_AT_ONCE = 20_000
_LOCK = 0x53474E4C  # "SGNL"

_ALONE = "SELECT pg_try_advisory_xact_lock($1)"
_ADD_UP = """
WITH taken AS (
    DELETE FROM closer.counted_anew WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM closer.counted_anew WHERE workspace = $1 AND series = ANY ($2) LIMIT $3 FOR UPDATE SKIP LOCKED))
    RETURNING *
), added AS (
    INSERT INTO closer.counted AS c (workspace, series, group_name, minute, came, total, squares)
    SELECT workspace, series, group_name, minute, sum(came), sum(total), sum(squares) FROM taken
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (workspace, series, group_name, minute) DO UPDATE
    SET came = c.came + excluded.came, total = c.total + excluded.total, squares = c.squares + excluded.squares
)
SELECT series, array_agg(DISTINCT group_name) AS groups, count(*) AS notes FROM taken GROUP BY series
"""
_COUNT_UP = "SELECT count(*) FROM closer.signal WHERE workspace = $1 AND resolved_at IS NULL"
_OLD_HITS = "DELETE FROM closer.hit WHERE ctid = ANY (ARRAY(SELECT ctid FROM closer.hit WHERE at < $1 LIMIT $2))"
_OLD_SUMS = (
    "DELETE FROM closer.counted WHERE ctid = ANY (ARRAY(SELECT ctid FROM closer.counted WHERE minute < $1 LIMIT $2))"
)
_STRAYS = """
DELETE FROM closer.counted_anew WHERE workspace = $1 AND NOT series = ANY ($2)
AND noted_at < clock_timestamp() - $3::interval
"""

_log = get_logger("closer")


class Signaller(Turns):
    name = "signals"

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        super().__init__()
        self._transactions = transactions
        self._clock = clock
        self._signals = NO_SIGNALS
        self._subscribers = NOBODY
        self._counts = Counts(NO_SIGNALS.workspace)
        self._filler = Filler(transactions, clock)
        self._swept_at = -SWEEP_S

    def configure(self, signals: Signals, subscribers: Subscribers) -> None:
        self._signals, self._subscribers = signals, subscribers
        self._counts = Counts(signals.workspace)

    async def turn(self) -> float:
        return 0 if await self.look() else IDLE_S

    async def look(self) -> bool:
        """Fill what is new, add up, judge. Whether there is more to do at once."""
        signals = self._signals
        settled, more = await self._filler.fill(signals)
        more = await self._judge(signals, settled) or more
        if len(settled) == len(signals.series):  # until then a hit is what keeps the filling from counting twice
            await self._sweep(signals)
        return more

    async def _judge(self, signals: Signals, settled: frozenset[str]) -> bool:
        async with self._transactions.begin() as driver:
            if not await driver.fetchval(_ALONE, _LOCK):
                return False
            turn = Turn(driver, signals, self._counts, self._clock.now(), self._subscribers)
            taken = await driver.fetch(_ADD_UP, signals.workspace, list(settled), NOTES_AT_ONCE)
            groups = {row["series"]: row["groups"] for row in taken}
            for one in signals.definitions:
                if one.series in groups:
                    await turn.raise_what_is_too_much(one, groups[one.series])
            await turn.look_at_what_is_up()
            await turn.write()
            up = await driver.fetchval(_COUNT_UP, signals.workspace)
        metrics.SIGNALS_UP.set(up)
        for said in turn.said:
            metrics.SIGNALS.labels(said.what).inc()
            _log.info(
                f"signal.{said.what}",
                signal_id=said.signal_id,
                name=said.name,
                group=said.group,
                team=said.team,
                count=said.count,
                reason=said.reason,
            )
        return sum(int(row["notes"]) for row in taken) >= NOTES_AT_ONCE

    async def _sweep(self, signals: Signals) -> None:
        if self._clock.monotonic() - self._swept_at < SWEEP_S:
            return
        now = self._clock.now()
        async with self._transactions.begin() as driver:
            await driver.execute(_STRAYS, signals.workspace, list(signals.series), STRAY_AFTER)
            said = [
                await driver.execute(_OLD_HITS, now - HITS_KEPT, SWEPT_AT_ONCE),
                await driver.execute(_OLD_SUMS, now - SUMS_KEPT, SWEPT_AT_ONCE),
            ]
        if all(int(one.rpartition(" ")[2]) < SWEPT_AT_ONCE for one in said):
            self._swept_at = self._clock.monotonic()
