"""Deadlines fire once each and never early, whoever runs the timers and however late they come."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.closer.timers import Gauges
from tests.closer.world import START, World, eventually, feedback


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


async def fire(world: World) -> int:
    fired = 0
    while count := await world.timers.fire_due():
        fired += count
    return fired


async def said(world: World, case_id: Any) -> list[tuple[str, str, str]]:
    rows = await world.rows(
        "SELECT what, data->>'target' AS target, data->>'clock' AS clock FROM published.timeline"
        " WHERE case_id = $1 AND what LIKE 'clock.%' ORDER BY sequence",
        case_id,
    )
    return [(row["what"], row["target"], row["clock"]) for row in rows]


async def test_nothing_fires_before_its_time_and_everything_once_after_it(world: World) -> None:
    value = feedback(
        priority="urgent", received_at="2026-11-23T09:30:00.000Z"
    )  # acknowledge within an hour, warned at 75%
    await world.take(value)
    case = await world.case(value["id"])
    due: datetime = case["due_at"]
    assert due == START + timedelta(minutes=45)

    world.clock.advance(due - world.clock.now() - timedelta(milliseconds=1))
    assert await fire(world) == 0
    world.clock.advance(timedelta(milliseconds=1))
    assert await fire(world) == 1
    assert {("clock.warned", "acknowledge", "business"), ("clock.warned", "acknowledge", "wall")} == set(
        await said(world, case["id"])
    )
    assert await fire(world) == 0

    world.clock.advance(timedelta(minutes=15))
    await fire(world)
    found = await said(world, case["id"])
    assert found.count(("clock.breached", "acknowledge", "wall")) == 1
    assert found.count(("clock.breached", "acknowledge", "business")) == 1
    clock = await world.one("SELECT * FROM published.clocks WHERE case_id = $1 AND target = 'acknowledge'", case["id"])
    assert clock["open"]
    assert clock["business_met"] is clock["wall_met"] is False
    assert clock["wall_breached_at"] == clock["wall_due"] == START + timedelta(hours=1)
    assert clock["warned_at"] == START + timedelta(minutes=45)
    assert (await world.case(value["id"]))["breached"]


async def test_what_fired_is_on_the_timeline_the_outbox_and_gapless(world: World) -> None:
    value = feedback(priority="urgent")
    await world.take(value)
    world.clock.advance(timedelta(days=30))
    await fire(world)
    case = await world.case(value["id"])
    events = await world.outbox()
    assert [event["sequence"] for event in events] == list(range(1, case["sequence"] + 1))
    assert [event["what"] for event in events] == await world.timeline(case["id"])
    counted = Counter(await said(world, case["id"]))
    for target in ("acknowledge", "resolve", "tell_customer"):
        for clock in ("business", "wall"):
            assert counted["clock.breached", target, clock] == 1
            assert counted["clock.warned", target, clock] == 0  # who comes after the breach warns of nothing
    assert case["due_at"] is None


async def test_several_processes_fire_each_deadline_once(world: World) -> None:
    values = [feedback(customer={"id": f"c-{n}"}, priority="urgent") for n in range(450)]
    await world.take(*values)
    world.clock.advance(timedelta(hours=2))
    counts = await asyncio.gather(*(fire(world) for _ in range(4)))
    assert sum(counts) == 450
    assert sum(1 for count in counts if count) > 1, "one did all of it: the test proves nothing"
    doubled = await world.rows(
        "SELECT case_id FROM published.timeline WHERE what LIKE 'clock.%'"
        " GROUP BY case_id, what, data->>'target', data->>'clock' HAVING count(*) > 1"
    )
    assert doubled == []
    missing = await world.value(
        "SELECT count(*) FROM published.cases c WHERE NOT EXISTS (SELECT FROM published.timeline t"
        " WHERE t.case_id = c.id AND t.what = 'clock.breached' AND t.data->>'target' = 'acknowledge')"
    )
    assert missing == 0


async def test_a_case_that_somebody_is_busy_with_is_left_and_not_waited_for(world: World) -> None:
    busy, free = feedback(customer={"id": "c-1"}), feedback(customer={"id": "c-2"})
    await world.take(busy, free)
    world.clock.advance(timedelta(days=2))
    held = (await world.case(busy["id"]))["id"]
    async with world.transactions.begin() as driver:
        await driver.execute("SELECT FROM closer.case WHERE id = $1 FOR UPDATE", held)
        assert await fire(world) == 1
        assert await said(world, held) == []
    assert await fire(world) == 1
    assert await said(world, held) != []


async def test_the_running_timers_see_a_deadline_that_comes_up(world: World) -> None:
    value = feedback(priority="urgent")
    await world.take(value)
    case = await world.case(value["id"])
    timers = world.timers
    task = asyncio.create_task(timers.run())
    world.clock.advance(timedelta(hours=1))

    async def warned() -> bool:
        return bool(await said(world, case["id"]))

    await eventually(warned, "the deadline to be said")
    await timers.drain()
    await task


async def test_a_deadline_stored_too_early_by_another_release_is_put_right_and_not_said(world: World) -> None:
    value = feedback()
    await world.take(value)
    right = (await world.case(value["id"]))["due_at"]
    await world.rows("UPDATE closer.case SET due_at = $1", START - timedelta(hours=1))
    await world.timers.fire_due()
    case = await world.case(value["id"])
    assert case["due_at"] == right
    assert await said(world, case["id"]) == []


async def test_the_gauges_tell_what_is_open_and_overdue(world: World) -> None:
    from services.closer import metrics

    await world.take(*(feedback(customer={"id": f"c-{n}"}, priority="urgent") for n in range(3)))
    world.clock.advance(timedelta(hours=3))
    await fire(world)
    await Gauges(world.transactions).refresh()
    assert metrics.CASES.labels("open")._value.get() == 3
    assert metrics.OVERDUE._value.get() == 3


async def test_the_gauges_tell_what_waits_to_leave(world: World) -> None:
    from services.closer import metrics

    await world.take(feedback())
    await world.rows("UPDATE closer.notification SET created_at = clock_timestamp() - interval '2 hours'")
    gauges = Gauges(world.transactions)
    await gauges.refresh()
    assert metrics.NOTIFICATIONS_WAITING._value.get() == 1
    assert metrics.NOTIFICATIONS_OLDEST_SECONDS._value.get() == pytest.approx(7200, abs=60)
    assert metrics.OUTBOX_STUCK_SECONDS._value.get() == 0, "seen for the first time"

    await gauges.refresh()  # nobody publishes here
    stuck = metrics.OUTBOX_STUCK_SECONDS._value.get()
    assert stuck > 0
    await world.rows("DELETE FROM shared.outbox WHERE id = (SELECT min(id) FROM shared.outbox)")
    await gauges.refresh()
    assert metrics.OUTBOX_STUCK_SECONDS._value.get() == 0, "one has left"
