"""Praise that follows a case goes to who handled it, and to their team: once, and it is recorded why."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.closer.case import decide
from services.closer.commands import Acknowledge, Assign, Command, Reopen, Resolve, Told
from services.closer.subscriptions import Step
from services.closer.subscriptions._card import reply
from services.closer.thanks import WITHIN, followed
from shared.config.teams import Member
from shared.events.envelope import rfc3339
from tests.closer.world import START, World, feedback

LI = "Li@example.com"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with World.open(database_url) as world:
        yield world


async def act(world: World, case_id: Any, *commands: Command, by: str = "bo@example.com") -> None:
    for command in commands:
        async with world.unit.work() as (driver, effects):
            held = (await world.unit.cases.by_id(driver, [str(case_id)]))[str(case_id)]
            effects.names = {"person:1": by}
            effects.record(held, decide(held.case, command, effects.now, "person:1"))


async def answered(world: World, customer: str = "c-1", by: str = "bo@example.com", **changes: Any) -> Any:
    """A case of that customer's that somebody answered, and of which the customer was told; its id."""
    said = feedback(customer={"id": customer}, **changes)
    await world.take(said)
    case = await world.case(said["id"])
    await act(world, case["id"], Resolve("We paid it back."), Told("answered", 1, "key", "email"), by=by)
    world.clock.advance(timedelta(hours=1))
    return case["id"]


def praise(world: World, customer: str | None = "c-1", **changes: Any) -> dict[str, Any]:
    """As it is routed: to whoever, and owed no answer."""
    about = {"kind": "praise", "follow_up": False, "text": "Thank you!", "team": "sales", "tags": [], **changes}
    about.setdefault("received_at", rfc3339(world.clock.now()))
    return feedback(customer={"id": customer} if customer else None, **about)


async def thanks(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM published.thanks ORDER BY at, feedback_id")


async def test_it_goes_to_whoever_has_the_case_and_to_their_team_and_the_case_says_so(world: World) -> None:
    said = feedback(customer={"id": "c-1"})
    await world.take(said)
    case_id = (await world.case(said["id"]))["id"]
    await act(world, case_id, Acknowledge(), Assign(LI), Resolve("Done."), Told("answered", 1, "key", "email"))
    world.clock.advance(timedelta(days=3))
    good = praise(world)
    await world.take(good)
    (found,) = await thanks(world)
    assert (found["person"], found["team"], found["case_id"], found["why"]) == (
        "li@example.com",
        "support",
        case_id,
        "praise",
    )
    assert found["text"] == "Thank you!"
    last = (await world.rows("SELECT * FROM published.timeline WHERE case_id = $1 ORDER BY sequence DESC", case_id))[0]
    assert (last["what"], last["words"], last["assigned_to"], last["actor"]) == (
        "thanked",
        "Thank you!",
        "li@example.com",
        "customer",
    )
    on_topic = (await world.outbox())[-1]
    assert (on_topic["what"], on_topic["data"]) == ("thanked", {"feedback_id": good["id"], "why": "praise"})
    assert "Thank you" not in str(on_topic)
    assert "li@" not in str(on_topic)
    assert (await world.one("SELECT state FROM published.cases WHERE id = $1", case_id))["state"] == "notified"


async def test_without_an_assignee_it_goes_to_who_answered_and_a_machine_is_not_thanked(world: World) -> None:
    await answered(world, "c-1", by="bo@example.com")
    await answered(world, "c-2", by="zendesk")
    await world.take(praise(world, "c-1"), praise(world, "c-2"))
    assert sorted((one["person"] or "", one["team"]) for one in await thanks(world)) == [
        ("", "support"),
        ("bo@example.com", "support"),
    ]


async def test_it_follows_the_answer_that_came_last_and_none_that_came_later_or_long_ago(world: World) -> None:
    await answered(world, theme="refund")
    newer = await answered(world, theme="delivery")
    await world.take(praise(world))
    assert [one["case_id"] for one in await thanks(world)] == [newer]
    await world.take(praise(world, received_at=rfc3339(START - timedelta(seconds=1))))
    world.clock.advance(WITHIN + timedelta(days=1))
    await world.take(praise(world))
    assert len(await thanks(world)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"customer": "c-2"},
        {"customer": None},
        {"text": None, "scores": [{"metric": "nps", "value": 10}]},
        {"kind": "comment"},
        {"history": True},
    ],
    ids=["of another customer", "of nobody", "without words", "no praise", "imported"],
)
async def test_what_follows_no_case_thanks_nobody(world: World, changes: dict[str, Any]) -> None:
    await answered(world)
    await world.take(praise(world, **changes))
    assert await thanks(world) == []


async def test_a_case_that_was_reopened_is_no_more_one_to_be_thanked_for(world: World) -> None:
    case_id = await answered(world)
    await act(world, case_id, Reopen("not solved after all", None))
    await world.take(praise(world))
    assert await thanks(world) == []


async def test_a_replay_thanks_nobody_again(world: World) -> None:
    await answered(world)
    good = praise(world)
    await world.take(good)
    await world.take(good)
    await world.rows("DELETE FROM closer.position")
    async with world.running():
        await world.caught_up()
    assert len(await thanks(world)) == 1
    case = await world.value("SELECT case_id FROM closer.thanks")
    assert (await world.timeline(case)).count("thanked") == 1


@pytest.mark.parametrize(
    ("solved", "text", "label", "thanked"),
    [
        (True, "You are great", "positive", True),
        (True, "ok", "neutral", True),
        (True, None, "positive", False),
        (True, "At last, after three weeks of nothing", "negative", False),
        (False, "You are great, but no", "positive", False),
    ],
)
async def test_a_yes_with_words_on_the_page_thanks_too(
    world: World, solved: bool, text: str | None, label: str, thanked: bool
) -> None:
    case_id = await answered(world)
    answer = feedback(
        customer={"id": "c-1"},
        source="loop",
        text=text,
        scores=[{"metric": "solved", "value": int(solved)}],
        attributes={"loop": {"case_id": str(case_id), "solved": solved}},
        follow_up=not solved,
        sentiment={"label": label, "score": 0.0},
    )
    await world.rows(
        "INSERT INTO closer.answer (workspace, feedback_id, case_id, generation, solved, at)"
        " VALUES ('default', $1, $2, 1, $3, now())",
        answer["id"],
        case_id,
        solved,
    )
    await world.take(answer)
    assert [one["why"] for one in await thanks(world)] == (["answer"] if thanked else [])
    assert ("thanked" in await world.timeline(case_id)) is thanked


def test_slack_calls_by_name_whom_the_customer_thanks() -> None:
    from tests.closer.test_case import opened

    step = Step(9, "thanked", "customer", "", {"why": "praise"}, {"to": "li@example.com", "text": "Thank <you>"})
    members = [Member(email=LI, slack="U0123ABC")]
    assert reply(step, opened(), members) == ":heart: The customer says thank you. <@U0123ABC>\n>Thank &lt;you&gt;"
    assert "<@" not in (reply(step, opened(), ()) or "")


def test_which_answer_it_follows() -> None:
    at = START
    told: list[tuple[datetime, str]] = [(at - WITHIN, "edge"), (at - WITHIN - timedelta(seconds=1), "old"), (at, "now")]
    assert followed(told, at) == "now"
    assert followed(told[:2], at) == "edge"
    assert followed(told[1:2], at) is None
    assert followed([(at + timedelta(seconds=1), "later")], at) is None
