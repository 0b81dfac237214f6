"""WhatsApp Business, Meta's Cloud API: what customers write to a number, and their reactions.

A message is an utterance, named by its `wamid`. Text, captions, the choice of a button or of a list, and a form (Flow)
that was filled in are words; a voice message, a picture, a video or a document without a caption has a sign (🎤 📷 🎬 📄)
for its text and its `media_id` in the attributes, so that somebody hears it. An edited message is said anew where its
words are others than before. A reaction is a vote, a `customer.activity`, and taking it back another; an order from the
catalogue is one too. Stickers, contacts, locations and what is taken back are ignored, and so are statuses of our own
messages, echoes of them, and everything else that happens to an account.

The customer's id is their number (`wa_id`), or WhatsApp's id of them where they show no number. Handshake and
signature: `_meta`. Shapes: Meta's documents and pywa's recorded updates.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, plain_reply
from services.ingest.connectors import _meta as meta
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    impersonal,
    media_sign,
    object_in,
    objects_in,
    present,
    text_of,
    time_of,
    vote_of,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "whatsapp"
SIGNS = True

check = meta.check
verify = meta.verify
answer = meta.answer
reply = plain_reply

_NOT_SAID = {
    "sticker": "a sticker",
    "contacts": "a contact",
    "location": "a location",
    "revoke": "a message taken back: what was said stands",
    "system": "a notice of WhatsApp's",
    "request_welcome": "a chat that was opened",
    "unsupported": "a message of a kind that WhatsApp does not pass on",
}


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    return each_of(_messages(payload), partial(_message, payload))


def _messages(payload: Mapping[str, Any]) -> Iterator[Any]:
    """Each message with the change that brought it, and each change that brought none."""
    for _, changes in meta.entries(payload):
        for change in changes:
            value = object_in(change, "value")
            messages = objects_in(value, "messages") if change.get("field") == "messages" else []
            yield from ((change, value, message) for message in messages) if messages else [(change, value, None)]


def _message(payload: Mapping[str, Any], of: Any) -> Sequence[Draft] | Ignored:
    change, value, message = of
    if message is None:
        if "statuses" in value:
            return Ignored("a status of our own message")
        return Ignored(f"not feedback: {text_of(change.get('field')) or 'a change without a field'}")
    who, which = _customer(value, message), id_of(message.get("id"))
    if not which or not who.get("id"):
        raise Unreadable("a message without its id or its sender")
    kind = text_of(message.get("type")) or "unsupported"
    context = object_in(message, "context")
    told = {
        "phone_number_id": id_of(object_in(value, "metadata").get("phone_number_id")),
        "reply_to": id_of(context.get("id")),
        "forwarded": context.get("forwarded") or context.get("frequently_forwarded") or None,
        "ad": id_of(object_in(message, "referral").get("source_id")),
    }
    if kind == "reaction":
        return _vote(which, who, object_in(message, "reaction"), message)
    if kind == "edit":
        edited = object_in(message, "edit")
        message = {**object_in(edited, "message"), "timestamp": message.get("timestamp")}
        kind = text_of(message.get("type")) or "unsupported"
        told["edit_of"] = id_of(edited.get("original_message_id"))
    content = object_in(message, kind)
    if kind == "order":
        return _ordered(which, who, content, message)
    text, more = _words(kind, content)
    if not text:
        return Ignored(_NOT_SAID.get(kind) or f"a message without words: {kind}")
    delivery = f"message/{told.get('edit_of') or which}/{digest_of(text)}"
    body = {
        "text": text,
        "channel": "chat",
        "solicited": True if kind in {"button", "interactive"} else None,
        "customer": who,
        "occurred_at": time_of(message.get("timestamp")),
        "attributes": present({"message_id": which, **told, **more}),
    }
    return [Draft(delivery, present(body))]


def _words(kind: str, content: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What was said, and what else there is to know of it."""
    match kind:
        case "text":
            return text_of(content.get("body")), {}
        case "button":
            return text_of(content.get("text")), {"button": id_of(content.get("payload"))}
        case "interactive":
            form = object_in(content, "nfm_reply")
            if form:
                return _filled_in(form)
            chosen = object_in(content, "button_reply") or object_in(content, "list_reply")
            return text_of(chosen.get("title")), {"button": id_of(chosen.get("id"))}
        case "audio" | "image" | "video" | "document":
            media = {"media": kind, "media_id": id_of(content.get("id")), "file": text_of(content.get("filename"))}
            return text_of(content.get("caption")) or media_sign(kind), media
        case _:
            return None, {}


def _filled_in(form: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """A Flow's answers come as JSON in a text, by names that the company gave its fields."""
    try:
        answers = msgspec.json.decode(text_of(form.get("response_json")) or "")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unreadable("a form whose answers are not JSON") from None
    if not isinstance(answers, dict):
        raise Unreadable("a form whose answers are not JSON")
    answers.pop("flow_token", None)
    answers = impersonal(answers)
    lines = [f"{name}: {shown}" for name, value in answers.items() if (shown := _shown(value))]
    return text_of("\n".join(lines)), {"form": text_of(form.get("name")), "answers": answers}


def _shown(value: Any) -> str | None:
    """A list is what was chosen of several."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_shown, value))) or None
    return text_of(value) or (str(value) if isinstance(value, int | float) else None)


def _customer(value: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    number, user = id_of(message.get("from")), id_of(message.get("from_user_id"))
    contacts = objects_in(value, "contacts")
    mine = [one for one in contacts if id_of(one.get("wa_id")) == number] if number else contacts
    mine = mine or (contacts if len(contacts) == 1 else [])
    user = user or next((id_of(one.get("user_id")) for one in mine), None)
    names = (text_of(object_in(one, "profile").get("name")) for one in mine)
    return present({"id": number or user, "name": next(filter(None, names), None)})


# ── what customers do ────────────────────────────────────────────────────────────────────────────


def _vote(
    which: str, who: Mapping[str, Any], reaction: Mapping[str, Any], message: Mapping[str, Any]
) -> Sequence[Draft] | Ignored:
    emoji = text_of(reaction.get("emoji"))
    body = {
        "customer": who,
        "activity": "vote" if emoji else "vote withdrawn",
        "occurred_at": time_of(message.get("timestamp")),
        "attributes": present(
            {"reaction": emoji, "vote": vote_of(emoji), "message_id": id_of(reaction.get("message_id"))}
        ),
    }
    return [Draft(f"reaction/{which}", present(body), CUSTOMER_ACTIVITY)]


def _ordered(
    which: str, who: Mapping[str, Any], order: Mapping[str, Any], message: Mapping[str, Any]
) -> Sequence[Draft] | Ignored:
    """An order, and what was written with it."""
    when, note = time_of(message.get("timestamp")), text_of(order.get("text"))
    attributes = present({"catalog_id": id_of(order.get("catalog_id")), "items": objects_in(order, "product_items")})
    did = {"customer": who, "activity": "order", "occurred_at": when, "attributes": attributes}
    drafts = [Draft(f"order/{which}", present(did), CUSTOMER_ACTIVITY)]
    if note:
        said = {"text": note, "channel": "chat", "customer": who, "occurred_at": when}
        drafts.append(
            Draft(f"message/{which}/{digest_of(note)}", present(said | {"attributes": {"message_id": which}}))
        )
    return drafts
