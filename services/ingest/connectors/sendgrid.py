"""SendGrid: mail that customers send to a domain of Inbound Parse.

Which mail is feedback, what of it was said, and what names it: `_mail`. Inbound Parse posts a multipart form:
`headers` as one text, `text`, `html`, `envelope`, and in `charsets` in what each of them is written, which may be
anything; with *POST the raw, full MIME message* the whole mail is in `email`. The Event Webhook's lists of what
became of our own mail are ignored.

A Parse setting signs nothing unless a security policy is attached to it (verify by a password in its address then:
`verify: basic`). With one: `X-Twilio-Email-Event-Webhook-Signature`, the base64 of an ECDSA P-256 signature over
SHA-256 of `X-Twilio-Email-Event-Webhook-Timestamp` and the body; the secret is the policy's public key in base64, or
as PEM. As Twilio's page "Securing your Inbound Parse Webhooks" and its event-webhook library have it, with the
library's vector.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.ingest.connectors import (
    Draft,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    no_challenge,
    plain_reply,
    within_tolerance,
)
from services.ingest.connectors import _mail as mail
from services.ingest.connectors._fields import text_of
from services.ingest.sources import Source

NAME = "sendgrid"
SIGNS = True

answer = no_challenge
reply = plain_reply

_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
"""How a public key on the curve P-256 begins in DER; 65 bytes of the point follow."""
_P256_BYTES = len(_P256) + 65
_TIMESTAMP = re.compile(r"[0-9]{1,11}\Z")
_SIGNATURE_MAX_CHARS = 200


def check(source: Source) -> Sequence[str]:
    issues = mail.check(source)
    if source.verify == "signature":
        issues += [
            f"secret {number} must be the policy's public key, in base64 (it begins with MFkwEwYH…)"
            for number, secret in enumerate(source.secrets, 1)
            if _key(secret) is None
        ]
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    """Every key is tried, whatever else is wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    timestamp = request.header("x-twilio-email-event-webhook-timestamp")
    given = base64_bytes(request.header("x-twilio-email-event-webhook-signature")[:_SIGNATURE_MAX_CHARS])
    stamp = datetime.fromtimestamp(int(timestamp), UTC) if _TIMESTAMP.match(timestamp) else None
    good = False
    for secret in source.secrets:
        try:
            key = load_der_public_key(_key(secret) or b"")
            if isinstance(key, EllipticCurvePublicKey):
                key.verify(given, timestamp.encode("utf-8", "surrogatepass") + request.body, ECDSA(SHA256()))
                good = True
        except (InvalidSignature, ValueError):
            continue
    if not (good and within_tolerance(stamp, now)):
        raise SignatureInvalid("the signature is not valid")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    if request.content_type == "application/json":
        events = request.json
        kinds = (
            {str(one.get("event")) for one in events if isinstance(one, dict)} if isinstance(events, list) else set()
        )
        if not kinds:
            raise Unreadable("neither a mail nor a list of events")
        return Ignored(f"not an inbound mail: {', '.join(sorted(kinds))}"[:100])
    fields = _fields(request)
    envelope = _json(fields.get("envelope"))
    if "email" in fields:
        whole = next(value for name, value in request.raw_form if name == "email")
        read = mail.read_mime(whole)
    elif "headers" in fields or "text" in fields or "html" in fields:
        headers = mail.headers_in(fields.get("headers", ""))
        there = {name.lower() for name, _ in headers}
        named = ((name, text_of(fields.get(name.lower()))) for name in ("From", "To", "Subject"))
        headers += [(name, said) for name, said in named if said and name.lower() not in there]
        count = fields.get("attachments", "")
        read = mail.Mail(
            headers,
            text=text_of(fields.get("text")),
            html=text_of(fields.get("html")),
            attachments=int(count) if count.isascii() and count.isdecimal() and len(count) < 4 else 0,
        )
    else:
        raise Unreadable("neither a mail nor a list of events")
    sender, to = envelope.get("from"), envelope.get("to")
    return mail.drafts_of(
        mail.Mail(
            read.headers,
            read.text,
            read.html,
            read.attachments,
            envelope_from=sender.strip() if isinstance(sender, str) else None,
            recipient=text_of(to[0]) if isinstance(to, list) and to else None,
        ),
        source,
    )


def _fields(request: WebhookRequest) -> dict[str, str]:
    """The form's fields, each in its own charset."""
    raw = dict(request.raw_form)
    charsets = _json(raw.get("charsets", b"").decode("utf-8", "replace"))
    return {name: mail.decode(value, text_of(charsets.get(name))) for name, value in raw.items()}


def _json(text: str | None) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(secret: str) -> bytes | None:
    """In DER; None when it is no public key on P-256."""
    lines = [line.strip() for line in secret.strip().splitlines() if not line.startswith("-----")]
    key = base64_bytes("".join(lines))
    return key if key.startswith(_P256) and len(key) == _P256_BYTES else None
