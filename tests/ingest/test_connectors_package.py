"""What a connector may rely on: the request as it sees it, challenges of every kind, its own success, its own bugs.

`tests/contracts/test_connectors.py` holds the connectors to their side.
"""

import hmac
import json
from types import SimpleNamespace
from typing import Any

import pytest

from services.ingest.connectors import (
    Draft,
    Ignored,
    Outcome,
    Reply,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    check_mac,
    nothing_to_check,
)
from services.ingest.sources import Source
from shared.events.dead_letter import whole
from shared.events.envelope import Envelope
from tests.ingest.conftest import Server, Start, problem

SECRET = "a-secret"


def request(body: bytes, content_type: str = "", query: str = "") -> WebhookRequest:
    return WebhookRequest("POST", "https://x.example/hook" + query, {"content-type": content_type}, body)


MULTIPART = (
    b"--XX\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nHilfe, \xc3\xa4rgerlich\r\n"
    b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\xff\r\n"
    b"--XX\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n--\r\nline\r\n--XX--\r\n"
)  # fmt: skip


def test_an_address_with_more_fields_than_anybody_means_has_none() -> None:
    assert request(b"", query="?" + "a=1&" * 20_000).query == {}
    assert request(b"", query="?a=1&b=&a=2").query == {"a": "2", "b": ""}


@pytest.mark.parametrize(
    ("body", "content_type", "fields"),
    [
        (b"a=1&b=%E6%85%A2&a=2&c=", "application/x-www-form-urlencoded", [("a", "1"), ("b", "慢"), ("a", "2"), ("c", "")]),
        (MULTIPART, 'multipart/form-data; boundary="XX"', [("subject", "Hilfe, ärgerlich"), ("text", "--\r\nline")]),
        (b"", "", []),
    ],
)  # fmt: skip
def test_forms(body: bytes, content_type: str, fields: list[tuple[str, str]]) -> None:
    assert request(body, content_type).form == fields


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=%FF", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 10_001), "application/x-www-form-urlencoded"),
        (MULTIPART, "multipart/form-data"),
        (b"no boundary here", "multipart/form-data; boundary=XX"),
        (MULTIPART.replace(b"Hilfe", b"\xff"), "multipart/form-data; boundary=XX"),
    ],
)
def test_forms_that_cannot_be_read(body: bytes, content_type: str) -> None:
    with pytest.raises(Unreadable):
        _ = request(body, content_type).form


def test_the_rest_of_a_request() -> None:
    seen = request(b'{"a":1,"a":2}', "Application/JSON; charset=utf-8", "?challenge=a%20b&empty=")
    assert seen.content_type == "application/json"
    assert seen.query == {"challenge": "a b", "empty": ""}
    assert seen.object == {"a": 2}
    assert seen.header("no-such") == ""
    with pytest.raises(Unreadable):
        _ = request(b"[1]").object


@pytest.mark.parametrize("given", [[], [b""], [b"x"], [b"x"] * 11])
def test_a_mac_that_does_not_hold(given: list[bytes]) -> None:
    with pytest.raises(SignatureInvalid):
        check_mac([b"k"], b"m", given)


def test_an_empty_key_list_opens_nothing() -> None:
    with pytest.raises(SignatureInvalid):
        check_mac([], b"m", [hmac.digest(b"", b"m", "sha256")])


# ── a connector of another kind: a handshake, a signed challenge, a form, its own success code ──


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    if request.method in {"GET", "HEAD"}:
        if request.query.get("token") != SECRET:
            raise SignatureInvalid("not our token")
        return Reply(200, request.query["challenge"].encode(), "text/plain")
    if signed and request.body.startswith(b"challenge="):
        return Reply(200, request.body[10:], "text/plain", {"X-Seen": "yes"})
    return None


def verify(request: WebhookRequest, source: Source, now: Any) -> None:
    given = request.header("x-mac")
    check_mac([s.encode() for s in source.secrets], request.url.encode() + request.body, [bytes.fromhex(given)])


