"""Standard Webhooks 1.0 (standardwebhooks.com), which Svix, Formbricks and many others speak.

The payload is our own feedback body, or the specification's `{type, timestamp, data}` with one in `data`; `type` may
name one of our events. A delivery is what `webhook-id` says: the sender repeats it when it tries again.

Svix' own header names (`svix-id` …) are the same scheme and are taken too.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    no_challenge,
    plain_reply,
    within_tolerance,
)
from services.ingest.sources import Source
from shared.events.envelope import FEEDBACK_RECEIVED, INCOMING_TYPES

NAME = "standard"
SIGNS = True
_PREFIX = "whsec_"
SECRET_MIN_BYTES = 24
"""As the specification asks: 24 to 64."""
_OTHER_TYPE = "not feedback: its type is not one of ours and its data holds no text and no scores"

answer = no_challenge
reply = plain_reply

_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}\Z")
"""Printable, no white space and no dot: the dot joins what is signed, so `a.1` + `2` must not pass for `a` + `1.2`."""
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")


def check(source: Source) -> Sequence[str]:
    if source.verify != "signature":
        return ()
    return [
        f"secret {number} must be whsec_ and at least {SECRET_MIN_BYTES} bytes in base64"
        for number, secret in enumerate(source.secrets, 1)
        if len(_key(secret)) < SECRET_MIN_BYTES
    ]


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    message_id, timestamp = _header(request, "id"), _header(request, "timestamp")
    stamp = datetime.fromtimestamp(int(timestamp), UTC) if _plausible(timestamp) else None
    fresh = within_tolerance(stamp, now) and _ID.match(message_id) is not None
    signatures = [part.partition(",") for part in _header(request, "signature").split(" ") if part]
    given = [base64_bytes(value) if version == "v1" else b"" for version, _, value in signatures]
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + request.body
    check_mac([_key(secret) for secret in source.secrets], signed, given, fresh=fresh)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind, body = FEEDBACK_RECEIVED, payload
    said = payload.get("type")
    if isinstance(said, str) and "data" in payload:
        if not isinstance(payload["data"], dict):
            if said in INCOMING_TYPES or _looks_like_feedback(payload):
                raise Unreadable("data is not an object")
            return Ignored(_OTHER_TYPE)
        body = payload["data"]
        if said in INCOMING_TYPES:
            kind = said
        elif not _looks_like_feedback(body):
            return Ignored(_OTHER_TYPE)
        if payload.get("timestamp") is not None:
            body = {"occurred_at": payload["timestamp"], **body}
    if kind == FEEDBACK_RECEIVED and not _looks_like_feedback(body):
        return Ignored("not feedback: no text and no scores")
    content = {name: value for name, value in body.items() if name != "source"}
    return [Draft(_header(request, "id"), content, kind)]


def _looks_like_feedback(body: dict[str, Any]) -> bool:
    return bool(body.get("text") or body.get("scores"))


def _header(request: WebhookRequest, name: str) -> str:
    return request.header("webhook-" + name) or request.header("svix-" + name)


def _plausible(timestamp: str) -> bool:
    """Whole seconds, in digits, within what a datetime can hold."""
    return _TIMESTAMP.match(timestamp) is not None and int(timestamp) < 253_402_300_800


@lru_cache(maxsize=1_000)
def _key(secret: str) -> bytes:
    return base64_bytes(secret.removeprefix(_PREFIX))
