"""When the faults are over: wait until everything that was begun has come to its end."""

import asyncio
import time

import asyncpg

from tests.faults.ledger import Ledger

STILL_S = 60.0
"""Without any progress; for how long in all is the test's own timeout to say. How fast we are is not what is judged."""


async def settled(url: str, ledger: Ledger) -> None:
    """Until everything acknowledged was seen, the outbox is empty and no mail is waiting to go.

    A mail that was in flight when its sender died stays `sending` until its lease ends (two minutes), then it is
    `unknown`.
    """
    deadline, before = 0.0, None
    connection = await asyncpg.connect(url)
    try:
        while True:
            seen = await connection.fetchval("SELECT count(*) FROM published.feedback WHERE source = 'faults'")
            waiting = await connection.fetchval("SELECT count(*) FROM shared.outbox")
            mails = await connection.fetchval(
                "SELECT count(*) FROM published.notifications"
                " WHERE status NOT IN ('sent', 'unknown', 'withheld', 'failed', 'sending')"
            )
            if seen >= len(ledger.ids) and not waiting and not mails:
                return
            now = (seen, waiting, mails)
            if now != before:
                deadline, before = time.monotonic() + STILL_S, now
            assert time.monotonic() < deadline, (
                f"{seen} of {len(ledger.ids)} seen, {waiting} in the outbox, {mails} mails"
            )
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
