"""Stripe: what customers buy, pay, and give up; and what they say when they give it up.

Each event about a customer is something that they did, named as Stripe names it (`invoice.paid`, `charge.refunded`);
which of them come, the endpoint in Stripe says. An event of nobody (a refund, a dispute, a product) is ignored. A
subscription that was canceled carries what its customer wrote and chose (`cancellation_details`): that is feedback
besides, once, whether it comes with the update that cancels at the period's end or with the end.

The customer's id is Stripe's own (`cus_…`) in every event, for no other stands in all of them. Test mode says
`attributes.livemode: false`. Signature, from Stripe's library: `t=` and one or more `v1=`, each the hex of
HMAC-SHA256 over `t.body`, keyed with the whole `whsec_…`; not older than five minutes.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
    within_tolerance,
)
from services.ingest.connectors._fields import (
    digest_of,
    id_of,
    impersonal,
    object_in,
    objects_in,
    present,
    text_of,
    time_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "stripe"
SIGNS = True

answer = no_challenge
reply = plain_reply

_TIMESTAMP = re.compile(r"[0-9]{1,11}\Z")
_AMOUNTS = ("amount_paid", "amount_total", "amount_due", "amount", "amount_refunded")


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    parts = [part.partition("=") for part in request.header("stripe-signature").split(",")]
    stamp = next((value for name, _, value in parts if name.strip() == "t"), "")
    sent = datetime.fromtimestamp(int(stamp), UTC) if _TIMESTAMP.match(stamp) else None
    check_mac(
        [secret.encode() for secret in source.secrets],
        f"{stamp}.".encode("utf-8", "surrogateescape") + request.body,
        [hex_bytes(value) for name, _, value in parts if name.strip() == "v1"],
        fresh=within_tolerance(sent, now),
    )


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    event = request.object
    kind, which, thing = (
        text_of(event.get("type")),
        id_of(event.get("id")),
        object_in(object_in(event, "data"), "object"),
    )
    if event.get("object") != "event" or not kind or not which:
        raise Unreadable("not an event of Stripe")
    customer = _customer(thing)
    if not customer:
        return Ignored(f"an event of nobody: {kind}")
    body = {
        "customer": customer,
        "activity": kind,
        "occurred_at": time_of(event.get("created")),
        "attributes": _attributes(event, thing),
    }
    drafts = [Draft(f"event/{which}", present(body), CUSTOMER_ACTIVITY)]
    if kind in {"customer.subscription.updated", "customer.subscription.deleted"}:
        drafts += _said(event, thing, customer)
    return drafts


def _said(event: Mapping[str, Any], subscription: Mapping[str, Any], customer: Mapping[str, Any]) -> list[Draft]:
    details, which = object_in(subscription, "cancellation_details"), id_of(subscription.get("id"))
    words, chosen = text_of(details.get("comment")), text_of(details.get("feedback"))
    if not which or not (words or chosen):
        return []
    body = {
        # What was chosen are Stripe's words, and all there is where nothing was written.
        "text": words or f"Canceled: {(chosen or '').replace('_', ' ')}",
        "title": "Canceled a subscription",
        "channel": "in_app",
        "solicited": True,
        "customer": customer,
        "occurred_at": time_of(subscription.get("canceled_at")) or time_of(event.get("created")),
        "attributes": present({"cancellation_feedback": chosen, "subscription_id": which, "plan": _plan(subscription)}),
    }
    return [Draft(f"cancellation/{which}/{digest_of(f'{words} {chosen}')}", present(body))]


def _customer(thing: Mapping[str, Any]) -> dict[str, Any]:
    """Ids, or whole where an endpoint expands them."""
    given = thing.get("customer")
    whole: Mapping[str, Any] = given if isinstance(given, dict) else thing if thing.get("object") == "customer" else {}
    details, billing = object_in(thing, "customer_details"), object_in(thing, "billing_details")
    emails = (
        whole.get("email"),
        thing.get("customer_email"),
        details.get("email"),
        billing.get("email"),
        thing.get("receipt_email"),
    )
    names = (whole.get("name"), thing.get("customer_name"), details.get("name"), billing.get("name"))
    who = present(
        {
            "id": id_of(given) or id_of(whole.get("id")),
            "email": next(filter(None, map(text_of, emails)), None),
        }
    )
    name = next(filter(None, map(text_of, names)), None)
    return {**who, "name": name} if who and name else who


def _attributes(event: Mapping[str, Any], thing: Mapping[str, Any]) -> dict[str, Any]:
    amount = next((thing[name] for name in _AMOUNTS if isinstance(thing.get(name), int)), None)
    reason = text_of(thing.get("billing_reason")) or text_of(thing.get("reason")) or text_of(thing.get("failure_code"))
    metadata = impersonal(object_in(thing, "metadata"))
    return present(
        {
            "object": text_of(thing.get("object")),
            "object_id": id_of(thing.get("id")),
            "status": text_of(thing.get("status")),
            "amount": amount,
            "currency": text_of(thing.get("currency")),
            "plan": _plan(thing),
            "reason": reason,
            "cancel_at_period_end": thing.get("cancel_at_period_end") is True or None,
            "metadata": metadata,
            "livemode": False if event.get("livemode") is False else None,
        }
    )


def _plan(thing: Mapping[str, Any]) -> str | None:
    items = objects_in(object_in(thing, "items"), "data")
    price = object_in(items[0], "price") if items else {}
    return text_of(price.get("nickname")) or text_of(price.get("lookup_key")) or text_of(price.get("id"))
