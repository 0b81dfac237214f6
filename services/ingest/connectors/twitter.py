"""X, once Twitter: posts that mention us or answer us, direct messages, likes.

Two APIs post here, and both are read: the Account Activity API (`for_user_id`, `tweet_create_events`,
`direct_message_events`, `favorite_events`) and its successor, the X Activity API (`data` with an `event_type` such as
`post.mention.create` or `dm.received`). A post is a delivery by its id, whichever of them tells of it, and so is a
direct message. What we post or send ourselves, and posts of others that are only passed on, are ignored. A like is a
vote, a `customer.activity`. Encrypted messages (`chat.…`) cannot be read, and are ignored.

X sends `crc_token` with a GET once an hour and wants its HMAC back. That is the same HMAC with the same key that
signs posts, so whoever asks could have anything signed: only what may be a token, and cannot be a body of ours, is
answered, and only where the secret is X's (`verify: signature`).

Signature: `x-twitter-webhooks-signature`, `sha256=` and the base64 of HMAC-SHA256 over the body, keyed with the app's
consumer secret. As X's documents say; the shape of the newer API's direct messages could not be looked up, so both
that its older shape has and `text`, `sender_id` are taken.
"""

import hmac
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.ingest.connectors import (
    Draft,
    Ignored,
    Reply,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    check_mac,
    plain_reply,
)
from services.ingest.connectors._fields import (
    each_of,
    id_of,
    iso_time,
    language_of,
    media_sign,
    object_in,
    objects_in,
    present,
    text_of,
    time_of_ms,
    unknown_options,
)
from services.ingest.connectors._html import unescaped
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "twitter"
SIGNS = True

reply = plain_reply

_PREFIX = "sha256="
_TOKEN = re.compile(r"[A-Za-z0-9+/=_.~-]{1,256}\Z")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OLD_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d:\d\d:\d\d) ([+-]\d{4}) (\d{4})\Z", re.ASCII)
_NO_LANGUAGE = re.compile(r"(und|zxx|art|q..)\Z")
_HANDLE = re.compile(r"[A-Za-z0-9_]{1,20}\Z")
_OURS = "our own words"


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = request.header("x-twitter-webhooks-signature")
    signature = base64_bytes(given.removeprefix(_PREFIX)) if given.startswith(_PREFIX) else b""
    check_mac([secret.encode() for secret in source.secrets], request.body, [signature])


def answer(request: WebhookRequest, source: Source, signed: bool) -> Reply | None:
    token = request.query.get("crc_token", "")
    if request.method != "GET" or source.verify != "signature" or not source.secrets or not _is_token(token):
        return None
    mac = b64encode(hmac.digest(source.secrets[0].encode(), token.encode(), "sha256")).decode()
    return Reply(200, json.dumps({"response_token": _PREFIX + mac}).encode())


def _is_token(text: str) -> bool:
    """A number or `null` is JSON as well, and so a body that could be posted with the answer for its signature."""
    if not _TOKEN.match(text):
        return False
    try:
        _ = WebhookRequest("POST", "", {}, text.encode()).json
    except Unreadable:
        return True
    return False


class _Event(NamedTuple):
    kind: str
    us: str | None
    said: Mapping[str, Any]
    people: Mapping[str, Mapping[str, Any]]
    """Who they are, by their ids."""


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    return each_of(list(_events(request.object)), _read)


def _events(payload: Mapping[str, Any]) -> Iterator[_Event]:
    """Raises `Unreadable`."""
    data = object_in(payload, "data")
    if "event_type" in data:
        yield from _newer(data)
        return
    us = id_of(payload.get("for_user_id"))
    if us is None:
        raise Unreadable("neither an event_type nor a for_user_id")
    known = object_in(payload, "users")
    people = {str(name): one for name, one in known.items() if isinstance(one, dict)}
    lists = [name for name, found in payload.items() if isinstance(found, list)]
    for name in lists:
        for said in objects_in(payload, name):
            yield _Event(name, us, said, people)
    if not lists:
        yield _Event(next((name for name in payload if name not in {"for_user_id", "users"}), "nothing"), us, {}, {})


def _newer(data: Mapping[str, Any]) -> Iterator[_Event]:
    kind, payload = text_of(data.get("event_type")) or "", object_in(data, "payload")
    us, included = id_of(object_in(data, "filter").get("user_id")), object_in(data, "includes")
    people = {one_id: one for one in objects_in(included, "users") if (one_id := id_of(one.get("id")))}
    older = objects_in(payload, "direct_message_events")
    if older:
        yield from (_Event("direct_message_events", us, said, people) for said in older)
    elif kind.startswith("post.") and kind.endswith(".create"):
        yield _Event("tweet_create_events", us, payload, people)
    elif kind == "dm.received":
        yield _Event("direct_message_events", us, payload, people)
    else:
        yield _Event(kind or "nothing", us, payload, people)


