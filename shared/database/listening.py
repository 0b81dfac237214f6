"""A connection that only listens: how it is found out that nobody speaks there any more.

Whoever never writes is told by nobody that the other machine has gone, or that a firewall in between has forgotten the
connection: it stays open for ever, and silent. So it is asked for a sign of life from time to time.
"""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg

ASK_EVERY_S = 10.0
ANSWER_S = 5.0


async def until_lost(connection: Any) -> None:
    """Returns when there is nothing more to hear: it has ended, or it does not answer. The caller ends it for good
    (`terminate`), for a good-bye would wait for an answer too."""
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    while not connection.is_closed():
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_EVERY_S):
                await ended.wait()
                return
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.execute("SELECT 1")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            return
