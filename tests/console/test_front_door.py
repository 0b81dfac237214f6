"""The front door of a deployment while the closer behind it is away."""

from collections.abc import AsyncIterator

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
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=RequestId(app)), base_url="http://x") as client:
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


async def test_a_tool_gets_a_problem(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/cases")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
