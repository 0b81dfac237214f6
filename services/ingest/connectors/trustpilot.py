"""Trustpilot: service reviews and product reviews, when they are written and when they are changed.

A webhook holds `events`, each with its `eventName` and the review in `eventData`. A review is a delivery by its id and
by what it says: `…-updated` with the same words and stars is no other, and an edited one is. `…-deleted` is ignored:
what was said was said. `consumer.id` is the customer; Trustpilot withholds their address, so `referenceId` (the order
that the invitation named) in `attributes.reference_id` says which of our customers it was, if anything does.

The shape of service reviews is as Trustpilot's help page shows it; that of product reviews, which have `content` for
their words and a `product`, as open-source receivers read it. Trustpilot signs nothing that is known of; its
subscription is an address: verify by a password in it (`https://user:password@…`) if it takes one, or by a proxy.
"""

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
    language_of,
    object_in,
    objects_in,
    present,
    review_delivery,
    signs_nothing,
    stars_of,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source

NAME = "trustpilot"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_SAID = {
    "service-review-created": "service",
    "service-review-updated": "service",
    "product-review-created": "product",
    "product-review-updated": "product",
}


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    events = request.object.get("events")
    if not isinstance(events, list):
        raise Unreadable("no list of events")
    return each_of(events, _event)


def _event(event: Any) -> Sequence[Draft] | Ignored:
    name = text_of(event.get("eventName")) if isinstance(event, dict) else None
    if name is None:
        raise Unreadable("an event without its name")
    kind = _SAID.get(name)
    if kind is None:
        return Ignored(
            "a deleted review: what was said was said" if name.endswith("-deleted") else f"not feedback: {name}"
        )
    review = object_in(event, "eventData")
    which = id_of(review.get("id"))
    if not which:
        raise Unreadable("a review without its id")
    title, stars = text_of(review.get("title")), stars_of(review.get("stars"))
    text = text_of(review.get("text")) or text_of(review.get("content"))
    if not (title or text or stars):
        raise Unreadable("a review with neither words nor stars")
    consumer, product = object_in(review, "consumer"), object_in(review, "product")
    name_of_consumer = text_of(consumer.get("name")) or text_of(consumer.get("displayName"))
    body = {
        "text": text or title,
        "title": title,
        "language": language_of(review.get("language")),
        "scores": stars,
        "customer": present(
            {"id": id_of(consumer.get("id")), "email": text_of(consumer.get("email")), "name": name_of_consumer}
        ),
        "channel": "review",
        "occurred_at": iso_time(review.get("createdAt")),
        "url": f"https://www.trustpilot.com/reviews/{which}" if kind == "service" and which.isalnum() else None,
        "attributes": present(
            {
                "review_id": which,
                "review_of": kind,
                "reference_id": id_of(review.get("referenceId")),
                "location_id": id_of(review.get("locationId")),
                "product": text_of(product.get("sku")) or text_of(product.get("name")) or id_of(product.get("id")),
                "verified": review.get("isVerified"),
                "tags": [tag for one in objects_in(review, "tags") if (tag := text_of(one.get("value")))],
            }
        ),
    }
    return [Draft(review_delivery(which, stars, title, text), present(body))]
