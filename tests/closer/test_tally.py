"""Sums are what the rows say, at any moment: while nothing is summed up, half of it, and all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from services.closer.tally import Tally
from tests.closer.world import World, feedback

_SAID = """
SELECT team, policy, target, clock, met, count(*) AS n FROM published.settled GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
_SUMMED = """
SELECT team, policy, target, clock, met, n FROM (
    SELECT team, policy, target, clock, true AS met, sum(met)::bigint AS n FROM published.attainment GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT team, policy, target, clock, false, sum(missed)::bigint FROM published.attainment GROUP BY 1, 2, 3, 4
) AS s WHERE n > 0 ORDER BY 1, 2, 3, 4, 5
"""
_HEARD = "SELECT source, sum(events)::int AS n FROM published.heard GROUP BY 1 ORDER BY 1"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


async def broken(world: World, count: int, **changes: Any) -> None:
    """So many cases whose every promise is broken."""
    await world.take(*(feedback(customer={"id": f"{changes}-{n}"}, **changes) for n in range(count)))
    world.clock.advance(timedelta(days=9))
    while await world.timers.fire_due():
        pass


async def test_what_is_not_summed_up_yet_is_counted_all_the_same_and_nothing_twice(world: World) -> None:
    await broken(world, 3, priority="urgent")
    said = await world.rows(_SAID)
    assert {row["n"] for row in said} == {3}
    assert len(said) == 6, "three promises on two clocks"
    assert await world.rows(_SUMMED) == said
    tally = Tally(world.transactions)
    assert await tally.add() > 0
    assert await world.rows(_SUMMED) == said
    assert await world.value("SELECT count(*) FROM closer.attained_anew") == 0
    await broken(world, 2, priority="urgent", received_at="2026-12-02T09:00:00.000Z")
    said = await world.rows(_SAID)
    assert {row["n"] for row in said} == {5}
    assert await world.rows(_SUMMED) == said
    while await tally.add():
        pass
    assert await world.rows(_SUMMED) == said


async def test_sources_are_heard_by_the_hour_and_the_last_time_is_kept(world: World) -> None:
    times = ("2026-11-22T23:59:59.999Z", "2026-11-23T00:00:00.000Z", "2026-11-23T00:30:00.000Z")
    await world.take(*(feedback(source="app", received_at=at, customer={"id": at}) for at in times))
    await Tally(world.transactions).add()
    await world.take(feedback(source="app", received_at="2026-11-21T10:00:00.000Z", customer={"id": "late"}))
    hours = await world.rows("SELECT hour, sum(events)::int AS n FROM published.heard GROUP BY 1 ORDER BY 1")
    assert [(row["hour"].isoformat(), row["n"]) for row in hours] == [
        ("2026-11-21T10:00:00+00:00", 1),
        ("2026-11-22T23:00:00+00:00", 1),
        ("2026-11-23T00:00:00+00:00", 2),
    ]
    for _ in range(2):
        (source,) = await world.rows("SELECT source, last_at FROM published.sources")
        assert (source["source"], source["last_at"].isoformat()) == ("app", "2026-11-23T00:30:00+00:00")
        await Tally(world.transactions).add()


async def test_several_sum_up_at_once_and_none_of_it_is_lost(world: World) -> None:
    async with world.transactions.begin() as driver:
        for number in range(400):
            await driver.execute(
                "INSERT INTO closer.heard_anew (workspace, source, hour, events, last_at)"
                " VALUES ('default', $1, date_trunc('hour', now()), 1, now())",
                f"s-{number % 7}",
            )
    tallies = [Tally(world.transactions) for _ in range(4)]

    async def add(tally: Tally) -> None:
        while await tally.add():
            pass

    await asyncio.gather(*(add(tally) for tally in tallies))
    assert await world.value("SELECT count(*) FROM closer.heard_anew") == 0
    assert sum(row["n"] for row in await world.rows(_HEARD)) == 400
    assert len(await world.rows("SELECT * FROM closer.heard")) == 7


async def test_a_feedback_that_is_taken_twice_is_heard_once(world: World) -> None:
    value = feedback(source="app")
    await world.take(value)
    await world.take(value)
    assert await world.rows(_HEARD) == [{"source": "app", "n": 1}]


async def test_what_a_file_brings_is_not_heard_of_a_source(world: World) -> None:
    await world.take(feedback(source="reviews-2025", customer={"id": "a"}, history=True))
    await world.take(feedback(source="app", customer={"id": "b"}))
    await world.take(feedback(source="app", customer={"id": "c"}, history=True))
    for _ in range(2):
        assert await world.rows(_HEARD) == [{"source": "app", "n": 1}]
        assert [row["source"] for row in await world.rows("SELECT source FROM published.sources")] == ["app"]
        await Tally(world.transactions).add()


async def test_what_was_counted_of_files_before_is_counted_anew(world: World) -> None:
    """The migration that does it, on what the one before it would have left."""
    await world.take(feedback(source="reviews-2025", customer={"id": "a"}, history=True))
    await world.take(feedback(source="app", customer={"id": "b"}))
    await Tally(world.transactions).add()
    await world.rows("INSERT INTO closer.heard VALUES ('default', 'reviews-2025', date_trunc('hour', now()), 1)")
    await world.rows("INSERT INTO closer.source VALUES ('default', 'reviews-2025', now())")
    for statement in import_module("deploy.migrations.versions.0011_heard").HEARD:
        await world.rows(statement)
    assert await world.rows(_HEARD) == [{"source": "app", "n": 1}]
    assert [row["source"] for row in await world.rows("SELECT source FROM published.sources")] == ["app"]
    await world.take(feedback(source="app", customer={"id": "c"}))
    assert await world.rows(_HEARD) == [{"source": "app", "n": 2}]
