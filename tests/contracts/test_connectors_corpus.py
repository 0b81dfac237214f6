"""Real webhooks of Slack, Intercom, Typeform and GitHub, signed and posted to a real server as an installed source would
get them: every one of them is answered, and what each became is held here. So are the signatures of their vectors.
"""

import base64
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.clock import ManualClock
from shared.events.envelope import FEEDBACK_RECEIVED, Envelope
from tests.ingest.conftest import Server, Start, problem

VECTORS_AT = datetime.fromtimestamp(1531420618, UTC)
"""When Slack's own example was signed; the others sign no time."""
SECRETS = {
    "slack": ["8f742231b10e8888abcd99yyyzzz85a5"],
    "intercom": ["secret"],
    "typeform": ["123456"],
    "github": ["It's a Secret to Everybody", "Convoy"],
}
BECAME = {
    "slack": {FEEDBACK_RECEIVED: 3, "ignored": 11, "answered": 1},
    "intercom": {FEEDBACK_RECEIVED: 2, "ignored": 5},
    "typeform": {FEEDBACK_RECEIVED: 2},
    "github": {FEEDBACK_RECEIVED: 6, "ignored": 40},
}


def _slack(secret: bytes, body: bytes) -> dict[str, str]:
    now = str(int(VECTORS_AT.timestamp()))
    mac = hmac.new(secret, f"v0:{now}:".encode() + body, "sha256").hexdigest()
    return {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={mac}"}


def _intercom(secret: bytes, body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature": "sha1=" + hmac.new(secret, body, "sha1").hexdigest()}


def _typeform(secret: bytes, body: bytes) -> dict[str, str]:
    return {"Typeform-Signature": "sha256=" + base64.b64encode(hmac.digest(secret, body, "sha256")).decode()}


def _github(secret: bytes, body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, "sha256").hexdigest()}


SIGN: Mapping[str, Callable[[bytes, bytes], dict[str, str]]] = {
    "slack": _slack,
    "intercom": _intercom,
    "typeform": _typeform,
    "github": _github,
}


@pytest.fixture
async def server(database_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    sources = {"sources": [{"name": tool, "connector": tool, "secrets": secrets} for tool, secrets in SECRETS.items()]}
    async with AsyncExitStack() as stack:
        start = Start(database_url, tmp_path, stack)
        yield await start(clock=ManualClock(VECTORS_AT), sources=json.dumps(sources))


async def post(server: Server, tool: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
    return await server.http.post(f"/v1/webhooks/{tool}", content=body, headers=dict(headers))


@pytest.mark.parametrize("tool", SECRETS)
async def test_every_payload_of_the_corpus_becomes_something_or_is_ignored_with_a_reason(
    server: Server, corpus: Path, tool: str
) -> None:
    answers: dict[str, dict[str, Any]] = {}
    for path in sorted((corpus / "webhooks" / tool).glob("*.json")):
        body = path.read_bytes()
        headers = {"Content-Type": "application/json", **SIGN[tool](SECRETS[tool][-1].encode(), body)}
        if tool == "github":
            headers["X-GitHub-Event"] = path.name.partition(".")[0]
        response = await post(server, tool, body, headers)
        assert response.status_code == 200, (path.name, response.text)
        answers[path.name] = response.json()
    kinds = {
        envelope.id: envelope.type
        for envelope in (Envelope.from_headers(record.headers) for record in await server.received())
    }
    became: Counter[str] = Counter()
    for name, answer in answers.items():
        outcome = answer.get("outcome", "answered")
        assert outcome in {"accepted", "ignored", "answered"}, (name, answer)
        assert outcome != "ignored" or answer["reason"], name
        became.update([kinds[found] for found in answer["ids"]] if outcome == "accepted" else [outcome])
    assert became == BECAME[tool]


async def test_the_signature_vectors(server: Server, corpus: Path) -> None:
    vectors = json.loads((corpus / "webhooks" / "vectors.json").read_bytes())
    ours = [vector for vector in vectors if vector["provider"] in SECRETS]
    assert Counter(vector["provider"] for vector in ours) == {"slack": 1, "intercom": 1, "typeform": 1, "github": 2}
    for vector in ours:
        tool, headers = vector["provider"], vector["headers"]
        file = vector.get("body_file")
        body = (corpus / "webhooks" / file).read_bytes() if file else vector["body"].encode()
        assert vector["secret"] in SECRETS[tool]
        response = await post(server, tool, body, headers)
        assert response.status_code == 200, (tool, response.text)
        problem(await post(server, tool, body + b" ", headers), 401, "signature-invalid")
        problem(await post(server, tool, body, {}), 401, "signature-invalid")


async def test_a_good_sha1_of_github_is_worth_nothing(server: Server) -> None:
    """It is sent beside the other, and whoever can forge SHA-1 must not be helped by its being there."""
    body, secret = b'{"zen": "x", "hook_id": 1}', SECRETS["github"][0].encode()
    older = {"X-Hub-Signature": "sha1=" + hmac.new(secret, body, "sha1").hexdigest()}
    problem(await post(server, "github", body, older), 401, "signature-invalid")
    wrong = older | {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    problem(await post(server, "github", body, wrong), 401, "signature-invalid")
    assert (await post(server, "github", body, _github(secret, body))).json()["reason"] == "a ping"


async def test_what_is_asked_before_anybody_can_have_signed(server: Server) -> None:
    """Intercom looks at an address before it saves it, Slack at our certificate; nobody else gets an answer."""
    assert (await server.http.head("/v1/webhooks/intercom")).status_code == 200
    looked = await server.http.get("/v1/webhooks/slack", params={"ssl_check": "1", "token": "t"})
    assert (looked.status_code, looked.content) == (200, b"")
    for tool in SECRETS:
        problem(await server.http.get(f"/v1/webhooks/{tool}"), 405, "method-not-allowed")
    challenge = b'{"type": "url_verification", "challenge": "c"}'
    problem(await post(server, "slack", challenge, {}), 401, "signature-invalid")
