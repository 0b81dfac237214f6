"""Every error of an application is a problem document, names what is wrong, and shows nothing of the input or of us."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
import structlog
from fastapi import APIRouter, Body, FastAPI, Form, HTTPException, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from shared.errors import Fenced, Misuse, Rejected, Transient
from shared.web.body import read_body
from shared.web.problems import MEDIA_TYPE, Problem, RequestId, install, problem_response, send_problem
from shared.web.routes import MAX_BODY_BYTES

CANARY = "canary-7d1f"


def no_canary(value: str) -> str:
    if "canary" in value:
        raise ValueError(f"{value} is not a bird")
    return value


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 1
    id: UUID | None = None
    url: HttpUrl | None = None
    bird: Annotated[str, AfterValidator(no_canary)] = ""
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    inner: list[dict[str, int]] = []


RAISED: dict[str, Exception] = {
    "problem": Problem(
        409,
        "conflict",
        "No.",
        "Because.",
        errors=[{"field": "a.b", "message": "m"}],
        headers={"Retry-After": "3"},
        legal=["x"],
    ),
    "transient": Transient("database at 10.0.0.1 is away", retry_after=2.2),
    "fenced": Fenced("lost"),
    "rejected": Rejected("That cannot be."),
    "misuse": Misuse("Use it so."),
    "defect": RuntimeError("secret insides"),
    "key": KeyError("secret insides"),
    "teapot": HTTPException(418),
    "gone": HTTPException(410, detail="It went."),
    "stale": HTTPException(412),
    "nul": ValueError("a\0b\ud800"),
}


def application() -> FastAPI:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    install(app)
    router = APIRouter()
    inner = APIRouter(prefix="/inner")

    @router.get("/raise/{what}")
    async def raises(what: str) -> None:
        raise RAISED[what]

    @router.post("/items")
    async def items(item: Item) -> dict[str, Any]:
        return item.model_dump(mode="json")

    @router.post("/anything")
    async def anything(body: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
        return {"body": body}

    @router.post("/form")
    async def form(words: Annotated[str, Form()]) -> dict[str, str]:
        return {"words": words}

    @router.get("/page")
    async def page(limit: Annotated[int, Query(ge=1, le=100)] = 10, q: str = "") -> dict[str, Any]:
        return {"limit": limit, "q": q}

    @inner.post("/items")
    async def inner_items(item: Item) -> int:
        return item.number

    @router.post("/raw")
    async def raw(request: Request) -> int:
        return len(await read_body(request.scope, request.receive, max_bytes=10, content_types=None))

    router.include_router(inner)
    app.include_router(router)

    class Plain:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise RAISED[scope["query_string"].decode()]

    app.router.routes.append(Route("/plain", Plain()))
    return app


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(application()) as client:
        yield client


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    """What was logged; also spares us the unconfigured logger's pictures of stacks, which take seconds."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def refused(reply: Any, status: int, slug: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == MEDIA_TYPE
    document: dict[str, Any] = reply.json()
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["request_id"] == reply.headers["x-request-id"]
    assert "secret insides" not in reply.text
    assert "10.0.0.1" not in reply.text
    return document


@pytest.mark.parametrize(
    ("what", "status", "slug"),
    [
        ("problem", 409, "conflict"),
        ("transient", 503, "unavailable"),
        ("fenced", 503, "unavailable"),
        ("rejected", 422, "rejected"),
        ("misuse", 422, "rejected"),
        ("defect", 500, "internal"),
        ("key", 500, "internal"),
        ("teapot", 418, "http-error"),
        ("gone", 410, "http-error"),
        ("stale", 412, "precondition-failed"),
        ("nul", 500, "internal"),
    ],
)
def test_what_is_raised_is_answered(client: TestClient, what: str, status: int, slug: str) -> None:
    for path in (f"/raise/{what}", f"/plain?{what}"):
        document = refused(client.get(path), status, slug)
        assert document["instance"] == path.split("?")[0]


def test_a_problem_keeps_its_members_errors_and_headers(client: TestClient) -> None:
    reply = client.get("/raise/problem")
    document = reply.json()
    assert document["legal"] == ["x"]
    assert document["detail"] == "Because."
    assert document["errors"] == [{"field": "a.b", "message": "m"}]
    assert reply.headers["retry-after"] == "3"


def test_503_says_unknown_and_when(client: TestClient) -> None:
    reply = client.get("/raise/transient")
    assert reply.headers["retry-after"] == "3"
    assert "same id" in reply.json()["detail"]
    assert client.get("/raise/fenced").headers["retry-after"] == "1"


