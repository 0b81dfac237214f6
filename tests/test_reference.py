"""The reference pages say what the code says. `make reference` writes them anew."""

import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from docs.reference import http, topics
from shared.web.reference import page
from tests.console.site import Console, console

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Console]:
    async with console(database_url, tmp_path) as made:
        yield made


async def test_the_http_reference(site: Console) -> None:
    answer = await (await site.nobody()).get("/openapi.json")
    _same("docs/http.md", http(answer.json()))


async def test_docs_is_a_page_that_loads_nothing(site: Console) -> None:
    nobody = await site.nobody()
    answer = await nobody.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert re.findall(r"<script|<link|<img|<iframe|<object|url\(|@import|src=", answer.text) == []
    led_to = set(re.findall(r'href="([^"]+)"', answer.text))
    assert {one for one in led_to if not one.startswith("#")} == {"/openapi.json"}
    assert {one.removeprefix("#") for one in led_to if one.startswith("#")} <= set(
        re.findall(r'id="([^"]+)"', answer.text)
    )
    document = (await nobody.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f">{method.upper()} {path}</h3>" in answer.text
    assert "&#34;external_id&#34;: &#34;rev-123&#34;" in answer.text, "with its examples"


def test_what_the_page_shows_is_only_words() -> None:
    hostile = "<script>alert(1)</script> `</code><b>`"
    reply = {"description": hostile, "content": {"application/json": {"schema": {"type": hostile}}}}
    operation = {"summary": hostile, "tags": [hostile], "responses": {"200": reply}}
    document = {"info": {"title": hostile}, "paths": {f"/{hostile}": {"get": operation}}, "components": {"schemas": {}}}
    shown = page(document)
    assert "<script>" not in shown
    assert "<b>" not in shown


def test_the_topics_reference() -> None:
    deploy = ROOT / "deploy"
    schemas = {f"schemas/{path.name}": json.loads(path.read_text("utf-8")) for path in deploy.glob("schemas/*.json")}
    _same("docs/topics.md", topics(json.loads((deploy / "asyncapi.json").read_text(encoding="utf-8")), schemas))


@pytest.mark.parametrize(
    ("page", "heading", "line"),
    [
        ("topics", "## feedback.routed", "| `routing.team` (required) | string | |"),
        ("topics", "## feedback.routed", "| `scores[].metric` (required) | string, at most 255 characters | |"),
        ("topics", "## case.changed", "| `sequence` (required) | integer | |"),
        ("topics", "## dead-letter", "| `dlq_reason` | string | A slug. |"),
        ("http", "### Score", "| `metric` (required) | string, at most 255 characters | |"),
        ("http", "### Customer", "| `email` | string, at most 320 characters | |"),
        ("http", "### Problem", "| `errors[].field` (required) | string | |"),
        ("http", "### `POST /v1/feedback`", "| 202 | Accepted | |"),
        ("http", "### `POST /v1/feedback`", "| 422 | Problem | Not valid: `errors` names each field |"),
        ("http", "### `POST /v1/feedback`", "| 401 | Problem | No key, or none that is known |"),
        (
            "http",
            "### `POST /v1/feedback/batch`",
            "Body: list of Feedback (`application/json`, `application/x-ndjson`).",
        ),
        ("http", "### `POST /v1/webhooks/{source}`", "Takes no key."),
        ("http", "### `POST /v1/cases/callbacks/{channel}`", "Takes no key."),
    ],
)
def test_a_page_is_enough_to_write_a_client_by(page: str, heading: str, line: str) -> None:
    """What the generator leaves out is missing from both sides of the comparison."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    section = text.partition(f"\n{heading}\n")[2]
    ends = section.find("\n" + heading.partition(" ")[0] + " ")
    assert line in section[: ends if ends >= 0 else None].replace("|  |", "| |").splitlines()


def test_who_takes_no_key_is_who_checks_by_another_way() -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    open_ones = [part.partition("\n")[0] for part in text.split("\n### ") if "\nTakes no key." in part]
    assert open_ones == ["`POST /v1/cases/callbacks/{channel}`", "`POST /v1/webhooks/{source}`"]


def _same(name: str, text: str) -> None:
    path = ROOT / name
    if os.environ.get("FLYWHEEL_WRITE_REFERENCE"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "run `make reference`"
