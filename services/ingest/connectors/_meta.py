"""What Meta's products share: their handshake, their signature, and the envelope of entries and changes. Pure.

Signature: `X-Hub-Signature-256`, `sha256=` and the hex of HMAC-SHA256 over the body, keyed with the app's secret.
Before it saves an address, Meta asks with a GET for its `hub.challenge` back, and shows a word that both sides know:
`options: {verify_token: "${META_VERIFY_TOKEN}"}`. As Meta's documents on webhooks say, and its open-source clients
do.
"""

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Reply,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
)
from services.ingest.connectors._fields import objects_in, text_of, unknown_options
from services.ingest.sources import Source

_PREFIX = "sha256="
_CHALLENGE = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "verify_token")
    token = source.options.get("verify_token")
    if token is not None and text_of(token) is None:
        issues.append("options: verify_token must be a word of your own, the same as in Meta's dashboard")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-hub-signature-256")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    query = request.query
    if request.method != "GET" or query.get("hub.mode") != "subscribe":
        return None
    token, challenge = text_of(source.options.get("verify_token")), query.get("hub.challenge", "")
    given = query.get("hub.verify_token", "").encode("utf-8", "surrogateescape")
    if token is None or not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), given):
        raise SignatureInvalid("not our verify_token")
    # Nobody has signed this: what is no challenge of Meta's is not said back.
    return Reply(200, challenge.encode(), "text/plain") if _CHALLENGE.match(challenge) else None


def entries(payload: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
    """Each entry with its changes. Raises `Unreadable`."""
    if text_of(payload.get("object")) is None or not isinstance(payload.get("entry"), list):
        raise Unreadable("neither an object nor its entries")
    for entry in objects_in(payload, "entry"):
        yield entry, objects_in(entry, "changes")
