"""What people say of the router's decisions leaves with its place on the log, in one transaction with its effect."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.events.correction import Corrected
from shared.topics import CORRECTIONS
from tests.closer.served import Served, served
from tests.closer.world import World, feedback


@pytest.fixture
async def closer(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as made:
        yield made


async def _taken(closer: Served, **changes: Any) -> dict[str, Any]:
    value = feedback(**changes)
    await closer.world.take(value)
    return value


async def test_a_case_that_is_given_to_another_team_says_what_it_was_for(closer: Served) -> None:
    value = await _taken(closer)
    case = await closer.world.case(value["id"])
    assert (await closer.post(f"/v1/cases/{case['id']}/reassign", {"to": "li@example.com"})).status_code == 200
    assert await closer.world.outbox(CORRECTIONS) == [], "another person of the team corrects nothing"
    assert (await closer.post(f"/v1/cases/{case['id']}/reassign", {"team": "product"})).status_code == 200
    (said,) = await closer.world.outbox(CORRECTIONS)
    assert Corrected.model_validate(said).team == "product"
    assert said["id"] == value["id"]
    records = await closer.world.records(said["of"]["topic"])
    (of,) = [r for r in records if (r.partition, r.offset) == (said["of"]["partition"], said["of"]["offset"])]
    assert value["id"].encode() in of.value
    assert "refund" not in str({name: member for name, member in said.items() if name != "of"}), "no words leave"


async def test_a_verb_that_fails_says_nothing(closer: Served) -> None:
    value = await _taken(closer)
    case = await closer.world.case(value["id"])
    assert (await closer.post(f"/v1/cases/{case['id']}/reassign", {"team": "nobody"})).status_code == 422
    assert await closer.world.outbox(CORRECTIONS) == []


async def test_a_correction_is_a_step_of_the_case_which_goes_by_it(closer: Served) -> None:
    value = await _taken(closer)
    right = {"team": "product", "kind": "bug", "priority": "urgent", "sentiment": "neutral", "tags": ["export"]}
    answer = await closer.post(f"/v1/feedback/{value['id']}/correction", right)
    assert answer.status_code == 200, answer.text
    case = await closer.world.case(value["id"])
    assert answer.json() == {"id": value["id"], "case_id": str(case["id"]), "said": right}
    assert (case["team"], case["kind"], case["priority"]) == ("product", "bug", "urgent")
    assert await closer.world.timeline(case["id"]) == ["opened", "reassigned", "corrected"]
    (said,) = await closer.world.outbox(CORRECTIONS)
    assert {name: said[name] for name in right} == right


async def test_an_ended_case_stays_as_it_is(closer: Served) -> None:
    value = await _taken(closer)
    case = await closer.world.case(value["id"])
    await closer.post(f"/v1/cases/{case['id']}/decline", {"answer": "No."})
    answer = await closer.post(f"/v1/feedback/{value['id']}/correction", {"team": "product", "priority": "low"})
    assert answer.status_code == 200, answer.text
    after = await closer.world.case(value["id"])
    assert (after["team"], after["priority"]) == (case["team"], case["priority"])
    assert len(await closer.world.outbox(CORRECTIONS)) == 1


async def test_feedback_without_a_case_is_corrected_too(closer: Served) -> None:
    """Praise that was none: nobody owes it an answer, and the router must know better the next time."""
    value = await _taken(closer, kind="praise", follow_up=False)
    answer = await closer.post(f"/v1/feedback/{value['id']}/correction", {"kind": "complaint"})
    assert (answer.status_code, answer.json()["case_id"]) == (200, None)
    (said,) = await closer.world.outbox(CORRECTIONS)
    assert said["kind"] == "complaint"


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"team": "nobody"}, 422), ({"kind": "wish"}, 422), ({"tags": ["x"] * 33}, 422), ({"words": "x"}, 422)],
)
async def test_what_is_no_correction_is_refused(closer: Served, body: dict[str, Any], status: int) -> None:
    value = await _taken(closer)
    answer = await closer.post(f"/v1/feedback/{value['id']}/correction", body)
    assert answer.status_code == status, answer.text
    assert await closer.world.outbox(CORRECTIONS) == []


async def test_only_who_may_write_corrects_and_only_what_is_theirs(closer: Served) -> None:
    value = await _taken(closer)
    path, body = f"/v1/feedback/{value['id']}/correction", {"kind": "bug"}
    reader = closer.headers(await closer.new_key("cases:read"))
    assert (await closer.http.post(path, json=body, headers=reader)).status_code == 403
    assert (await closer.post(f"/v1/feedback/{uuid.uuid4()}/correction", body)).status_code == 404
    assert (await closer.post("/v1/feedback/nonsense/correction", body)).status_code == 404
