"""E. Who may do what, whose it is, and how much. Every operation that OpenAPI names is held to it, the next one too."""

import uuid
from typing import Any

import httpx2
import pytest

from tests.promises.site import Site
from tests.promises.table import asked, feedback, get, named, post

SCOPES = ("feedback:write", "feedback:read", "cases:read", "cases:write")
NEEDS: dict[tuple[str, str], str] = {
    ("post", "/v1/feedback"): "feedback:write",
    ("post", "/v1/feedback/batch"): "feedback:write",
    ("post", "/v1/events"): "feedback:write",
    ("post", "/v1/quarantine/redrive"): "feedback:write",
    ("get", "/v1/teams/{team}/feedback"): "feedback:read",
    ("get", "/v1/rules"): "feedback:read",
    ("get", "/v1/rules/shadow"): "feedback:read",
    ("get", "/v1/learning"): "feedback:read",
    ("post", "/v1/rules/explain"): "feedback:read",
    ("get", "/v1/feedback/{feedback_id}/trace"): "feedback:read",
    ("get", "/v1/export/feedback.{form}"): "feedback:read",
    ("post", "/v1/imports/known"): "feedback:read",
    ("post", "/v1/cases/{case_id}/presence"): "cases:read",
    ("post", "/v1/erasures"): "admin",
}
"""Where it is not `cases:read` to look and `cases:write` to act."""
OPEN = {("post", "/v1/webhooks/{source}"), ("post", "/v1/cases/callbacks/{channel}")}
"""Their sender's signature says who it is."""


def operations(site: Site) -> list[tuple[str, str, dict[str, Any]]]:
    found = [
        (method, path, operation)
        for path, methods in site.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(found) > 30
    return found


def ask(site: Site, method: str, path: str, key: str | None, value: str = "x") -> httpx2.Response:
    """With `value` for whatever the path asks for. A stream is not read: its head says enough."""
    while "{" in path:
        path = path[: path.index("{")] + value + path[path.index("}") + 1 :]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    content = b"{}" if method == "post" else None
    kind = {"Content-Type": "application/json"} if method == "post" else {}
    with site.nobody.stream(method.upper(), path, content=content, headers=headers | kind) as answer:
        if answer.headers.get("content-type", "").startswith("application/"):
            answer.read()
        return answer


async def test_46_another_workspaces_id_is_answered_as_one_that_there_is_not(site: Site) -> None:
    await site.sql("INSERT INTO shared.workspace (name) VALUES ('acme')")
    stranger = (await site.new_key("admin", workspace="acme")).key
    delivery = _open_case(site)
    ids = {"{case_id}": site.traced(delivery)["case"]["id"], "{feedback_id}": delivery}
    tried = 0
    for method, path, _ in operations(site):
        for name, value in ids.items():
            if name in path:
                tried += 1
                theirs = ask(site, method, path, stranger, value)
                none = ask(site, method, path, stranger, str(uuid.UUID(int=7)))
                assert theirs.status_code == none.status_code, path
                if theirs.status_code != 422:  # the body was not one, whoever asks
                    assert theirs.status_code == 404, path
                    assert _but_for_its_place(theirs) == _but_for_its_place(none), path
    assert tried > 10
    for path in ("/v1/cases", "/v1/notifications", "/v1/deliveries"):
        assert ask(site, "get", path, stranger).json()["items"] == [], path


def _open_case(site: Site) -> str:
    return str(site.http.post("/v1/feedback", json=feedback(text="My refund has not come")).json()["id"])


def _but_for_its_place(answer: httpx2.Response) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    return {name: value for name, value in document.items() if name not in {"instance", "request_id"}}


async def test_47_every_operation_asks_for_a_key_and_for_its_one_scope(site: Site) -> None:
    """None, a made-up one, one that was revoked, and a key for each of the other scopes."""
    keys = {scope: (await site.new_key(scope)).key for scope in SCOPES}
    gone = await site.new_key("admin")
    await site.revoke(gone.id)
    wrong = {}
    for method, path, operation in operations(site):
        if (method, path) in OPEN:
            assert not operation.get("security"), path
            continue
        for key in (None, "fw_" + "A" * 43, gone.key):
            answer = ask(site, method, path, key)
            if (answer.status_code, _slug(answer)) != (401, "unauthorized"):
                wrong[f"{method} {path} with {key}"] = answer.status_code
        needed = NEEDS.get((method, path), "cases:read" if method == "get" else "cases:write")
        for scope, key in keys.items():
            status = ask(site, method, path, key).status_code
            if (status == 403) is (scope == needed) or status == 401:
                wrong[f"{method} {path} with {scope}"] = status
    assert wrong == {}


def _slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"].removeprefix("/problems/"))


def test_48_a_key_in_an_address_is_refused_and_stands_in_no_log(site: Site) -> None:
    for method, path, _ in operations(site):
        if (method, path) not in OPEN:
            answer = ask(site, method, f"{path}?api_key={site.key}", site.deployment.api_key)
            assert (answer.status_code, _slug(answer)) == (401, "unauthorized"), path
            assert site.key not in answer.text
    assert site.key not in site.log()


NO_LINK = ["", "x", "fw_" + "A" * 43, "..", "%00", "a" * 10_000, "eyJhbGciOiJub25lIn0.e30."]


@pytest.mark.parametrize("token", NO_LINK, ids=[named(53, f"no link {n}") for n in range(len(NO_LINK))])
async def test_53_what_was_not_signed_leads_nowhere(site: Site, token: str) -> None:
    for sent in (get(b"/loop/" + token.encode(), b""), post(b"solved=no", b"", b"/loop/" + token.encode())):
        reply = await asked(site, sent)
        assert reply.status in {400, 404}, reply


async def test_54_nobody_gets_in_by_a_link_that_was_not_given(site: Site) -> None:
    for query in (b"?token=", b"?token=x&next=//evil.example", b"?next=https:evil.example"):
        reply = await asked(site, get(b"/login" + query, b""))
        assert reply.status in {200, 403}
        assert "set-cookie" not in reply.headers or "flywheel=" not in reply.headers["set-cookie"]
        assert b"evil.example" not in reply.body
