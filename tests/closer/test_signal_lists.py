"""Signals as tools list them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.closer.served import Served, served
from tests.closer.test_signals import bug, config, judge_of, settled
from tests.closer.world import World

BUGS = "- {name: many-bugs, when: {kind: bug}, by: attributes.product, more_than: 1, within: 1h, watch: [sales]}"


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        World.open(database_url, config(tmp_path, BUGS)) as world,
        served(world, database_url, tmp_path) as api,
    ):
        judge = judge_of(world)
        await settled(judge)
        for product in "ABC":
            await world.take(bug(world, product), bug(world, product))
            await settled(judge)
        yield api


async def test_the_newest_first_page_by_page_by_state_and_by_team(api: Served) -> None:
    found: list[str] = []
    cursor: dict[str, str | None] = {}
    for _ in range(3):
        page = (await api.get("/v1/signals", state="up", team="sales", limit="1", **cursor)).json()
        found += [one["group"] for one in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert (sorted(found), cursor) == (["A", "B", "C"], {"cursor": None})
    assert (await api.get("/v1/signals", state="passed")).json() == {"items": [], "next_cursor": None}
    assert len((await api.get("/v1/signals", team="product")).json()["items"]) == 3
    assert (await api.get("/v1/signals", team="support")).json()["items"] == []
    assert (await api.get("/v1/signals", state="open")).status_code == 400
    foreign = (await api.get("/v1/signals", limit="1")).json()["next_cursor"]
    assert (await api.get("/v1/signals", limit="1", state="up", cursor=foreign)).status_code == 400


async def test_one_of_them_and_the_feedback_that_it_is_made_of(api: Served) -> None:
    one = (await api.get("/v1/signals", limit="1")).json()["items"][0]
    assert (await api.get(f"/v1/signals/{one['id']}")).json() == one
    first = (await api.get(f"/v1/signals/{one['id']}/feedback", limit="1")).json()
    second = (await api.get(f"/v1/signals/{one['id']}/feedback", limit="1", cursor=first["next_cursor"])).json()
    assert second["next_cursor"] is None
    ids = [page["items"][0]["case_id"] for page in (first, second)]
    assert len(set(ids)) == 2
    assert (await api.get(f"/v1/cases/{ids[0]}")).status_code == 200
    for path in ("/v1/signals/nothing", f"/v1/signals/{ids[0]}", f"/v1/signals/{ids[0]}/feedback"):
        assert (await api.get(path)).status_code == 404


async def test_another_workspace_sees_none_of_it(api: Served) -> None:
    await api.world.rows("INSERT INTO shared.workspace VALUES ('acme', now())")
    theirs = api.headers(await api.new_key("cases:read", workspace="acme"))
    one = (await api.get("/v1/signals")).json()["items"][0]["id"]
    assert (await api.http.get("/v1/signals", headers=theirs)).json()["items"] == []
    assert (await api.http.get(f"/v1/signals/{one}", headers=theirs)).status_code == 404
