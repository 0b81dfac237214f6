"""What teams were told, as people list it and send it again."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.closer.served import Served, served
from tests.closer.test_tell import config, hook, once
from tests.closer.world import World, feedback
from tests.hook_server import HookServer, Reply


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    with HookServer() as hooks:
        yield hooks


@pytest.fixture
async def api(database_url: str, tmp_path: Path, hooks: HookServer) -> AsyncIterator[Served]:
    told = config(support=hook(f"{hooks.url}/support"), sales=hook(f"{hooks.url}/sales"))
    async with (
        World.open(database_url, told) as world,
        served(world, database_url, tmp_path, {"CLOSER_WEBHOOK_ALLOW": "127.0.0.1"}) as api,
    ):
        yield api


async def given_up(api: Served, hooks: HookServer, **teams: int) -> None:
    """So many of each team's."""
    hooks.answer = lambda _: Reply(410)
    for team, count in teams.items():
        await api.world.take(*(feedback(team=team, customer={"id": f"{team}-{n}"}) for n in range(count)))
    while await once(api.service._teller):
        pass
    hooks.answer = lambda _: Reply()


async def listed(api: Served, **params: Any) -> list[dict[str, Any]]:
    answer = await api.get("/v1/deliveries", **params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_what_was_given_up_is_listed_page_by_page_with_its_reason(api: Served, hooks: HookServer) -> None:
    await given_up(api, hooks, support=5, sales=2)
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    pages = 0
    while pages < 9:
        pages += 1
        page = (await api.get("/v1/deliveries", status="failed", team="support", limit="2", **cursor)).json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert pages == 3
    assert len({one["id"] for one in found}) == 5
    assert {(one["team"], one["channel"], one["status"]) for one in found} == {("support", "webhook", "failed")}
    assert all("nobody is there any more" in one["reason"] for one in found)
    assert [one["created_at"] for one in found] == sorted((one["created_at"] for one in found), reverse=True)
    assert len(await listed(api)) == 7
    assert await listed(api, status="sent") == []


async def test_what_was_given_up_is_sent_again_by_one_verb_under_the_same_ids(api: Served, hooks: HookServer) -> None:
    await given_up(api, hooks, support=3, sales=2)
    ids = {posted.headers["webhook-id"] for posted in hooks.posted}
    answer = (await api.post("/v1/deliveries/redrive", {"team": "sales"})).json()
    assert (len(answer["redriven"]), answer["left"], answer["more"]) == (2, [], False)
    await once(api.service._teller)
    assert {one["status"] for one in await listed(api, team="sales")} == {"sent"}
    assert {one["status"] for one in await listed(api, team="support")} == {"failed"}
    assert len((await api.post("/v1/deliveries/redrive")).json()["redriven"]) == 3
    await once(api.service._teller)
    assert {one["status"] for one in await listed(api)} == {"sent"}
    assert {posted.headers["webhook-id"] for posted in hooks.posted} == ids
    assert {one["attempts"] for one in await listed(api)} == {1}, "its tries are counted anew"


async def test_one_is_sent_again_by_its_id_whatever_became_of_it_unless_it_waits(
    api: Served, hooks: HookServer
) -> None:
    await api.world.take(feedback())
    await once(api.service._teller)
    (one,) = await listed(api)
    unknown = "00000000-0000-4000-8000-000000000000"
    answer = (await api.post("/v1/deliveries/redrive", {"ids": [one["id"], unknown]})).json()
    assert (answer["redriven"], answer["left"]) == ([one["id"]], [unknown])
    again = (await api.post("/v1/deliveries/redrive", {"ids": [one["id"]]})).json()
    assert (again["redriven"], again["left"]) == ([], [one["id"]])
    await once(api.service._teller)
    assert len(hooks.posted) == 2


async def test_a_list_is_ones_own_and_asked_for_properly(api: Served, hooks: HookServer) -> None:
    await given_up(api, hooks, support=3)
    cursor = (await api.get("/v1/deliveries", limit="1")).json()["next_cursor"]
    for params in ({"status": "lost"}, {"limit": "0"}, {"cursor": "x"}, {"cursor": cursor, "team": "support"}):
        assert (await api.get("/v1/deliveries", **params)).status_code == 400, params
    await api.world.rows("INSERT INTO shared.workspace VALUES ('acme', now())")
    acme = await api.new_key("cases:read", "cases:write", workspace="acme")
    assert (await api.http.get("/v1/deliveries", headers=api.headers(acme))).json()["items"] == []
    ids = [one["id"] for one in await listed(api)]
    for body in ({}, {"ids": ids}):
        theirs = await api.http.post("/v1/deliveries/redrive", json=body, headers=api.headers(acme))
        assert theirs.json()["redriven"] == []
    reader = await api.new_key("cases:read")
    assert (await api.http.post("/v1/deliveries/redrive", headers=api.headers(reader))).status_code == 403
    bodies: tuple[dict[str, Any], ...] = ({"ids": ["x"]}, {"ids": []}, {"all": True})
    for wrong in bodies:
        assert (await api.post("/v1/deliveries/redrive", wrong)).status_code == 422, wrong
