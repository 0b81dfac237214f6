"""App Store: customer reviews, as App Store Connect's API has them and a poller relays them.

Apple posts no webhook for a review: somebody's own job asks `GET /v1/apps/{id}/customerReviews` and posts what came, as
it came: the page with its `data`, one `customerReviews` resource, or a list of them. The same page may be posted again
and again: a review is a delivery by its id and by what it says. An edited review, which keeps its id and for which
Apple gives no time of editing, is thus another utterance, of the same customer; Apple says no more of who wrote it than
a nickname, so the review's id stands for the customer, and a review that rises from one star to five is seen to rise.

The resource is as Apple's API reference has it: `rating` is 1 to 5, `territory` ISO 3166-1 alpha-3, `createdDate`.
Our own answers (`customerReviewResponses`) are ignored. Nothing is signed: verify by a header or a password.
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
    each_of,
    id_of,
    iso_time,
    object_in,
    present,
    review_delivery,
    signs_nothing,
    stars_of,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "app_store"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_TYPE = "customerReviews"
_APP = re.compile(r"/v1/apps/([0-9]{1,20})/")


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.json
    reviews = payload.get("data", payload) if isinstance(payload, dict) else payload
    links = object_in(payload, "links") if isinstance(payload, dict) else {}
    app = _APP.search(text_of(links.get("self")) or text_of(links.get("next")) or "")
    if reviews == []:
        return Ignored("no reviews")
    return each_of(
        reviews if isinstance(reviews, list) else [reviews], lambda one: _review(one, app[1] if app else None)
    )


def _review(resource: Any, app: str | None) -> Sequence[Draft] | Ignored:
    if not isinstance(resource, dict):
        raise Unreadable("a review that is not an object")
    kind = text_of(resource.get("type")) or _TYPE
    if kind != _TYPE:
        return Ignored("our own answer" if kind == "customerReviewResponses" else f"not feedback: {kind}")
    said = object_in(resource, "attributes")
    which = id_of(resource.get("id"))
    if not which:
        raise Unreadable("a review without its id")
    title, text, stars = text_of(said.get("title")), text_of(said.get("body")), stars_of(said.get("rating"))
    if not (title or text or stars):
        raise Unreadable("a review with neither words nor stars")
    body = {
        "text": text or title,
        "title": title,
        "scores": stars,
        "customer": present({"id": which, "name": text_of(said.get("reviewerNickname"))}),
        "channel": "review",
        "solicited": False,
        "occurred_at": iso_time(said.get("createdDate")),
        "attributes": present({"review_id": which, "app_id": app, "territory": text_of(said.get("territory"))}),
    }
    return [Draft(review_delivery(which, stars, title, text), present(body))]