def _read(event: _Event) -> Sequence[Draft] | Ignored:
    match event.kind:
        case "tweet_create_events":
            return _post(event)
        case "direct_message_events":
            return _message(event)
        case "favorite_events":
            return _like(event)
        case _:
            return Ignored(f"not feedback: {event.kind}"[:100])


def _post(event: _Event) -> Sequence[Draft] | Ignored:
    said = event.said
    author = id_of(said.get("author_id")) or _user_id(object_in(said, "user"))
    which = id_of(said.get("id_str")) or id_of(said.get("id"))
    if not which or not author:
        raise Unreadable("a post without its id or its author")
    if author == event.us:
        return Ignored(_OURS)
    passed_on = any(one.get("type") == "retweeted" for one in objects_in(said, "referenced_tweets"))
    if passed_on or object_in(said, "retweeted_status"):
        return Ignored("a post that is passed on: its words are somebody else's")
    long = text_of(object_in(said, "extended_tweet").get("full_text")) or text_of(
        object_in(said, "note_tweet").get("text")
    )
    text = text_of(unescaped(long or text_of(said.get("full_text")) or text_of(said.get("text")) or ""))
    if not text:
        return Ignored("a post without words")
    person = object_in(said, "user") or event.people.get(author, {})
    handle = text_of(person.get("screen_name")) or text_of(person.get("username"))
    language = text_of(said.get("lang")) or ""
    answers = [one for one in objects_in(said, "referenced_tweets") if one.get("type") == "replied_to"]
    body = {
        "text": text,
        "language": None if _NO_LANGUAGE.match(language) else language_of(language),
        "channel": "social",
        "solicited": False,
        "customer": present({"id": author, "name": text_of(person.get("name")) or handle}),
        "occurred_at": _time(said.get("created_at")),
        "url": f"https://x.com/{handle if handle and _HANDLE.match(handle) else 'i'}/status/{which}",
        "attributes": present(
            {
                "post_id": which,
                "handle": handle,
                "reply_to": id_of(said.get("in_reply_to_status_id_str"))
                or id_of(said.get("in_reply_to_tweet_id"))
                or next((id_of(one.get("id")) for one in answers), None),
                "conversation_id": id_of(said.get("conversation_id")),
            }
        ),
    }
    return [Draft(f"post/{which}", present(body))]


def _message(event: _Event) -> Sequence[Draft] | Ignored:
    said, inner = event.said, object_in(event.said, "message_create")
    data = object_in(inner, "message_data") or said
    sender, which = id_of(inner.get("sender_id")) or id_of(said.get("sender_id")), id_of(said.get("id"))
    if not which or not sender:
        raise Unreadable("a direct message without its id or its sender")
    if sender == event.us:
        return Ignored(_OURS)
    kind = text_of(object_in(object_in(data, "attachment"), "media").get("type")) or ""
    media = media_sign("image" if kind == "photo" else "video" if kind else None)
    text = text_of(unescaped(text_of(data.get("text")) or "")) or media
    if not text:
        return Ignored("a message without words")
    person = event.people.get(sender, {})
    handle = text_of(person.get("screen_name")) or text_of(person.get("username"))
    body = {
        "text": text,
        "channel": "chat",
        "customer": present({"id": sender, "name": text_of(person.get("name")) or handle}),
        "occurred_at": time_of_ms(said.get("created_timestamp")) or _time(said.get("created_at")),
        "attributes": present({"message_id": which, "handle": handle}),
    }
    return [Draft(f"message/{which}", present(body))]


def _like(event: _Event) -> Sequence[Draft] | Ignored:
    liked, person = object_in(event.said, "favorited_status"), object_in(event.said, "user")
    who, about = _user_id(person), id_of(liked.get("id_str")) or id_of(liked.get("id"))
    which = id_of(event.said.get("id"))
    if not (who and about and which):
        raise Unreadable("a like without its id, or of nobody")
    if who == event.us:
        return Ignored("our own like")
    body = {
        "customer": present({"id": who, "name": text_of(person.get("name"))}),
        "activity": "vote",
        "occurred_at": time_of_ms(event.said.get("timestamp_ms")) or _time(event.said.get("created_at")),
        "attributes": {"reaction": "like", "vote": "up", "post_id": about},
    }
    return [Draft(f"like/{which}", present(body), CUSTOMER_ACTIVITY)]


def _user_id(user: Mapping[str, Any]) -> str | None:
    return id_of(user.get("id_str")) or id_of(user.get("id"))


def _time(value: Any) -> str | None:
    """The newer API's ISO 8601, or the older one's `Tue Sep 15 09:00:00 +0000 2026`."""
    found = _OLD_TIME.match(value) if isinstance(value, str) else None
    if found is None:
        return iso_time(value)
    month, day, clock, zone, year = found.groups()
    number = _MONTHS.index(month) + 1 if month in _MONTHS else 0
    return iso_time(f"{year}-{number:02}-{day}T{clock}{zone}")
