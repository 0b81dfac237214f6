"""What the database itself holds to, whatever the code does; and what the views show of it."""

import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, get_args

import asyncpg
import pytest

from services.closer.case import decide
from services.closer.commands import Assign, CustomerSaid, Resolve, Tick, Told, Wait
from services.closer.positions import move
from services.closer.records import case_id_of, is_uuid
from services.closer.store import UNFINISHED_OF, Cases, Snapshots
from shared.errors import Fenced
from shared.events.case import UNFINISHED, CaseChanged, State
from shared.log import TopicPartition
from tests.closer.world import START, World, feedback


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


VIEWS = {
    "feedback": "workspace id received_at occurred_at source channel customer customer_name customer_email tier account_id"
    " title text language scores solicited touchpoint lifecycle_stage url attributes team tags theme kind"
    " sentiment_label sentiment_score priority confidence decided_by rule ruleset_version reasons follow_up history"
    " case_id routed_at topic partition offset traceparent",
    "decisions": "workspace id decision of reason at",
    "cases": "workspace id case_key customer team theme state assignee priority tier language policy opened_at updated_at"
    " acknowledged_at resolved_at told_at first_told_at confirmed_at assumed_at reopened_count answer untold merged_into linked_to"
    " history sequence version first_feedback_id",
    "clocks": "workspace case_id team priority policy target generation business_due wall_due met_at business_met wall_met"
    " business_breached_at wall_breached_at warned_at open",
    "timeline": "workspace case_id sequence at what state actor reason data words",
    "notifications": "workspace id case_id feedback_id kind channel language status reason created_at sent_at attempts"
    " provider_id",
    "deliveries": "workspace id team channel destination event feedback_id case_id status reason created_at sent_at attempts"
    " due_at",
}


@pytest.mark.parametrize("view", VIEWS)
async def test_a_published_view_has_the_columns_that_other_services_read(world: World, view: str) -> None:
    rows = await world.rows(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'published' AND table_name = $1", view
    )
    assert set(VIEWS[view].split()) <= {row["column_name"] for row in rows}


async def test_everything_that_was_sent_is_shown_by_name(world: World) -> None:
    value = feedback(
        title="Refund",
        occurred_at="2026-11-22T10:00:00+08:00",
        channel="review",
        scores=[{"metric": "nps", "value": 3}, {"metric": "stars", "value": 1.5}],
        solicited=False,
        touchpoint="checkout",
        lifecycle_stage="onboarding",
        url="https://example.com/review/1",
        attributes={"plan": "pro", "版本": [1, 2]},
        customer={"id": "c-1", "email": "ann@example.com", "name": "Ann", "tier": "enterprise", "account_id": "acme"},
        tags=["refund", "payment"],
    )
    await world.take(value)
    row = await world.one("SELECT * FROM published.feedback")
    for name in ("title", "channel", "solicited", "touchpoint", "lifecycle_stage", "url", "text", "source"):
        assert row[name] == value[name], name
    assert row["occurred_at"].isoformat() == "2026-11-22T02:00:00+00:00"
    assert (row["customer_name"], row["customer_email"]) == ("Ann", "ann@example.com")
    assert (row["tier"], row["account_id"]) == ("enterprise", "acme")
    assert row["tags"] == ["refund", "payment"]
    assert (row["sentiment_label"], row["sentiment_score"], row["confidence"]) == ("negative", -0.5, 0.9)
    assert (row["decided_by"], row["rule"], row["ruleset_version"]) == ("rule", "refunds", "abc123")
    assert row["scores"] == value["scores"]
    assert row["attributes"] == value["attributes"]
    assert row["reasons"] == value["routing"]["reasons"]
    assert row["topic"] == "feedback.routed.support"
    assert row["traceparent"].startswith("00-")


async def test_a_minimal_piece_of_feedback_reads_as_empty_and_not_as_an_error(world: World) -> None:
    await world.take(feedback(customer=None, text=None, scores=[{"metric": "nps", "value": 9}], rule=None, tags=[]))
    row = await world.one("SELECT * FROM published.feedback")
    assert row["text"] is row["customer"] is row["tier"] is row["rule"] is row["solicited"] is None
    assert row["tags"] == []
    assert row["attributes"] == {}
    assert row["history"] is False


