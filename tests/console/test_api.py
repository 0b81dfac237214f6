"""The trace of one piece of feedback, over what the closer really wrote."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.closer.check import check
from services.closer.news import News
from services.console.api import trace_of
from services.console.queries import Queries
from tests.closer.served import Served, served
from tests.closer.world import World, decision, feedback


@pytest.fixture
async def closer(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as closer:
        yield closer


async def test_the_trace_goes_on_in_the_case_that_ones_own_was_merged_into(closer: Served) -> None:
    """It stopped at `merged`, as if nothing had come of it."""
    world = closer.world
    values = [feedback(), feedback(customer={"id": "c-2", "email": "wei@example.cn"}), feedback(theme="login")]
    await world.take(*values)
    one, two, three = [str((await world.case(value["id"]))["id"]) for value in values]
    for verb, case, body in (
        ("acknowledge", two, {}),
        ("merge", one, {"into": two}),
        ("merge", two, {"into": three}),
        ("resolve", three, {"answer": "All of it is done."}),
    ):
        world.clock.advance(timedelta(minutes=1))
        assert (await closer.post(f"/v1/cases/{case}/{verb}", body)).status_code == 200
    found = await trace_of(Queries(world.database), world.log, "default", values[0]["id"])
    assert (found["case"]["id"], found["case"]["state"]) == (three, "resolved")
    assert found["case"]["answer"] == "All of it is done."
    steps = [step["what"] for step in found["steps"] if step["service"] == "closer"]
    assert steps == ["opened", "opened", "opened", "acknowledged", "merged", "joined", "merged", "joined", "resolved"]
    assert found["steps"] == sorted(found["steps"], key=lambda step: step["at"])
    kinds = [note["kind"] for note in found["notifications"]]
    assert kinds == ["heard", "heard", "heard", "answered", "answered"], "Wei is told too"


async def test_without_a_merge_the_trace_is_of_its_own_case(closer: Served) -> None:
    reasons = [
        {"code": "emotion.words", "text": "x", "emotion": "worry", "words": ["worried"]},
        {
            "code": "priority.words",
            "text": "y",
            "words": ["hacked"],
            "urgency": [{"cause": "security", "words": ["hacked"]}],
        },
    ]
    value = feedback(reasons=reasons)
    await closer.world.take(value)
    found = await trace_of(Queries(closer.world.database), closer.world.log, "default", value["id"])
    assert found["case"]["id"] == str((await closer.world.case(value["id"]))["id"])
    assert found["case"]["merged_into"] is None
    assert found["routing"]["emotion"] == {"label": "worry", "words": ["worried"]}
    assert found["routing"]["urgency"] == [{"cause": "security", "words": ["hacked"]}]
    assert {step["what"] for step in found["steps"]} == {"received", "routed to support", "opened"}


async def test_the_trace_of_a_tickets_move_says_what_became_of_it(closer: Served) -> None:
    world, value = closer.world, feedback(source="desk", attributes={"ticket_id": "812"})
    await world.take(value)
    noted = {"workspace": "default", "decision": "work.noted", "reason": "…", "decided_at": "2026-11-23T09:29:59.000Z"}
    move = {**noted, "id": str(uuid.uuid4()), "type": "work.moved", "source": "desk", "work_id": "812", "team": "Sales"}
    await world.send(decision(move))
    async with world.running():
        await world.caught_up()
    found = check(world.config)
    assert await News(world.unit, lambda: found).settle()
    trace = await trace_of(Queries(world.database), world.log, "default", str(move["id"]))
    assert [(step["service"], step["what"]) for step in trace["steps"]] == [
        ("router", "work.noted"),
        ("closer", "move.moved"),
    ]
    assert trace["steps"][-1]["why"] == "desk 812 → 'Sales' (sales)"
