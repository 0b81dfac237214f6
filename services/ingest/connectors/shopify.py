"""Shopify: what customers order, what is sent to them, and what they cancel.

Each webhook about a customer is something that happened to them, named by its topic (`orders/create`,
`orders/cancelled`, `fulfillments/create`). What it is about the signed body says (`admin_graphql_api_id`); the topic
stands in a header that nobody signs, and is believed only of its own kind: `orders/…` of an order. Carts, products
and refunds are of nobody, and ignored. Shopify's requests about personal data (`customers/redact` …) are ignored with
that reason: a person must act on them.

The customer's id is Shopify's number of them. A delivery is the thing, the topic, and when it was last changed.
Signature, as Shopify's docs and convoy's test have it: base64 of HMAC-SHA256 over the body, keyed with the app's
client secret, or with the key that *Settings → Notifications → Webhooks* shows.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
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
)
from services.ingest.connectors._fields import (
    id_of,
    iso_time,
    language_of,
    object_in,
    objects_in,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "shopify"
SIGNS = True

answer = no_challenge
reply = plain_reply

_GID = re.compile(r"gid://shopify/([A-Za-z]{1,40})/")
_TOPIC = re.compile(r"([a-z_]{1,40})/[a-z_]{1,40}\Z")
_ITEMS_MAX = 50


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = base64_bytes(request.header("x-shopify-hmac-sha256"))
    check_mac([secret.encode() for secret in source.secrets], request.body, [given])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    thing = request.object
    if "shop_domain" in thing and "shop_id" in thing:
        return Ignored("a request about personal data: a person must act on it")
    gid = _GID.match(text_of(thing.get("admin_graphql_api_id")) or "")
    kind = gid[1].lower() if gid else _kind(thing)
    customer = _customer(kind, thing)
    if not customer:
        return Ignored(f"of nobody: {kind}")
    which = id_of(thing.get("id")) or id_of(thing.get("token"))
    if not which:
        raise Unreadable("an order, or another thing of Shopify, without its id")
    activity = _activity(request.header("x-shopify-topic"), kind)
    changed = text_of(thing.get("updated_at")) or text_of(thing.get("created_at"))
    body = {
        "customer": customer,
        "activity": activity,
        "occurred_at": iso_time(changed),
        "attributes": _attributes(thing),
    }
    return [Draft(f"{activity}/{which}/{changed or ''}", present(body), CUSTOMER_ACTIVITY)]


def _kind(thing: Mapping[str, Any]) -> str:
    """Checkouts and carts have no global id."""
    return "checkout" if "abandoned_checkout_url" in thing else "cart" if "token" in thing else "thing"


def _activity(topic: str, kind: str) -> str:
    found = _TOPIC.match(topic.strip())
    return topic.strip() if found and found[1].rstrip("s") == kind else kind


def _customer(kind: str, thing: Mapping[str, Any]) -> dict[str, Any]:
    person = thing if kind == "customer" else object_in(thing, "customer")
    who = present(
        {
            "id": id_of(person.get("id")),
            "email": text_of(thing.get("email")) or text_of(person.get("email")) or text_of(thing.get("contact_email")),
        }
    )
    names = (text_of(person.get("first_name")), text_of(person.get("last_name")))
    named = present({"name": " ".join(filter(None, names)), "locale": language_of(thing.get("customer_locale"))})
    return who | named if who else {}


def _attributes(thing: Mapping[str, Any]) -> dict[str, Any]:
    items = [
        present(
            {"title": text_of(item.get("title")), "sku": text_of(item.get("sku")), "quantity": item.get("quantity")}
        )
        for item in objects_in(thing, "line_items")[:_ITEMS_MAX]
    ]
    told = (
        *("name", "order_id", "total_price", "currency", "financial_status", "fulfillment_status", "cancelled_at"),
        *("cancel_reason", "note", "tags", "status", "shipment_status", "tracking_company", "tracking_number"),
        *("orders_count", "total_spent", "state"),
    )
    return present({name: thing.get(name) for name in told} | {"object_id": id_of(thing.get("id")), "items": items})
