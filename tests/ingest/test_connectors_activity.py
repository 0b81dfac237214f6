"""What customers do, as shops, carriers, payments and the company's own code tell it: deliveries, options, traps."""

import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.ingest.connectors import (
    Connector,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    aftership,
    posthog,
    rudderstack,
    segment,
    sentry,
    shopify,
    stripe,
)
from tests.ingest.recorded import case, outcomes, recorded, source_of, verify_vectors

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def request(body: bytes, **headers: str) -> WebhookRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return WebhookRequest("POST", "https://feedback.example.com/x", names, body)


def judged(connector: Any, payload: Any, **options: Any) -> Any:
    return connector.parse(request(json.dumps(payload).encode()), source_of(connector, **options))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stripe/invoice_paid", "stripe/invoice_paid_signed"),
        ("segment/track", "segment/track_again"),
        ("segment/track", "segment/track_signed"),
        ("segment/batch", "segment/batch_of_rudder"),
        ("posthog/survey_sent", "posthog/survey_sent_again"),
        ("sentry/feedback", "sentry/feedback_signed"),
        ("aftership/exception", "aftership/exception_signed"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


def test_two_ids_that_begin_alike_stay_two() -> None:
    calls = [
        {"type": "track", "event": "Exported", "userId": "u" * 100 + end, "messageId": "x" * 100 + end} for end in "12"
    ]
    found = judged(segment, calls)
    assert len({draft.delivery for draft in found}) == len({draft.body["customer"]["id"] for draft in found}) == 2


def test_the_address_of_whom_something_was_done_to_is_not_that_of_who_did_it() -> None:
    call = {"type": "track", "event": "Invited teammate", "properties": {"email": "new@example.com"}, "messageId": "1"}
    (draft,) = judged(segment, {**call, "userId": "u1"})
    assert draft.body == {"customer": {"id": "u1"}, "activity": "Invited teammate"}
    assert judged(segment, call) == Ignored("an event of nobody known")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stripe/subscription_deleted", "stripe/subscription_updated_to_cancel"),
        ("shopify/order_created", "shopify/order_cancelled"),
        ("shopify/order_created", "shopify/fulfillment"),
        ("aftership/exception", "aftership/out_for_delivery"),
        ("posthog/survey_sent", "posthog/survey_dismissed_with_an_answer"),
    ],
)
def test_what_is_done_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


def test_feedback_of_sentry_is_one_whichever_webhook_brings_it() -> None:
    assert recorded("sentry/feedback")[0]["delivery"] == recorded("sentry/feedback_as_an_issue")[0]["delivery"]


def test_why_somebody_canceled_is_heard_once() -> None:
    """It comes with the update that cancels, and again with the end, months later."""
    update, end = recorded("stripe/subscription_updated_to_cancel"), recorded("stripe/subscription_deleted")
    assert update[1] == end[1]
    assert update[0] != end[0]


@pytest.mark.parametrize(
    ("connector", "options", "told"),
    [
        (stripe, {}, None),
        (stripe, {"mode": "live"}, "there is: none"),
        (segment, {"batches": True}, None),
        (segment, {"batches": "yes"}, "batches"),
        (rudderstack, {"batches": True}, "there is: none"),
        (posthog, {"language": "zh_CN", "fields": {"Why?": "text"}}, None),
        (posthog, {"fields": {"Why?": 5}}, "fields"),
        (sentry, {"project": 1}, "there is: none"),
        (shopify, {"shop": "acme"}, "there is: none"),
        (aftership, {"carrier": "sf"}, "there is: none"),
    ],
)
def test_options_are_looked_at(connector: Connector, options: dict[str, Any], told: str | None) -> None:
    issues = list(connector.check(source_of(connector, **options)))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


# ── signatures that are unlike others ──


def test_stripe_may_sign_with_two_secrets_while_one_is_rolled() -> None:
    stamp, body, source = str(int(NOW.timestamp())), b"{}", source_of(stripe, "whsec_new")

    def sent(*macs: str, at: str = stamp) -> WebhookRequest:
        return request(body, stripe_signature=",".join([f"t={at}", *(f"v1={mac}" for mac in macs)]))

    good = hmac.new(b"whsec_new", f"{stamp}.{{}}".encode(), "sha256").hexdigest()
    stripe.verify(sent("00" * 32, good), source, NOW)
    stripe.verify(request(body, stripe_signature=f"t={stamp}, v1={good}"), source, NOW)
    wrong = [sent(), sent("00" * 32), sent(good, at=""), sent(good, at="x"), sent(good.upper()), sent(*[good] * 11)]
    wrong += [
        request(body, stripe_signature=value)
        for value in ("", "t", f"t={stamp},v0={good}", "\xff=,=,", "t=" + "9" * 30)
    ]
    for bad in wrong:
        with pytest.raises(SignatureInvalid):
            stripe.verify(bad, source, NOW)
    with pytest.raises(SignatureInvalid):
        stripe.verify(sent(good), source, NOW + timedelta(minutes=6))


