"""Transactions on asyncpg's own connections, for units of work that write many rows.

SQLAlchemy's would do, but for two things that are paid at every event: its JSONB codec is Python, and it asks the server
one question more for each transaction. Sessions here plan for the values at hand: the tables grow from nothing, and a
plan kept from then would read all of them. Errors leave as `shared.database` says.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.database import STATEMENT_TIMEOUT_MS, is_transient, normalise_url
from shared.errors import Transient
from shared.telemetry import get_logger

POOL_SIZE = 12
IDLE_IN_TRANSACTION_TIMEOUT_MS = 4_000
"""A process that is stopped in a transaction holds the rows that its twin needs: for less than either waits for a lock."""
LOCK_TIMEOUT_MS = 6_000
CONNECT_TIMEOUT_S = 5

# A server that waits for the rest of a COPY ends that wait by no timeout of its own, neither the statement's nor the
# idle transaction's: a process that is stopped there (or cut off) would hold its locks for ever. Whoever has waited for
# a lock in vain ends such sessions; only ours, and a transaction that is ended so is done again.
_STANDING_STILL = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = $1 AND pid <> pg_backend_pid()
  AND state = 'active' AND wait_event = 'ClientRead'
  AND state_change < clock_timestamp() - make_interval(secs => $2)
"""

_log = get_logger("closer")

Driver = Any
"""asyncpg's connection, within a transaction."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    def get_reset_query(self) -> str:
        """Nothing is set in a session that outlives its transaction, so nothing need be reset."""
        return ""


class Transactions:
    def __init__(self, pool: Any, application_name: str) -> None:
        self._pool = pool
        self._name = application_name

    @classmethod
    async def open(cls, url: str, *, application_name: str = "flywheel-closer") -> "Transactions":
        """Connects with the first use, so that a closer can be built while the database is away."""
        return cls(
            await asyncpg.create_pool(
                normalise_url(url),
                min_size=0,
                max_size=POOL_SIZE,
                connection_class=_Connection,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_MS / 1000 + 5,
                server_settings={
                    "application_name": application_name,
                    "timezone": "UTC",
                    "plan_cache_mode": "force_custom_plan",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                },
            ),
            application_name,
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Driver]:
        """One transaction: committed when the block ends, rolled back when it raises. Raises `Transient`."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection
        except BaseException as error:
            if isinstance(error, asyncpg.LockNotAvailableError):
                await self._end_who_stands_still()
            if is_transient(error):
                raise Transient(
                    f"the database: {(str(error) or type(error).__name__).splitlines()[0][:200]}"
                ) from error
            raise

    async def _end_who_stands_still(self) -> None:
        seconds = IDLE_IN_TRANSACTION_TIMEOUT_MS / 1000
        try:
            async with self._pool.acquire() as connection:
                ended = await connection.fetch(_STANDING_STILL, self._name, seconds)
        except Exception as error:
            if not is_transient(error):
                raise
            return  # the next one that waits in vain tries again
        for row in ended:
            _log.warning("database.stood_still", pid=row["pid"], seconds=seconds)

    async def ping(self) -> None:
        """Raises `Transient` when the database cannot be reached."""
        async with self.begin() as driver:
            await driver.execute("SELECT 1")

    async def close(self) -> None:
        await self._pool.close()
