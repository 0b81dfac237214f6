"""A Facebook page: comments and posts of visitors, reviews (recommendations), messages in Messenger, reactions.

By the field of a change: `feed` and `mention` hold comments and visitors' posts, each a delivery by its id and its
words, so that an edit is an utterance where it says something else; `ratings` holds recommendations, where positive
or negative is the yes or no of `hmd`, and stars where a page still has them. Messenger's events come in `messaging`,
or in `standby` while another app holds the conversation: a message by its `mid`; a filled-in feedback template
(`messaging_feedback`) with the metrics that Meta names there, `csat` 1–5, `nps` 0–10, `ces` 1–7. What was sent
without a word has a sign (🎤 📷 🎬 📄) for its text. Reactions and likes are votes, a pressed menu is a `postback`:
`customer.activity`.

The page's own words, echoes, what is hidden or removed, and receipts are ignored. Handshake and signature: `_meta`.
Shapes: Meta's reference of the page's fields as open-source receivers read them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.ingest.connectors import Draft, Ignored, Unreadable, WebhookRequest, plain_reply
from services.ingest.connectors import _meta as meta
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    iso_time,
    media_sign,
    object_in,
    objects_in,
    present,
    stars_of,
    text_of,
    time_of,
    time_of_ms,
    vote_of,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY
from shared.events.feedback import METRIC_RANGES

NAME = "facebook_page"
SIGNS = True

check = meta.check
verify = meta.verify
answer = meta.answer
reply = plain_reply

_SAID = frozenset({"add", "edit", "edited", "update"})
_RECOMMENDS = {"positive": 1, "negative": 0}
_MEDIA = {"photo": "image", "image": "image", "video": "video", "audio": "audio", "file": "document"}
_ASKED = frozenset({"csat", "nps", "ces"})
_LINKABLE = re.compile(r"[0-9_]{1,100}\Z")
_OURS = "the page's own words"


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    events = list(_events(payload))
    if payload["object"] != "page":
        return Ignored(f"not a page's: {payload['object']}")
    return each_of(events, _read)


def _events(payload: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """The page, the field and the value of each thing that happened."""
    for entry, changes in meta.entries(payload):
        page = id_of(entry.get("id")) or ""
        for change in changes:
            yield page, {"field": change.get("field")}, object_in(change, "value")
        for event in (*objects_in(entry, "messaging"), *objects_in(entry, "standby")):
            yield page, {"field": "messaging"}, event


def _read(event: tuple[str, Mapping[str, Any], Mapping[str, Any]]) -> Sequence[Draft] | Ignored:
    page, about, value = event
    field = text_of(about["field"]) or "a change without a field"
    if field == "messaging":
        return _messaging(page, value)
    if field == "ratings" and text_of(value.get("item")) in {None, "rating"}:
        return _rated(page, value)
    if field in {"feed", "mention", "ratings"}:
        return _posted(page, value)
    return Ignored(f"not feedback: {field}")


# ── on the page ──────────────────────────────────────────────────────────────────────────────────


def _posted(page: str, value: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    item, verb = text_of(value.get("item")) or "post", text_of(value.get("verb")) or "add"
    author = object_in(value, "from")
    who = present(
        {
            "id": id_of(author.get("id")) or id_of(value.get("sender_id")),
            "name": text_of(author.get("name")) or text_of(value.get("sender_name")),
        }
    )
    if who.get("id") == page:
        return Ignored(_OURS)
    if item in {"reaction", "like"}:
        return _vote(page, value, who, verb)
    if verb not in _SAID:
        return Ignored(f"not feedback: {item} {verb}")
    is_comment = item == "comment"
    which = id_of(value.get("comment_id") if is_comment else value.get("post_id"))
    if not which:
        raise Unreadable("a comment or a post without its id")
    shown = "photo" if value.get("photo") or value.get("photo_id") else "video" if value.get("video") else item
    text = text_of(value.get("message")) or media_sign(_MEDIA.get(shown))
    if not text:
        return Ignored(f"without words: {item}")
    post = id_of(value.get("post_id"))
    body = {
        "text": text,
        "channel": "social",
        "solicited": False,
        "customer": who,
        "occurred_at": _time(value.get("created_time")),
        "url": text_of(value.get("permalink_url"))
        or text_of(object_in(value, "post").get("permalink_url"))
        or (f"https://www.facebook.com/{which}" if _LINKABLE.match(which) else None),
        "attributes": present(
            {
                "page_id": page,
                "post_id": post,
                "comment_id": which if is_comment else None,
                "reply_to": parent if (parent := id_of(value.get("parent_id"))) != post else None,
            }
        ),
    }
    return [Draft(f"{'comment' if is_comment else 'post'}/{which}/{digest_of(text)}", present(body))]


def _vote(page: str, value: Mapping[str, Any], who: Mapping[str, Any], verb: str) -> Sequence[Draft] | Ignored:
    about, when = id_of(value.get("comment_id")) or id_of(value.get("post_id")), value.get("created_time")
    if not who or not about:
        return Ignored("a reaction of nobody, or to nothing")
    reaction = text_of(value.get("reaction_type")) or "like"
    body = {
        "customer": who,
        "activity": "vote withdrawn" if verb == "remove" else "vote",
        "occurred_at": _time(when),
        "attributes": present({"reaction": reaction, "vote": vote_of(reaction), "about": about, "page_id": page}),
    }
    delivery = f"reaction/{about}/{who.get('id', '')}/{reaction}/{verb}/{when}"
    return [Draft(delivery, present(body), CUSTOMER_ACTIVITY)]


def _rated(page: str, value: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    verb, kind = text_of(value.get("verb")) or "add", text_of(value.get("recommendation_type")) or ""
    if verb not in _SAID:
        return Ignored(f"not feedback: rating {verb}")
    text, stars = text_of(value.get("review_text")), stars_of(value.get("rating"))
    yes = _RECOMMENDS.get(kind.lower())
    scores = stars + ([{"metric": "hmd", "value": yes}] if yes is not None else [])
    if not (text or scores):
        raise Unreadable("a review with neither words nor a recommendation")
    which, reviewer = id_of(value.get("open_graph_story_id")), id_of(value.get("reviewer_id"))
    if not (which or reviewer):
        raise Unreadable("a review without its id and its author")
    body = {
        "text": text,
        "scores": scores,
        "channel": "review",
        "solicited": False,
        "customer": present({"id": reviewer, "name": text_of(value.get("reviewer_name"))}),
        "occurred_at": _time(value.get("created_time")),
        "url": f"https://www.facebook.com/{which}" if which and _LINKABLE.match(which) else None,
        "attributes": present({"page_id": page, "review_id": which, "recommendation": kind.lower()}),
    }
    return [Draft(f"rating/{which or reviewer}/{digest_of(f'{scores}{text}')}", present(body))]


# ── in Messenger ─────────────────────────────────────────────────────────────────────────────────


def _messaging(page: str, event: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    sender = id_of(object_in(event, "sender").get("id"))
    message = object_in(event, "message")
    if message.get("is_echo") is True or (sender is not None and sender == page):
        return Ignored(_OURS)
    edit, feedback = object_in(event, "message_edit"), object_in(event, "messaging_feedback")
    reaction, postback = object_in(event, "reaction"), object_in(event, "postback")
    if not (message or edit or feedback or reaction or postback):
        kinds = sorted(set(event) - {"sender", "recipient", "timestamp"})
        return Ignored(f"not feedback: {', '.join(map(str, kinds)) or 'nothing'}"[:100])
    if not sender:
        raise Unreadable("a message without its sender")
    base: dict[str, Any] = {"customer": {"id": sender}, "occurred_at": time_of_ms(event.get("timestamp"))}
    if feedback:
        return _answered(page, sender, event, feedback, base)
    if message or edit:
        return _message(page, message or edit, base)
    about = present({"page_id": page, "message_id": id_of((reaction or postback).get("mid"))})
    if reaction:
        told = text_of(reaction.get("reaction")), text_of(reaction.get("emoji"))
        did = "vote withdrawn" if reaction.get("action") == "unreact" else "vote"
        about |= present({"reaction": told[1] or told[0], "vote": vote_of(told[0]) or vote_of(told[1])})
    else:
        did = "postback"
        about |= present({"title": text_of(postback.get("title")), "payload": text_of(postback.get("payload"))})
    name = digest_of(f"{sender} {event.get('timestamp')} {did} {sorted(about.items())}")
    return [Draft(f"event/{name}", present(base | {"activity": did, "attributes": about}), CUSTOMER_ACTIVITY)]


def _message(page: str, message: Mapping[str, Any], base: dict[str, Any]) -> Sequence[Draft] | Ignored:
    if message.get("is_deleted") is True:
        return Ignored("a message taken back: what was said stands")
    which, attachments = id_of(message.get("mid")), objects_in(message, "attachments")
    if not which:
        raise Unreadable("a message without its mid")
    text = text_of(message.get("text"))
    kinds = [_MEDIA.get(str(one.get("type"))) for one in attachments if not object_in(one, "payload").get("sticker_id")]
    signs = [sign for kind in kinds if (sign := media_sign(kind))]
    if not (text or signs):
        return Ignored("a message without words")
    body = base | {
        "text": text or " ".join(signs),
        "channel": "chat",
        "attributes": present(
            {
                "page_id": page,
                "message_id": which,
                "reply_to": id_of(object_in(message, "reply_to").get("mid")),
                "button": text_of(object_in(message, "quick_reply").get("payload")),
                "attachments": len(attachments) or None,
            }
        ),
    }
    return [Draft(f"message/{which}/{digest_of(body['text'])}", present(body))]


def _answered(
    page: str, sender: str, event: Mapping[str, Any], feedback: Mapping[str, Any], base: dict[str, Any]
) -> Sequence[Draft] | Ignored:
    """A feedback template that was filled in: one question a screen, each with a score and maybe words."""
    scores, words, told = [], [], {}
    for screen in objects_in(feedback, "feedback_screens"):
        for name, question in object_in(screen, "questions").items():
            if not isinstance(question, dict):
                continue
            kind, given = text_of(question.get("type")) or "", id_of(question.get("payload"))
            words.append(text_of(object_in(question, "follow_up").get("payload")))
            if kind == "free_form":
                words.append(text_of(question.get("payload")))
            value = int(given) if given and given.isascii() and given.isdecimal() else None
            if kind in _ASKED and value is not None and METRIC_RANGES[kind][0] <= value <= METRIC_RANGES[kind][1]:
                scores.append({"metric": kind, "value": value})
            elif kind != "free_form":
                told[str(name)] = given
    text = "\n\n".join(filter(None, words))
    if not (text or scores):
        raise Unreadable("a feedback template with neither a score nor words")
    body = base | {
        "text": text,
        "scores": scores,
        "channel": "survey",
        "solicited": True,
        "attributes": present({"page_id": page, "answers": present(told)}),
    }
    return [Draft(f"feedback/{sender}/{event.get('timestamp')}/{digest_of(f'{scores}{text}')}", present(body))]


def _time(value: Any) -> str | None:
    return time_of(value) or iso_time(value)
