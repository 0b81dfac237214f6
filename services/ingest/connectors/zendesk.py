"""Zendesk Support: tickets, comments, messages and satisfaction ratings.

Two shapes come: *event* subscriptions (`type: zen:event-type:…`, `detail`, `event`), and *triggers*, whose JSON a person
wrote in Zendesk's admin centre from placeholders. For triggers we know these names, flat or inside `ticket`:
`ticket_id`, `ticket_title`, `ticket_description`, `ticket_url`, `latest_public_comment`, `comment_id`,
`comment_is_public`, `author_role`, `requester_id`, `requester_email`, `requester_name`, `requester_language`, `tags`,
`satisfaction_rating`, `satisfaction_comment`; `ticket_` may be left out. Everything else goes into `attributes`.

An utterance is a delivery: the ticket's opening words, each later comment or message, each rating. What agents say,
private notes and changes of status are ignored. Signature: base64 of HMAC-SHA256 over timestamp and body, with nothing
between them. `options: {subdomain: acme}` lets tickets of event subscriptions link back.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
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

NAME = "zendesk"
SIGNS = True

answer = no_challenge
reply = plain_reply

_EVENT_PREFIX = "zen:event-type:"
_SUBDOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")
# What Zendesk's placeholder for a description puts before the words: a rule, who and when.
_PREAMBLE = re.compile(r"\s*-{10,}\s*\n\s*[^\n]*\d{1,2}:\d{2}[^\n]*\n\s*\n")
_STAFF = frozenset({"agent", "admin", "staff", "light agent", "system", "bot", "business"})
_GOOD = {"good": 1, "bad": 0}
_NOT_RATED = frozenset({"", "offered", "unoffered", "none", "not_rated"})
_DETAIL = ("status", "priority", "type", "group_id", "brand_id", "organization_id", "form_id", "custom_status")


def check(source: Source) -> Sequence[str]:
    issues = [
        f"options: {name} is not known here; there is: subdomain" for name in source.options if name != "subdomain"
    ]
    subdomain = source.options.get("subdomain")
    if subdomain is not None and not (isinstance(subdomain, str) and _SUBDOMAIN.match(subdomain)):
        issues.append("options: subdomain must be the first part of the address, such as acme for acme.zendesk.com")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    timestamp = request.header("x-zendesk-webhook-signature-timestamp")
    check_mac(
        [secret.encode() for secret in source.secrets],
        timestamp.encode("utf-8", "surrogateescape") + request.body,
        [base64_bytes(request.header("x-zendesk-webhook-signature"))],
        fresh=within_tolerance(_time(timestamp), now),
    )


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind = payload.get("type")
    if isinstance(kind, str) and kind.startswith(_EVENT_PREFIX):
        return _event(kind.removeprefix(_EVENT_PREFIX), payload, source)
    return _trigger(payload)


# ── event subscriptions ──────────────────────────────────────────────────────────────────────────


def _event(kind: str, payload: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    detail, event = _object(payload, "detail"), _object(payload, "event")
    if kind == "ticket.created":
        return _ticket_created(payload, detail, source)
    if kind == "ticket.comment_added":
        return _comment_added(payload, detail, _object(event, "comment"), source)
    if kind == "messaging_ticket.message_added":
        return _message_added(payload, detail, event, source)
    if "satisfaction" in kind or "csat" in kind:
        rating = event.get("satisfaction_rating") or event.get("rating") or event.get("current")
        return _rating(rating, event.get("comment"), _ticket_id(payload, detail), _body(payload, detail, source))
    return Ignored(f"not feedback: {kind}")


def _ticket_created(payload: Mapping[str, Any], detail: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    if detail.get("is_public") is False:
        return Ignored("a private ticket: its words are an agent's")
    text = _text(detail.get("description"))
    if not text:
        return Ignored("a ticket without words")
    return [Draft(f"ticket/{_ticket_id(payload, detail)}", _body(payload, detail, source) | {"text": text})]


def _comment_added(
    payload: Mapping[str, Any], detail: Mapping[str, Any], comment: Mapping[str, Any], source: Source
) -> Sequence[Draft] | Ignored:
    author = _object(comment, "author")
    if comment.get("is_public") is False:
        return Ignored("a private note")
    if author.get("is_staff") is True:
        return Ignored("an agent's comment")
    text = _text(comment.get("body"))
    if not text:
        return Ignored("a comment without words")
    if "id" not in comment:
        raise Unreadable("a comment without an id")
    body = _body(payload, detail, source)
    if author.get("name") and _same(author.get("id"), detail.get("requester_id")):
        body["customer"] = {**body.get("customer", {}), "name": _text(author["name"])}
    body["attributes"] = body["attributes"] | {"comment_id": _id(comment["id"])}
    # The opening words may come as the ticket and as its first comment: they are one utterance.
    opening = text == _text(detail.get("description"))
    delivery = f"ticket/{_ticket_id(payload, detail)}" if opening else f"comment/{_id(comment['id'])}"
    return [Draft(delivery, body | {"text": text})]


def _message_added(
    payload: Mapping[str, Any], detail: Mapping[str, Any], event: Mapping[str, Any], source: Source
) -> Sequence[Draft] | Ignored:
    actor, message = _object(event, "actor"), _object(event, "message")
    if str(actor.get("type", "")).lower() in _STAFF:
        return Ignored(f"not a customer's message: {actor['type']}"[:100])
    text = _text(message.get("body"))
    if not text:
        return Ignored("a message without words")
    if "id" not in message:
        raise Unreadable("a message without an id")
    body = _body(payload, detail, source) | {"text": text, "channel": "chat"}
    if actor.get("id"):
        body["customer"] = _present({"id": _id(actor["id"]), "name": _text(actor.get("name"))})
    body["attributes"] = body["attributes"] | _present({"conversation_id": event.get("conversation_id")})
    return [Draft(f"message/{_id(message['id'])}", body)]


def _body(payload: Mapping[str, Any], detail: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """What every utterance on this ticket says about itself."""
    ticket, subdomain = _ticket_id(payload, detail), source.options.get("subdomain")
    attributes = {name: detail.get(name) for name in _DETAIL} | {
        "ticket_id": ticket,
        "tags": detail.get("tags"),
        "via": _object(detail, "via").get("channel"),
        "custom_fields": detail.get("custom_fields"),
        "external_id": detail.get("external_id"),
    }
    return _present(
        {
            "title": _text(detail.get("subject")),
            "channel": "ticket",
            "solicited": False,
            "customer": _present({"id": _id(detail.get("requester_id"))}),
            "url": f"https://{subdomain}.zendesk.com/agent/tickets/{ticket}" if subdomain else None,
            "occurred_at": _iso(payload.get("time")),
            "attributes": _present(attributes),
        }
    )


def _ticket_id(payload: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    found = _id(detail.get("id")) or str(payload.get("subject") or "").removeprefix("zen:ticket:")
    if not found:
        raise Unreadable("an event without a ticket's id")
    return found


# ── triggers ─────────────────────────────────────────────────────────────────────────────────────


def _trigger(payload: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    ticket = payload.get("ticket")
    flat = {**payload, **ticket} if isinstance(ticket, dict) else dict(payload)
    flat.pop("ticket", None)
    fields = _Fields(flat)
    number = _id(fields.take("ticket_id", "id"))
    if not number:
        raise Unreadable("neither an event nor a trigger's JSON: no ticket_id")
    requester = _object(flat, "requester")
    fields.take("requester")
    body: dict[str, Any] = {
        "title": _text(fields.take("ticket_title", "title", "ticket_subject", "subject")),
        "channel": "ticket",
        "url": _url(fields.take("ticket_url", "url", "ticket_link", "link")),
        "language": _language(fields.take("requester_language", "language", "requester_locale", "locale")),
        "customer": _present(
            {
                "id": _id(fields.take("requester_id") or requester.get("id")),
                "email": _text(fields.take("requester_email", "email") or requester.get("email")),
                "name": _text(fields.take("requester_name", "requester_full_name", "name") or requester.get("name")),
            }
        ),
    }
    description = _PREAMBLE.sub("", _text(fields.take("ticket_description", "description")) or "", count=1).strip()
    comment = _text(fields.take("latest_public_comment", "latest_comment", "comment", "comment_body"))
    comment_id = _id(fields.take("comment_id", "latest_comment_id"))
    public, role = fields.take("comment_is_public", "is_public"), fields.take("author_role", "comment_author_role")
    rating = fields.take("satisfaction_rating", "satisfaction_score", "rating")
    rating_comment = fields.take("satisfaction_comment", "rating_comment")
    tags = fields.take("tags", "ticket_tags")
    split = tags.replace(",", " ").split() if isinstance(tags, str) else tags
    body["attributes"] = _present({"ticket_id": number, "tags": split, **fields.rest})
    body = _present(body)
    if _is_rated(rating):
        return _rating(rating, rating_comment, number, body)
    if str(role or "").strip().lower() in _STAFF:
        return Ignored("an agent's comment")
    if str(public).strip().lower() in {"false", "0"}:
        return Ignored("a private note")
    body["solicited"] = False
    if comment and _PREAMBLE.sub("", comment, count=1).strip() != description:
        comment = _PREAMBLE.sub("", comment, count=1).strip()
        which = comment_id or _digest(comment)
        return [Draft(f"comment/{which}" if comment_id else f"ticket/{number}/{which}", body | {"text": comment})]
    if not description:
        return Ignored("a ticket without words")
    return [Draft(f"ticket/{number}", body | {"text": description})]


class _Fields:
    """What a person named as they liked: each is taken under the first name that has a value; the rest is kept."""

    def __init__(self, flat: dict[str, Any]) -> None:
        self.rest = flat

    def take(self, *names: str) -> Any:
        found = None
        for name in names:
            value = self.rest.pop(name, None)
            if found is None and value != "":
                found = value
        return found


# ── ratings ──────────────────────────────────────────────────────────────────────────────────────


def _is_rated(rating: Any) -> bool:
    score = rating.get("score") if isinstance(rating, dict) else rating
    return score is not None and str(score).strip().lower() not in _NOT_RATED


def _rating(rating: Any, comment: Any, ticket: str, body: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """Good or bad is the yes/no "were you happy?"; a number is CSAT. A changed rating is another utterance."""
    if isinstance(rating, dict):
        comment = rating.get("comment") or comment
        rating = rating.get("score", rating.get("rating"))
    words = _text(comment.get("body") if isinstance(comment, dict) else comment)
    said = str(rating).strip().lower().partition(" ")[0] if rating is not None else ""
    score: dict[str, Any]
    if said in _GOOD:
        score = {"metric": "hmd", "value": _GOOD[said]}
    elif said.isdecimal() and 1 <= int(said[:3]) <= 5:
        score = {"metric": "csat", "value": int(said)}
    elif said in _NOT_RATED:
        return Ignored("a rating that was asked for and not given")
    else:
        raise Unreadable("a satisfaction rating that is neither good, bad, nor 1 to 5")
    content = dict(body) | {"channel": "survey", "solicited": True, "scores": [score]}
    if words:
        content["text"] = words
    return [Draft(f"rating/{ticket}/{said}/{_digest(words or '')}", content)]


# ── small things ─────────────────────────────────────────────────────────────────────────────────


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _id(value: Any) -> str | None:
    """Zendesk writes ids as numbers and as strings."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip()[:100] or None


def _same(one: Any, other: Any) -> bool:
    return _id(one) is not None and _id(one) == _id(other)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _iso(value: Any) -> str | None:
    """Zendesk's nanoseconds are more than a time of ours holds."""
    if not isinstance(value, str):
        return None
    cut = re.sub(r"(\.\d{1,6})\d*", r"\1", value)
    return cut if _time(cut) is not None else None


def _language(value: Any) -> str | None:
    return value if isinstance(value, str) and _LANGUAGE.match(value) else None


def _url(value: Any) -> str | None:
    text = _text(value)
    return text if text is None or "://" in text else f"https://{text}"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
