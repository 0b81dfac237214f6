"""Canny: posts, comments, votes, and what became of posts.

A post and each comment is an utterance, named by Canny's own id of it; a vote, and taking it back, is something that
a customer did, and names the post in `attributes.work_id`, as what was said on it does. What administrators write and
vote for themselves is ignored, and so are internal comments; a post that one of them entered for a customer has that
customer for its author, and is heard. A post whose status becomes *complete* is `work.shipped`, *closed* is
`work.declined`; whoever has renamed these says `options: {shipped: [launched], declined: ["won't do"]}`.

The customer's id is `userID`, the company's own, else Canny's. Signature, as Canny's docs and others' code have it:
base64 of HMAC-SHA256 over `canny-nonce` alone, keyed with the API key, with the time in milliseconds beside it: **the
body is not signed**. Who can read one webhook can send others for as long as the time is near, so it must come over
TLS.
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
    within_tolerance,
)
from services.ingest.connectors._fields import (
    id_of,
    iso_time,
    object_in,
    objects_in,
    present,
    text_of,
    unknown_options,
    words_in,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY, WORK_DECLINED, WORK_SHIPPED

NAME = "canny"
SIGNS = True

answer = no_challenge
reply = plain_reply

_MILLISECONDS_MAX = 253_402_300_800_000
_SHIPPED, _DECLINED = ("complete",), ("closed",)


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "shipped", "declined")
    for name in ("shipped", "declined"):
        if words_in(source.options.get(name, [])) is None:
            issues.append(f"options: {name} must be a list of statuses, such as [complete]")
    return issues


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    nonce, stamp = request.header("canny-nonce"), request.header("canny-timestamp")
    good = stamp.isascii() and stamp.isdecimal() and int(stamp[:16]) < _MILLISECONDS_MAX and len(stamp) <= 16
    sent = datetime.fromtimestamp(int(stamp) / 1000, UTC) if good else None
    check_mac(
        [secret.encode() for secret in source.secrets],
        nonce.encode("utf-8", "surrogateescape"),
        [base64_bytes(request.header("canny-signature"))],
        fresh=within_tolerance(sent, now) and bool(nonce),
    )


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    kind, said = text_of(payload.get("type")), object_in(payload, "object")
    if kind is None:
        raise Unreadable("an event without its type")
    if kind == "post.created":
        return _posted(said)
    if kind == "comment.created":
        return _commented(said)
    if kind in {"vote.created", "vote.deleted"}:
        return _voted(said, payload, withdrawn=kind == "vote.deleted")
    if kind == "post.status_changed":
        return _status(said, source)
    return Ignored(f"not feedback: {kind}")


def _posted(post: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    if _is_staff(object_in(post, "author")):
        return Ignored("an administrator's post")
    title, details = text_of(post.get("title")), text_of(post.get("details"))
    if not (title or details):
        return Ignored("a post without words")
    body = _body(post, post, object_in(post, "author")) | {"text": details or title}
    if by := _customer(object_in(post, "by")).get("name"):
        body["attributes"] = body["attributes"] | {"entered_by": by}
    return [Draft(f"post/{_id(post)}", body)]


def _commented(comment: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    author, post = object_in(comment, "author"), object_in(comment, "post")
    if comment.get("internal") is True:
        return Ignored("an internal comment")
    if _is_staff(author):
        return Ignored("an administrator's comment")
    text = text_of(comment.get("value"))
    if not text:
        return Ignored("a comment without words")
    return [Draft(f"comment/{_id(comment)}", _body(comment, post, author) | {"text": text})]


def _voted(vote: Mapping[str, Any], payload: Mapping[str, Any], *, withdrawn: bool) -> Sequence[Draft] | Ignored:
    voter, post = object_in(vote, "voter"), object_in(vote, "post")
    if _is_staff(voter):
        return Ignored("an administrator's vote")
    customer = _customer(voter)
    if not (customer.get("id") or customer.get("email")):
        return Ignored("a vote of nobody")
    body = {
        "customer": customer,
        "activity": "vote withdrawn" if withdrawn else "vote",
        "occurred_at": iso_time(payload.get("created")) or iso_time(vote.get("created")),
        "attributes": _where(post) | present({"title": text_of(post.get("title"))}),
    }
    return [Draft(f"{'vote withdrawn' if withdrawn else 'vote'}/{_id(vote)}", present(body), CUSTOMER_ACTIVITY)]


def _status(post: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    status = (text_of(post.get("status")) or "").lower()
    shipped = words_in(source.options.get("shipped", _SHIPPED)) or ()
    declined = words_in(source.options.get("declined", _DECLINED)) or ()
    if status not in {*shipped, *declined}:
        return Ignored(f"neither shipped nor declined: {status or 'no status'}")
    when = iso_time(post.get("changedAt"))
    body = {
        "work_id": _id(post),
        "title": text_of(post.get("title")),
        "url": text_of(post.get("url")),
        "note": text_of(object_in(post, "changeComment").get("value")),
        "occurred_at": when,
        "attributes": _where(post) | {"status": status},
    }
    kind = WORK_SHIPPED if status in shipped else WORK_DECLINED
    return [Draft(f"status/{_id(post)}/{status}/{when or ''}", present(body), kind)]


def _body(said: Mapping[str, Any], post: Mapping[str, Any], author: Mapping[str, Any]) -> dict[str, Any]:
    return present(
        {
            "title": text_of(post.get("title")),
            "channel": "community",
            "solicited": False,
            "customer": _customer(author),
            "occurred_at": iso_time(said.get("created")),
            "url": text_of(post.get("url")),
        }
    ) | {"attributes": _where(post) | present({"board": text_of(object_in(said, "board").get("name"))})}


def _where(post: Mapping[str, Any]) -> dict[str, Any]:
    tags = [text_of(tag.get("name")) for tag in objects_in(post, "tags")]
    return present(
        {
            "work_id": id_of(post.get("id")),
            "score": post.get("score"),
            "status": text_of(post.get("status")),
            "category": text_of(object_in(post, "category").get("name")),
            "tags": [tag for tag in tags if tag],
        }
    )


def _customer(author: Mapping[str, Any]) -> dict[str, Any]:
    return present(
        {
            "id": id_of(author.get("userID")) or id_of(author.get("id")),
            "email": text_of(author.get("email")),
            "name": text_of(author.get("name")),
        }
    )


def _is_staff(author: Mapping[str, Any]) -> bool:
    return author.get("isAdmin") is True


def _id(said: Mapping[str, Any]) -> str:
    found = id_of(said.get("id"))
    if not found:
        raise Unreadable("a post, a comment or a vote without its id")
    return found
