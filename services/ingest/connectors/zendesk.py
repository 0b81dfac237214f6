"""Zendesk Support: tickets, comments, messages and satisfaction ratings.

Two shapes come: *event* subscriptions (`type: zen:event-type:…`, `detail`, `event`), and *triggers*, whose JSON a
person wrote in Zendesk's admin centre from placeholders. For triggers we know these names, flat or inside `ticket`:
`ticket_id`, `ticket_title`, `ticket_description`, `ticket_url`, `latest_public_comment`, `comment_id`,
`comment_is_public`, `author_role`, `requester_id`, `requester_email`, `requester_name`, `requester_language`, `tags`,
`ticket_created_at`, `comment_created_at`, `satisfaction_rating`, `satisfaction_comment`, `moved_to`, `updated_at`; `ticket_`
may be left out. Everything else goes into `attributes`.

An utterance is a delivery: the ticket's opening words, each later comment or message, each rating (`csat_received`, or
a trigger's placeholder, which writes it out: "Good, I'm satisfied"). What agents say, private notes and changes of
status are ignored, and so is a ticket that somebody else submitted for its requester: an agent, most often. Where a
form of the company's own does that, `options: {submitters: ["361"]}` names its user. The opening words come as the
ticket and as its first comment, and are one utterance; the same words later are another, as far as the times tell.
A ticket's new group is `work.moved`: of event subscriptions `ticket.group_assignment_changed`, whose `event.current` is the
group's id (developer.zendesk.com, Webhook event types, Ticket events), of triggers whatever JSON has `moved_to`, the group's
name, with `updated_at` beside it so that the same move later is another.

Signature: base64 of HMAC-SHA256 over timestamp and body, with nothing between them.
`options: {subdomain: acme}` lets tickets of event subscriptions link back.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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
from services.ingest.connectors._fields import (
    HandWritten,
    digest_of,
    id_of,
    impersonal,
    iso_time,
    language_of,
    moved,
    object_in,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "zendesk"
SIGNS = True

answer = no_challenge
reply = plain_reply

_EVENT_PREFIX = "zen:event-type:"
_SUBDOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_RULE = re.compile(r"-{10,}\Z")
_CLOCK = re.compile(r"\d{1,2}:\d{2}")
_PREAMBLE_MAX_LINES = 8
_PREAMBLE_MAX_CHARS = 300
_STAFF = frozenset({"agent", "admin", "staff", "light agent", "system", "bot", "business"})
_GOOD = {"good": 1, "bad": 0}
_RATINGS = ("satisfaction_score", "satisfaction_rating", "rating", "current")
_WORD = re.compile(r"\w+")
_NOT_YET = "a rating that was asked for and not given"
_NOT_RATED = frozenset({"", "offered", "unoffered", "none", "not_rated"})
_AT_ONCE = timedelta(seconds=10)
"""How long after its ticket the first comment may be told of."""
_DETAIL = ("status", "priority", "type", "group_id", "brand_id", "organization_id", "form_id", "custom_status")


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "subdomain", "submitters")
    submitters = source.options.get("submitters", [])
    if not (isinstance(submitters, list) and all(map(id_of, submitters))):
        issues.append('options: submitters must be a list of ids of users, such as ["361"]')
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
    detail, event = object_in(payload, "detail"), object_in(payload, "event")
    if kind == "ticket.created":
        return _ticket_created(payload, detail, source)
    if kind == "ticket.comment_added":
        return _comment_added(payload, detail, object_in(event, "comment"), source)
    if kind == "messaging_ticket.message_added":
        return _message_added(payload, detail, event, source)
    if kind == "ticket.group_assignment_changed":
        return _regrouped(payload, detail, event, source)
    if "satisfaction" in kind or "csat" in kind:
        if kind.endswith("_requested"):
            return Ignored(_NOT_YET)
        rating = next(filter(None, map(event.get, _RATINGS)), None)
        return _rating(rating, event.get("comment"), _ticket_id(payload, detail), _body(payload, detail, source))
    return Ignored(f"not feedback: {kind}")


def _ticket_created(payload: Mapping[str, Any], detail: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    if detail.get("is_public") is False:
        return Ignored("a private ticket: its words are an agent's")
    submitter, forms = id_of(detail.get("submitter_id")), source.options.get("submitters", [])
    if submitter and not _same(submitter, detail.get("requester_id")) and submitter not in map(id_of, forms):
        return Ignored("a ticket that somebody submitted for the requester (options: submitters)")
    text = text_of(detail.get("description"))
    if not text:
        return Ignored("a ticket without words")
    return [Draft(f"ticket/{_ticket_id(payload, detail)}", _body(payload, detail, source) | {"text": text})]


def _comment_added(
    payload: Mapping[str, Any], detail: Mapping[str, Any], comment: Mapping[str, Any], source: Source
) -> Sequence[Draft] | Ignored:
    author = object_in(comment, "author")
    if comment.get("is_public") is False:
        return Ignored("a private note")
    if author.get("is_staff") is True:
        return Ignored("an agent's comment")
    text = text_of(comment.get("body"))
    if not text:
        return Ignored("a comment without words")
    if "id" not in comment:
        raise Unreadable("a comment without an id")
    body = _body(payload, detail, source)
    if author.get("name") and _same(author.get("id"), detail.get("requester_id")):
        body["customer"] = {**body.get("customer", {}), "name": text_of(author["name"])}
    body["attributes"] = body["attributes"] | {"comment_id": id_of(comment["id"])}
    opening = text == text_of(detail.get("description")) and _at_once(detail.get("created_at"), payload.get("time"))
    delivery = f"ticket/{_ticket_id(payload, detail)}" if opening else f"comment/{id_of(comment['id'])}"
    return [Draft(delivery, body | {"text": text})]


def _message_added(
    payload: Mapping[str, Any], detail: Mapping[str, Any], event: Mapping[str, Any], source: Source
) -> Sequence[Draft] | Ignored:
    actor, message = object_in(event, "actor"), object_in(event, "message")
    if str(actor.get("type", "")).lower() in _STAFF:
        return Ignored(f"not a customer's message: {actor['type']}"[:100])
    text = text_of(message.get("body"))
    if not text:
        return Ignored("a message without words")
    if "id" not in message:
        raise Unreadable("a message without an id")
    body = _body(payload, detail, source) | {"text": text, "channel": "chat"}
    if actor.get("id"):
        body["customer"] = present({"id": id_of(actor["id"]), "name": text_of(actor.get("name"))})
    body["attributes"] = body["attributes"] | present({"conversation_id": event.get("conversation_id")})
    return [Draft(f"message/{id_of(message['id'])}", body)]


def _regrouped(
    payload: Mapping[str, Any], detail: Mapping[str, Any], event: Mapping[str, Any], source: Source
) -> Sequence[Draft] | Ignored:
    group, at = id_of(event.get("current")), _iso(payload.get("time"))
    if not group:
        return Ignored("a ticket that has no group any more")
    ticket = _ticket_id(payload, detail)
    return moved(id_of(payload.get("id")) or f"{group}/{at}", ticket, team_id=group, at=at, url=_link(source, ticket))


def _link(source: Source, ticket: str) -> str | None:
    subdomain = source.options.get("subdomain")
    return f"https://{subdomain}.zendesk.com/agent/tickets/{ticket}" if subdomain else None


def _body(payload: Mapping[str, Any], detail: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """What every utterance on this ticket says about itself."""
    ticket = _ticket_id(payload, detail)
    attributes = {name: detail.get(name) for name in _DETAIL} | {
        "ticket_id": ticket,
        "tags": detail.get("tags"),
        "via": object_in(detail, "via").get("channel"),
        "custom_fields": detail.get("custom_fields"),
        "external_id": detail.get("external_id"),
    }
    return present(
        {
            "title": text_of(detail.get("subject")),
            "channel": "ticket",
            "solicited": False,
            "customer": present({"id": id_of(detail.get("requester_id"))}),
            "url": _link(source, ticket),
            "occurred_at": _iso(payload.get("time")),
            "attributes": present(attributes),
        }
    )


def _ticket_id(payload: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    found = id_of(detail.get("id")) or str(payload.get("subject") or "").removeprefix("zen:ticket:")
    if not found:
        raise Unreadable("an event without a ticket's id")
    return found


# ── triggers ─────────────────────────────────────────────────────────────────────────────────────


def _trigger(payload: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    ticket = payload.get("ticket")
    flat = {**payload, **ticket} if isinstance(ticket, dict) else dict(payload)
    flat.pop("ticket", None)
    fields = HandWritten(flat)
    number = id_of(fields.take("ticket_id", "id"))
    if not number:
        raise Unreadable("neither an event nor a trigger's JSON: no ticket_id")
    group = text_of(fields.take("moved_to"))
    if group:
        at = iso_time(fields.take("updated_at", "ticket_updated_at"))
        return moved(f"{digest_of(group)}/{at}" if at else None, number, team=group, at=at)
    requester = object_in(flat, "requester")
    fields.take("requester")
    body: dict[str, Any] = {
        "title": text_of(fields.take("ticket_title", "title", "ticket_subject", "subject")),
        "channel": "ticket",
        "url": _url(fields.take("ticket_url", "url", "ticket_link", "link")),
        "language": language_of(fields.take("requester_language", "language", "requester_locale", "locale")),
        "customer": present(
            {
                "id": id_of(fields.take("requester_id") or requester.get("id")),
                "email": text_of(fields.take("requester_email", "email") or requester.get("email")),
                "name": text_of(fields.take("requester_name", "requester_full_name", "name") or requester.get("name")),
            }
        ),
    }
    description = _without_preamble(text_of(fields.take("ticket_description", "description")) or "")
    comment = _without_preamble(
        text_of(fields.take("latest_public_comment", "latest_comment", "comment", "comment_body")) or ""
    )
    comment_id = id_of(fields.take("comment_id", "latest_comment_id"))
    created, commented = fields.rest.get("ticket_created_at"), fields.rest.get("comment_created_at")
    is_later = bool(created and commented) and created != commented and not _at_once(created, commented)
    public, role = fields.take("comment_is_public", "is_public"), fields.take("author_role", "comment_author_role")
    rating = fields.take("satisfaction_rating", "satisfaction_score", "rating")
    rating_comment = fields.take("satisfaction_comment", "rating_comment")
    tags = fields.take("tags", "ticket_tags")
    split = tags.replace(",", " ").split() if isinstance(tags, str) else tags
    body["attributes"] = present({"ticket_id": number, "tags": split, **impersonal(fields.rest)})
    body = present(body)
    if _is_rated(rating):
        return _rating(rating, rating_comment, number, body)
    if str(role or "").strip().lower() in _STAFF:
        return Ignored("an agent's comment")
    if str(public).strip().lower() in {"false", "0"}:
        return Ignored("a private note")
    body["solicited"] = False
    if comment and (is_later or comment != description):
        which = comment_id or digest_of(comment)
        return [Draft(f"comment/{which}" if comment_id else f"ticket/{number}/{which}", body | {"text": comment})]
    if not description:
        return Ignored("a ticket without words")
    return [Draft(f"ticket/{number}", body | {"text": description})]


def _without_preamble(text: str) -> str:
    """Without what Zendesk's placeholders put before the words: a rule, who and when, an empty line. Customers draw
    rules and write times, too: what is not at the very beginning is theirs."""
    lines = [line.strip() for line in text[:_PREAMBLE_MAX_CHARS].split("\n")[:_PREAMBLE_MAX_LINES]]
    rule, when, *_ = [*(number for number, line in enumerate(lines) if line), len(lines), len(lines)]
    is_preamble = (
        when + 1 < len(lines)
        and _RULE.match(lines[rule]) is not None
        and _CLOCK.search(lines[when]) is not None
        and not lines[when + 1]
    )
    return text.split("\n", when + 1)[-1].strip() if is_preamble else text.strip()


# ── ratings ──────────────────────────────────────────────────────────────────────────────────────


def _is_rated(rating: Any) -> bool:
    score = rating.get("score") if isinstance(rating, dict) else rating
    return score is not None and str(score).strip().lower() not in _NOT_RATED


def _rating(rating: Any, comment: Any, ticket: str, body: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    """Good or bad is the yes/no "were you happy?"; a number is CSAT. A changed rating is another utterance. A word of
    another language is no score of ours to give, and is kept as what was said."""
    if isinstance(rating, dict):
        comment = rating.get("comment") or comment
        rating = rating.get("score", rating.get("rating"))
    words = text_of(comment.get("body") if isinstance(comment, dict) else comment)
    if rating is None:
        raise Unreadable("a satisfaction rating without its score")
    # A placeholder writes it out: "Good, I'm satisfied".
    word = _WORD.match(str(rating).strip().lower())
    said = word[0] if word else ""
    content = dict(body) | {"channel": "survey", "solicited": True}
    if said in _GOOD:
        content["scores"] = [{"metric": "hmd", "value": _GOOD[said]}]
    elif said.isdecimal() and 1 <= int(said[:3]) <= 5:
        content["scores"] = [{"metric": "csat", "value": int(said)}]
    elif str(rating).strip().lower() in _NOT_RATED or said in _NOT_RATED - {""}:
        return Ignored(_NOT_YET)
    else:
        given = text_of(rating) or id_of(rating)
        if not given:
            raise Unreadable("a satisfaction rating that is no word")
        content["attributes"] = body["attributes"] | {"rating": given}
        words, said = words or given, digest_of(given)
    if words:
        content["text"] = words
    return [Draft(f"rating/{ticket}/{said}/{digest_of(words or '')}", content)]


# ── small things ─────────────────────────────────────────────────────────────────────────────────


def _same(one: Any, other: Any) -> bool:
    return id_of(one) is not None and id_of(one) == id_of(other)


def _at_once(created: Any, commented: Any) -> bool:
    first, then = (_time(_iso(value) or "") for value in (created, commented))
    return first is not None and then is not None and abs(then - first) <= _AT_ONCE


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


def _url(value: Any) -> str | None:
    text = text_of(value)
    return text if text is None or "://" in text else f"https://{text}"
