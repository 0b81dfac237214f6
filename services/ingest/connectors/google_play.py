"""Google Play: reviews, as the Android Publisher API has them and a poller relays them; what becomes of purchases.

Google posts no webhook for a review: somebody's own job asks `reviews.list` and posts what came, as it came: the
answer with its `reviews`, one review, or a list of them; `packageName` beside it names the app. A review is a
delivery by its `reviewId` and by what it says, so the same answer may be posted again and again, and an edited review
is another utterance of the same customer: Google gives a name and no id of who wrote it, so the review's id stands
for them. `text` holds title and body with a tab between them; where it is a translation, `originalText` is what was
said, and the translation stands in `attributes.translation`. `developerComment` is ours, and passed over.

Real-time developer notifications come by a Pub/Sub push: `message.data` in base64. They name a purchase by its token
and no customer. With `options: {purchases: true}` they are `customer.activity` (`subscription canceled` …) of who
holds that purchase, named by the token's digest; else they are ignored. Pub/Sub's own proof is an OpenID token, which
takes a request to Google to check: nothing here does that, so verify by a header or a password that a proxy sets.

Facts: the API's reference (`Review`, `UserComment`) and Google's page of notification types, from memory for the
latter.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

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
    object_in,
    objects_in,
    present,
    review_delivery,
    signs_nothing,
    stars_of,
    text_of,
    time_of,
    time_of_ms,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "google_play"
SIGNS = False

answer = no_challenge
reply = plain_reply
verify = signs_nothing

_SUBSCRIPTION = {
    1: "recovered",
    2: "renewed",
    3: "canceled",
    4: "purchased",
    5: "on hold",
    6: "in grace period",
    7: "restarted",
    9: "deferred",
    10: "paused",
    12: "revoked",
    13: "expired",
    20: "pending purchase canceled",
}
_ONE_TIME = {1: "purchased", 2: "canceled"}
_OF_A_PAGE = {"packageName", "pageInfo", "tokenPagination"}
"""What stands beside the reviews, and alone where there are none."""


def check(source: Source) -> Sequence[str]:
    issues = unknown_options(source, "purchases")
    if not isinstance(source.options.get("purchases", False), bool):
        issues.append("options: purchases must be true or false")
    return issues


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.json
    if isinstance(payload, dict) and "message" in payload:
        return _notified(object_in(payload, "message"), source)
    app, reviews = None, payload
    if isinstance(payload, dict):
        app = text_of(payload.get("packageName"))
        reviews = payload.get("reviews", [payload] if payload.keys() - _OF_A_PAGE else [])
    if reviews == []:
        return Ignored("no reviews")
    return each_of(reviews if isinstance(reviews, list) else [reviews], partial(_review, app))


def _review(app: str | None, review: Any) -> Sequence[Draft] | Ignored:
    if not isinstance(review, dict):
        raise Unreadable("a review that is not an object")
    which = id_of(review.get("reviewId"))
    if not which:
        raise Unreadable("a review without its id")
    comments = objects_in(review, "comments")
    said = next((found for one in comments if (found := object_in(one, "userComment"))), None)
    if said is None:
        if any(object_in(one, "developerComment") for one in comments):
            return Ignored("our own answer")
        raise Unreadable("a review without its userComment")
    shown = text_of(said.get("text"))
    original = text_of(said.get("originalText"))
    title, text = _title_and_text(said.get("originalText") if original else said.get("text"))
    stars = stars_of(said.get("starRating"))
    if not (text or stars):
        raise Unreadable("a review with neither words nor stars")
    body = {
        "text": text,
        "title": title,
        "language": language_of(said.get("reviewerLanguage")),
        "scores": stars,
        "customer": present({"id": which, "name": text_of(review.get("authorName"))}),
        "channel": "review",
        "solicited": False,
        "occurred_at": time_of(object_in(said, "lastModified").get("seconds")),
        "attributes": present(
            {
                "review_id": which,
                "package": text_of(review.get("packageName")) or app,
                "app_version": text_of(said.get("appVersionName")) or id_of(said.get("appVersionCode")),
                "android_version": said.get("androidOsVersion"),
                "device": text_of(object_in(said, "deviceMetadata").get("productName")) or text_of(said.get("device")),
                "translation": shown if original and shown != original else None,
            }
        ),
    }
    return [Draft(review_delivery(which, stars, title, text), present(body))]


def _title_and_text(value: Any) -> tuple[str | None, str | None]:
    """A review of the time when there were titles has a tab behind its own, also where it has none."""
    title, tab, text = value.partition("\t") if isinstance(value, str) else ("", "", "")
    if not tab:
        return None, text_of(title)
    return text_of(title), text_of(text) or text_of(title)


# ── purchases ────────────────────────────────────────────────────────────────────────────────────


def _notified(message: Mapping[str, Any], source: Source) -> Sequence[Draft] | Ignored:
    told = _data(message)
    subscription, one_time = object_in(told, "subscriptionNotification"), object_in(told, "oneTimeProductNotification")
    voided = object_in(told, "voidedPurchaseNotification")
    if not (subscription or one_time or voided):
        return Ignored("a test of Google's" if "testNotification" in told else "not about a purchase")
    if source.options.get("purchases", False) is False:
        return Ignored("a purchase, which names no customer: options: {purchases: true} takes it as activity")
    about = subscription or one_time or voided
    token, which = text_of(about.get("purchaseToken")), id_of(message.get("messageId"))
    if not token or not which:
        raise Unreadable("a purchase without its token, or a message without its id")
    kind = about.get("notificationType")
    body = {
        "customer": {"id": f"purchase/{digest_of(token)}"},
        "activity": _activity(kind, bool(subscription), bool(one_time)),
        "occurred_at": time_of_ms(told.get("eventTimeMillis")),
        "attributes": present(
            {
                "package": text_of(told.get("packageName")),
                "product": text_of(about.get("subscriptionId")) or text_of(about.get("sku")),
                "order_id": text_of(about.get("orderId")),
                "notification_type": kind,
            }
        ),
    }
    return [Draft(f"notification/{which}", present(body), CUSTOMER_ACTIVITY)]


def _activity(kind: Any, is_subscription: bool, is_one_time: bool) -> str:
    kind = kind if type(kind) is int else 0
    if is_subscription:
        return f"subscription {_SUBSCRIPTION.get(kind, 'changed')}"
    return f"product {_ONE_TIME.get(kind, 'changed')}" if is_one_time else "purchase voided"


def _data(message: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        told = msgspec.json.decode(b64decode(message.get("data") or ""))
    except (TypeError, ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise Unreadable("a Pub/Sub message without data") from None
    if not isinstance(told, dict):
        raise Unreadable("a Pub/Sub message without data")
    return told
