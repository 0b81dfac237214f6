"""Help Scout: what customers write in conversations and chats, how they rate answers, and what they say to surveys.

What a webhook is, is read from its body, which is signed, and not from `X-HelpScout-Event`, which is not. A
conversation comes with its threads: each that a customer wrote is an utterance, named by its own id, whichever event
brings it, and a history that is sent again adds nothing. Of a Beacon chat each of the visitor's messages is one; what
the chat becomes when it ends, one thread with the agent's words in it, is not taken a second time. Notes, drafts, line
items and what agents write are ignored.

Ratings are *great*, *okay* and *not good*: the first and the last are the yes/no "were you happy?", *okay* is neither
and is kept as what was said. A survey's answer is NPS where it has one of NPS' categories; a thumb or a face is yes or
no.

Signature: base64 of HMAC-SHA1 over the body. Facts: developer.helpscout.com, Webhooks, its objects, Chat API.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
)
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    iso_time,
    object_in,
    objects_in,
    present,
    text_of,
    unknown_options,
)
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source

NAME = "helpscout"
SIGNS = True

_NO_WORDS = Ignored("no customer's words")

answer = no_challenge
reply = plain_reply

_CHANNELS = {"email": "email", "chat": "chat", "phone": "call"}
_UNSAID = frozenset({"note", "lineitem", "message", "forwardparent", "forwardchild"})
_TRANSCRIPTS = frozenset({"chat", "beaconchat"})
_UNSENT = frozenset({"draft", "hidden", "review", "underreview", "deleted"})
_HAPPY = {"great": 1, "not_good": 0, "not good": 0, "bad": 0}
_HAPPY_ANSWERS = {"👍": 1, "👎": 0, "😀": 1, "🙁": 0}
_NPS = {"detractor": range(0, 7), "passive": range(7, 9), "promoter": range(9, 11)}


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    signature = base64_bytes(request.header("x-helpscout-signature"))
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature], algorithm="sha1")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event = request.header("x-helpscout-event") or "another event"
    embedded = object_in(payload, "_embedded")
    if isinstance(payload.get("response"), dict):
        return _surveyed(payload, embedded)
    if "rating" in payload:
        return _rated(payload)
    if "beaconId" in payload or isinstance(embedded.get("events"), list):
        return _chatted(payload, embedded)
    threads = objects_in(embedded, "threads") or objects_in(payload, "threads")
    if threads:
        return _conversation(payload, threads)
    if event == "convo.customer.reply.created":
        raise Unreadable("a reply without its threads: the webhook is to send the payload, not a notification")
    return Ignored(f"not feedback: {event}")


def _conversation(payload: Mapping[str, Any], threads: Sequence[Mapping[str, Any]]) -> Sequence[Draft] | Ignored:
    def read(thread: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
        kind, author = text_of(thread.get("type")), object_in(thread, "createdBy")
        by_customer = kind == "customer" or author.get("type") == "customer"
        if not by_customer or kind in _UNSAID or kind in _TRANSCRIPTS or text_of(thread.get("state")) in _UNSENT:
            return _NO_WORDS
        text = plain_text(thread.get("body"))
        if not text:
            return _NO_WORDS
        which = id_of(thread.get("id"))
        if not which:
            raise Unreadable("a thread without an id")
        return [Draft(f"thread/{which}", _said(payload, thread, which) | {"text": text})]

    return each_of(threads, read)


def _said(payload: Mapping[str, Any], thread: Mapping[str, Any], which: str) -> dict[str, Any]:
    """Only what never changes: the same thread comes again with every later event."""
    number, conversation = id_of(payload.get("number")), id_of(payload.get("id"))
    link = text_of(object_in(object_in(payload, "_links"), "web").get("href"))
    if not link and conversation and number:
        link = f"https://secure.helpscout.net/conversation/{conversation}/{number}/"
    people = (object_in(thread, "createdBy"), object_in(thread, "customer"), object_in(payload, "primaryCustomer"))
    body = {
        "title": text_of(payload.get("subject")),
        "channel": _CHANNELS.get(str(payload.get("type")), "ticket"),
        "solicited": False,
        "customer": _customer(*people),
        "occurred_at": iso_time(thread.get("createdAt"), UTC),
        "url": link,
        "attributes": present(
            {"conversation_id": conversation, "thread_id": which, "mailbox_id": id_of(payload.get("mailboxId"))}
        ),
    }
    return present(body)


def _chatted(payload: Mapping[str, Any], embedded: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    def read(event: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
        author, text = object_in(event, "author"), plain_text(event.get("body"))
        if author.get("type") != "customer" or event.get("type") not in (None, "message") or not text:
            return _NO_WORDS
        which = id_of(event.get("id"))
        if not which:
            raise Unreadable("a message without an id")
        body = {
            "text": text,
            "channel": "chat",
            "solicited": False,
            "customer": _customer(author, object_in(payload, "customer")),
            "occurred_at": iso_time(event.get("createdAt"), UTC),
            "attributes": present({"chat_id": id_of(payload.get("id")), "mailbox_id": id_of(payload.get("mailboxId"))}),
        }
        return [Draft(f"chat-message/{which}", present(body))]

    said = objects_in(embedded, "events") or objects_in(payload, "events")
    return each_of(said, read) if said else _NO_WORDS


def _rated(payload: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """A changed rating, or words added to it, is another utterance."""
    rating, words = text_of(payload.get("rating")), plain_text(payload.get("comments"))
    if rating is None:
        raise Unreadable("a rating that is no word")
    if rating.lower() == "unknown" and not words:
        return Ignored("a rating that was not given")
    which = id_of(payload.get("id")) or id_of(payload.get("threadId"))
    if not which:
        raise Unreadable("a rating without an id")
    happy = _HAPPY.get(rating.lower())
    body = {
        "text": words or (rating if happy is None else None),
        "scores": [] if happy is None else [{"metric": "hmd", "value": happy}],
        "channel": "survey",
        "solicited": True,
        "customer": _customer(object_in(payload, "customer")),
        "occurred_at": iso_time(payload.get("modifiedAt"), UTC) or iso_time(payload.get("createdAt"), UTC),
        "attributes": present(
            {
                "rating": rating,
                "conversation_id": id_of(payload.get("conversationId")) or id_of(payload.get("ticketId")),
                "thread_id": id_of(payload.get("threadId")),
                "agent": _name(object_in(payload, "user")),
            }
        ),
    }
    return [Draft(f"rating/{which}/{rating.lower()}/{digest_of(words or '')}", present(body))]


def _surveyed(payload: Mapping[str, Any], embedded: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    response, message = object_in(payload, "response"), object_in(payload, "message")
    value = text_of(response.get("value")) or id_of(response.get("value"))
    words, category = plain_text(response.get("comment")), text_of(response.get("category"))
    if not (value or words):
        return Ignored("an answer without words")
    scores: list[dict[str, Any]] = []
    if value and _is_nps(value, category):
        scores = [{"metric": "nps", "value": int(value)}]
    elif value in _HAPPY_ANSWERS:
        scores = [{"metric": "hmd", "value": _HAPPY_ANSWERS[value]}]
    name, when = text_of(message.get("name")), text_of(response.get("timestamp"))
    customer = _customer(object_in(embedded, "customer"))
    body = {
        "text": words or (None if scores else value),
        "title": name,
        "scores": scores,
        "channel": "survey",
        "solicited": True,
        "customer": customer,
        "occurred_at": iso_time(when, UTC),
        "attributes": present({"answer": value, "answer_name": text_of(response.get("name")), "category": category}),
    }
    # It has no id: who said what, to which survey, and when, is one.
    said = "\n".join(str(part) for part in (customer.get("id"), name, when, value, words))
    return [Draft(f"survey/{digest_of(said)}", present(body))]


def _is_nps(value: str, category: str | None) -> bool:
    """Other surveys have numbers and categories, too; these go together in NPS alone."""
    return value.isascii() and value.isdecimal() and int(value[:3]) in _NPS.get((category or "").lower(), ())


def _customer(*people: Mapping[str, Any]) -> dict[str, Any]:
    """They stand in several places, in none of them whole."""
    who = next(filter(None, (id_of(person.get("id")) for person in people)), None)
    known = [person for person in people if id_of(person.get("id")) == who]
    return present(
        {
            "id": who,
            "email": next(filter(None, map(_email, known)), None),
            "name": next(filter(None, map(_name, known)), None),
        }
    )


def _email(person: Mapping[str, Any]) -> str | None:
    several = objects_in(person, "emails") or objects_in(object_in(person, "_embedded"), "emails")
    return text_of(person.get("email")) or next(filter(None, (text_of(one.get("value")) for one in several)), None)


def _name(person: Mapping[str, Any]) -> str | None:
    names = [text_of(person.get(short)) or text_of(person.get(long)) for short, long in _NAMES]
    return " ".join(filter(None, names)) or None


_NAMES = (("first", "firstName"), ("last", "lastName"))
