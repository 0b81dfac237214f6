"""Discourse: posts in a community, and likes.

A post is an utterance, named by its number in the forum; a like is something that a customer did. What staff writes
(`staff`, `moderator`, `admin`), what the system writes, small actions, whispers and posts that wait to be approved
are ignored, and so are private messages unless `options: {private: true}` says that customers write to the company in
them. Edits are ignored: what was first said stands. Which event it is, Discourse says in a header that nobody signs;
the body tells a first version from a later one, and is believed.

`options: {url: "https://forum.example.com", staff: [ada]}`: where the forum is, for links, and people whose words are
no customer's. Signature, from its source (app/jobs/regular/emit_web_hook_event.rb): `sha256=` and the hex of
HMAC-SHA256 over the body, which is JSON whatever its content type says.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    Unreadable,
    WebhookRequest,
    check_mac,
    hex_bytes,
    no_challenge,
    plain_reply,
)
from services.ingest.connectors._fields import (
    id_of,
    iso_time,
    number_of,
    object_in,
    present,
    text_of,
    unknown_options,
    words_in,
)
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "discourse"
SIGNS = True

answer = no_challenge
reply = plain_reply

_PREFIX = "sha256="
_REGULAR = 1
_CREATED = frozenset({"", "post_created"})


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "url", "staff", "private")
    url = source.options.get("url")
    if url is not None and not (isinstance(url, str) and url.startswith(("https://", "http://"))):
        issues.append("options: url must be the address of the forum, such as https://forum.example.com")
    if words_in(source.options.get("staff", [])) is None:
        issues.append("options: staff must be a list of user names")
    if not isinstance(source.options.get("private", False), bool):
        issues.append("options: private must be true or false")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-discourse-event-signature")
    signature = hex_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload, event = request.object, request.header("x-discourse-event").strip()
    if "ping" in payload:
        return Ignored("a ping")
    if post := object_in(payload, "post"):
        if event not in _CREATED:
            return Ignored(f"not feedback: {event}")
        return _posted(post, source)
    if like := object_in(payload, "like"):
        return _liked(like, source)
    if not payload or "post" in payload:
        raise Unreadable("an event without what it is about")
    return Ignored(f"not feedback: {event or next(iter(payload))}")


def _posted(post: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    if (number_of(post.get("post_type")) or _REGULAR) != _REGULAR:
        return Ignored("a notice, or a whisper")
    if (number_of(post.get("version")) or 1) > 1:
        return Ignored("an edit: what was first said stands")
    if any(post.get(name) is True for name in ("staff", "moderator", "admin")) or _is_ours(post, source):
        return Ignored("a colleague's post")
    if post.get("topic_archetype") == "private_message" and source.options.get("private") is not True:
        return Ignored("a private message")
    text = text_of(post.get("raw")) or plain_text(post.get("cooked"))
    if not text:
        return Ignored("a post without words")
    which = id_of(post.get("id"))
    if not which:
        raise Unreadable("a post without its id")
    body = {
        "text": text,
        "title": text_of(post.get("topic_title")),
        "channel": "community",
        "solicited": False,
        "customer": _customer(post, "user_id"),
        "occurred_at": iso_time(post.get("created_at")),
        "url": _link(post, source),
        "attributes": _where(post),
    }
    return [Draft(f"post/{which}", present(body))]


def _liked(like: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    post, user = object_in(like, "post"), object_in(like, "user")
    customer, which = _customer(user, "id"), id_of(post.get("id"))
    if any(user.get(name) is True for name in ("moderator", "admin")) or _is_ours(user, source):
        return Ignored("a colleague's like")
    if not which or not customer.get("id"):
        return Ignored("a like of nobody, or of nothing")
    body = {
        "customer": customer,
        "activity": "like",
        "attributes": _where(post) | present({"post_id": which, "url": _link(post, source)}),
    }
    return [Draft(f"like/{which}/{customer['id']}", body, CUSTOMER_ACTIVITY)]


def _is_ours(who: Mapping[str, Any], source: Source) -> bool:
    """The system's own users have negative numbers."""
    number = number_of(who.get("user_id", who.get("id")))
    name = (text_of(who.get("username")) or "").lower()
    return (number is not None and number < 0) or name in (words_in(source.options.get("staff", [])) or ())


def _customer(who: Mapping[str, Any], name: str) -> dict[str, Any]:
    return present({"id": id_of(who.get(name)), "name": text_of(who.get("name")) or text_of(who.get("username"))})


def _where(post: Mapping[str, Any]) -> dict[str, Any]:
    return present(
        {
            "topic_id": id_of(post.get("topic_id")),
            "post_number": post.get("post_number"),
            "category": text_of(post.get("category_slug")),
            "username": text_of(post.get("username")),
            "reply_to_post_number": post.get("reply_to_post_number"),
        }
    )


def _link(post: Mapping[str, Any], source: Source) -> str | None:
    base, topic, number = source.options.get("url"), id_of(post.get("topic_id")), id_of(post.get("post_number"))
    if not (isinstance(base, str) and topic and number):
        return None
    return f"{base.rstrip('/')}/t/{id_of(post.get('topic_slug')) or '-'}/{topic}/{number}"