def test_of_a_batch_segment_signs_the_first_event_and_that_must_be_wanted() -> None:
    first, rest = '{"type":"track","event":"慢","userId":"u"}', '{"type":"page"}'
    mac = hmac.new(b"s", first.encode(), "sha1").hexdigest()
    for body in (f"[{first},{rest}]", f" [ {first} , {rest} ]", f"[{first}]"):
        sent = request(body.encode(), x_signature=mac)
        segment.verify(sent, source_of(segment, "s", batches=True), NOW)
        with pytest.raises(SignatureInvalid):
            segment.verify(sent, source_of(segment, "s"), NOW)
    for body in (f"[{rest},{first}]", "[]", "[", "[" * 10_000, "\ud800", f"[{first[:-1]}"):
        sent = request(body.encode("utf-8", "surrogatepass"), x_signature=mac)
        with pytest.raises(SignatureInvalid):
            segment.verify(sent, source_of(segment, "s", batches=True), NOW)
    alone = request(first.encode(), x_signature=mac)
    segment.verify(alone, source_of(segment, "s"), NOW)
    segment.verify(alone, source_of(segment, "s", batches=True), NOW)


# ── traps ──


def test_a_call_without_an_id_is_named_by_what_it_says_and_not_by_when_it_was_sent() -> None:
    call = case("segment/track_without_id")["payload"]
    (one,), (other,) = judged(segment, call), judged(segment, {**call, "sentAt": "2030-01-01T00:00:00Z"})
    (third,) = judged(segment, {**call, "event": "Order Refunded"})
    assert one.delivery == other.delivery != third.delivery


def test_one_bad_call_of_a_batch_keeps_no_other_from_being_heard() -> None:
    good = case("segment/track")["payload"]
    drafts = judged(segment, [good, {"type": "track", "userId": "u"}, 5])
    assert [bool(draft.body) for draft in drafts] == [True, False]
    with pytest.raises(Unreadable):
        judged(rudderstack, [5])


def test_what_says_who_somebody_is_stands_in_customer_and_nowhere_else() -> None:
    said = {"type": "track", "event": "Signed up", "messageId": "m", "traits": {"email": "a@example.com"}, "properties": {
        "email": "a@example.com", "phone": "+1", "First Name": "Lin", "ip_address": "203.0.113.1", "plan": "pro",
    }}  # fmt: skip
    (draft,) = judged(segment, said)
    assert draft.body["customer"] == {"email": "a@example.com"}
    assert draft.body["attributes"] == {"properties": {"plan": "pro"}}


def test_a_topic_that_nobody_signed_is_believed_only_of_its_own_kind() -> None:
    order = json.dumps(case("shopify/order_created")["payload"]).encode()
    for topic, activity in (
        ("orders/paid", "orders/paid"),
        ("customers/delete", "order"),
        ("orders/paid/x", "order"),
        ("", "order"),
    ):
        found = shopify.parse(request(order, x_shopify_topic=topic), source_of(shopify))
        assert not isinstance(found, Ignored)
        assert found[0].body["activity"] == activity


@pytest.mark.parametrize(
    ("tag", "activity"),
    [
        ("Delivered", "parcel delivered"),
        ("AttemptFail", "parcel attempt fail"),
        ("AvailableForPickup", "parcel available for pickup"),
    ],
)
def test_where_a_parcel_is_is_said_in_words(tag: str, activity: str) -> None:
    said = case("aftership/exception")["payload"]
    said["msg"]["tag"] = tag
    (draft,) = judged(aftership, said)
    assert draft.body["activity"] == activity


def test_a_company_may_have_events_of_its_own_about_surveys() -> None:
    (draft,) = judged(
        posthog, {"event": {"uuid": "1", "event": "survey created", "distinct_id": "u", "properties": {}}}
    )
    assert (draft.type, draft.body["activity"]) == ("customer.activity", "survey created")


# ── real ones ──


@pytest.mark.parametrize(
    ("connector", "folder", "became"),
    [
        (stripe, "stripe", {"customer.activity": 4, "ignored": 2, "unreadable": 2}),
        (segment, "segment", {"ignored": 1, "unreadable": 1}),
        (rudderstack, "rudder_webhook", {"unreadable": 1}),
        (sentry, "sentry", {"ignored": 2}),
        (shopify, "shopify", {"customer.activity": 2, "ignored": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_real_payloads_become(corpus: Path, connector: Connector, folder: str, became: dict[str, int]) -> None:
    assert outcomes(connector, corpus / "webhooks" / folder) == became


def test_the_signature_vectors(corpus: Path) -> None:
    connectors = {"shopify": shopify, "stripe": stripe}
    verify_vectors(corpus, connectors, {"shopify": NOW, "stripe": datetime.fromtimestamp(1623149102, UTC)})
