"""Segment: what customers do, as the company's own code told it (`track`).

A track call is something that a customer did, by its own name; its properties are the attributes. Pages, screens, and
who somebody is (`identify`, `group`, `alias`) are ignored, and so is what an anonymous visitor did: activity is
somebody's. The customer's id is `userId`, the e-mail address that of the traits, `context.groupId` the account.
`messageId` names a call; without it, what the call says.

Signature, as Segment's docs say: the hex of HMAC-SHA1 over the body, in `X-Signature`, if the destination has a
shared secret. Of a batch Segment signs **only the first event**; that is believed only where `options: {batches:
true}` says so.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    impersonal,
    iso_time,
    object_in,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "segment"
SIGNS = True

answer = no_challenge
reply = plain_reply

_WHO = frozenset({"identify", "group", "alias", "page", "screen", "delete"})


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "batches")
    if not isinstance(source.options.get("batches", False), bool):
        issues.append("options: batches must be true or false")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    signed = request.body
    if source.options.get("batches") is True and signed.lstrip()[:1] == b"[":
        signed = _first(signed)
    given = hex_bytes(request.header("x-signature"))
    check_mac([secret.encode() for secret in source.secrets], signed, [given], algorithm="sha1")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    return messages(request.json)


def messages(payload: Any) -> Sequence[Draft] | Ignored:
    """The drafts of one call or of a list of them, in the form that RudderStack has too."""
    batch = payload.get("batch") if isinstance(payload, dict) else payload
    return each_of(batch, _message) if isinstance(batch, list) else _message(payload)


def _message(call: Any) -> Sequence[Draft] | Ignored:
    kind = text_of(call.get("type")) if isinstance(call, dict) else None
    if kind is None:
        raise Unreadable("neither a call with its type, nor a list of them")
    if kind != "track":
        return Ignored(f"not something done: {kind}" if kind in _WHO else f"not a call: {kind}")
    event = text_of(call.get("event"))
    if not event:
        raise Unreadable("a track call without its event")
    context, properties = object_in(call, "context"), object_in(call, "properties")
    traits = {**object_in(context, "traits"), **object_in(call, "traits")}
    # An address among the properties is whoever's it was done to: "Invited teammate".
    who = present({"id": id_of(call.get("userId")), "email": text_of(traits.get("email"))})
    if not who:
        return Ignored("an event of nobody known")
    when = iso_time(call.get("timestamp")) or iso_time(call.get("originalTimestamp"))
    body = {
        "customer": who | present({"name": text_of(traits.get("name")), "account_id": id_of(context.get("groupId"))}),
        "activity": event,
        "occurred_at": when,
        "attributes": present({"properties": impersonal(properties)}),
    }
    return [
        Draft(f"call/{id_of(call.get('messageId')) or _digest(call, event, when)}", present(body), CUSTOMER_ACTIVITY)
    ]


def _digest(call: Mapping[str, Any], event: str, when: str | None) -> str:
    """Not of what says when it was sent, which differs each time."""
    try:
        said = json.dumps([event, when, call.get("userId"), call.get("properties")], sort_keys=True)
    except RecursionError:
        raise Unreadable("a call that is too deep") from None
    return digest_of(said)


def _first(body: bytes) -> bytes:
    """The first event of a batch, as it was sent. Nothing where it is none."""
    try:
        text = body.decode()
        begin = text.index("[") + 1
        begin += len(text[begin:]) - len(text[begin:].lstrip())
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return b""
    return text[begin:end].encode()
