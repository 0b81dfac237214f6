"""The embedded log: what Kafka promises, on the Postgres that is there anyway.

Durable, partitioned, keyed, with consumer groups, transactions and several processes at once; one contract suite
holds both to it. How it works is told where it happens: `append` (one writer shares its commits), `group` (leases,
generations, the fence), `read`, `retention`; the statements that are its transactions are functions in the
database (`deploy/migrations/versions/0002_log.py`), where the lock order is explained.

Left to the caller: nothing that Kafka would not leave to it as well.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from shared.errors import Misuse, Transient
from shared.log import Listener, TopicPartition, Unlike
from shared.log.postgres.append import Appender, Catalogue, Placer, PostgresProducer
from shared.log.postgres.connection import Connections, Hub
from shared.log.postgres.group import PostgresConsumer, group_lag
from shared.log.postgres.read import PostgresReader
from shared.log.postgres.retention import TRIM_EVERY_S, TRIM_LOCK, trim
from shared.tasks import keep
from shared.telemetry import get_logger
from shared.topics import Topic

PING_TIMEOUT_S = 2.0
FOR_GOOD = "for good"

_ENSURE = """
WITH wanted AS (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::interval[]) AS w (name, partitions, retention)
    WHERE NOT EXISTS (SELECT FROM log.topic t WHERE t.name = w.name)),
made AS (
    INSERT INTO log.topic (name, partitions, retention) SELECT name, partitions, retention FROM wanted ORDER BY name
    ON CONFLICT (name) DO NOTHING RETURNING id, name, partitions),
parts AS (
    INSERT INTO log.partition (topic_id, partition) SELECT id, generate_series(0, partitions - 1) FROM made)
SELECT name FROM made
"""

_log = get_logger("log")


class PostgresLog:
    """Implements `shared.log.Log`. One for each process."""

    def __init__(self, connections: Connections, hub: Hub) -> None:
        self._connections = connections
        self._hub = hub
        self._catalogue = Catalogue(connections)
        self._placer = Placer(self._catalogue)
        self._appender = Appender(connections)
        self._trimming = keep(self._trim_forever(), "log-trim")

    @classmethod
    async def open(cls, dsn: str) -> "PostgresLog":
        """On a database that has our schema. Raises `Transient` when it is away."""
        connections = await Connections.open(dsn)
        hub = Hub(connections.dsn)
        try:
            await hub.open()
        except BaseException:
            await connections.close()
            raise
        return cls(connections, hub)

    async def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        try:
            rows = await self._connections.rows(
                _ENSURE, [t.name for t in topics], [t.partitions for t in topics], [t.retention for t in topics]
            )
        except asyncpg.CheckViolationError as error:
            raise Misuse(f"a topic that cannot be: {error.detail}") from error
        return [row["name"] for row in rows]

    async def unlike(self, topics: Sequence[Topic]) -> list[Unlike]:
        rows = await self._connections.rows("SELECT name, partitions, retention FROM log.topic")
        there = {row["name"]: row for row in rows}
        found = []
        for topic in topics:
            row = there.get(topic.name)
            if row is not None and row["retention"] != topic.retention:
                found.append(Unlike(topic.name, "retention", _days(row["retention"]), _days(topic.retention)))
            if row is not None and row["partitions"] != topic.partitions:
                found.append(Unlike(topic.name, "partitions", str(row["partitions"]), str(topic.partitions), False))
        return found

    async def mend(self, unlike: Sequence[Unlike]) -> None:
        for one in unlike:
            if one.mendable:
                await self._connections.execute(
                    "UPDATE log.topic SET retention = $2::text::interval WHERE name = $1",
                    one.topic,
                    None if one.wanted == FOR_GOOD else one.wanted,
                )

    async def topics(self) -> dict[str, int]:
        return {topic.name: topic.partitions for topic in (await self._catalogue.all()).values()}

    async def producer(self) -> PostgresProducer:
        return PostgresProducer(self._placer, self._appender)

    async def consumer(self, group: str, topics: Sequence[str], listener: Listener) -> PostgresConsumer:
        return await self._member(group, topics, listener)

    async def transactional(self, group: str, topics: Sequence[str], listener: Listener) -> PostgresConsumer:
        return await self._member(group, topics, listener)

    async def reader(self) -> PostgresReader:
        return PostgresReader(self._connections, self._hub, self._catalogue)

    async def lag(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        return await group_lag(self._connections, group, topics)

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._connections.value("SELECT 1")
        except TimeoutError as error:
            raise Transient(f"the log's database has not answered within {PING_TIMEOUT_S:.0f} s") from error

    async def trim(self, now: datetime) -> int:
        """Delete what every topic's retention has passed by then; how many records. Runs by itself, too."""
        return await trim(self._connections, now)

    async def close(self) -> None:
        """Append what is waiting, then let go of everything. Consumers are closed by whoever opened them."""
        self._trimming.cancel()
        await asyncio.gather(self._trimming, return_exceptions=True)
        await self._appender.close()
        await self._hub.close()
        await self._connections.close()

    async def _member(self, group: str, topics: Sequence[str], listener: Listener) -> PostgresConsumer:
        consumer = PostgresConsumer(self._connections, self._hub, self._placer, group, topics, listener)
        try:
            await consumer.join()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def _trim_forever(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            try:
                await self._connections.run(self._trim_alone)
            except Transient as error:
                _log.warning("log.trim_failed", reason=str(error))

    async def _trim_alone(self, connection: Any) -> None:
        """One process at a time: the lock belongs to this connection, on which nothing else runs meanwhile."""
        try:
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", TRIM_LOCK):
                now = await connection.fetchval("SELECT clock_timestamp()")
                if deleted := await self.trim(now):
                    _log.info("log.trimmed", records=deleted)
                await connection.fetchval("SELECT pg_advisory_unlock($1)", TRIM_LOCK)
        except BaseException:
            connection.terminate()  # the lock, where it was ours, goes with it
            raise


def _days(retention: timedelta | None) -> str:
    if retention is None:
        return FOR_GOOD
    days = retention / timedelta(days=1)
    return f"{days:g} days" if days >= 1 else f"{days * 24:g} hours"
