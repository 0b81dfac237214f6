"""AfterShip: where a customer's parcel is, whichever of a thousand carriers has it.

Each update is something that happened to a customer: `parcel delivered`, `parcel exception`, `parcel attempt fail`,
by the tag that AfterShip gives the state of a tracking; a new estimate of the day is `parcel delivery date changed`.
Whose parcel it is the tracking must say: an e-mail address among its customers or its notifications, or a custom
field `customer_id`; else it is ignored. `event_id` names the update. `attributes.order_id` and `tracking_number` tell
which parcel.

Signature, as AfterShip's docs say: base64 of HMAC-SHA256 over the body, keyed with the webhook secret, in
`aftership-hmac-sha256`.
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
    time_of,
    unknown_options,
)
from services.ingest.sources import Source
from shared.events.envelope import CUSTOMER_ACTIVITY

NAME = "aftership"
SIGNS = True

answer = no_challenge
reply = plain_reply

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    given = base64_bytes(request.header("aftership-hmac-sha256"))
    check_mac([secret.encode() for secret in source.secrets], request.body, [given])


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    payload = request.object
    event, which, parcel = text_of(payload.get("event")), id_of(payload.get("event_id")), object_in(payload, "msg")
    if not event or not parcel:
        raise Unreadable("neither an update of a tracking, nor another event with its message")
    tag = text_of(parcel.get("tag"))
    if event == "edd_revise":
        activity = "parcel delivery date changed"
    elif event == "tracking_pending_time":
        activity = "parcel pending"
    elif event == "tracking_update" and tag:
        activity = f"parcel {_CAPITAL.sub(' ', tag).lower()}"
    else:
        return Ignored(f"not about where a parcel is: {event}")
    customer = _customer(parcel)
    if not (customer.get("id") or customer.get("email")):
        return Ignored("a parcel of nobody: its tracking names no customer")
    if not which:
        raise Unreadable("an update without its event_id")
    body = {
        "customer": customer,
        "activity": activity,
        "occurred_at": time_of(payload.get("ts")) or iso_time(parcel.get("updated_at")),
        "attributes": _attributes(parcel),
    }
    return [Draft(f"event/{which}", present(body), CUSTOMER_ACTIVITY)]


def _customer(parcel: Mapping[str, Any]) -> dict[str, Any]:
    """Of the newer API versions' `customers` whoever receives it, else what was given for notifications."""
    people = objects_in(parcel, "customers")
    person = next((one for one in people if text_of(one.get("role")) == "receiver"), people[0] if people else {})
    emails = parcel.get("emails")
    notified = [text_of(one) for one in (emails if isinstance(emails, list) else [])]
    return present(
        {
            "id": id_of(object_in(parcel, "custom_fields").get("customer_id")),
            "email": text_of(person.get("email")) or next(filter(None, notified), None),
            "name": text_of(person.get("name")) or text_of(parcel.get("customer_name")),
            "locale": language_of(person.get("language")) or language_of(parcel.get("language")),
        }
    )


def _attributes(parcel: Mapping[str, Any]) -> dict[str, Any]:
    points = objects_in(parcel, "checkpoints")
    last = points[-1] if points else {}
    return present(
        {
            "order_id": id_of(parcel.get("order_id")) or id_of(parcel.get("order_number")),
            "tracking_number": id_of(parcel.get("tracking_number")),
            "carrier": text_of(parcel.get("slug")),
            "tag": text_of(parcel.get("tag")),
            "subtag": text_of(parcel.get("subtag")),
            "message": text_of(last.get("message")) or text_of(parcel.get("subtag_message")),
            "location": text_of(last.get("location")) or text_of(last.get("city")),
            "expected_delivery": text_of(parcel.get("expected_delivery"))
            or text_of(object_in(parcel, "latest_estimated_delivery").get("datetime")),
            "destination": text_of(parcel.get("destination_country_iso3"))
            or text_of(parcel.get("destination_country_region")),
        }
    )
