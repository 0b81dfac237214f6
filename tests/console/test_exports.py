"""Exports over what the closer really wrote: who may, which rows, in which form, and what a break looks like."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.console import exports
from shared.config import Config
from shared.errors import Transient
from shared.events.identity import delivery_id
from shared.files.exported import CASES, FEEDBACK
from shared.files.look import look
from shared.files.reading import Ready
from shared.runtime import Process
from shared.web.at_once import HotPath
from shared.web.problems import Problem
from tests.closer.served import Served, served
from tests.closer.world import START, World, feedback

QUOTED = "=1+1 “退款” 😀"


class _Console:
    """Nothing of the console but its exports."""

    name = "console"
    leads = False

    def __init__(self, routes: APIRouter) -> None:
        self.routes = routes
        self.hot_paths: Mapping[str, HotPath] = {}

    def check(self, config: Config) -> None: ...
    async def configure(self, config: Config) -> None: ...
    async def run(self) -> None: ...
    async def drain(self) -> None: ...
    def not_ready(self) -> list[str]:
        return []


class Console:
    def __init__(self, closer: Served, http: httpx2.AsyncClient, key: str) -> None:
        self.closer = closer
        self.http = http
        self.key = key

    async def get(self, path: str, key: str | None = None, **params: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return await self.http.get(path, params=params, headers=headers)

    async def rows(self, what: str, **params: Any) -> list[dict[str, str]]:
        answer = await self.get(f"/v1/export/{what}.csv", **params)
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


@pytest.fixture
async def console(database_url: str, tmp_path: Path) -> AsyncIterator[Console]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as closer:
        service = _Console(exports.routes_for(closer.runtime, exports.Exports(closer.runtime.database)))
        application = Process(closer.runtime, [service]).application()
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=application), base_url="http://test") as http:
            yield Console(closer, http, await closer.new_key("cases:read", "feedback:read"))


async def said(console: Console) -> list[dict[str, Any]]:
    values = [
        feedback(text=QUOTED, external_id="e-1", attributes={"版本": "4"}, occurred_at="2026-11-20T08:00:00.000Z"),
        feedback(customer={"id": "c-2"}, team="product", kind="bug", text="It crashes", scores=[{"metric": "nps", "value": 2}]),
        feedback(customer={"id": "c-3"}, source="zendesk", text="thank you", kind="praise", follow_up=False),
    ]  # fmt: skip
    world = console.closer.world
    await world.take(*values)
    for table in ("feedback", "case"):  # as if another workspace had said the same
        columns = [row["name"] for row in await world.rows(_COLUMNS, table)]
        theirs = ", ".join({"workspace": "'acme'", "id": "gen_random_uuid()"}.get(name, name) for name in columns)
        await world.rows(f'INSERT INTO closer."{table}" ({", ".join(columns)}) SELECT {theirs} FROM closer."{table}"')
    return values


_COLUMNS = """SELECT quote_ident(attname) AS name FROM pg_attribute
WHERE attrelid = ('closer.' || quote_ident($1))::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"""


async def test_feedback_in_each_form(console: Console, tmp_path: Path) -> None:
    values = await said(console)
    rows = await console.rows("feedback")
    assert [list(row) for row in rows] == [[column.name for column in FEEDBACK]] * 3
    assert {row["id"] for row in rows} == {value["id"] for value in values}, "of the key's workspace only"
    quoted = next(row for row in rows if row["external_id"] == "e-1")
    assert quoted["text"] == "'" + QUOTED
    assert (quoted["customer.email"], quoted["attributes"]) == ("ann@example.com", '{"版本":"4"}')
    assert quoted["occurred_at"] == "2026-11-20T08:00:00.000Z"

    answer = await console.get("/v1/export/feedback.jsonl")
    lines = {line["id"]: line for line in map(json.loads, answer.text.splitlines())}
    for value in values:
        exact = lines[value["id"]]
        wanted = {name: member for name, member in value.items() if name not in {"routing", "received_at"}}
        assert {name: exact[name] for name in wanted} == wanted
        assert exact["routing"]["team"] == value["routing"]["team"]
        assert exact["routing"]["reasons"] == value["routing"]["reasons"]

    answer = await console.get("/v1/export/feedback.xlsx")
    at = console.closer.runtime.clock.now().strftime("%Y%m%dT%H%M%SZ")
    assert answer.headers["content-disposition"] == f'attachment; filename="feedback-default-{at}.xlsx"'
    path = tmp_path / "feedback-default-1.xlsx"
    path.write_bytes(answer.content)
    with look(path) as found:
        again = [item.body for item in found.reading() if isinstance(item, Ready)]
    assert sorted(body["text"] for body in again) == sorted([QUOTED, "It crashes", "thank you"])


async def test_cases_by_the_filters_of_their_list(console: Console) -> None:
    values = await said(console)
    ids = [str((await console.closer.world.case(value["id"]))["id"]) for value in values[:2]]
    console.closer.world.clock.advance(timedelta(minutes=1))
    key = await console.closer.new_key("cases:write", "cases:read")
    path = f"/v1/cases/{ids[0]}/assign"
    await console.closer.http.post(path, json={"to": "li@example.com"}, headers=console.closer.headers(key))
    everything = await console.rows("cases")
    assert [list(row) for row in everything] == [[column.name for column in CASES]] * 2
    assert [row["id"] for row in everything] == sorted(ids)
    assert next(row["text"] for row in everything if row["id"] == ids[0]) == "'" + QUOTED
    day = timedelta(days=1)
    for params, wanted in (
        ({"team": "product"}, [ids[1]]),
        ({"state": "in_progress,resolved"}, [ids[0]]),
        ({"assignee": "li@example.com"}, [ids[0]]),
        ({"customer": "c-2"}, [ids[1]]),
        ({"breached": "true"}, []),
        ({"q": "退款"}, [ids[0]]),
        ({"q": "%"}, []),
        ({"from": (START + day).isoformat()}, []),
        ({"from": (START - day).isoformat(), "to": (START + day).isoformat()}, sorted(ids)),
    ):
        assert [row["id"] for row in await console.rows("cases", **params)] == wanted, params
    listed = json.loads((await console.get("/v1/export/cases.jsonl", team="product")).text)
    assert (listed["id"], listed["breached"], listed["reopened_count"]) == (ids[1], False, 0)


async def test_feedback_by_its_filters(console: Console) -> None:
    values = await said(console)
    day = timedelta(days=1)
    for params, wanted in (
        ({"team": "product"}, [1]),
        ({"source": "zendesk"}, [2]),
        ({"kind": "praise"}, [2]),
        ({"customer": "c-2"}, [1]),
        ({"q": "crash"}, [1]),
        ({"from": (START + day).isoformat()}, []),
        ({"to": (START + day).isoformat()}, [0, 1, 2]),
    ):
        found = {row["id"] for row in await console.rows("feedback", **params)}
        assert found == {values[index]["id"] for index in wanted}, params


async def test_who_may_not_and_what_is_not_there(console: Console) -> None:
    cases_only = await console.closer.new_key("cases:read")
    for path, params, key, status in (
        ("feedback.csv", {}, cases_only, 403),
        ("cases.csv", {}, await console.closer.new_key("feedback:read"), 403),
        ("cases.csv", {}, "fw_" + "x" * 43, 401),
        ("cases.pdf", {}, None, 422),
        ("customers.csv", {}, None, 404),
        ("cases.csv", {"state": "asleep"}, None, 400),
        ("cases.csv", {"from": "2026-11-20T08:00:00"}, None, 400),
        ("cases.csv", {"from": "soon"}, None, 422),
        ("cases.csv", {"to": "9999-11-20T08:00:00Z"}, None, 400),
        ("feedback.csv", {"kind": "rant"}, None, 422),
        ("feedback.csv", {"q": "x" * 201}, None, 400),
    ):
        answer = await console.get(f"/v1/export/{path}", key, **params)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
            path,
            params,
        )


async def test_nothing_is_a_file_with_a_header(console: Console) -> None:
    for form in ("csv", "jsonl", "xlsx"):
        assert (await console.get(f"/v1/export/cases.{form}")).status_code == 200
    assert await console.rows("cases") == []


async def test_two_at_a_time_and_each_ends(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "CHUNK_ROWS", 1)
    await said(console)
    made = exports.Exports(console.closer.world.database)
    filters = exports.Filters("default", "f")
    running = [made.file("feedback", "csv", filters) for _ in range(exports.AT_ONCE)]
    for one in running:
        await anext(one)
    with pytest.raises(Problem) as refused:
        await anext(made.file("feedback", "csv", filters))
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, str(exports.RETRY_AFTER_S))
    for one in running:
        await one.aclose()
    async with aclosing(made.file("feedback", "csv", filters)) as parts:
        assert len([part async for part in parts]) == 1 + 3, "a chunk a row, and its place was free again"


async def test_a_database_that_goes_breaks_the_export_off(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends properly is whole, so this must not end properly."""
    monkeypatch.setattr(exports, "CHUNK_ROWS", 1)
    await said(console)
    world = console.closer.world
    parts = exports.Exports(world.database).file("feedback", "csv", exports.Filters("default", "f"))
    await anext(parts)
    await anext(parts)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle in transaction'"
    async with world.database.transaction() as connection:
        await connection.execute(text(ended))
    with pytest.raises(Transient):
        async for _ in parts:
            pass


