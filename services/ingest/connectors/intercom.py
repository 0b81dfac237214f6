"""Intercom: what customers write in conversations and on tickets, how they rate them, and what they do.

A notification names its `topic` and holds the whole conversation or ticket in `data.item`, in the shape of the app's API
version: the older `user` and `conversation_message`, or `contacts` and `source`. The opening words, each later part and
each rating are an utterance, and each has its own delivery, whichever notification brings it. A conversation that comes
with its whole history thus repeats its parts and adds nothing; so only what never changes goes into a part's
`attributes`. Words of admins, bots and campaigns are ignored. Intercom's bodies are HTML; ours are text.

A conversation or a ticket that is assigned to another team is `work.moved`: `conversation.admin.assigned` (a teammate or a
team), `ticket.team.assigned`, with `team_assignee_id` of the item (developers.intercom.com, Webhook topics, and the model of a
conversation). An id of 0, or none, is nobody's.

The customer's id is the one that the company gave them (`external_id`, formerly `user_id`), else Intercom's own, which
stands in `attributes.contact_id`. Signature: `sha1=` and the hex of HMAC-SHA1 over the body, keyed with the app's client
secret. Before it saves an address, Intercom looks at it with a HEAD.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Reply,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
    plain_reply,
)
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    impersonal,
    media_signs,
    moved,
    object_in,
    objects_in,
    present,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.connectors._html import has_image, plain_text
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "intercom"
SIGNS = True

_NO_WORDS = Ignored("no customer's words")

reply = plain_reply

_PREFIX = "sha1="
_CUSTOMERS = frozenset({"user", "lead", "contact", "visitor"})
_CHANNELS = {
    "email": "email",
    "phone_call": "call",
    "phone_switch": "call",
    "facebook": "social",
    "instagram": "social",
    "twitter": "social",
}
"""By the `source.type` of a conversation; all others are chat."""
_APP_ID = re.compile(r"[a-z0-9_-]{1,40}\Z")


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-hub-signature")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature], algorithm="sha1")


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    return Reply(200) if request.method == "HEAD" else None


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    topic, item = text_of(payload.get("topic")), object_in(object_in(payload, "data"), "item")
    if topic is None:
        kind = text_of(payload.get("type"))
        if kind is None or kind == "notification_event":
            raise Unreadable("a notification without its topic")
        return Ignored(f"not a notification: {kind}")
    match topic:
        case "conversation.user.created":
            return _opened(payload, item)
        case "conversation.user.replied":
            return _replied(payload, item, "conversation_parts")
        case "ticket.created":
            return _ticket(payload, item)
        case "ticket.contact.replied":
            return _replied(payload, item, "ticket_parts")
        case "conversation.rating.added":
            return _rated(payload, item)
        case "event.created":
            return _did(item)
        case "conversation.admin.assigned" | "conversation.admin.open.assigned" | "ticket.team.assigned":
            return _assigned(payload, item)
        case "ping":
            return Ignored("a ping")
        case _:
            return Ignored(f"not feedback: {topic}")


# ── what customers say ───────────────────────────────────────────────────────────────────────────


def _opened(payload: Mapping[str, Any], item: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    message = object_in(item, "source") or object_in(item, "conversation_message")
    author = object_in(message, "author")
    if not _is_customer(author):
        # A colleague's or a campaign's: whoever answered it speaks in the parts.
        return _replied(payload, item, "conversation_parts")
    text = _words(message)
    if not text:
        return Ignored("a conversation without words")
    body = _body(payload, item, author, item.get("created_at"))
    return [Draft(f"conversation/{_item_id(item)}", body | {"text": text})]


def _replied(payload: Mapping[str, Any], item: Mapping[str, Any], parts: str) -> Sequence[Draft] | Ignored:
    def read(part: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
        author, text = object_in(part, "author"), _words(part)
        if not text or not _is_customer(author):
            return _NO_WORDS
        which = id_of(part.get("id"))
        if not which:
            raise Unreadable("a reply without an id")
        body = _body(payload, item, author, part.get("created_at")) | {"text": text}
        body["attributes"] = body["attributes"] | {"part_id": which}
        return [Draft(f"part/{which}", body)]

    said = objects_in(object_in(item, parts), parts)
    return each_of(said, read) if said else _NO_WORDS


def _words(message: Mapping[str, Any]) -> str | None:
    """A picture, a recording or a file without a word has its sign."""
    kinds = [one.get("content_type") for one in objects_in(message, "attachments")]
    body = message.get("body")
    return plain_text(body) or media_signs(kinds or (["image"] if has_image(body) else []))


def _ticket(payload: Mapping[str, Any], item: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    category = text_of(item.get("category")) or text_of(object_in(item, "ticket_type").get("category"))
    if category and category.lower() != "customer":
        return Ignored(f"not a customer's ticket: {category}")
    fields = object_in(item, "ticket_attributes")
    title, text = text_of(fields.get("_default_title_")), plain_text(fields.get("_default_description_"))
    if not (text or title):
        return Ignored("a ticket without words")
    body = _body(payload, item, {}, item.get("created_at")) | {"channel": "ticket", "text": text or title}
    return [Draft(f"ticket/{_item_id(item)}", body | present({"title": title}))]


def _rated(payload: Mapping[str, Any], item: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """1 to 5, which is CSAT. A changed rating, or words added to it, is another utterance."""
    rating = object_in(item, "conversation_rating")
    value, words = rating.get("rating"), plain_text(rating.get("remark"))
    if value is None:
        return Ignored("a rating that was asked for and not given")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise Unreadable("a rating that is not 1 to 5")
    who = object_in(rating, "contact") or object_in(rating, "customer")
    body = _body(payload, item, who, rating.get("updated_at") or payload.get("created_at"))
    body |= {"channel": "survey", "solicited": True, "scores": [{"metric": "csat", "value": value}]}
    return [Draft(f"rating/{_item_id(item)}/{value}/{digest_of(words or '')}", body | present({"text": words}))]


def _assigned(payload: Mapping[str, Any], item: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """Of several topics, which tell of the same assignment: it is named by when the item was changed."""
    item = item if "team_assignee_id" in item else object_in(item, "ticket") or item
    team = object_in(item, "team")
    team_id = id_of(item.get("team_assignee_id")) or id_of(team.get("id"))
    if team_id in (None, "0"):
        return Ignored("assigned to no team")
    at = time_of(item.get("updated_at")) or time_of(payload.get("created_at"))
    which = f"{team_id}/{at or id_of(payload.get('id'))}"
    return moved(
        which, _item_id(item), team=text_of(team.get("name")), team_id=team_id, at=at, url=_link(payload, item)
    )


def _is_customer(author: Mapping[str, Any]) -> bool:
    return str(author.get("type") or "").lower() in _CUSTOMERS


def _body(payload: Mapping[str, Any], item: Mapping[str, Any], author: Mapping[str, Any], when: Any) -> dict[str, Any]:
    """What every utterance in this conversation says about itself."""
    opening = object_in(item, "source") or object_in(item, "conversation_message")
    customer, contact = _customer(item, author)
    is_ticket = item.get("type") == "ticket"
    return present(
        {
            "title": plain_text(opening.get("subject")),
            "channel": "ticket" if is_ticket else _CHANNELS.get(str(opening.get("type")), "chat"),
            "solicited": False,
            "customer": customer,
            "occurred_at": time_of(when),
            "url": _link(payload, item),
        }
    ) | {
        "attributes": present(
            {
                "ticket_id" if is_ticket else "conversation_id": _item_id(item),
                "contact_id": contact,
                "app_id": text_of(payload.get("app_id")),
            }
        )
    }


def _customer(item: Mapping[str, Any], author: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Who speaks, and Intercom's own id of them. They stand in several places, in none of them whole."""
    people = [person for person in (author, *_people(item)) if person]
    contact = next(filter(None, (id_of(person.get("id")) for person in people)), None)
    known = [person for person in people if id_of(person.get("id")) == contact]
    given = [id_of(person.get(name)) for name in ("external_id", "user_id") for person in known]
    customer = {
        "id": next(filter(None, given), contact),
        "email": next(filter(None, (text_of(person.get("email")) for person in known)), None),
        "name": next(filter(None, (text_of(person.get("name")) for person in known)), None),
    }
    return present(customer), contact


