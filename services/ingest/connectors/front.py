"""Front: what customers write to its inboxes, by mail, SMS, chat and whatever else is connected.

Two kinds of webhooks come: an *application's*, whose event stands in `payload`, and a *rule's*, which is the event
itself. Both tell of an inbound message with the message as the event's `target`; each message is an utterance, named by
Front's id of it. A message's own text is taken before its HTML, and the preview (`blurb`) only where a webhook was set
to send no more: then `attributes.preview` says so. A conversation that is moved to another inbox is `work.moved`: an event `move`
with the inboxes as its target. Outbound messages, comments and tags are ignored. How Front
tells of its own satisfaction surveys we could not find out; they are ignored.

Signatures: an application's is base64 of HMAC-SHA256 over `timestamp:body`, with the app's signing key; a rule's is
base64 of HMAC-SHA1 over the body, with the API secret, and no time. Before it saves an address, Front posts a signed
`sync` and wants its `X-Front-Challenge` back. Facts: dev.frontapp.com, Application webhooks, Rule webhooks, Events; an event as
Zulip recorded it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Reply,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    plain_reply,
    within_tolerance,
)
from services.ingest.connectors._fields import (
    id_of,
    media_signs,
    moved,
    object_in,
    objects_in,
    present,
    signed_time,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.connectors._html import has_image, plain_text
from services.ingest.sources import Source

NAME = "front"
SIGNS = True

reply = plain_reply

_INBOUND = frozenset({"inbound", "inbound_received"})
_CHANNELS = {
    "email": "email",
    "call": "call",
    "phone-call": "call",
    "facebook": "social",
    "instagram": "social",
    "twitter": "social",
    "tweet": "social",
    "twitter_dm": "social",
}
"""By the type of a message; all others are chat."""


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    keys = [secret.encode() for secret in source.secrets]
    given, timestamp = base64_bytes(request.header("x-front-signature")), request.header("x-front-request-timestamp")
    if not timestamp:
        check_mac(keys, request.body, [given], algorithm="sha1")
        return
    signed = f"{timestamp}:".encode("utf-8", "surrogateescape") + request.body
    check_mac(keys, signed, [given], fresh=within_tolerance(signed_time(timestamp), now))


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    challenge = request.header("x-front-challenge")
    if not signed or not challenge or request.object.get("type") != "sync":
        return None
    return Reply(200, json.dumps({"challenge": challenge}).encode())


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event = object_in(payload, "payload") or payload
    kind = text_of(payload.get("type")) or text_of(event.get("type"))
    if kind is None:
        raise Unreadable("an event that does not say what it is")
    if "move" in (kind, event.get("type")):
        return _moved(event)
    if kind not in _INBOUND:
        return Ignored(f"not feedback: {kind}")
    conversation = object_in(event, "conversation")
    message = object_in(object_in(event, "target"), "data") or object_in(conversation, "last_message")
    if message.get("is_inbound") is False:
        return Ignored("an outbound message")
    which = id_of(message.get("id"))
    if not which:
        raise Unreadable("an inbound message without its id")
    whole = text_of(message.get("text")) or plain_text(message.get("body"))
    kinds = [one.get("content_type") for one in objects_in(message, "attachments")]
    signs = media_signs(kinds or (["image"] if has_image(message.get("body")) else []))
    text = whole or text_of(message.get("blurb")) or signs
    if not text:
        return Ignored("a message without words")
    customer, contact = _customer(message, conversation)
    inboxes = [text_of(inbox.get("name")) for inbox in objects_in(object_in(event, "source"), "data")]
    body = {
        "text": text,
        "title": text_of(message.get("subject")) or text_of(conversation.get("subject")),
        "channel": _CHANNELS.get(str(message.get("type")), "chat"),
        "solicited": False,
        "customer": customer,
        "occurred_at": time_of(message.get("created_at")) or time_of(event.get("emitted_at")),
        "url": f"https://app.frontapp.com/open/{which}",
        "attributes": present(
            {
                "conversation_id": id_of(conversation.get("id")),
                "message_id": which,
                "contact_id": contact,
                "type": text_of(message.get("type")),
                "inboxes": [name for name in inboxes if name],
                "preview": None if whole or text == signs else True,
            }
        ),
    }
    return [Draft(f"message/{which}", present(body))]


def _moved(event: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    inboxes = objects_in(object_in(event, "target"), "data")
    name, inbox = (text_of(inboxes[0].get("name")), id_of(inboxes[0].get("id"))) if len(inboxes) == 1 else (None, None)
    if not (name or inbox):
        return Ignored("moved to no inbox, or to several")
    conversation, at = id_of(object_in(event, "conversation").get("id")), time_of(event.get("emitted_at"))
    if not conversation:
        raise Unreadable("a move of no conversation")
    url = f"https://app.frontapp.com/open/{conversation}"
    return moved(id_of(event.get("id")) or f"{inbox}/{at}", conversation, team=name, team_id=inbox, at=at, url=url)


def _customer(message: Mapping[str, Any], conversation: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Who it is from, by the handle that they write with: Front's id of a contact comes in a link, or not at all."""
    senders = [one for one in objects_in(message, "recipients") if one.get("role") == "from"]
    sender = senders[0] if senders else object_in(conversation, "recipient")
    handle = text_of(sender.get("handle"))
    is_email = handle is not None and "@" in handle
    customer = {
        "id": None if is_email else handle,
        "email": handle if is_email else None,
        "name": text_of(sender.get("name")),
    }
    link = text_of(object_in(object_in(sender, "_links"), "related").get("contact")) or ""
    return present(customer), text_of(link.rpartition("/contacts/")[2]) if "/contacts/" in link else None
