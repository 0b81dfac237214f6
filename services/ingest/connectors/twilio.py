"""Twilio: text messages (SMS, MMS, WhatsApp, Messenger) that customers send to a number, and what they say after the
tone.

A message comes as a form, and is a delivery by its `MessageSid`. The customer's id is their number, in WhatsApp's own
writing (`WaId`) where it comes by WhatsApp, so that it is the same customer as by the connector `whatsapp`. A
recording or a picture without a word has a sign (🎤 📷 🎬 📄) for its text. A voicemail's transcription
(`TranscriptionText`) is feedback on the channel call. Who writes STOP or START (`OptOutType`) does something,
`customer.activity`. Statuses of our own messages are ignored. A message as Twilio's REST API has it (JSON,
`direction: inbound`) is taken too.

The answer is TwiML that sends nothing back, with what became of the message in a comment: Twilio shows it in its log.

Signature: `X-Twilio-Signature`, the base64 of HMAC-SHA1 over the address and, sorted by name, every field's name and
value, keyed with the account's auth token; for a body that is no form, over the address, which then has the body's
SHA-256 in `bodySHA256`. The address is the one that Twilio was given: with `PUBLIC_URL` as it is written there. As
Twilio's page on security and its helper libraries have it; nothing in it says when.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from services.ingest.connectors import (
    Draft,
    Ignored,
    Outcome,
    Reply,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._fields import (
    id_of,
    mail_time,
    media_sign,
    media_signs,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "twilio"
SIGNS = True

answer = no_challenge

_FORM = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_PORTS = {"https": 443, "http": 80}
_MEDIA_MAX = 10
_JSON_NAMES = {"sid": "MessageSid", "from": "From", "to": "To", "body": "Body", "num_media": "NumMedia"}


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    digest = request.query.get("bodySHA256")
    fields = _signed_fields(request) if digest is None else ""
    body = sha256(request.body).hexdigest().encode()
    named = hmac.compare_digest(body, (digest or "").encode("utf-8", "surrogatepass"))
    whole = fields is not None if digest is None else named
    given = base64_bytes(request.header("x-twilio-signature"))
    keys = [secret.encode() for secret in source.secrets]
    held = False
    for url in _addresses(request.url):
        try:
            check_mac(
                keys, (url + (fields or "")).encode("utf-8", "surrogatepass"), [given], algorithm="sha1", fresh=whole
            )
            held = True
        except SignatureInvalid:
            continue
    if not held:
        raise SignatureInvalid("the signature is not valid")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    fields = dict(request.form) if request.content_type in _FORM else _resource(request.object)
    if "TranscriptionText" in fields or "TranscriptionSid" in fields:
        return _transcribed(fields)
    which = id_of(fields.get("MessageSid")) or id_of(fields.get("SmsSid"))
    if "Body" not in fields and "NumMedia" not in fields:
        told = next(
            (name for name in ("MessageStatus", "CallStatus", "RecordingSid", "EventType") if name in fields), None
        )
        if told is None:
            raise Unreadable("neither a message nor a status")
        return Ignored("a status of our own message" if told == "MessageStatus" else f"not a message: {told}")
    if _is_ours(fields):
        return Ignored("our own message")
    who = _customer(fields)
    if not which or not who.get("id"):
        raise Unreadable("a message without its id or its sender")
    attributes = _attributes(fields, which)
    opted = text_of(fields.get("OptOutType"))
    if opted:
        did = {"customer": who, "activity": f"opt out: {opted.lower()}"[:100], "attributes": attributes}
        return [Draft(f"message/{which}", did, CUSTOMER_ACTIVITY)]
    media = [text_of(fields.get(f"MediaContentType{n}")) for n in range(_MEDIA_MAX)]
    text = text_of(fields.get("Body")) or media_signs(filter(None, media))
    if not text:
        return Ignored("a message without words")
    body = {
        "text": text,
        "channel": "chat",
        "solicited": True if fields.get("ButtonPayload") else None,
        "customer": who,
        "occurred_at": mail_time(fields.get("DateCreated")),
        "attributes": attributes | present({"media": [kind for kind in media if kind]}),
    }
    return [Draft(f"message/{which}", present(body))]


def reply(outcome: Outcome) -> Reply:
    """Two hyphens would end the comment; JSON can write one of them otherwise."""
    said = json.dumps(json.loads(plain_reply(outcome).body)).replace("--", "-\\u002d").replace("]]>", "]]\\u003e")
    twiml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><!-- {said} --></Response>\n'
    return Reply(200, twiml.encode(), "text/xml; charset=utf-8")


def _signed_fields(request: WebhookRequest) -> str | None:
    """None for what is no form: a signature of the address alone says nothing of such a body. Each value of a name
    that comes twice stands once, as Twilio's libraries have it."""
    if request.content_type not in _FORM:
        return None
    try:
        pairs = request.form
    except Unreadable:
        return None
    return "".join(name + value for name, value in sorted(set(pairs)))


def _addresses(url: str) -> set[str]:
    """With and without a port, as Twilio's own libraries try it: which of them is signed depends on the product."""
    parts = urlsplit(url)
    host = (parts.hostname or "") if "[" not in parts.netloc else parts.netloc.rpartition(":")[0]
    port = _PORTS.get(parts.scheme)
    return {url, urlunsplit(parts._replace(netloc=host)), urlunsplit(parts._replace(netloc=f"{host}:{port}"))}


def _resource(payload: Mapping[str, Any]) -> dict[str, Any]:
    fields = {ours: payload[theirs] for theirs, ours in _JSON_NAMES.items() if theirs in payload}
    if "MessageSid" not in fields or "direction" not in payload:
        raise Unreadable("neither a form nor a message of the REST API")
    return fields | {"Direction": payload["direction"], "DateCreated": payload.get("date_created")}


def _is_ours(fields: Mapping[str, Any]) -> bool:
    return str(fields.get("Direction", "inbound")).startswith("outbound")


def _customer(fields: Mapping[str, Any], whose: str = "From") -> dict[str, Any]:
    """`whatsapp:+6581234567`, `messenger:5559001` and `+6581234567` name a product before who it is."""
    number = (text_of(fields.get(whose)) or "").rpartition(":")[2]
    return present({"id": id_of(fields.get("WaId")) or id_of(number), "name": text_of(fields.get("ProfileName"))})


def _attributes(fields: Mapping[str, Any], which: str) -> dict[str, Any]:
    product = (text_of(fields.get("From")) or "").rpartition(":")[0]
    return present(
        {
            "message_id": which,
            "to": text_of(fields.get("To")),
            "by": product or "sms",
            "reply_to": id_of(fields.get("OriginalRepliedMessageSid")),
            "button": text_of(fields.get("ButtonPayload")),
            "country": text_of(fields.get("FromCountry")),
        }
    )


def _transcribed(fields: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    which, recording = id_of(fields.get("TranscriptionSid")), text_of(fields.get("RecordingUrl"))
    # What Twilio did not understand, somebody may.
    text = text_of(fields.get("TranscriptionText")) or (media_sign("audio") if recording else None)
    if not text:
        return Ignored("a transcription of nothing")
    if not which:
        raise Unreadable("a transcription without its id")
    body = {
        "text": text,
        "channel": "call",
        # Where we called, it is they who spoke after the tone.
        "customer": _customer(fields, "To" if _is_ours(fields) else "From"),
        "url": recording,
        "attributes": present(
            {"call_id": id_of(fields.get("CallSid")), "recording_id": id_of(fields.get("RecordingSid"))}
        ),
    }
    return [Draft(f"transcription/{which}", present(body))]
