"""What customers did, beside what they said: kept small, and for `KEPT`.

`done` ● makes a row of a noted activity. Of its attributes only what a page can show in a line is kept (`kept` ●): the
event itself was on the log for whoever wants all of it. A row names its customer and holds nothing else of them, so that an
erasure finds all of theirs by one index. `Sweeper` takes away what is older than `KEPT`.
"""

from datetime import timedelta
from typing import Any

import msgspec

from services.closer.records import Decided, Deed
from services.closer.transactions import Transactions
from services.closer.turns import Turns
from shared.clock import Clock
from shared.events.identity import customer_of

KEPT = timedelta(days=400)
"""A year, to compare a month with the same one, and some weeks to do it in."""
ATTRIBUTES_KEPT = 20
ATTRIBUTE_MAX_CHARS = 500
BATCH = 5_000
IDLE_S = 600.0

_OLD = """
DELETE FROM closer.activity WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM closer.activity WHERE received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))
"""

_encode = msgspec.json.Encoder().encode


def done(decided: Decided, deed: Deed) -> tuple[Any, ...] | None:
    """Its row; None where nobody is named whose page could show it."""
    customer = customer_of(deed.customer.id, deed.customer.email)
    if customer is None:
        return None
    received_at = deed.received_at or decided.decided_at
    return (
        decided.workspace,
        decided.id,
        customer,
        deed.customer.account_id or None,
        deed.activity,
        deed.source,
        deed.occurred_at or received_at,
        received_at,
        _encode(kept(msgspec.json.decode(deed.attributes))).decode(),
    )


def kept(attributes: Any) -> dict[str, Any]:
    """The first of them that are one short text, a number, or yes or no."""
    if not isinstance(attributes, dict):
        return {}
    short = {name: value for name, value in attributes.items() if len(name) <= ATTRIBUTE_MAX_CHARS and _is_short(value)}
    return dict(list(short.items())[:ATTRIBUTES_KEPT])


def _is_short(value: Any) -> bool:
    return len(value) <= ATTRIBUTE_MAX_CHARS if isinstance(value, str) else isinstance(value, bool | int | float)


class Sweeper(Turns):
    """Takes away what is too old."""

    name = "activity"

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        super().__init__()
        self._transactions, self._clock = transactions, clock

    async def turn(self) -> float:
        return 0 if await self.sweep() == BATCH else IDLE_S

    async def sweep(self) -> int:
        """One batch of what is older; how many that were."""
        async with self._transactions.begin() as driver:
            said = await driver.execute(_OLD, self._clock.now() - KEPT, BATCH)
        return int(said.rpartition(" ")[2])
