"""The front door of a deployment while the closer behind it is away."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from fastapi import FastAPI

from services.console.front_door import FrontDoor
from shared.web.problems import RequestId, install
from tests.brokers import free_port


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    door = FrontDoor(f"http://127.0.0.1:{free_port()}")
    app = FastAPI()
    install(app)
    app.include_router(door.routes)

    async def as_on_the_wire(scope: Any, receive: Any, send: Any) -> None:
        """This client tidies a path before it sends it; others do not."""
        path = dict(scope["headers"]).get(b"x-path")
        if path is not None:
            scope = scope | {"raw_path": path, "path": unquote(path.decode())}
        await RequestId(app)(scope, receive, send)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=as_on_the_wire), base_url="http://x") as client:
        yield client
    await door.close()


@pytest.mark.parametrize(
    ("wanted", "language", "says"),
    [
        ("zh-CN,zh;q=0.9", "zh", "请过几分钟再试"),
        ("en-GB", "en", "try again"),
        ("", "en", "try again"),
        ("*", "en", ""),
    ],
)
async def test_a_customer_gets_a_page(http: httpx2.AsyncClient, wanted: str, language: str, says: str) -> None:
    for answer in (
        await http.get("/loop/a.b.c", headers={"Accept-Language": wanted}),
        await http.post("/loop/a.b.c", data={"solved": "yes"}, headers={"Accept-Language": wanted}),
    ):
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["retry-after"]
        assert f'<html lang="{language}"' in answer.text
        assert says in answer.text


@pytest.mark.parametrize(
    "path", ["/v1/cases/../../metrics", "/v1/cases/%2e%2e/%2E%2e/metrics", "/loop/./x", "/v1/sla/.%2e/x"]
)
async def test_nothing_leads_out_of_what_is_passed_on(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.get("/", headers={"X-Path": path})).status_code == 404
    assert (await http.get("/", headers={"X-Path": "/v1/cases/.../x"})).status_code == 503, "three dots are a name"


async def test_a_tool_gets_a_problem(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/cases")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
