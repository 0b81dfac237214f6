"""Mailgun: mail that customers send to an address of a route (`forward("https://…")`).

Which mail is feedback, what of it was said, and what names it: `_mail`. A route posts a form: `message-headers` as
JSON, `body-plain`, `body-html`, the envelope's `sender` and `recipient`; a route to an address that ends in `/mime`
posts the whole mail in `body-mime`. `stripped-text` is Mailgun's own guess of what was said, and not used. Events of
our own mail (`event-data`, `event`) are ignored.

Signature: the field `signature`, the hex of HMAC-SHA256 over `timestamp` and `token`, keyed with the webhook signing
key. **The rest is not signed.** So a signature is good for half a day, in which Mailgun tries again (8 hours, as its
documents say), and no longer; whoever has one could post what they like that long: only TLS keeps it from them. As
Mailgun's documents say and django-anymail does.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
    no_challenge,
    plain_reply,
    within_tolerance,
)
from services.ingest.connectors import _mail as mail
from services.ingest.connectors._fields import object_in, text_of, time_of
from services.ingest.sources import Source

NAME = "mailgun"
SIGNS = True
TRIES_S = 12 * 3600

check = mail.check
answer = no_challenge
reply = plain_reply

_JSON = "application/json"


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    try:
        signed = _signed(request)
    except Unreadable:
        signed = {}
    timestamp, token, signature = (str(signed.get(name) or "") for name in ("timestamp", "token", "signature"))
    when = time_of(timestamp)
    check_mac(
        [secret.encode() for secret in source.secrets],
        (timestamp + token).encode("utf-8", "surrogatepass"),
        [hex_bytes(signature)],
        fresh=within_tolerance(datetime.fromisoformat(when) if when else None, now, TRIES_S),
    )


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    fields = request.object if request.content_type == _JSON else dict(request.form)
    event = text_of(object_in(fields, "event-data").get("event")) or text_of(fields.get("event"))
    if event:
        return Ignored(f"not an inbound mail: {event}"[:100])
    whole = fields.get("body-mime")
    if isinstance(whole, str):
        read = mail.read_mime(whole.encode("utf-8", "surrogateescape"))
    elif "message-headers" in fields or "body-plain" in fields or "body-html" in fields:
        read = mail.Mail(
            _headers(fields),
            text=text_of(fields.get("body-plain")),
            html=text_of(fields.get("body-html")),
            attachments=_count(fields.get("attachment-count")),
        )
    else:
        raise Unreadable("neither a mail nor an event")
    envelope = fields.get("sender")
    return mail.drafts_of(
        mail.Mail(
            read.headers,
            read.text,
            read.html,
            read.attachments,
            envelope_from=envelope.strip() if isinstance(envelope, str) else None,
            recipient=text_of(fields.get("recipient")),
        ),
        source,
    )


def _signed(request: WebhookRequest) -> Mapping[str, Any]:
    """A form has the three as fields, an event as an object of their own."""
    if request.content_type != _JSON:
        return dict(request.form)
    return object_in(request.object, "signature") or request.object


def _headers(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`message-headers` is JSON, a list of pairs; a route that stores less has some of them as fields."""
    try:
        pairs = msgspec.json.decode(fields.get("message-headers") or "[]")
    except (msgspec.MsgspecError, TypeError, UnicodeError, RecursionError):
        raise Unreadable("message-headers is not JSON") from None
    headers = [
        (str(pair[0]), " ".join(str(pair[1]).split()))
        for pair in (pairs if isinstance(pairs, list) else [])
        if isinstance(pair, list) and len(pair) == 2
    ]
    there = {name.lower() for name, _ in headers}
    for name in ("From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Reply-To"):
        said = text_of(fields.get(name)) or text_of(fields.get(name.lower()))
        if said and name.lower() not in there:
            headers.append((name, said))
    return headers


def _count(value: Any) -> int:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 4 else 0
