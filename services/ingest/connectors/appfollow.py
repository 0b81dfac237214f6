"""AppFollow: reviews of apps in all stores, as its API has them and as its message for chat tools tells them.

Two shapes come. The API's own (`reviews.list`, one review, or a list of them) names each review: `review_id`,
`rating`, `title`, `content`, `author`, `store`. The message that AppFollow posts to Slack and its like has one
`text`: the app, the store, a line of stars with the country, the title in `*…*`, the words, `_by_ *author* _for
version_`, links. It is read as far as it goes; a message without stars (a new version, a rank) is not feedback.

A review is a delivery by its id (in a message by its permalink) and by what it says: an edited one is another
utterance of the same customer, who is `user_id` where the API has one, else the review itself. `answer_text` is ours,
and passed over. Times come without a zone, so they stand in `attributes.date`.

AppFollow signs nothing that is known of. Facts: the message as Zulip's integration receives it, the API's fields as
its open-source clients read them.
"""

import re
from collections.abc import Sequence
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
    digest_of,
    each_of,
    id_of,
    language_of,
    present,
    review_delivery,
    signs_nothing,
    stars_of,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "appfollow"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_STORES = {"as": "app-store", "itunes": "app-store", "gp": "google-play", "googleplay": "google-play"}
_YES = (1, "1", True)


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.json
    if isinstance(payload, dict) and isinstance(payload.get("text"), str) and "review_id" not in payload:
        return _message(payload["text"])
    reviews = payload
    for name in ("reviews", "list", "review"):
        reviews = reviews.get(name, reviews) if isinstance(reviews, dict) else reviews
    if reviews == []:
        return Ignored("no reviews")
    return each_of(reviews if isinstance(reviews, list) else [reviews], _review)


def _review(review: Any) -> Sequence[Draft] | Ignored:
    which = id_of(review.get("review_id")) if isinstance(review, dict) else None
    if not which:
        raise Unreadable("a review without its review_id")
    if review.get("is_deleted") in _YES:
        return Ignored("a deleted review: what was said was said")
    title, text, stars = text_of(review.get("title")), text_of(review.get("content")), stars_of(review.get("rating"))
    if not (title or text or stars):
        raise Unreadable("a review with neither words nor stars")
    store = text_of(review.get("store")) or ""
    date, clock = text_of(review.get("date")), text_of(review.get("time"))
    body = {
        "text": text or title,
        "title": title,
        "language": language_of(review.get("lang_detect")) or language_of(review.get("locale")),
        "scores": stars,
        "customer": present({"id": id_of(review.get("user_id")) or which, "name": text_of(review.get("author"))}),
        "channel": "review",
        "solicited": False,
        "attributes": present(
            {
                "review_id": which,
                "store": _STORES.get(store.lower(), store),
                "app_id": id_of(review.get("ext_id")),
                "app_version": text_of(review.get("app_version")),
                "country": text_of(review.get("country")),
                "date": " ".join(filter(None, (date, clock))),
            }
        ),
    }
    return [Draft(review_delivery(which, stars, title, text), present(body))]


# ── the message for chat tools ───────────────────────────────────────────────────────────────────

_STARS_LINE = re.compile(r"\s*(★+)(☆*)\s*(.*)")
_TITLE = re.compile(r"\s*\*(.+)\*\s*")
_BY = re.compile(r"_by_ {1,3}\*?([^*]{0,200}?)\*?(?: {1,3}_for {1,3}(.{0,100}?)_)?")
_LINK = re.compile(r"\[Permalink\]\(([^\s()]+)\)|<([^\s<>|]+)\|Permalink>")


def _by(line: str) -> re.Match[str] | None:
    return _BY.fullmatch(line.strip())


def _message(message: str) -> Sequence[Draft] | Ignored:
    lines = message.splitlines()
    place, shown = next(
        ((n, found) for n, line in enumerate(lines) if (found := _STARS_LINE.fullmatch(line))), (0, None)
    )
    if shown is None:
        return Ignored("not a review: a message without stars")
    title, words = None, lines[place + 1 :]
    if words and (found := _TITLE.fullmatch(words[0])):
        title, words = text_of(found[1]), words[1:]
    link = _LINK.search(message)
    end = next((n for n, line in enumerate(words) if _by(line) or _LINK.search(line)), len(words))
    by = _by(words[end]) if end < len(words) else None
    text, stars = text_of("\n".join(words[:end])), stars_of(len(shown[1]))
    which = id_of(link[1] or link[2]) if link else None
    which = which or digest_of(message)
    body = {
        "text": text or title,
        "title": title,
        "scores": stars,
        "customer": present({"id": which, "name": text_of(by[1]) if by else None}),
        "channel": "review",
        "solicited": False,
        "url": (link[1] or link[2]) if link else None,
        "attributes": present(
            {
                "app": text_of(lines[0]) if place > 0 else None,
                "store": text_of(lines[1].partition(",")[0]) if place > 1 else None,
                "app_version": text_of(by[2]) if by else None,
                "country": text_of(shown[3]),
            }
        ),
    }
    return [Draft(review_delivery(which, stars, title, text), present(body))]
