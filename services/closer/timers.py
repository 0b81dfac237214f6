"""Deadlines that have passed are said: let go, warned, breached, escalated, assumed content. Each fires once, and never early.

A case's earliest deadline is a column of its row. Who claims the row (`FOR UPDATE SKIP LOCKED`) decides about the case
and writes what follows in that one transaction, with the next deadline; so several processes share the work, a crash
leaves nothing half said, and a restart needs no list of timers. The time is the database's, the same for every process.
"""

import asyncio
from datetime import datetime

from services.closer import metrics
from services.closer.case import Event, decide
from services.closer.commands import Tick
from services.closer.store import Effects, Held, Unit
from services.closer.transactions import Transactions
from services.closer.turns import Turns
from shared.errors import Transient
from shared.events.case import UNFINISHED
from shared.telemetry import get_logger

BATCH = 200
IDLE_S = 1.0
GAUGES_S = 15.0
LOCKED_S = 0.05
"""A row that is due and was passed over is locked: whoever holds it may take a while."""

_NEXT = "SELECT min(due_at) FROM closer.case WHERE due_at IS NOT NULL"
_STATES = "SELECT state, count(*) AS cases FROM closer.case WHERE unfinished GROUP BY state"
_OVERDUE = (
    "SELECT (SELECT count(*) FROM closer.case WHERE breached AND unfinished) AS overdue,"
    " (SELECT extract(epoch FROM clock_timestamp() - min(due_at))::float8 FROM closer.case WHERE due_at IS NOT NULL) AS late,"
    " (SELECT count(*) FROM closer.delivery WHERE due_at IS NOT NULL AND waiting_since <= clock_timestamp()) AS deliveries,"
    " waiting.count AS waiting, waiting.oldest, (SELECT min(id) FROM shared.outbox) AS next_out"
    " FROM (SELECT count(*) AS count, extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest"
    " FROM closer.notification WHERE due_at IS NOT NULL) AS waiting"
)

_log = get_logger("closer")


class Timers(Turns):
    name = "timers"

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._unit = unit

    async def turn(self) -> float:
        return 0 if await self.fire_due() == BATCH else await self._until_next()

    async def fire_due(self) -> int:
        """One batch of cases with something due; how many. In one transaction."""
        async with self._unit.work() as (driver, effects):
            claimed = await self._unit.cases.claim_due(driver, effects.now, BATCH)
            events = [event for held in claimed for event in self._tick(held, effects)]
        for event in events:
            _count(event)
        return len(claimed)

    def _tick(self, held: Held, effects: Effects) -> list[Event]:
        outcome = decide(held.case, Tick(), effects.now)
        if outcome.events:
            effects.record(held, outcome)
        else:  # the stored time was too early (another release reckoned otherwise): store it as it is now
            effects.touch(held)
        for event in outcome.events:
            _log.info(
                "case.timer",
                what=event.what,
                case_id=held.case.id,
                feedback_id=held.first_feedback_id,
                team=held.case.team,
                traceparent=held.traceparent,
                **{name: event.data[name] for name in ("target", "clock", "due_at") if name in event.data},
            )
        return list(outcome.events)

    async def _until_next(self) -> float:
        """Seconds to the next deadline, at most `IDLE_S`: a nearer one may be written meanwhile."""
        async with self._unit.transactions.begin() as driver:
            due: datetime | None = await driver.fetchval(_NEXT)
        if due is None:
            return IDLE_S
        return min(IDLE_S, max(LOCKED_S, (due - self._unit.clock.now()).total_seconds()))


class Gauges:
    """Counts for /metrics, read in the background, so that a scrape costs nothing."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._next_out: tuple[int | None, float] = (None, 0.0)
        """The outbox's next row, and when we first saw it there."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.refresh()
            except Transient as error:
                _log.warning("gauges.waiting", reason=str(error))
            await asyncio.sleep(GAUGES_S)

    async def refresh(self) -> None:
        async with self._transactions.begin() as driver:
            states = {row["state"]: row["cases"] for row in await driver.fetch(_STATES)}
            row = await driver.fetchrow(_OVERDUE)
        for state in sorted(UNFINISHED):
            metrics.CASES.labels(state).set(states.get(state, 0))
        metrics.OVERDUE.set(row["overdue"])
        metrics.DUE_LATE_SECONDS.set(max(0.0, row["late"] or 0.0))
        metrics.NOTIFICATIONS_WAITING.set(row["waiting"])
        metrics.DELIVERIES_WAITING.set(row["deliveries"])
        metrics.NOTIFICATIONS_OLDEST_SECONDS.set(max(0.0, row["oldest"] or 0.0))
        metrics.OUTBOX_STUCK_SECONDS.set(self._stuck_for(row["next_out"], asyncio.get_running_loop().time()))

    def _stuck_for(self, next_out: int | None, now: float) -> float:
        """Rows are deleted as they leave, so a next one that stays the next is one that does not."""
        known, since = self._next_out
        if next_out is None or next_out != known:
            since = now
        self._next_out = next_out, since
        return now - since


def _count(event: Event) -> None:
    if event.what == "clock.warned":
        metrics.WARNED.labels(event.data["target"], event.data["clock"]).inc()
    elif event.what == "clock.breached":
        metrics.BREACHED.labels(event.data["target"], event.data["clock"]).inc()
