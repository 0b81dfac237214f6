"""HubSpot: tickets, survey responses and what workflows send of them.

Two shapes come. An *app's* webhooks are an array of up to a hundred events, each of one property of one object: of a
ticket its `content` is what was said and its `subject` the title; of a survey response (`0-19`) `hs_content` and
`hs_value`. Events of one object in one array are read together. A *workflow's* "Send a webhook" is one object: with all
`properties` of the record, or with a body that a person put together from HubSpot's own names of properties.

HubSpot tells an app of a new message in a conversation (`conversation.newMessage`) and of a new ticket, and not what
they say: that is only to be had from its API, so these are ignored, with that reason. Subscribe to the ticket's
`content`, or let a workflow send the ticket. What a colleague types into HubSpot (`changeSource` CRM_UI) is ignored.

The same words on the same object are one delivery: `eventId` is not unique, and `attemptNumber` counts sendings.
Scores: `hs_survey_type` NPS is 0 to 10 and CES 1 to 7; HubSpot's CSAT has three faces and sorts every answer into a
group, of which PROMOTER is yes and DETRACTOR is no; other values stand in `attributes`.

Signatures: v3 is base64 of HMAC-SHA256 over method, address, body and `X-HubSpot-Request-Timestamp`; without it v1 is
hex of SHA-256 over secret and body, v2 over secret, method, address and body, and neither signs a time. The address is
ours as HubSpot has it: set the public address. Facts: developers.hubspot.com, Validating requests, Webhooks; its SDKs;
the names of survey properties and the groups of CSAT from public code that reads them.
"""

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from services.ingest.connectors import (
    Draft,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    base64_bytes,
    hex_bytes,
    no_challenge,
    plain_reply,
    within_tolerance,
)
from services.ingest.connectors._fields import (
    digest_of,
    each_of,
    id_of,
    iso_time,
    object_in,
    present,
    signed_time,
    text_of,
    time_of_ms,
    unknown_options,
)
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source

NAME = "hubspot"
SIGNS = True

answer = no_challenge
reply = plain_reply

_WRITTEN_OUT = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$",
    "%27": "'", "%28": "(", "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
_ENCODED = re.compile("|".join(_WRITTEN_OUT), re.IGNORECASE)
"""What HubSpot writes out in an address before it signs; all else stays encoded."""
_TYPES = {"0-5": "ticket", "0-19": "feedback_submission"}
_BY_COLLEAGUES = "CRM_UI"
_NOTICES = {
    "conversation.newMessage": "a notice of a message, whose words HubSpot's API alone has",
    "conversation.creation": "a notice of a conversation, whose words HubSpot's API alone has",
    "ticket.creation": "a notice of a ticket, whose words come as a change of its content",
}
_METRICS = {"NPS": ("nps", 0, 10), "CES": ("ces", 1, 7)}
_HAPPY = {"PROMOTER": 1, "DETRACTOR": 0}
_ENTRIES_MAX = 1_000


def check(source: Source) -> Sequence[str]:
    return unknown_options(source)


def verify(request: WebhookRequest, source: Source, now: datetime) -> None:
    secrets = [secret.encode() for secret in source.secrets]
    good, fresh = False, True
    newest, timestamp = request.header("x-hubspot-signature-v3"), request.header("x-hubspot-request-timestamp")
    given = base64_bytes(newest) if newest else hex_bytes(request.header("x-hubspot-signature"))
    version = "v3" if newest else request.header("x-hubspot-signature-version")
    if version == "v3":
        fresh = within_tolerance(signed_time(timestamp), now)
    for address in _addresses(request.url):
        called = f"{request.method}{address}".encode("utf-8", "surrogateescape")
        for secret in secrets:
            if version == "v3":
                signed = called + request.body + timestamp.encode("utf-8", "surrogateescape")
                expected = hmac.digest(secret, signed, "sha256")
            elif version == "v2":
                expected = sha256(secret + called + request.body).digest()
            else:
                expected = sha256(secret + request.body).digest()
            good |= hmac.compare_digest(expected, given)
    if not (good and fresh):
        raise SignatureInvalid("the signature is not valid")


def parse(request: WebhookRequest, source: Source) -> Sequence[Draft] | Ignored:
    if isinstance(request.json, list):
        return _events([event for event in request.json[:_ENTRIES_MAX] if isinstance(event, dict)])
    return _record(request.object)


def _addresses(url: str) -> Iterator[str]:
    yield url
    yield _ENCODED.sub(lambda found: _WRITTEN_OUT[found[0].upper()], url)


# ── an app's events ──────────────────────────────────────────────────────────────────────────────


