"""Freshdesk: the JSON that an automation rule posts, of tickets, of what requesters add to them, and of their ratings.

Two shapes come: *simple* content, `{"freshdesk_webhook": {…}}` with Freshdesk's own names (`ticket_id`,
`ticket_description`, `ticket_latest_public_comment`, `ticket_contact_email` …), and *advanced* content, whose JSON a
person wrote from placeholders: the same names then, where `ticket_` and `contact_` (or `requester_`) may be left out,
and beside them `comment_id`, `author_role`, `satisfaction_rating`, `satisfaction_comment`. The rest goes to
`attributes`.

The ticket's opening words, each later comment and each rating are a delivery. Freshdesk has no placeholder for a
comment's id, so its words name it, and the same words once more on one ticket are not counted again. It writes the
author's name before a comment (`Ana Silva : …`): it is taken off. Any name but the requester's is an agent's as likely
as that of a customer's colleague, and is ignored, unless `author_role` says that it is none's of ours or `options:
{others: true}` that the rule tells of customers only; then it stands in `attributes.author`.
`triggered_event` (`{ticket_action:created}`, `{note_type:private}`, `{status:{from:4,to:5}}`) tells what happened.
A rule that tells of a ticket's new group is `work.moved`: `{group_id:{from:4,to:5}}` in `triggered_event`, with
`ticket_group_name` where it comes, or JSON of one's own with `moved_to`. `occurred_at` tells the same move later from this one.
Smileys are the yes/no "were you happy?", by Freshdesk's words or its API's numbers (103 to -103); a neutral one is
neither, and is kept as what was said.

It signs nothing: its rule can send a header of your own, or a user and a password. Facts: the shapes as recorded by
Zulip and Wechaty, who read them; how a reply is named in `triggered_event` we could not verify, and need not know.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    no_challenge,
    plain_reply,
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
    signs_nothing,
    text_of,
    unknown_options,
)
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source

NAME = "freshdesk"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_UNFILLED = re.compile(r"\s*\{\{[^{}]*\}\}\s*\Z")
"""A placeholder that Freshdesk did not know."""
_EVENT = re.compile(r"\{?\s*(\w+)\s*:\s*\{?\s*([\w-]*)")
_NEW_GROUP = re.compile(r"\bgroup_id\W{1,3}\{[^{}]{0,100}\bto\W{1,3}(\d{1,20})")
_SPOKEN = re.compile(r"([^\n:]{1,100}?) :\s(.*)", re.DOTALL)
_STAFF = frozenset({"agent", "admin", "staff", "system", "bot"})
_CUSTOMERS = frozenset({"requester", "contact", "customer", "end-user", "end user", "user", "cc"})
_ABOUT = frozenset({"status", "priority", "ticket_type", "type", "group_id", "responder_id", "agent", "tag", "due_by"})
"""Events that tell what became of a ticket."""
_HAPPY = {"extremely happy": 1, "very happy": 1, "happy": 1, "103": 1, "102": 1, "101": 1} | {
    "extremely unhappy": 0,
    "very unhappy": 0,
    "unhappy": 0,
    "-103": 0,
    "-102": 0,
    "-101": 0,
}
_PEOPLE = ("contact", "requester")


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "others")
    if not isinstance(source.options.get("others", False), bool):
        issues.append("options: others must be true or false: whether others than the requester are customers, too")
    return issues


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = dict(request.object)
    simple = object_in(payload, "freshdesk_webhook")
    ticket = {**payload, **simple, **object_in(payload, "ticket")}
    for inner in ("freshdesk_webhook", "ticket"):
        if isinstance(payload.get(inner), dict):
            ticket.pop(inner, None)
    fields = HandWritten({name: value for name, value in ticket.items() if not _is_unfilled(value)})
    number = id_of(fields.take("ticket_id", "id"))
    if not number:
        raise Unreadable("a rule's JSON without ticket_id")
    event = fields.take("triggered_event")
    happened, what = _event(event)
    comment = fields.take(*_named("latest_public_comment", "latest_comment", "comment", "comment_body"))
    comment_id, role = fields.take("comment_id"), fields.take("author_role", "comment_author_role")
    rating = _word(fields.take(*_named("satisfaction_rating", "survey_rating", "rating")))
    why = plain_text(fields.take(*_named("satisfaction_comment", "survey_comment", "rating_comment")))
    text = plain_text(fields.take(*_named("description_text", "description")))
    group, group_id = text_of(fields.take("moved_to")), _new_group(event)
    body = _body(fields, number)
    if group or group_id:
        return _regrouped(group, group_id, number, body)
    if rating:
        return _rated(rating, why, number, body)
    if str(role or "").strip().lower() in _STAFF:
        return Ignored("an agent's comment")
    if happened == "note_type" and what == "private":
        return Ignored("a private note")
    if happened in _ABOUT:
        return Ignored(f"not feedback: {happened}")
    if what != "created" and comment is not None:
        others = source.options.get("others") is True or str(role or "").strip().lower() in _CUSTOMERS
        return _commented(comment, id_of(comment_id), text, number, body, simple=bool(simple), others=others)
    if not text:
        return Ignored("a ticket without words")
    return [Draft(f"ticket/{number}", body | {"text": text})]


def _body(fields: HandWritten, number: str) -> dict[str, Any]:
    who = {
        name: fields.take(*(f"{before}{person}_{name}" for before in ("ticket_", "") for person in _PEOPLE))
        for name in ("unique_external_id", "id", "email", "name", "language", "phone", "mobile", "work_phone")
    }
    body = {
        "title": text_of(fields.take(*_named("subject", "title"))),
        "channel": "ticket",
        "solicited": False,
        "language": language_of(who["language"]),
        "customer": present(
            {
                "id": id_of(who["unique_external_id"]) or id_of(who["id"]),
                "email": text_of(who["email"]) or text_of(fields.take("email")),
                "name": text_of(who["name"]) or text_of(fields.take("name")),
            }
        ),
        "url": text_of(fields.take(*_named("url", "portal_url", "public_url", "link"))),
        "occurred_at": iso_time(fields.take("occurred_at")),
    }
    tags = fields.take("ticket_tags", "tags")
    attributes = {
        "ticket_id": number,
        "agent": text_of(fields.take(*_named("agent_name"))),
        "tags": [tag.strip() for tag in tags.split(",") if tag.strip()] if isinstance(tags, str) else tags,
    }
    rest = {name.removeprefix("ticket_"): value for name, value in fields.rest.items()}
    return present(body) | {"attributes": present({**impersonal(rest), **attributes})}


def _regrouped(group: str | None, group_id: str | None, number: str, body: Mapping[str, Any]) -> Sequence[Draft]:
    group, at = group or text_of(body["attributes"].get("group_name")), body.get("occurred_at")
    which = f"{group_id or digest_of(group or '')}/{at}" if at else None
    return moved(which, number, team=group, team_id=group_id, at=at, url=body.get("url"))


def _commented(
    comment: Any,
    comment_id: str | None,
    opening: str | None,
    number: str,
    body: dict[str, Any],
    *,
    simple: bool,
    others: bool,
) -> Sequence[Draft] | Ignored:
    """`others`: whether somebody who is not the requester is a customer, too."""
    said = plain_text(comment) or ""
    spoken = _SPOKEN.match(said)
    who = spoken[1].strip() if spoken else ""
    if _same(who, body["attributes"].get("agent")):
        return Ignored("an agent's comment")
    contact = body.get("customer", {}).get("name")
    is_contact = _same(who, contact)
    if spoken and not is_contact and not others and (simple or contact):
        return Ignored("a comment of somebody who is not the requester (options: others)")
    if spoken and (simple or is_contact):
        said = spoken[2].strip()
        if not is_contact:
            body["attributes"] = body["attributes"] | {"author": who}
    if not said or said == opening:
        # Nobody has commented yet: the placeholder then holds what the ticket began with.
        return [Draft(f"ticket/{number}", body | {"text": opening})] if opening else Ignored("a comment without words")
    which = f"comment/{comment_id}" if comment_id else f"ticket/{number}/{digest_of(said)}"
    return [Draft(which, body | {"text": said})]


def _rated(rating: str, why: str | None, number: str, body: Mapping[str, Any]) -> Sequence[Draft]:
    """A changed rating, or words added to it, is another utterance."""
    happy = _HAPPY.get(rating.lower())
    said = {"scores": [{"metric": "hmd", "value": happy}]} if happy is not None else {}
    text = why or (None if said else rating)
    content = dict(body) | {"channel": "survey", "solicited": True, **said}
    content["attributes"] = body["attributes"] | {"rating": rating}
    which = digest_of("\n".join((rating, why or "")))
    return [Draft(f"rating/{number}/{which}", content | present({"text": text}))]


# ── small things ─────────────────────────────────────────────────────────────────────────────────


def _named(*names: str) -> list[str]:
    return [f"ticket_{name}" for name in names] + list(names)


def _event(value: Any) -> tuple[str, str]:
    found = _EVENT.match(value.strip()) if isinstance(value, str) else None
    return (found[1].lower(), found[2].lower()) if found else ("", "")


def _new_group(value: Any) -> str | None:
    """The id of the ticket's new group, where its group has changed."""
    found = _NEW_GROUP.search(value) if isinstance(value, str) else None
    return found[1] if found else None


def _word(value: Any) -> str | None:
    return text_of(value) or id_of(value)


def _is_unfilled(value: Any) -> bool:
    return isinstance(value, str) and _UNFILLED.match(value) is not None


def _same(one: str, other: Any) -> bool:
    return isinstance(other, str) and one.strip().casefold() == other.strip().casefold()
