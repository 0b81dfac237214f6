"""A ticket that is moved in its own tool takes its case along, in the source's name, and says what its words were for."""

import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.closer.check import check
from services.closer.moves import SAID, ours
from services.closer.news import LOOK_FIRST, LOOKED_FOR, News
from shared.events.correction import Corrected
from shared.events.envelope import rfc3339
from shared.topics import CORRECTIONS
from tests.closer.served import Served, served
from tests.closer.world import World, config_with, decision, feedback

TEAMS = """
default_team: support
teams:
  - {name: product, known_as: ["desk:77"]}
  - {name: support}
  - {name: sales, known_as: ["Billing EU"]}
"""
SLA = "policies: [{name: default, acknowledge: 8h, tell_customer: 5d}]"


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(database_url, config_with(tmp_path, teams=TEAMS, sla=SLA)) as world:
        yield world


@pytest.fixture
async def closer(world: World, database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(world, database_url, tmp_path) as made:
        yield made


def said(ticket: str = "812", **changes: Any) -> dict[str, Any]:
    return feedback(**{"source": "desk", "attributes": {"ticket_id": ticket}} | changes)


def moved(team: str | None = "Billing EU", ticket: str = "812", minute: int = 0, **changes: Any) -> dict[str, Any]:
    """What the router notes of a move, so many minutes after the ticket was opened."""
    value = {
        "id": str(uuid.uuid4()),
        "workspace": "default",
        "decision": "work.noted",
        "of": None,
        "reason": "A ticket that feedback came from has another team in its own tool.",
        "decided_at": "2026-11-23T09:29:59.000Z",
        "type": "work.moved",
        "source": "desk",
        "work_id": ticket,
        "team": team,
        "received_at": "2026-11-23T09:29:58.500Z",
        "occurred_at": f"2026-11-23T09:{minute:02d}:00Z",
    }
    return value | changes


def after(world: World, minutes: int) -> dict[str, Any]:
    """When it was moved, so many minutes from now on."""
    at = rfc3339(world.clock.now() + timedelta(minutes=minutes))
    return {"occurred_at": at, "received_at": at}


async def heard(world: World, *moves: Mapping[str, Any]) -> None:
    await world.send(*map(decision, moves))
    async with world.running():
        await world.caught_up()
    await settled(world)


async def settled(world: World) -> None:
    found = check(world.config)
    news = News(world.unit, lambda: found)
    while await news.settle():
        pass


async def outcomes(world: World) -> list[str | None]:
    return [row["outcome"] for row in await world.rows("SELECT outcome FROM closer.news ORDER BY at, id")]


async def taught(world: World) -> list[tuple[str, str]]:
    return [(one["id"], one["team"]) for one in await world.outbox(CORRECTIONS)]


async def test_the_case_goes_along_in_the_sources_name_and_its_words_teach(world: World) -> None:
    value = said()
    await world.take(value)
    await heard(world, moved())
    case = await world.case(value["id"])
    assert (case["team"], case["state"]) == ("sales", "open")
    assert await world.timeline(case["id"]) == ["opened", "reassigned"]
    step = await world.one("SELECT * FROM published.timeline WHERE case_id = $1 AND what = 'reassigned'", case["id"])
    assert (step["actor"], step["reason"]) == ("desk", "moved in desk")
    event = (await world.outbox())[-1]
    assert (event["what"], event["team"], event["data"]) == (
        "reassigned",
        "sales",
        {"from": "support", "team": "sales"},
    )
    (correction,) = await world.outbox(CORRECTIONS)
    corrected = Corrected.model_validate(correction)
    assert (corrected.id, corrected.team, corrected.by) == (value["id"], "sales", "desk")
    assert corrected.of.topic == "feedback.routed.support"
    assert await outcomes(world) == ["moved"]


@pytest.mark.parametrize(
    ("names", "team"),
    [
        ({"name": "billing  eu"}, "sales"),
        ({"name": "Sales"}, "sales"),
        ({"name_id": "77"}, "product"),
        ({"name_id": "77", "name": "Billing EU"}, "product"),
        ({"name_id": "78", "name": "Billing EU"}, "sales"),
        ({"name_id": "77", "source": "another"}, None),
        ({"name": "Tier 2"}, None),
    ],
)
def test_a_team_is_known_by_its_names_and_its_ids(world: World, names: dict[str, str], team: str | None) -> None:
    move = {"source": "desk", "name": None, "name_id": None, **names}
    assert ours(move, check(world.config).known_as) == team


async def test_a_name_that_nobody_knows_is_noted_and_moves_nothing(world: World) -> None:
    value = said()
    await world.take(value)
    await heard(world, moved("Tier 2"))
    case = await world.case(value["id"])
    assert (case["team"], await world.timeline(case["id"])) == ("support", ["opened", "noted"])
    note = await world.one("SELECT * FROM published.timeline WHERE case_id = $1 AND what = 'noted'", case["id"])
    assert (note["actor"], note["words"]) == ("desk", "moved in desk to 'Tier 2', which is nobody here")
    assert "Tier 2" not in str(await world.outbox()), "no name of somebody else's tool goes to the topic"
    assert (await taught(world), await outcomes(world)) == ([], ["unknown"])


async def test_one_that_is_there_already_stays(world: World) -> None:
    value = said(team="sales")
    await world.take(value)
    await heard(world, moved())
    assert await world.timeline((await world.case(value["id"]))["id"]) == ["opened"]
    assert (await taught(world), await outcomes(world)) == ([], ["there"])


async def test_one_event_has_its_effect_once(world: World) -> None:
    value, move = said(), moved()
    await world.take(value)
    await heard(world, move)
    await heard(world, moved("support", minute=5))
    await heard(world, move, move)
    assert (await world.case(value["id"]))["team"] == "support"
    assert await taught(world) == [(value["id"], "sales"), (value["id"], "support")]


async def test_to_and_fro_the_last_one_counts_whenever_it_is_heard_of(world: World) -> None:
    value = said()
    await world.take(value)
    await heard(world, moved(minute=1), moved("product", minute=2), moved("support", minute=3))
    assert (await world.case(value["id"]))["team"] == "support"
    assert [team for _, team in await taught(world)] == ["sales", "product", "support"]
    await heard(world, moved(minute=2, team="sales"))
    assert (await world.case(value["id"]))["team"] == "support"
    assert sorted(map(str, await outcomes(world))) == ["moved", "moved", "moved", "overtaken"]


async def test_a_case_that_has_ended_stays_and_its_words_teach(closer: Served) -> None:
    world, value = closer.world, said()
    await world.take(value)
    case = await world.case(value["id"])
    await closer.post(f"/v1/cases/{case['id']}/decline", {"answer": "No."})
    await heard(world, moved(minute=1))
    after = await world.case(value["id"])
    assert (after["team"], after["state"]) == ("support", "declined")
    assert (await world.timeline(case["id"]))[-1] == "corrected"
    await heard(world, moved(minute=2), moved("support", minute=3))
    assert await taught(world) == [(value["id"], "sales"), (value["id"], "support")]
    assert await outcomes(world) == ["taught", "there", "taught"]


async def test_feedback_without_a_case_teaches_too(world: World) -> None:
    value = said(kind="praise", follow_up=False)
    await world.take(value)
    await heard(world, moved())
    assert (await taught(world), await outcomes(world)) == ([(value["id"], "sales")], ["taught"])


async def test_a_move_that_is_heard_of_before_its_ticket_waits_for_it(world: World) -> None:
    await heard(world, moved())
    assert await outcomes(world) == [None]
    value = said()
    await world.take(value)
    world.clock.advance(LOOK_FIRST)
    await settled(world)
    assert ((await world.case(value["id"]))["team"], await outcomes(world)) == ("sales", ["moved"])


async def test_a_ticket_of_which_nothing_ever_comes_is_let_go_of(world: World) -> None:
    await heard(world, moved(), moved(ticket="813"))
    world.clock.advance(LOOKED_FOR * 0.9)
    await settled(world)
    assert await outcomes(world) == [None, None]
    world.clock.advance(LOOKED_FOR)
    await settled(world)
    assert await outcomes(world) == ["nothing", "nothing"]


async def test_the_words_of_the_ticket_teach_and_not_those_of_the_case_that_it_joined(world: World) -> None:
    first, second, reply = (
        said("812"),
        said("813", text="Once more."),
        said("813", received_at="2026-11-23T09:30:00.000Z"),
    )
    await world.take(first)
    await world.take(second)
    await world.take(reply)
    case = await world.case(second["id"])
    assert case["first_feedback_id"] == uuid.UUID(first["id"])
    await heard(world, moved(ticket="813"))
    assert (await world.case(first["id"]))["team"] == "sales"
    assert await taught(world) == [(second["id"], "sales")]


async def test_another_sources_ticket_of_that_number_stays(world: World) -> None:
    other, chat = said(source="another"), said(attributes={"conversation_id": 812}, customer={"id": "c-2"})
    issue = said(attributes={"work_id": "812"}, customer={"id": "c-3"})
    await world.take(other, chat, issue)
    await heard(world, moved())
    teams = [(await world.case(value["id"]))["team"] for value in (other, chat, issue)]
    assert teams == ["support", "sales", "sales"]


async def test_the_ticket_is_found_by_an_index(world: World) -> None:
    async with world.transactions.begin() as driver:
        await driver.execute("SET LOCAL enable_seqscan = off")
        plan = await driver.fetch(f"EXPLAIN {SAID}", "default", "desk", "812")
    assert "feedback_work" in str(plan)


async def test_who_takes_a_ticket_within_the_team_that_has_it_moves_nothing(world: World, closer: Served) -> None:
    """Tools tell of that as of a move; and meanwhile somebody here may have said better whose it is."""
    value = said()
    await world.take(value)
    await heard(world, moved(minute=1))
    case = await world.case(value["id"])
    assert (await closer.post(f"/v1/cases/{case['id']}/reassign", {"team": "product"})).status_code == 200
    await heard(world, moved(minute=5))
    assert (await world.case(value["id"]))["team"] == "product"
    assert [team for _, team in await taught(world)] == ["sales", "product"]
    assert await outcomes(world) == ["moved", "there"]
    # Through a team that is nobody here it is a move again.
    await heard(world, moved("Tier 2", minute=6), moved(**after(world, minutes=7)))
    assert (await world.case(value["id"]))["team"] == "sales"


async def test_a_move_that_is_heard_of_late_undoes_nothing_that_somebody_decided_after_it(
    world: World, closer: Served
) -> None:
    value = said()
    await world.take(value)
    case = await world.case(value["id"])
    assert (await closer.post(f"/v1/cases/{case['id']}/reassign", {"team": "product"})).status_code == 200
    await heard(world, moved(minute=1))
    assert (await world.case(value["id"]))["team"] == "product"
    assert ([team for _, team in await taught(world)], await outcomes(world)) == (["product"], ["overtaken"])
    await heard(world, moved("Tier 2", **after(world, minutes=1)), moved(**after(world, minutes=2)))
    assert (await world.case(value["id"]))["team"] == "sales"


async def test_a_case_that_was_merged_goes_along_where_it_goes_on(world: World, closer: Served) -> None:
    first, second = said("812", text="Once."), said("813", customer={"id": "c-2"}, text="Twice.")
    await world.take(first, second)
    merged, other = await world.case(first["id"]), await world.case(second["id"])
    answer = await closer.post(f"/v1/cases/{merged['id']}/merge", {"into": str(other["id"])})
    assert answer.status_code == 200, answer.text
    await heard(world, moved())
    assert (await world.case(second["id"]))["team"] == "sales"
    assert (await taught(world), await outcomes(world)) == ([(first["id"], "sales")], ["moved"])


async def test_news_is_not_given_up_because_nobody_looked_for_an_hour(world: World) -> None:
    """After such a pause it is looked at before its feedback has been read."""
    await world.send(decision(moved()))
    async with world.running():
        await world.caught_up()
    world.clock.advance(LOOKED_FOR * 2)
    await settled(world)
    value = said()
    await world.take(value)
    world.clock.advance(LOOKED_FOR * 2)
    await settled(world)
    assert ((await world.case(value["id"]))["team"], await outcomes(world)) == ("sales", ["moved"])


async def test_of_two_moves_at_one_time_the_last_that_is_heard_counts(world: World) -> None:
    """Some tools tell the time in minutes."""
    value = said()
    await world.take(value)
    ids = sorted(str(uuid.uuid4()) for _ in range(2))
    await heard(world, moved(minute=1, id=ids[1]))
    world.clock.advance(timedelta(seconds=2))
    await heard(world, moved(None, minute=1, id=ids[0], team_id="77"))
    assert (await world.case(value["id"]))["team"] == "product"
