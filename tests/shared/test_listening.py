"""Connections on which only the server speaks: a firewall forgets them, nobody says so, and we find out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import asyncpg
import pytest

from shared.auth import Authenticator, Keys
from shared.clock import ManualClock
from shared.database import Database
from shared.log.postgres.connection import TOPICS_CHANNEL, Hub
from tests.brokers import free_port
from tests.forwarding import Forwarding, forwarding

WAIT_S = 60.0


@pytest.fixture
async def road(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Forwarding]:
    monkeypatch.setattr("shared.database.listening.ASK_EVERY_S", 0.2)
    monkeypatch.setattr("shared.database.listening.ANSWER_S", 2.0)
    async with forwarding(database_url, free_port()) as road:
        yield road


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


async def test_the_logs_listener_notices_that_nothing_comes_through(database_url: str, road: Forwarding) -> None:
    hub = Hub(road.url)
    await hub.open()
    subscription = hub.subscribe(["t"])
    held = hub.alive
    road.fall_silent()
    await until(lambda: hub.alive not in {None, held})  # listens again, under a lock of its own again
    async with asyncio.timeout(WAIT_S):
        await subscription.event.wait()  # something may have gone by meanwhile
    subscription.event.clear()
    beside = await asyncpg.connect(database_url)
    await beside.execute("SELECT pg_notify($1, 't')", TOPICS_CHANNEL)
    async with asyncio.timeout(WAIT_S):
        await subscription.event.wait()
    await beside.close()
    await hub.close()


async def test_a_listener_that_hears_nothing_for_long_is_left_alone(
    road: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.listening.ANSWER_S", WAIT_S)
    hub = Hub(road.url)
    await hub.open()
    held = hub.alive
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):  # asked several times, and it answers
            await until(lambda: hub.alive != held)
    await hub.close()


async def test_revocations_are_heard_again_after_a_silence(database_url: str, road: Forwarding) -> None:
    straight, by_road = Database(database_url), Database(road.url)
    # Its clock stands still: only a notification can tell it of a revocation.
    authenticator = Authenticator(by_road, monotonic=lambda: 1_000.0)
    await authenticator.start()
    await until(authenticator.listening.is_set)
    road.fall_silent()
    await until(lambda: not authenticator.listening.is_set())
    await until(authenticator.listening.is_set)
    keys = Keys(straight, ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    key = await keys.create("default", "test", ["cases:read"])
    header = f"Bearer {key.key}"
    await authenticator.principal(header)
    assert authenticator.cached(header) is not None
    await keys.revoke("default", key.id)
    await until(lambda: authenticator.cached(header) is None)
    await authenticator.close()
    await by_road.close()
    await straight.close()
