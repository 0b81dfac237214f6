"""The outbox: published if and only if the effect was committed, in order, by one relay, at least once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from sqlalchemy import text

from shared.database import Database, outbox
from shared.errors import Transient
from shared.log import Message, Producer, TopicPartition
from shared.log.postgres import PostgresLog
from shared.topics import Topic

TOPIC = "outbox.test"
PATIENCE_S = 30.0


def _message(number: int) -> Message:
    return Message(TOPIC, b"one key", str(number).encode(), [("n", str(number).encode())])


async def _published(log: PostgresLog) -> list[int]:
    reader = await log.reader()
    found = []
    try:
        for partition in range(await reader.partitions(TOPIC)):
            place = TopicPartition(TOPIC, partition)
            async for batch in reader.scan(place, *await reader.bounds(place)):
                found += [int(record.value) for record in batch]
    finally:
        await reader.close()
    return found


async def _left(database: Database) -> int:
    async with database.transaction() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM shared.outbox"))).scalar_one())


async def _until(log: PostgresLog, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE_S):
        while len(found := await _published(log)) < count:
            await asyncio.sleep(0.02)
    return found


async def test_what_is_committed_is_published_in_order_and_what_is_rolled_back_never(database_url: str) -> None:
    database, log = Database(database_url), await PostgresLog.open(database_url)
    await log.ensure_topics([Topic(TOPIC, None, 3)])
    producer = await log.producer()
    relays = [asyncio.create_task(outbox.Relay(database, producer).run()) for _ in range(3)]
    try:
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as connection:
                await outbox.append(connection, [_message(-1)])
                raise ZeroDivisionError
        for start in range(0, 1200, 100):
            async with database.transaction() as connection:
                await outbox.append(connection, [_message(number) for number in range(start, start + 100)])
        assert await _until(log, 1200) == list(range(1200))
        async with asyncio.timeout(PATIENCE_S):  # they are on the log before they are deleted
            while await _left(database):
                await asyncio.sleep(0.02)
    finally:
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        await producer.close()
        await log.close()
        await database.close()


@contextlib.asynccontextmanager
async def _relaying(
    database_url: str, wrap: Callable[[Producer], Producer] = lambda producer: producer
) -> AsyncIterator[tuple[Database, PostgresLog]]:
    """One relay at work, on a topic of one partition."""
    database, log = Database(database_url), await PostgresLog.open(database_url)
    await log.ensure_topics([Topic(TOPIC, None, 1)])
    producer = await log.producer()
    relay = asyncio.create_task(outbox.Relay(database, wrap(producer)).run())
    try:
        yield database, log
    finally:
        relay.cancel()
        await asyncio.gather(relay, return_exceptions=True)
        await producer.close()
        await log.close()
        await database.close()


async def test_what_is_written_wakes_the_relay(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "IDLE_POLL_S", 3600)
    async with _relaying(database_url) as (database, log):
        for number in range(3):
            async with database.transaction() as connection:
                await outbox.append(connection, [_message(number)])
            assert await _until(log, number + 1) == list(range(number + 1))


class _LosesTheAnswer:
    """The real producer, whose answer is lost once after it wrote: an unknown outcome."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.lost = False

    async def append(self, messages: Sequence[Message]) -> None:
        await self._producer.append(messages)
        if not self.lost:
            self.lost = True
            raise Transient("the answer was lost")

    async def close(self) -> None: ...


async def test_an_unknown_outcome_is_published_again_and_never_lost(database_url: str) -> None:
    async with _relaying(database_url, _LosesTheAnswer) as (database, log):
        async with database.transaction() as connection:
            await outbox.append(connection, [_message(number) for number in range(5)])
        found = await _until(log, 10)
        assert found == [0, 1, 2, 3, 4] * 2
