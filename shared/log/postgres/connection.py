"""The ways into the database that the log uses: a small pool, and one connection that listens.

The log's work is one statement each, so a pooled connection is held for a round trip only and never stands in a
transaction. The listening connection hears which topics grew and which groups changed; it never stands in a
transaction either, since that would stop the queue of notifications from being cleared. A notification is only
a hint: whoever waits looks again after `SAFETY_POLL_S` by itself.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from shared.database import is_transient, normalise_url
from shared.database.listening import until_lost
from shared.errors import Fenced, Misuse, Transient
from shared.tasks import keep
from shared.telemetry import get_logger

LEASE_S = 3.0
"""How long a member that is silent stays a member."""
SAFETY_POLL_S = 0.5
RECONNECT_S = 0.5
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 20.0
POOL_SIZE = 8
_FENCED = "FL001"
_NO_SCHEMA = {"3F000", "42P01", "42883"}

TOPICS_CHANNEL = "flywheel_log"
GROUPS_CHANNEL = "flywheel_group"

# Anything that could stand in a group's way ends before its lease does. And no plan but the primary key's: a table
# that has grown faster than its statistics must not be read from end to end.
_SETTINGS = {
    "application_name": "flywheel log",
    "timezone": "UTC",
    "lock_timeout": str(int(LEASE_S * 500)),
    "idle_in_transaction_session_timeout": str(int(LEASE_S * 500)),
    "statement_timeout": str(int(COMMAND_TIMEOUT_S * 900)),
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
}

_T = TypeVar("_T")
_log = get_logger("log")


class Connections:
    """The pool. Every failure leaves as `Transient` (unknown outcome), `Fenced`, or as the defect that it is."""

    def __init__(self, dsn: str, pool: Any) -> None:
        self.dsn = dsn
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str) -> "Connections":
        dsn = normalise_url(dsn)
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=POOL_SIZE,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings=_SETTINGS,
                reset=_nothing,
            )
        except Exception as error:
            raise translated(error) from error
        return cls(dsn, pool)

    async def run(self, use: Callable[[Any], Awaitable[_T]]) -> _T:
        """`use(connection)` on one of the pool."""
        try:
            async with self._pool.acquire() as connection:
                try:
                    return await use(connection)
                except asyncpg.InternalClientError:
                    connection.terminate()
                    raise
        except Exception as error:
            raise translated(error) from error

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        return await self.run(lambda connection: connection.fetch(statement, *arguments))

    async def value(self, statement: str, *arguments: object) -> Any:
        return await self.run(lambda connection: connection.fetchval(statement, *arguments))

    async def execute(self, statement: str, *arguments: object) -> int:
        """How many rows it touched."""
        status = await self.run(lambda connection: connection.execute(statement, *arguments))
        return int(status.rsplit(" ", 1)[-1])

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()


def translated(error: Exception) -> Exception:
    """The error as our caller must see it."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate == _FENCED:
        return Fenced(str(error))
    if isinstance(error, Transient):
        return error
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _NO_SCHEMA:
        return Misuse("the database lacks the log's tables or functions: run `flywheel db migrate`")
    # The driver's own state is in disorder when the server has said good-bye to an idle connection, but the socket's end
    # has not been noticed yet. The connection is gone; ours to say is only that the outcome is unknown.
    lost = isinstance(error, asyncpg.InternalClientError)
    closing = isinstance(error, asyncpg.InterfaceError) and "pool is clos" in str(error)
    if lost or closing or is_transient(error):
        return Transient(f"the log's database: {str(error) or type(error).__name__}")
    return error


async def _nothing(connection: object) -> None:
    """What the log runs leaves nothing in its session: no lock, setting, cursor or listener (who takes a lock there gives
    it back, or ends the connection). The driver would ask the server to clear it all, a round trip for every write."""


class Subscription:
    """Wakes whoever waits on `event` when one of the topics, or the group, has news."""

    def __init__(self, hub: "Hub", topics: Iterable[str], group: str | None) -> None:
        self._hub = hub
        self.topics = frozenset(topics)
        self.group = group
        self.event = asyncio.Event()
        self.group_event = asyncio.Event()

    def close(self) -> None:
        self._hub.drop(self)


class Hub:
    """The process's one listening connection.

    While it is connected it holds an advisory lock of its own, `alive`: when this process is killed the server
    lets go of it within milliseconds, and the other members of its groups need not wait for the lease to run out.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self.alive: int | None = None

    async def open(self) -> None:
        connection = await self._connect()
        self._task = keep(self._keep(connection), "log-listen")

    def subscribe(self, topics: Iterable[str], group: str | None = None) -> Subscription:
        subscription = Subscription(self, topics, group)
        self._subscriptions.add(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _connect(self) -> Any:
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=CONNECT_TIMEOUT_S,
                server_settings={"application_name": "flywheel log listener", "tcp_keepalives_idle": "30"},
            )
        except Exception as error:
            raise translated(error) from error
        try:
            await connection.add_listener(TOPICS_CHANNEL, self._topic_grew)
            await connection.add_listener(GROUPS_CHANNEL, self._group_changed)
            key = secrets.randbits(63)
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
                self.alive = key
        except Exception as error:
            connection.terminate()
            raise translated(error) from error
        return connection

    async def _keep(self, connection: Any) -> None:
        try:
            while True:
                await until_lost(connection)
                connection.terminate()
                self.alive = None
                connection = await self._reconnect()
                self._wake_all()
        finally:
            self.alive = None
            connection.terminate()

    async def _reconnect(self) -> Any:
        while True:
            try:
                return await self._connect()
            except Transient as error:
                _log.warning("log.listener_away", reason=str(error))
                await asyncio.sleep(RECONNECT_S)

    def _topic_grew(self, _connection: object, _pid: int, _channel: str, topic: object) -> None:
        for subscription in self._subscriptions:
            if topic in subscription.topics:
                subscription.event.set()

    def _group_changed(self, _connection: object, _pid: int, _channel: str, group: object) -> None:
        for subscription in self._subscriptions:
            if group == subscription.group:
                subscription.group_event.set()

    def _wake_all(self) -> None:
        for subscription in self._subscriptions:
            subscription.event.set()
            subscription.group_event.set()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
