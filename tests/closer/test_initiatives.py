"""An initiative: one change answers many cases, and every customer is told once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.closer.shown import InitiativeCasePage, InitiativePage, InitiativeWhole
from tests.closer.served import served
from tests.closer.test_two_customers import ANN, KIM, WEI, Desk
from tests.closer.world import World

ANSWER = {"answer": "Dark mode is there: Settings → Looks.", "language": "en"}
NOBODYS = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as api:
        yield Desk(api)


async def begun(desk: Desk, *cases: str, **body: Any) -> str:
    answer = await desk.api.post("/v1/initiatives", {"title": "Dark mode", "cases": list(cases), **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def one(desk: Desk, initiative: str) -> dict[str, Any]:
    found = dict((await desk.api.get(f"/v1/initiatives/{initiative}")).json())
    InitiativeWhole.model_validate(found)
    return found


async def changed(desk: Desk, initiative: str, **body: Any) -> int:
    url = f"/v1/initiatives/{initiative}"
    return int((await desk.api.http.patch(url, json=body, headers=desk.api.headers())).status_code)


async def shipped(desk: Desk, initiative: str, body: Any = ANSWER) -> dict[str, Any]:
    answer = await desk.api.post(f"/v1/initiatives/{initiative}/ship", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_its_cases_are_resolved_and_every_customer_is_told(desk: Desk) -> None:
    ann, wei = await desk.opened(ANN, "Dark mode?"), await desk.opened(WEI, "深色模式？", language="zh")
    other = await desk.opened(KIM, "Dark mode, please.")
    initiative = await begun(desk, ann)
    added = await desk.api.post(f"/v1/initiatives/{initiative}/cases", {"cases": [wei, ann]})
    assert (added.json()["cases"], added.json()["waiting"]) == (2, 2)
    await desk.mails()
    done = await shipped(desk, initiative)
    assert (done["waiting"], done["answer"], done["shipped_at"] is not None) == (0, ANSWER["answer"], True)
    assert [(step["what"], step["actor"], step["reason"]) for step in done["steps"]] == [
        ("begun", "li", ""),
        ("cases_added", "li", "1"),
        ("cases_added", "li", "1"),
        ("shipped", "li", "2"),
    ]
    mails = await desk.mails()
    assert set(mails) == {"ann@example.com", "wei@example.cn"}
    assert all("Settings → Looks" in text for text in mails.values())
    assert [(await desk.case(case))["state"] for case in (ann, wei, other)] == ["notified", "notified", "open"]


async def test_a_customer_with_several_of_the_cases_is_told_once(desk: Desk) -> None:
    """By id or by address, and also where another customer's case tells them."""
    first = await desk.opened(ANN, "Dark mode?", received_at="2026-11-23T09:00:00.000Z")
    second = await desk.opened(ANN, "Too bright.", theme="looks")
    third = await desk.opened({"email": "Ann@Example.com"}, "My eyes.", theme="eyes")
    wei, hers = await desk.opened(WEI, "深色"), await desk.opened(KIM, "Dark", theme="kim")
    kim = await desk.opened(KIM, "Dark!", theme="other")
    await desk.do(hers, "merge", into=wei)
    await desk.mails()
    initiative = await begun(desk, third, first, second, kim, wei)
    assert (await one(desk, initiative))["waiting"] == 4, (
        "an address and an id are two, until they are looked at together"
    )
    await shipped(desk, initiative)
    assert set(await desk.mails()) == {"ann@example.com", "wei@example.cn", "kim@example.com"}
    assert [(await desk.case(case))["state"] for case in (first, second, third)] == ["notified", "merged", "merged"]
    assert await desk.mails() == {}


OLD, NEW = {"id": "c-1", "email": "old@example.com"}, {"id": "c-1", "email": "new@example.com", "name": "Ann"}