async def test_the_database_allows_one_unfinished_case_a_key_whatever_the_code_does(world: World) -> None:
    await world.take(feedback(), feedback(theme="login"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await world.rows("UPDATE closer.case SET case_key = 'the same'")


async def test_the_database_knows_the_unfinished_states_as_the_code_does(world: World) -> None:
    await world.take(feedback())
    for state in get_args(State):
        await world.rows("UPDATE closer.case SET state = $1", state)
        assert await world.value("SELECT unfinished FROM closer.case") is (state in UNFINISHED), state


async def test_a_case_goes_by_the_tier_that_a_rule_set(world: World) -> None:
    value = feedback(customer={"id": "c-1", "tier": "free"})
    value["routing"]["tier"] = "vip"
    await world.take(value)
    assert (await world.case(value["id"]))["tier"] == "vip"


async def test_a_case_reads_back_as_it_was_written(world: World) -> None:
    """Through every state that a test can reach in a few steps: nothing that a decision sees is lost by storing it."""
    value = feedback(customer={"id": "c-1", "email": "ann@example.com", "tier": "gold"}, priority="urgent")
    await world.take(value)
    case_id = str((await world.case(value["id"]))["id"])

    async def step(command: Any) -> None:
        async with world.unit.work() as (driver, effects):
            held = (await world.unit.cases.by_id(driver, [case_id]))[case_id]
            outcome = decide(held.case, command, effects.now)
            effects.record(held, outcome)
            expected = outcome.case
        async with world.transactions.begin() as driver:
            again = (await Cases(Snapshots()).by_id(driver, [case_id]))[case_id]
        assert again.case == expected

    for command in (
        Assign("li@example.com"),
        Wait("asked"),
        Tick(),
        Resolve("退款已到账", "zh"),
        Told("answered", 1, "key", "email"),
        CustomerSaid(False),
        Resolve("Now it is.", None),
        Told("answered", 2, "key", "email"),
        Tick(),
    ):
        world.clock.advance(timedelta(hours=7))
        await step(command)
    assert (await world.case(value["id"]))["reopened_count"] == 1
    world.clock.advance(timedelta(days=15))
    await step(Tick())
    assert (await world.case(value["id"]))["state"] == "assumed"
    assert (await world.case(value["id"]))["assumed_at"] == world.clock.now()


async def test_what_goes_to_the_cases_topic_is_what_its_model_says(world: World) -> None:
    await world.take(*(feedback(customer={"id": f"c-{n % 3}"}) for n in range(9)))
    events = await world.outbox()
    assert events
    for event in events:
        CaseChanged.model_validate(event)


async def test_a_position_moves_only_from_where_it_is(world: World) -> None:
    tp = TopicPartition("feedback.routed.support", 0)
    await world.rows("INSERT INTO closer.position VALUES ('embedded', $1, 0, 5)", tp.topic)
    async with world.transactions.begin() as driver:
        await move(driver, "embedded", {tp: 5}, {tp: 9})
    for expected in (5, 8, 10):
        with pytest.raises(Fenced):
            async with world.transactions.begin() as driver:
                await move(driver, "embedded", {tp: expected}, {tp: 11})
    with pytest.raises(Fenced):
        async with world.transactions.begin() as driver:
            await move(driver, "kafka", {tp: 9}, {tp: 11})
    assert await world.value("SELECT position FROM closer.position") == 9


def test_case_ids_are_the_same_again_and_in_the_order_of_time() -> None:
    ids = [f"6f1d3a5{n:x}-7c1e-5b0e-9a54-0d3f6b7c2e1{n:x}" for n in range(16)]
    made = [case_id_of(identity, START + timedelta(milliseconds=n)) for n, identity in enumerate(ids)]
    assert made == sorted(made)
    assert len(set(made)) == 16
    assert all(is_uuid(one) for one in made)
    assert case_id_of(ids[3], START) == case_id_of(ids[3], START)
    assert len({case_id_of(identity, START) for identity in ids}) == 16
    assert all(one[14] == "7" and one[19] == "8" for one in made)
    assert all(a != b for a, b in itertools.pairwise(made))


async def test_a_batch_finds_its_cases_by_their_keys_even_while_the_table_is_young(world: World) -> None:
    """Planned on an empty table, and kept: to read the whole workspace looked cheaper than to look for thirty keys."""
    async with world.transactions.begin() as driver:
        await driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await driver.execute(f"PREPARE unfinished_of (text, text[]) AS {UNFINISHED_OF}")
        plan = str(await driver.fetch("EXPLAIN EXECUTE unfinished_of ('default', ARRAY['a', 'b'])"))
    assert "case_unfinished" in plan
    assert "case_queue" not in plan
