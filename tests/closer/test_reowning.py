"""Open cases go to whom other rules give them, as a batch that is taken back; what people have decided stays."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.closer.served import Served, served
from tests.closer.world import World, feedback

SINCE = "2026-11-01T00:00:00Z"
WHY = "owned anew by rules abc123"


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as made:
        yield made


async def _cases(api: Served, count: int, **changes: Any) -> list[str]:
    values = [feedback(customer={"id": f"c-{uuid.uuid4()}"}, **changes) for _ in range(count)]
    await api.world.take(*values)
    return [str((await api.world.case(value["id"]))["id"]) for value in values]


async def _team(api: Served, case: str) -> str:
    return str(await api.world.value("SELECT team FROM closer.case WHERE id = $1", case))


async def _open(api: Served, **params: Any) -> dict[str, Any]:
    answer = await api.get("/v1/reownings/open", since=SINCE, **params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _reown(api: Served, cases: list[str], batch: str, to: str = "product") -> dict[str, Any]:
    body = {"batch": batch, "why": WHY, "cases": [{"id": one, "from": "support", "to": to} for one in cases]}
    answer = await api.post("/v1/reownings", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_who_is_asked_about_are_the_cases_that_nobody_has_decided_about(api: Served) -> None:
    free, taken, given, done = await _cases(api, 4)
    await _cases(api, 1, history=True)
    await api.post(f"/v1/cases/{taken}/assign", {"to": "li@example.com"})
    await api.post(f"/v1/cases/{given}/reassign", {"team": "sales"})
    await api.post(f"/v1/cases/{done}/decline", {"answer": "No."})
    (one,) = (await _open(api))["items"]
    assert (one["id"], one["team"]) == (free, "support")
    assert one["feedback"]["text"] == "Where is my refund?"
    assert "routing" not in one["feedback"]


async def test_all_of_them_page_by_page(api: Served) -> None:
    cases = await _cases(api, 5)
    found, cursor = [], None
    while True:
        page = await _open(api, limit=2, **({"cursor": cursor} if cursor else {}))
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == sorted(cases)
    assert (await api.get("/v1/reownings/open", since="2027-01-01T00:00:00Z")).json()["items"] == []


async def test_a_batch_moves_and_goes_back_but_for_what_somebody_touched(api: Served) -> None:
    batch = str(uuid.uuid4())
    first, second, touched, taken = await _cases(api, 4)
    await api.post(f"/v1/cases/{taken}/assign", {"to": "li@example.com"})
    found = await _reown(api, [first, second, touched, taken, str(uuid.uuid4())], batch)
    assert sorted(found["moved"]) == sorted([first, second, touched])
    assert taken in found["left"]
    assert len(found["left"]) == 2
    assert [await _team(api, case) for case in (first, second, touched, taken)] == ["product"] * 3 + ["support"]
    assert (await _reown(api, [first], batch))["moved"] == [], "it is as it was read no more"
    step = await api.world.one(
        "SELECT reason, data FROM published.timeline WHERE case_id = $1 AND what = 'reassigned'", first
    )
    assert step["reason"] == WHY
    assert await api.world.outbox("feedback.corrections") == [], "rules taught nobody"

    await api.post(f"/v1/cases/{touched}/note", {"text": "I look into this."})
    answer = await api.post(f"/v1/reownings/{batch}/undo")
    assert answer.status_code == 200, answer.text
    assert (sorted(answer.json()["moved"]), answer.json()["left"]) == (sorted([first, second]), [touched])
    assert [await _team(api, case) for case in (first, second, touched)] == ["support", "support", "product"]
    again = (await api.post(f"/v1/reownings/{batch}/undo")).json()
    assert (again["moved"], again["left"]) == ([], [])
    (shown,) = (await api.get("/v1/reownings")).json()["items"]
    assert (shown["id"], shown["cases"], shown["undone"], shown["stay"], shown["why"]) == (batch, 3, 2, 1, WHY)
    assert {one["id"] for one in (await _open(api))["items"]} == {first, second, touched}, (
        "no person gave them to a team"
    )


async def test_a_clock_that_fires_meanwhile_touches_nothing(api: Served) -> None:
    batch = str(uuid.uuid4())
    (case,) = await _cases(api, 1, priority="urgent")
    await _reown(api, [case], batch)
    due = await api.world.value("SELECT due_at FROM closer.case WHERE id = $1", case)
    api.world.clock.advance(due - api.world.clock.now())
    assert await api.world.timers.fire_due() == 1
    assert (await api.post(f"/v1/reownings/{batch}/undo")).json()["moved"] == [case]


async def test_what_cannot_be_is_refused(api: Served) -> None:
    (case,) = await _cases(api, 1)
    batch, one = str(uuid.uuid4()), {"id": case, "from": "support", "to": "nobody"}
    assert (await api.post("/v1/reownings", {"batch": batch, "why": WHY, "cases": [one]})).status_code == 422
    assert (await api.post("/v1/reownings", {"batch": batch, "why": WHY, "cases": []})).status_code == 422
    assert (await api.post(f"/v1/reownings/{batch}/undo")).status_code == 404
    reader = api.headers(await api.new_key("cases:read"))
    path, body = "/v1/reownings", {"batch": batch, "why": WHY, "cases": [{**one, "to": "product"}]}
    assert (await api.http.post(path, json=body, headers=reader)).status_code == 403