def _events(events: Sequence[Mapping[str, Any]]) -> Sequence[Draft] | Ignored:
    """An object that comes without its id keeps no other from being heard."""
    objects: dict[tuple[str, str, str], dict[str, Any]] = {}
    passed: list[Ignored] = []
    for event in events:
        kind, what = _kind(event)
        name = text_of(event.get("propertyName"))
        if what != "propertyChange" or kind not in _TYPES.values() or not name:
            said = text_of(event.get("subscriptionType")) or f"{kind}.{what}"
            passed.append(Ignored(_NOTICES.get(said) or f"not feedback: {said}"))
        elif event.get("changeSource") == _BY_COLLEAGUES:
            passed.append(Ignored("a colleague typed it"))
        else:
            key = (kind, id_of(event.get("portalId")) or "", id_of(event.get("objectId")) or "")
            change = objects.setdefault(key, {"when": event.get("occurredAt"), "source": event.get("changeSource")})
            change[f"property {name}"] = event.get("propertyValue")

    def read(found: tuple[tuple[str, str, str], dict[str, Any]] | Ignored) -> Sequence[Draft] | Ignored:
        if isinstance(found, Ignored):
            return found
        (kind, portal, which), change = found
        if not which:
            raise Unreadable("a change of an object without its id")
        properties = {n.removeprefix("property "): v for n, v in change.items() if n.startswith("property ")}
        body = {"occurred_at": time_of_ms(change["when"])}
        more = {"portal_id": portal, "change_source": text_of(change["source"])}
        draft = _draft(kind, f"{portal}/{which}" if portal else which, which, properties, body, more)
        return draft if isinstance(draft, Ignored) else [draft]

    return each_of([*passed, *objects.items()], read) if events else Ignored("an empty array")


def _kind(event: Mapping[str, Any]) -> tuple[str, str]:
    """What happened to what, in the older words and in those of today."""
    kind, _, what = (text_of(event.get("subscriptionType")) or text_of(event.get("eventType")) or "").partition(".")
    return (_TYPES.get(str(event.get("objectTypeId")), kind) if kind == "object" else kind), what


# ── a workflow's record ──────────────────────────────────────────────────────────────────────────


def _record(payload: Mapping[str, Any]) -> Sequence[Draft] | Ignored:
    given = object_in(payload, "properties")
    properties = {name: _value(value) for name, value in {**payload, **given}.items() if name != "properties"}
    which = next(filter(None, (id_of(properties.get(name)) for name in _IDS)), None)
    is_survey = any(name in properties for name in ("hs_survey_type", "hs_value", "hs_content", "hs_response_group"))
    if not is_survey and not any(name in properties for name in ("content", "subject")):
        return Ignored("not feedback: neither a ticket nor a survey's answer")
    if not which:
        raise Unreadable("a record without its id")
    kind = "feedback_submission" if is_survey else "ticket"
    portal = id_of(payload.get("portalId"))
    found = _draft(kind, f"{portal}/{which}" if portal else which, which, properties, {}, {"portal_id": portal})
    return found if isinstance(found, Ignored) else [found]


def _value(value: Any) -> Any:
    """A property comes with its history, or as it is."""
    return value.get("value") if isinstance(value, dict) else value


_IDS = ("hs_object_id", "objectId", "hs_ticket_id", "ticket_id", "id")


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


def _draft(
    kind: str,
    delivery: str,
    which: str,
    properties: Mapping[str, Any],
    body: Mapping[str, Any],
    more: Mapping[str, Any],
) -> Draft | Ignored:
    customer = {
        "id": id_of(properties.get("hs_contact_id")) or id_of(properties.get("contact_id")),
        "email": text_of(properties.get("email")) or text_of(properties.get("hs_contact_email_rollup")),
        "name": " ".join(filter(None, (text_of(properties.get(n)) for n in ("firstname", "lastname")))) or None,
    }
    if kind == "ticket":
        text = plain_text(properties.get("content"))
        if not text:
            return Ignored("a ticket without words")
        title = text_of(properties.get("subject"))
        said: dict[str, Any] = {"text": text, "title": title, "channel": "ticket", "solicited": False}
        when = _when(properties.get("createdate"))
        named = {name: properties.get(name) for name in ("hs_pipeline", "source_type", "hs_ticket_category")}
        what = f"ticket/{delivery}/{digest_of(text)}"
        attributes = {"ticket_id": which, **named}
    else:
        text, value = plain_text(properties.get("hs_content")), _number(properties.get("hs_value"))
        survey = (text_of(properties.get("hs_survey_type")) or "").upper()
        group = (text_of(properties.get("hs_response_group")) or "").upper()
        scores = _scores(survey, value, group)
        # Where there are neither words nor a score that we know, what was chosen is what was said.
        text = text or (None if scores else group.capitalize() or id_of(value))
        if not text and not scores:
            return Ignored("a survey's answer without words and without a score")
        said = {
            "text": text,
            "title": text_of(properties.get("hs_survey_name")),
            "scores": scores,
            "channel": "survey",
            "solicited": True,
        }
        when = _when(properties.get("hs_submission_timestamp"))
        what = f"survey/{delivery}/{digest_of(f'{text} {scores}')}"
        attributes = {"submission_id": which, "survey_type": survey, "value": value, "response_group": group}
    whole = {"occurred_at": when, **body, **said, "customer": present(customer)}
    return Draft(what, present(whole) | {"attributes": present({**attributes, **more})})


def _scores(survey: str, value: int | float | None, group: str) -> list[dict[str, Any]]:
    if survey in _METRICS and value is not None:
        metric, low, high = _METRICS[survey]
        return [{"metric": metric, "value": value}] if low <= value <= high else []
    if survey == "CSAT" and group in _HAPPY:
        return [{"metric": "hmd", "value": _HAPPY[group]}]
    return []


def _number(value: Any) -> int | float | None:
    """HubSpot writes numbers as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) < 1e9 and value == int(value) else None


def _when(value: Any) -> str | None:
    return time_of_ms(value) or iso_time(value)
