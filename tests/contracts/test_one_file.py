"""Adding a connector is one file: put beside the others, named in sources.yaml, and nothing else is changed."""

import hmac
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest import connectors
from tests.ingest.conftest import Start
from tests.ingest.conftest import start as start

FILE = '''
"""Acme's thumbs: `{"thumb": 1, "why": "…", "id": "…"}`, signed with HMAC-SHA256 in hex."""

from collections.abc import Sequence
from datetime import datetime

from services.ingest.connectors import (
    Draft, Ignored, Unreadable, WebhookRequest, check_mac, hex_bytes, no_challenge, nothing_to_check, plain_reply,
)
from services.ingest.sources import Source

NAME = "acme"
SIGNS = True
answer = no_challenge
check = nothing_to_check
reply = plain_reply


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    check_mac([secret.encode() for secret in source.secrets], request.body, [hex_bytes(request.header("acme-mac"))])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    said = request.object
    if "thumb" not in said:
        return Ignored("no thumb")
    if said["thumb"] not in (0, 1):
        raise Unreadable("thumb is neither 0 nor 1")
    return [Draft(str(said["id"]), {"text": said.get("why"), "scores": [{"metric": "hmd", "value": said["thumb"]}]})]
'''


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "acme.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__, str(folder)])
    yield
    sys.modules.pop("services.ingest.connectors.acme", None)
    vars(connectors).pop("acme", None)


@pytest.mark.usefixtures("plugged")
async def test_a_new_connector_takes_feedback(start: Start) -> None:
    sources = {"sources": [{"name": "acme-eu", "connector": "acme", "secrets": ["s3cret"]}]}
    server = await start(sources=json.dumps(sources))
    body = json.dumps({"thumb": 0, "why": "It took too long.", "id": "a-1"}).encode()
    signed = {"Acme-Mac": hmac.new(b"s3cret", body, "sha256").hexdigest(), "Content-Type": "application/json"}
    taken = await server.http.post("/v1/webhooks/acme-eu", content=body, headers=signed)
    assert (taken.status_code, taken.json()["outcome"]) == (200, "accepted")
    (record,) = await server.received()
    value = json.loads(record.value)
    assert (value["source"], value["text"]) == ("acme-eu", "It took too long.")
    assert value["scores"] == [{"metric": "hmd", "value": 0}]
    forged = await server.http.post("/v1/webhooks/acme-eu", content=body + b" ", headers=signed)
    assert forged.status_code == 401