def parse(request: WebhookRequest, source: Source) -> list[Draft] | Ignored:
    fields = dict(request.form)
    if fields.get("kind") == "bug":
        raise KeyError("a value of the customer's: bug")
    if fields.get("kind") == "nothing":
        return []
    if fields.get("kind") == "several":
        return [
            Draft("1", {"text": "one"}),
            Draft("2", {"text": " "}),
            Draft("3", {"work_id": "W-1"}, "work.shipped"),
            Draft("4", {"customer": {"id": "c"}, "activity": "login"}, "customer.activity"),
            Draft("5", {}, "no.such.type"),
        ]
    return [Draft("", {"text": fields["text"], "external_id": "x-1"})]


def reply(outcome: Outcome) -> Reply:
    return Reply(204) if outcome.what == "accepted" else Reply(201, outcome.reason.encode(), "text/plain")


PHONE = SimpleNamespace(
    NAME="phone",
    SIGNS=True,
    SECRET_HEADERS=frozenset({"X-Token"}),
    check=nothing_to_check,
    verify=verify,
    answer=answer,
    parse=parse,
    reply=reply,
)


@pytest.fixture
async def server(start: Start) -> Server:
    return await start(
        sources=f"sources: [{{name: sms, connector: phone, secrets: [{SECRET}]}}]", connectors={"phone": PHONE}
    )


async def post(server: Server, body: bytes, query: str = "") -> Any:
    url = f"https://feedback.example.com/v1/webhooks/sms{query}"
    mac = hmac.digest(SECRET.encode(), url.encode() + body, "sha256").hex()
    headers = {"x-mac": mac, "x-token": SECRET, "content-type": "application/x-www-form-urlencoded"}
    return await server.http.post(f"/v1/webhooks/sms{query}", content=body, headers=headers)


async def test_a_handshake_by_get_and_head(server: Server) -> None:
    path = f"/v1/webhooks/sms?token={SECRET}&challenge=abc"
    response = await server.http.get(path)
    assert (response.status_code, response.text, response.headers["content-type"]) == (200, "abc", "text/plain")
    head = await server.http.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "3")
    problem(await server.http.get("/v1/webhooks/sms?token=no&challenge=abc"), 401, "signature-invalid")


async def test_a_signed_challenge_is_answered_the_providers_way(server: Server) -> None:
    response = await post(server, b"challenge=xyz")
    assert (response.status_code, response.text, response.headers["x-seen"]) == (200, "xyz", "yes")
    unsigned = await server.http.post("/v1/webhooks/sms", content=b"challenge=xyz", headers={"x-mac": "00"})
    problem(unsigned, 401, "signature-invalid")


async def test_a_connector_that_fails_on_a_header_finds_it_invalid(server: Server) -> None:
    response = await server.http.post("/v1/webhooks/sms", content=b"text=a", headers={"x-mac": "not hex"})
    problem(response, 401, "signature-invalid")


async def test_the_address_is_the_public_one_and_the_success_the_providers(server: Server) -> None:
    response = await post(server, b"text=slow", "?a=1&b=2")
    assert (response.status_code, response.content) == (204, b"")
    (record,) = await server.received()
    assert json.loads(record.value)["text"] == "slow"
    assert (await post(server, b"text=slow")).status_code == 204
    first, again = await server.received()
    assert Envelope.from_headers(first.headers).id == Envelope.from_headers(again.headers).id, "by its external id"


async def test_a_connector_that_fails_loses_nothing(server: Server) -> None:
    response = await post(server, b"kind=bug&text=secret")
    assert response.status_code == 201
    assert response.text == "the connector failed: KeyError"
    (letter,) = whole(await server.dead_letters())
    assert letter.value == b"kind=bug&text=secret"
    kept = dict(letter.headers)
    assert kept["http_content-type"] == b"application/x-www-form-urlencoded"
    assert "http_x-token" not in kept, "a secret as it is, and the connector says so"
    assert "customer" not in letter.detail


async def test_nothing_in_it_is_ignored(server: Server) -> None:
    assert (await post(server, b"kind=nothing")).text == "nothing in it"
    assert await server.received() == await server.dead_letters() == []


async def test_of_several_the_good_ones_go_in_and_the_whole_is_kept_for_the_others(server: Server) -> None:
    assert (await post(server, b"kind=several")).status_code == 204
    kinds = sorted(Envelope.from_headers(record.headers).type for record in await server.received())
    assert kinds == ["customer.activity", "feedback.received", "work.shipped"]
    (letter,) = whole(await server.dead_letters())
    assert letter.value == b"kind=several"