@pytest.mark.parametrize("table", ["closer.case", "shared.api_key"])
async def test_exports_read_views_and_nothing_else(
    console: Console, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Not by our good manners: the database refuses."""
    monkeypatch.setattr(exports, "_CASES", f"SELECT c.* FROM {table} AS c WHERE {{where}}")
    parts = exports.Exports(console.closer.world.database).file("cases", "jsonl", exports.Filters("default", "c"))
    with pytest.raises(DBAPIError) as refused:
        await anext(parts)
    assert isinstance(getattr(refused.value.orig, "__cause__", None), asyncpg.InsufficientPrivilegeError)


async def test_what_is_known_is_asked_of_views_alone(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = "SELECT current_user::text WHERE CAST(:w AS text) <> CAST(CAST(:ids AS uuid[]) AS text)"
    monkeypatch.setattr(exports, "text", lambda _: text(asks))
    given = [("app-store", "e-1"), ("app-store", "flywheel_console")]
    assert await exports.Exports(console.closer.world.database).known("default", given) == [1]


async def test_which_rows_are_known(console: Console) -> None:
    nameless = feedback(external_id=None)
    await console.closer.world.take(nameless)
    given = [("app-store", "e-1"), ("app-store", "e-2"), ("zendesk", "e-1"), ("app-store", nameless["id"])]
    known = feedback(external_id="e-1") | {"id": delivery_id("ext", "default", "app-store", "e-1")}
    await console.closer.world.take(known)

    async def ask(items: Any, key: str | None = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key or console.key}"}
        return await console.http.post("/v1/imports/known", json={"items": items}, headers=headers)

    assert (await ask(given)).json() == {"known": [0, 3]}
    assert (await ask([])).json() == {"known": []}
    assert (await ask([("a", "b")] * (exports.MAX_ASKED + 1))).status_code == 422
    assert (await ask([["a"]])).status_code == 422
    assert (await ask(given, await console.closer.new_key("cases:read"))).status_code == 403