@pytest.mark.parametrize(
    ("customers", "told"),
    [
        ([{"id": "c-1"}, NEW], {"new@example.com"}),
        ([OLD, NEW], {"new@example.com"}),
        ([NEW, {"id": "c-1"}], {"new@example.com"}),
        ([{"id": "c-1"}, NEW, OLD], {"old@example.com"}),
        ([OLD, NEW, {"email": "old@example.com"}], {"new@example.com"}),
        ([{"id": "c-1"}, {"email": "new@example.com"}, NEW], {"new@example.com"}),
        ([OLD, OLD | {"id": "c-2"}, {"id": "c-2", "email": "c2@example.com"}], {"old@example.com", "c2@example.com"}),
    ],
    ids=["only the newer", "both", "only the older", "three", "one by address", "known to be one", "another's"],
)
async def test_a_customer_is_told_at_the_newest_address_that_any_of_their_cases_has(
    desk: Desk, customers: list[dict[str, str]], told: set[str]
) -> None:
    """Once, and whoever merely shares an address with them is told as ever."""
    cases = [
        await desk.opened(customer, "Dark?", theme=f"t{n}", received_at=f"2026-11-23T09:0{n}:00.000Z")
        for n, customer in enumerate(customers)
    ]
    initiative = await begun(desk, *cases)
    await desk.mails()
    await shipped(desk, initiative)
    assert set(await desk.mails()) == told
    assert (await desk.case(cases[0]))["state"] == "notified"


async def test_a_case_that_is_merged_into_one_without_an_address_brings_its_own(desk: Desk) -> None:
    first = await desk.opened({"id": "c-1"}, "Dark?", received_at="2026-11-23T09:00:00.000Z")
    second = await desk.opened(ANN, "Too bright.", theme="looks")
    await desk.do(second, "merge", into=first)
    await desk.mails()
    await desk.do(first, "resolve", answer="It is there.")
    assert "Ann" in (await desk.mails())["ann@example.com"]


async def test_shipped_again_changes_nothing_and_with_another_answer_is_refused(desk: Desk) -> None:
    initiative = await begun(desk, await desk.opened(ANN, "Dark mode?"))
    first = await shipped(desk, initiative)
    assert await shipped(desk, initiative) == first
    assert await shipped(desk, initiative, None) == first
    other = await desk.api.post(f"/v1/initiatives/{initiative}/ship", {"answer": "Something else."})
    assert (other.status_code, other.json()["type"].rpartition("/")[2]) == (409, "already-shipped")
    late = await desk.opened(WEI, "深色")
    assert (await desk.api.post(f"/v1/initiatives/{initiative}/cases", {"cases": [late]})).status_code == 409
    assert await changed(desk, initiative, title="Light mode") == 409


async def test_what_has_ended_stays_and_what_was_merged_is_answered_where_it_goes_on(desk: Desk) -> None:
    ended, merged, into = [await desk.opened(one, "Dark?") for one in (ANN, WEI, KIM)]
    initiative = await begun(desk, ended, merged)
    await desk.do(ended, "decline", answer="No.")
    await desk.do(merged, "merge", into=into)
    await desk.mails()
    assert (await one(desk, initiative))["waiting"] == 1
    assert (await shipped(desk, initiative))["steps"][-1]["reason"] == "1"
    assert set(await desk.mails()) == {"wei@example.cn", "kim@example.com"}
    assert [(await desk.case(case))["state"] for case in (ended, into)] == ["notified", "notified"]
    assert (await desk.case(ended))["answer"] == "No."


async def test_the_answer_may_be_prepared_changed_and_taken_back(desk: Desk) -> None:
    initiative = await begun(desk, await desk.opened(ANN, "Dark mode?"))
    empty = await desk.api.post(f"/v1/initiatives/{initiative}/ship", None)
    assert (empty.status_code, empty.json()["errors"][0]["field"]) == (422, "answer")
    assert await changed(desk, initiative, **ANSWER, work=[{"source": "jira", "work_id": "JIRA-7"}]) == 200
    found = await one(desk, initiative)
    assert (found["answer"], found["work"]) == (
        ANSWER["answer"],
        [{"source": "jira", "work_id": "JIRA-7", "upstream": None}],
    )
    assert [await changed(desk, initiative, **{name: None}) for name in ("title", "work")] == [422, 422]
    assert await changed(desk, initiative, answer=None) == 200
    assert (await one(desk, initiative))["answer"] is None
    assert await changed(desk, initiative, answer="It is there.") == 200
    await desk.mails()
    await shipped(desk, initiative, {})
    assert "It is there." in (await desk.mails())["ann@example.com"]


