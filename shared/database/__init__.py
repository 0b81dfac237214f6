"""The database: one engine a process, one `transaction()` at the edge of each unit of work.

SQLAlchemy Core for the ordinary statement; asyncpg's own bulk calls (`raw`) where rows are many, in the
same transaction. Errors leave as `Transient` (the server is away, a lock timed out, two transactions met:
try again) or as what they are: a defect.

A lost connection at COMMIT is an unknown outcome: resolve it by reading the unique key, never by blind insert.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.errors import Misuse, Transient

STATEMENT_TIMEOUT_MS = 30_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
LOCK_TIMEOUT_MS = 10_000
COPY_TIMEOUT_S = 12.0

# SQLSTATE classes after which the same statements may succeed: connection, transaction rollback, resources,
# operator intervention, lock not available.
_TRANSIENT_SQLSTATES = ("08", "40", "53", "57", "55P03", "25P03")


def normalise_url(url: str) -> str:
    """`postgresql://…` as asyncpg takes it; a driver suffix is dropped. Raises `Misuse` for anything else."""
    parts = urlsplit(url)
    if parts.scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise Misuse(
            "DATABASE_URL must start with postgresql:// (for example postgresql://user:pass@host:5432/flywheel)"
        )
    return urlunsplit(("postgresql", *parts[1:]))


def sqlalchemy_url(url: str) -> str:
    """The same address for SQLAlchemy's asyncpg dialect."""
    parts = urlsplit(normalise_url(url))
    query = [(k, v) for k, v in parse_qsl(parts.query) if k != "sslmode"] + [
        ("ssl", v) for k, v in parse_qsl(parts.query) if k == "sslmode"
    ]
    return urlunsplit(("postgresql+asyncpg", parts.netloc, parts.path, urlencode(query), ""))


class Database:
    """An engine and the ways in."""

    def __init__(self, url: str, *, application_name: str = "flywheel", pool_size: int = 8) -> None:
        self.url = normalise_url(url)
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            pool_pre_ping=True,
            connect_args={
                "timeout": 5,
                "command_timeout": STATEMENT_TIMEOUT_MS / 1000 + 5,
                "server_settings": {
                    "application_name": application_name,
                    "timezone": "UTC",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                },
            },
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except BaseException as error:
            if is_transient(error):
                raise Transient(f"the database: {_first_line(error)}") from error
            raise

    async def ping(self) -> None:
        """Raises `Transient` when the database cannot be reached."""
        async with self.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    async def now(self) -> datetime:
        """The database's clock, which every process goes by."""
        async with self.transaction() as connection:
            return cast(datetime, (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one())

    async def close(self) -> None:
        await self.engine.dispose()


async def raw(connection: AsyncConnection) -> Any:
    """asyncpg's connection under this one, inside the same transaction: for COPY and unnest.

    SQLAlchemy begins lazily, so a first statement is sent if none was.
    """
    await connection.execute(text("SELECT 1"))
    return (await connection.get_raw_connection()).driver_connection


async def copy(
    driver: Any, schema: str, table: str, columns: Sequence[str], records: Sequence[tuple[Any, ...]]
) -> None:
    """COPY these rows, on asyncpg's connection. Raises `TimeoutError`, which is transient.

    The driver keeps no time while it waits for room to send the next rows (0.32), and is not woken when the connection is
    lost just then: without a limit of ours that wait is for ever."""
    async with asyncio.timeout(COPY_TIMEOUT_S):
        await driver.copy_records_to_table(table, schema_name=schema, columns=columns, records=records)


def is_transient(error: BaseException) -> bool:
    """Whether the same unit of work may succeed when it is done again from its start."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError | OperationalError):
            return True
        return is_transient(error.orig) if error.orig is not None else False
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_TRANSIENT_SQLSTATES)
    if isinstance(error, asyncpg.InternalClientError):
        return True  # what asyncpg says when the server ended an idle connection under it
    if isinstance(error, asyncpg.InterfaceError):
        # When an operation was cut off, giving the connection back says that another one is in progress.
        cause = error.__context__
        return "connection" in str(error) or (cause is not None and is_transient(cause))
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_TRANSIENT_SQLSTATES)
    return isinstance(error, OSError | TimeoutError | NoFreeConnection)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
