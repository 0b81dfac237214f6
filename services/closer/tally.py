"""Sums up what was written: promises kept and broken by day, feedback of each source by hour.

Behind the effects, not within them, as `search` is: a statement's trigger notes what a batch adds, and this adds it to the
sums, so that no two batches wait for each other at one day's row. Whoever reads adds what is not summed up yet
(`published.attainment`, `published.heard`), so how far this has come is nobody's concern. Several processes may run one each;
rows are locked in the order of their keys.
"""

from services.closer.transactions import Transactions
from services.closer.turns import Turns

BATCH = 1_000
IDLE_S = 2.0

_ATTAINED = """
WITH taken AS (
    DELETE FROM closer.attained_anew WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM closer.attained_anew LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING *
), added AS (
    INSERT INTO closer.attained AS a (workspace, day, team, policy, target, clock, met, missed)
    SELECT workspace, day, team, policy, target, clock, sum(met), sum(missed) FROM taken
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (workspace, day, team, policy, target, clock)
    DO UPDATE SET met = a.met + excluded.met, missed = a.missed + excluded.missed
)
SELECT count(*) FROM taken
"""
_HEARD = """
WITH taken AS (
    DELETE FROM closer.heard_anew WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM closer.heard_anew LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING *
), added AS (
    INSERT INTO closer.heard AS h (workspace, source, hour, events)
    SELECT workspace, source, hour, sum(events) FROM taken GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (workspace, source, hour) DO UPDATE SET events = h.events + excluded.events
), spoke AS (
    INSERT INTO closer.source AS s (workspace, source, last_at)
    SELECT workspace, source, max(last_at) FROM taken GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (workspace, source) DO UPDATE SET last_at = greatest(s.last_at, excluded.last_at)
)
SELECT count(*) FROM taken
"""


class Tally(Turns):
    name = "tally"

    def __init__(self, transactions: Transactions) -> None:
        super().__init__()
        self._transactions = transactions

    async def turn(self) -> float:
        return 0 if await self.add() >= BATCH else IDLE_S

    async def add(self) -> int:
        """A batch of each; how many notes the larger one took."""
        taken = []
        for statement in (_ATTAINED, _HEARD):
            async with self._transactions.begin() as driver:
                taken.append(int(await driver.fetchval(statement, BATCH)))
        return max(taken)