def _people(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The customers of a conversation, whoever of them speaks."""
    yield object_in(item, "user")
    contacts = object_in(item, "contacts")
    yield from objects_in(contacts, "contacts") or objects_in(contacts, "data")
    opener = object_in(object_in(item, "source"), "author")
    if _is_customer(opener):
        yield opener


def _item_id(item: Mapping[str, Any]) -> str:
    found = id_of(item.get("id"))
    if not found:
        raise Unreadable("a conversation or a ticket without its id")
    return found


def _link(payload: Mapping[str, Any], item: Mapping[str, Any]) -> str | None:
    link = text_of(object_in(item, "links").get("conversation_web"))
    app, which = payload.get("app_id"), _item_id(item)
    if link or not (isinstance(app, str) and _APP_ID.match(app) and which.isalnum()):
        return link
    return f"https://app.intercom.com/a/apps/{app}/conversations/{which}"


# ── what customers do ────────────────────────────────────────────────────────────────────────────


def _did(item: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """An event that the company's own code told Intercom of."""
    name, which = text_of(item.get("event_name")), id_of(item.get("id"))
    who = id_of(item.get("user_id")) or id_of(item.get("intercom_user_id"))
    email = text_of(item.get("email"))
    if not name or not which:
        raise Unreadable("an event without its name and id")
    if not (who or email):
        return Ignored("an event of nobody")
    body = {
        "customer": present({"id": who, "email": email}),
        "activity": name,
        "occurred_at": time_of(item.get("created_at")),
        "attributes": present({"metadata": impersonal(object_in(item, "metadata"))}),
    }
    return [Draft(f"event/{which}", present(body), CUSTOMER_ACTIVITY)]
