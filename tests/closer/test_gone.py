"""A team that is taken out of teams.yaml leaves no case behind it, and nobody takes a new team for one that is gone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.closer.check import check
from services.closer.gone import Gone
from shared.config import Config
from shared.config.store import ConfigStore
from tests.closer.world import World, config_with, feedback

HOOK = "https://hooks.example.com/support"
TWO = f"""
default_team: support
teams:
  - {{name: product}}
  - name: support
    subscribe: [{{channel: webhook, url: "{HOOK}", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, events: [case.changed]}}]
"""


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(database_url, config_with(tmp_path, teams=TWO, sla=SLA)) as world:
        yield world


SLA = "policies: [{name: default, acknowledge: 8h, tell_customer: 5d}]"


def gone(world: World, config: Config | None = None) -> Gone:
    found = check(config or world.config)
    return Gone(world.unit, lambda: found)


async def _in_force(world: World, config: Config | None = None) -> None:
    await ConfigStore(world.database).put_in_force(config or world.config)


async def test_its_open_cases_go_to_the_default_team_once_and_somebody_is_told(world: World) -> None:
    value, other = feedback(team="sales", customer={"id": "c-1"}), feedback(team="product", customer={"id": "c-2"})
    done = feedback(team="sales", customer={"id": "c-3"}, follow_up=False)
    await world.take(value, other, done)
    await _in_force(world)
    moved = await asyncio.gather(*(gone(world).move() for _ in range(4)))
    assert sum(moved) == 1
    case = await world.case(value["id"])
    assert case["team"] == "support"
    assert (await world.timeline(case["id"])).count("reassigned") == 1
    step = await world.one(
        "SELECT reason FROM published.timeline WHERE case_id = $1 AND what = 'reassigned'", case["id"]
    )
    assert step["reason"] == "the team sales is no longer in teams.yaml"
    event = (await world.outbox())[-1]
    assert (event["team"], event["data"], event["actor"]) == ("support", {"from": "sales", "team": "support"}, "system")
    told = await world.rows("SELECT team, event FROM closer.delivery")
    assert [(row["team"], row["event"]) for row in told] == [("support", "case.changed")]
    assert await world.outbox("feedback.corrections") == [], "nobody said that it was judged wrongly"
    assert (await world.case(other["id"]))["team"] == "product"


async def test_who_does_not_work_by_the_version_in_force_moves_nothing(world: World, tmp_path: Path) -> None:
    """To a process that has not taken up a new team, it looks like one that is gone."""
    newer = config_with(tmp_path, teams=TWO.replace("{name: product}", "{name: product}\n  - {name: sales}"), sla=SLA)
    value = feedback(team="sales")
    await world.take(value)
    await _in_force(world, newer)
    assert await gone(world).move() == 0
    assert await gone(world, newer).move() == 0
    assert (await world.case(value["id"]))["team"] == "sales"