def test_a_defect_is_logged_with_its_stack_and_the_requests_id(client: TestClient, log: list[Any]) -> None:
    client.get("/raise/defect", headers={"X-Request-Id": "find-me"})
    line = next(line for line in log if line["event"] == "request.failed")
    assert line["request_id"] == "find-me"
    assert line["exc_info"] is RAISED["defect"]


def test_not_found_and_method_not_allowed(client: TestClient) -> None:
    refused(client.get("/nowhere"), 404, "not-found")
    refused(client.get("/items/"), 404, "not-found")  # no redirect: one address, one view
    reply = client.delete("/items")
    refused(reply, 405, "method-not-allowed")
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("why", "body", "fields"),
    [
        ("a wrong type", {"number": CANARY}, ["number"]),
        ("an unknown field", {"tenant_id": CANARY}, ["tenant_id"]),
        ("a bad id", {"id": CANARY}, ["id"]),
        ("a bad URL", {"url": CANARY}, ["url"]),
        ("a message of ours that quotes", {"bird": CANARY}, ["bird"]),
        ("an unknown tag", {"pet": {"kind": CANARY}}, ["pet"]),
        ("deep inside", {"inner": [{}, {"a": CANARY}]}, ["inner.1.a"]),
        ("two at once", {"number": CANARY, "id": CANARY}, ["number", "id"]),
    ],
)
@pytest.mark.parametrize("path", ["/items", "/inner/items"])
def test_row_33_each_field_is_named_and_nothing_of_it_repeated(
    client: TestClient, path: str, why: str, body: dict[str, Any], fields: list[str]
) -> None:
    reply = client.post(path, json=body)
    document = refused(reply, 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == fields
    assert all(error["message"] for error in document["errors"])
    assert CANARY not in reply.text


def test_a_strangers_field_name_is_cut_and_escaped(client: TestClient) -> None:
    document = refused(client.post("/items", json={"x" * 5000: 1, "a\nb\u202e": 2}), 422, "invalid-request")
    names = [error["field"] for error in document["errors"]]
    assert len(names[0]) < 300
    assert names[1] == "a\\u000ab\\u202e"


def test_thousands_of_wrong_fields_do_not_make_a_long_answer(client: TestClient) -> None:
    reply = client.post("/items", json={f"k{i}": 1 for i in range(5000)})
    assert len(refused(reply, 422, "invalid-request")["errors"]) == 100


JSON_TYPE = {"content-type": "application/json"}


@pytest.mark.parametrize("path", ["/items", "/inner/items", "/anything"])
@pytest.mark.parametrize(
    ("row", "raw", "headers", "status", "slug"),
    [
        ("21 no type", b"{}", {"content-type": ""}, 415, "unsupported-media-type"),
        ("21 text", b"{}", {"content-type": "text/plain"}, 415, "unsupported-media-type"),
        ("22 charset", b"{}", {"content-type": "application/json; charset=utf-16"}, 415, "unsupported-media-type"),
        ("22 UTF-16", "{}".encode("utf-16"), JSON_TYPE, 400, "malformed"),
        ("22 BOM", b"\xef\xbb\xbf{}", JSON_TYPE, 400, "malformed"),
        ("23 not UTF-8", b'{"number":"\xff"}', JSON_TYPE, 400, "malformed"),
        ("24 depth", b'{"inner":' + b"[" * 900 + b"]" * 900 + b"}", JSON_TYPE, 400, "malformed"),
        ("25 digits", b'{"number":' + b"9" * 5000 + b"}", JSON_TYPE, 400, "malformed"),
        ("26 NaN", b'{"number":NaN}', JSON_TYPE, 422, "invalid-request"),
        ("26 1e400", b'{"number":1e400}', JSON_TYPE, 422, "invalid-request"),
        ("27 lone surrogate", b'{"number":"\\ud800"}', JSON_TYPE, 422, "invalid-request"),
        ("28 NUL", b'{"number":"\\u0000"}', JSON_TYPE, 422, "invalid-request"),
        ("29 duplicate", b'{"number":1,"number":2}', JSON_TYPE, 400, "malformed"),
        ("32 junk", b'{"number":1}x', JSON_TYPE, 400, "malformed"),
        ("32 list", b"[]", JSON_TYPE, 422, "invalid-request"),
        ("20 brotli", b"{}", {**JSON_TYPE, "content-encoding": "br"}, 415, "unsupported-media-type"),
        ("19 no gzip", b"{}", {**JSON_TYPE, "content-encoding": "gzip"}, 400, "malformed"),
        ("1 too large", b'"' + b"x" * MAX_BODY_BYTES + b'"', JSON_TYPE, 413, "payload-too-large"),
    ],
)
def test_rows_19_to_32_on_the_routes_that_fastapi_parses(
    client: TestClient, path: str, row: str, raw: bytes, headers: dict[str, str], status: int, slug: str
) -> None:
    document = refused(client.post(path, content=raw, headers=headers), status, slug)
    if slug == "invalid-request" and raw != b"[]":
        assert [error["field"] for error in document["errors"]] == ["number"]


def test_an_empty_body_needs_no_type_where_none_is_required(client: TestClient) -> None:
    assert client.post("/anything").json() == {"body": None}
    refused(client.post("/items"), 422, "invalid-request")


def test_structured_suffixes_are_json(client: TestClient) -> None:
    reply = client.post("/anything", content=b'{"a":1}', headers={"content-type": "application/merge-patch+json"})
    assert reply.json() == {"body": {"a": 1}}


def test_forms(client: TestClient) -> None:
    assert client.post("/form", data={"words": "支付"}).json() == {"words": "支付"}
    refused(client.post("/form", data={"words": "a\0b"}), 400, "malformed")
    refused(client.post("/form", data={"words": "x" * MAX_BODY_BYTES}), 413, "payload-too-large")
    refused(client.post("/form", data={"other": "1"}), 422, "invalid-request")
    broken = client.post("/form", content=b"--x", headers={"content-type": "multipart/form-data"})
    refused(broken, 400, "malformed")


def test_row_28_no_nul_through_the_address(client: TestClient) -> None:
    refused(client.get("/page?q=%00"), 400, "malformed")
    refused(client.get("/raise/a%00b"), 400, "malformed")
    assert client.get("/page?q=%ff%ed%a0%80").status_code == 200


@pytest.mark.parametrize("limit", ["1000000000", "-1", "x", "1e9", "", "９９９"])
def test_row_52_a_query_parameter_is_named(client: TestClient, limit: str) -> None:
    document = refused(client.get("/page", params={"limit": limit}), 422, "invalid-request")
    assert [error["field"] for error in document["errors"]] == ["limit"]


def test_a_body_read_by_hand_is_refused_the_same_way(client: TestClient) -> None:
    refused(client.post("/raw", content=b"x" * 11), 413, "payload-too-large")
    assert client.post("/raw", content=b"x" * 10).json() == 10


@pytest.mark.parametrize("given", ["abc-1", "A.b_c:d/e", "x" * 128])
def test_a_plain_request_id_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/page", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\tb", "é".encode()])
def test_another_gets_one_of_ours(client: TestClient, given: str) -> None:
    made = client.get("/page", headers={"X-Request-Id": given}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", made)


def test_request_ids_differ(client: TestClient) -> None:
    assert len({client.get("/page").headers["x-request-id"] for _ in range(50)}) == 50


def test_twice_around_is_once() -> None:
    with TestClient(RequestId(application())) as client:
        reply = client.get("/nowhere")
        assert reply.headers.get_list("x-request-id") == [reply.json()["request_id"]]


def test_a_plain_text_413_cannot_be_asked_for() -> None:
    with pytest.raises(Misuse):
        install(FastAPI(max_body_size=10))
    app = FastAPI()
    install(app)
    router = APIRouter()
    router.add_api_route("/x", lambda: 1, methods=["POST"], max_body_size=10)
    with pytest.raises(Misuse):
        app.include_router(router)


def test_the_openapi_document_tells_of_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in json.dumps(document)
    for operations in document["paths"].values():
        for operation in operations.values():
            assert MEDIA_TYPE in operation["responses"]["default"]["content"]
            assert ("422" in operation["responses"]) == ("requestBody" in operation or _queried(operation))
            assert all(
                MEDIA_TYPE in reply["content"] for status, reply in operation["responses"].items() if status >= "4"
            )
    assert document["components"]["schemas"]["Problem"]["required"] == ["type", "title", "status"]


def _queried(operation: dict[str, Any]) -> bool:
    return any(one["in"] == "query" for one in operation.get("parameters", ()))


def test_the_plain_pieces() -> None:
    problem = Problem(429, "too-many-requests", "Slow down.", headers={"Retry-After": "1"})
    status, headers, body = problem_response(problem, instance="/x\n{%é%41%zz", request_id="r")
    assert status == 429
    assert (b"retry-after", b"1") in headers
    assert (b"content-length", str(len(body)).encode()) in headers
    assert json.loads(body)["instance"] == "/x%0A%7B%25%C3%A9%41%25zz", "a URI reference, as RFC 9457 asks for it"
    *_, body = problem_response(problem, instance="/" + "y" * 9000)
    assert "instance" not in json.loads(body)
    assert len(body) < 600

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "path": "/v1/feedback", "headers": [(b"x-request-id", b"mine")]}
    asyncio.run(send_problem(scope, send, problem))
    assert json.loads(sent[1]["body"])["request_id"] == "mine"
    assert json.loads(sent[1]["body"])["instance"] == "/v1/feedback"