async def test_pressed_by_several_at_once_it_is_shipped_once(desk: Desk) -> None:
    first = await desk.opened(ANN, "Dark mode?")
    initiative = await begun(desk, first, await desk.opened(ANN, "Too bright.", theme="looks"))
    await desk.mails()
    pressed = await asyncio.gather(*(desk.api.post(f"/v1/initiatives/{initiative}/ship", ANSWER) for _ in range(5)))
    assert [answer.status_code for answer in pressed] == [200] * 5
    assert [step["what"] for step in (await one(desk, initiative))["steps"]].count("shipped") == 1
    assert set(await desk.mails()) == {"ann@example.com"}


async def test_a_case_may_be_taken_out_again(desk: Desk) -> None:
    ann, wei = await desk.opened(ANN, "Dark?"), await desk.opened(WEI, "深色")
    initiative = await begun(desk, ann, wei)
    url = f"/v1/initiatives/{initiative}/cases/{ann}"
    assert (await desk.api.http.delete(url, headers=desk.api.headers())).json()["cases"] == 1
    assert (await desk.api.http.delete(url, headers=desk.api.headers())).status_code == 404
    await desk.mails()
    await shipped(desk, initiative)
    assert set(await desk.mails()) == {"wei@example.cn"}


async def test_lists_go_on_page_by_page_and_by_state(desk: Desk) -> None:
    cases = [await desk.opened({"id": f"c-{n}", "email": f"c{n}@example.com"}, "Dark?") for n in range(3)]
    many = await begun(desk, *cases)
    few = [await begun(desk) for _ in range(2)]
    await shipped(desk, few[0])
    listed = [row["id"] for row in await _all(desk, "/v1/initiatives")]
    assert sorted(listed) == sorted([many, *few])
    assert [row["id"] for row in await _all(desk, "/v1/initiatives", state="shipped")] == [few[0]]
    assert [row["case_id"] for row in await _all(desk, f"/v1/initiatives/{many}/cases")] == sorted(cases)
    assert (await desk.api.get("/v1/initiatives", cursor="x")).status_code == 400


async def _all(desk: Desk, path: str, **params: str) -> list[dict[str, Any]]:
    """One a page."""
    found, cursor = list[dict[str, Any]](), dict[str, str]()
    while True:
        page = (await desk.api.get(path, limit="1", **params, **cursor)).json()
        (InitiativeCasePage if path.endswith("/cases") else InitiativePage).model_validate(page)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": " "}, "title"),
        ({"title": "Dark", "cases": [NOBODYS]}, "cases"),
        ({"title": "Dark", "answer": " \u200b"}, "answer"),
        ({"title": "Dark", "work": [{"source": "jira"}]}, "work.0.work_id"),
        ({"title": "Dark", "when": "soon"}, "when"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_is_begun(desk: Desk, body: Any, field: str) -> None:
    answer = await desk.api.post("/v1/initiatives", body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert (await desk.api.get("/v1/initiatives")).json()["items"] == []


async def test_another_workspace_sees_none_of_it_and_ships_nothing(desk: Desk) -> None:
    case = await desk.opened(ANN, "Dark?")
    initiative = await begun(desk, case)
    await desk.api.world.rows("INSERT INTO shared.workspace VALUES ('acme', now())")
    desk.api.key = await desk.api.new_key("cases:read", "cases:write", workspace="acme")
    assert (await desk.api.get("/v1/initiatives")).json()["items"] == []
    for answer in (
        await desk.api.get(f"/v1/initiatives/{initiative}"),
        await desk.api.get(f"/v1/initiatives/{initiative}/cases"),
        await desk.api.post(f"/v1/initiatives/{initiative}/cases", {"cases": [case]}),
        await desk.api.post(f"/v1/initiatives/{initiative}/ship", ANSWER),
    ):
        assert answer.status_code == 404
    assert (await desk.api.post("/v1/initiatives", {"title": "Mine", "cases": [case]})).status_code == 422
    desk.api.key = await desk.api.new_key("cases:read")
    assert (await desk.api.post("/v1/initiatives", {"title": "Mine"})).status_code == 403
    assert await desk.api.world.value("SELECT state FROM closer.case WHERE id = $1", UUID(case)) == "open"
