"""Zendesk, Freshdesk, Help Scout, HubSpot, Chatwoot, Front and Teams beyond their recorded cases: what is one delivery,
options that are wrong, the signatures that a case of its own cannot show, and what the corpus becomes.
"""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from services.ingest.connectors import (
    Ignored,
    Outcome,
    SignatureInvalid,
    WebhookRequest,
    chatwoot,
    freshdesk,
    front,
    helpscout,
    hubspot,
    teams,
    zendesk,
)
from services.ingest.sources import Source
from shared.events.envelope import FEEDBACK_RECEIVED
from tests.ingest.recorded import PAYLOADS, recorded

NOW = datetime(2026, 4, 2, 8, 17, tzinfo=UTC)
KEY = b"a-secret"
TOKEN = base64.b64encode(b"k" * 32).decode()


def is_good(
    connector: Any,
    headers: Mapping[str, str],
    body: bytes,
    *,
    url: str = "",
    method: str = "POST",
    at: datetime = NOW,
) -> bool:
    secrets = ("an-older-one", KEY.decode())
    return holds(connector, WebhookRequest(method, url, headers, body), secrets, at)


def holds(connector: Any, request: WebhookRequest, secrets: tuple[str, ...], at: datetime) -> bool:
    try:
        connector.verify(request, Source(name="s", connector=connector.NAME, secrets=secrets), at)
    except SignatureInvalid:
        return False
    return True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zendesk/ticket_created", "zendesk/signed"),
        ("zendesk/comment_added", "zendesk/comment_added_numbers"),
        ("freshdesk/ticket_created", "freshdesk/ticket_created_again"),
        ("helpscout/created", "helpscout/created_signed"),
        ("hubspot/tickets", "hubspot/tickets_again"),
        ("hubspot/tickets", "hubspot/tickets_signed"),
        ("chatwoot/message", "chatwoot/message_signed"),
        ("chatwoot/message", "chatwoot/message_older"),
        ("front/inbound", "front/inbound_signed"),
        ("front/inbound", "front/inbound_of_a_rule"),
        ("teams/message", "teams/message_signed"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


def test_one_delivery_whichever_way_it_is_told() -> None:
    """A thread alone and among those before it; a ticket's opening as itself, and as its first comment."""
    (alone,), whole = recorded("helpscout/replied_alone"), recorded("helpscout/replied")
    assert alone in whole
    assert recorded("helpscout/created")[0] in whole
    first, second = recorded("hubspot/tickets")
    assert recorded("hubspot/tickets_of_today") == [first]
    assert second["delivery"] != first["delivery"]
    for opening, comment in (
        ("zendesk/ticket_created", "zendesk/comment_added_opening"),
        ("zendesk/trigger_ticket", "zendesk/trigger_nested"),
        ("freshdesk/ticket_created", "freshdesk/comment_is_the_opening"),
        ("hubspot/tickets", "hubspot/workflow_ticket"),
    ):
        assert recorded(opening)[0]["delivery"] == recorded(comment)[0]["delivery"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zendesk/ticket_created", "zendesk/comment_added"),
        ("zendesk/csat_received", "zendesk/csat_received_number"),
        ("zendesk/comment_added_opening", "zendesk/comment_added_opening_again"),
        ("zendesk/trigger_ticket", "zendesk/trigger_comment_opening_again"),
        ("zendesk/csat_received", "zendesk/satisfaction_bad"),
        ("freshdesk/ticket_created", "freshdesk/commented"),
        ("freshdesk/commented", "freshdesk/commented_by_a_customers_colleague"),
        ("freshdesk/rated_happy", "freshdesk/rated_unhappy"),
        ("helpscout/rated_great", "helpscout/rated_not_good"),
        ("helpscout/surveyed_nps", "helpscout/surveyed_choice"),
        ("hubspot/tickets", "hubspot/ticket_changed"),
        ("hubspot/workflow_csat", "hubspot/workflow_csat_passive"),
        ("chatwoot/message", "chatwoot/rated"),
        ("chatwoot/rated", "chatwoot/rated_alone"),
        ("front/inbound", "front/inbound_chat"),
        ("teams/message", "teams/message_html"),
    ],
)
def test_what_is_said_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("chatwoot/rated", {"feedback_message": "much better now"}),
        ("chatwoot/rated", {"rating": 4}),
    ],
)
def test_a_rating_that_is_changed_is_another_delivery(name: str, changed: dict[str, Any]) -> None:
    said = json.loads((PAYLOADS / f"{name}.json").read_bytes())
    values = said["payload"]["content_attributes"]["submitted_values"]["csat_survey_response"]
    values.update(changed)
    request = WebhookRequest("POST", "", {}, json.dumps(said["payload"]).encode())
    drafts = chatwoot.parse(request, Source(name="s", connector="chatwoot", verify="none"))
    assert not isinstance(drafts, Ignored)
    assert drafts[0].delivery != recorded(name)[0]["delivery"]


@pytest.mark.parametrize(
    ("connector", "options", "secret", "told"),
    [
        (freshdesk, {}, "x", None),
        (freshdesk, {"others": True}, "x", None),
        (freshdesk, {"others": "yes"}, "x", "others"),
        (freshdesk, {"url": "x"}, "x", "there is: others"),
        (helpscout, {}, "x", None),
        (helpscout, {"mailbox": "x"}, "x", "there is: none"),
        (hubspot, {}, "x", None),
        (hubspot, {"portal": 5}, "x", "there is: none"),
        (chatwoot, {"url": "https://app.chatwoot.com"}, "x", None),
        (chatwoot, {"url": "app.chatwoot.com"}, "x", "url"),
        (chatwoot, {"url": 5}, "x", "url"),
        (front, {}, "x", None),
        (front, {"inbox": "x"}, "x", "there is: none"),
        (teams, {"staff": ["29:abc"]}, TOKEN, None),
        (teams, {"staff": "29:abc"}, TOKEN, "staff"),
        (teams, {"staff": [29]}, TOKEN, "staff"),
        (teams, {}, "what somebody made up", "base64"),
    ],
)
def test_options_and_secrets_are_looked_at(
    connector: Any, options: dict[str, Any], secret: str, told: str | None
) -> None:
    issues = list(connector.check(Source(name="s", connector=connector.NAME, secrets=(secret,), options=options)))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


class TestHubSpotSignsInThreeWays:
    BODY = '[{"subscriptionType": "ticket.propertyChange", "propertyValue": "太慢"}]'.encode()
    URL = "https://feedback.example.com/v1/webhooks/hubspot?to=a%3Ab%2fc&and=%20%26%E6%85%A2"
    AS_SIGNED = "https://feedback.example.com/v1/webhooks/hubspot?to=a:b/c&and=%20%26%E6%85%A2"
    """It writes out what needs no encoding, and leaves the rest."""

    def first(self, body: bytes) -> dict[str, str]:
        return {"x-hubspot-signature": sha256(KEY + body).hexdigest(), "x-hubspot-signature-version": "v1"}

    def second(self, url: str) -> dict[str, str]:
        signature = sha256(KEY + b"POST" + url.encode() + self.BODY).hexdigest()
        return {"x-hubspot-signature": signature, "x-hubspot-signature-version": "v2"}

    def third(self, url: str, at: datetime = NOW) -> dict[str, str]:
        timestamp = str(int(at.timestamp() * 1000))
        mac = hmac.digest(KEY, b"POST" + url.encode() + self.BODY + timestamp.encode(), "sha256")
        return {"x-hubspot-signature-v3": base64.b64encode(mac).decode(), "x-hubspot-request-timestamp": timestamp}

    def is_good(self, headers: Mapping[str, str], *, url: str = URL, body: bytes = BODY, method: str = "POST") -> bool:
        return is_good(hubspot, headers, body, url=url, method=method)

    def test_each_is_believed(self) -> None:
        assert self.is_good(self.first(self.BODY))
        assert self.is_good({"x-hubspot-signature": self.first(self.BODY)["x-hubspot-signature"]})
        for url in (self.URL, self.AS_SIGNED):
            assert self.is_good(self.second(url))
            assert self.is_good(self.third(url))
            assert self.is_good(self.third(url) | self.first(self.BODY))

    def test_of_another_body_address_or_method_it_is_not(self) -> None:
        for headers in (self.first(self.BODY), self.second(self.URL), self.third(self.URL)):
            assert not self.is_good(headers, body=self.BODY + b" ")
        for headers in (self.second(self.URL), self.third(self.URL)):
            assert not self.is_good(headers, url=self.URL.replace("%20", " "))
            assert not self.is_good(headers, url=self.URL.replace("feedback.", "other."))
            assert not self.is_good(headers, method="PUT")

    def test_an_old_one_is_not(self) -> None:
        for age in (timedelta(minutes=6), timedelta(minutes=-6)):
            assert not self.is_good(self.third(self.URL, NOW - age))
        assert self.is_good(self.third(self.URL, NOW - timedelta(minutes=4)))
        newer = self.third(self.URL, NOW - timedelta(minutes=6))
        newer["x-hubspot-request-timestamp"] = str(int(NOW.timestamp() * 1000))
        assert not self.is_good(newer)

    def test_where_the_newest_is_wrong_an_older_one_does_not_help(self) -> None:
        assert not self.is_good(self.first(self.BODY) | {"x-hubspot-signature-v3": "AAAA"})

    def test_one_version_does_not_pass_for_another(self) -> None:
        as_first = self.second(self.URL) | {"x-hubspot-signature-version": "v1"}
        assert not self.is_good(as_first)
        assert not self.is_good(self.first(self.BODY) | {"x-hubspot-signature-version": "v2"})
        assert not self.is_good({})


class TestFrontSignsInTwoWays:
    BODY = b'{"type": "inbound"}'

    def of_an_app(self, timestamp: str) -> dict[str, str]:
        mac = hmac.digest(KEY, f"{timestamp}:".encode() + self.BODY, "sha256")
        return {"x-front-signature": base64.b64encode(mac).decode(), "x-front-request-timestamp": timestamp}

    def of_a_rule(self) -> dict[str, str]:
        return {"x-front-signature": base64.b64encode(hmac.digest(KEY, self.BODY, "sha1")).decode()}

    def test_both_are_believed(self) -> None:
        assert is_good(front, self.of_a_rule(), self.BODY)
        for timestamp in (str(int(NOW.timestamp())), str(int(NOW.timestamp() * 1000))):
            assert is_good(front, self.of_an_app(timestamp), self.BODY)

    def test_changed_or_old_they_are_not(self) -> None:
        fresh, old = str(int(NOW.timestamp())), str(int(NOW.timestamp()) - 360)
        assert not is_good(front, self.of_a_rule(), self.BODY + b" ")
        assert not is_good(front, self.of_an_app(fresh), self.BODY + b" ")
        assert not is_good(front, self.of_an_app(old), self.BODY)
        assert not is_good(front, self.of_an_app(old) | {"x-front-request-timestamp": fresh}, self.BODY)
        assert not is_good(front, self.of_a_rule() | {"x-front-request-timestamp": fresh}, self.BODY)
        assert not is_good(front, {"x-front-signature": self.of_an_app(fresh)["x-front-signature"]}, self.BODY)

    def test_a_challenge_is_answered_where_it_is_signed_and_asked_by_a_sync(self) -> None:
        source = Source(name="s", connector="front", secrets=("x",))
        sync = WebhookRequest("POST", "", {"x-front-challenge": "c"}, b'{"type": "sync"}')
        reply = front.answer(sync, source, signed=True)
        assert reply is not None
        assert json.loads(reply.body) == {"challenge": "c"}
        assert front.answer(sync, source, signed=False) is None
        other = WebhookRequest("POST", "", {"x-front-challenge": "c"}, self.BODY)
        assert front.answer(other, source, signed=True) is None


def test_chatwoot_says_how_it_signed() -> None:
    body, timestamp = b"{}", str(int(NOW.timestamp()))
    signature = hmac.new(KEY, f"{timestamp}.".encode() + body, "sha256").hexdigest()
    headers = {"x-chatwoot-timestamp": timestamp, "x-chatwoot-signature": f"sha256={signature}"}
    assert is_good(chatwoot, headers, body)
    assert not is_good(chatwoot, headers | {"x-chatwoot-signature": signature}, body)
    assert not is_good(chatwoot, headers | {"x-chatwoot-timestamp": ""}, body)
    assert not is_good(chatwoot, {}, body)


def test_the_key_of_teams_is_its_token_decoded() -> None:
    body = '{"text": "慢"}'.encode()

    def called(key: bytes) -> WebhookRequest:
        mac = base64.b64encode(hmac.digest(key, body, "sha256")).decode()
        return WebhookRequest("POST", "", {"authorization": f"HMAC {mac}"}, body)

    assert holds(teams, called(b"k" * 32), (TOKEN,), NOW)
    assert not holds(teams, called(TOKEN.encode()), (TOKEN,), NOW)
    assert not holds(teams, called(b""), ("what somebody made up",), NOW)
    unnamed = WebhookRequest("POST", "", {"authorization": called(b"k" * 32).headers["authorization"][5:]}, body)
    assert not holds(teams, unnamed, (TOKEN,), NOW)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("accepted", ("a",)), "✅"),
        (Outcome("ignored", reason="a message without words"), "a message without words"),
        (Outcome("quarantined", reason="x"), "x"),
    ],
)
def test_who_writes_in_teams_sees_what_became_of_it(outcome: Outcome, text: str) -> None:
    reply = teams.reply(outcome)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert json.loads(reply.body) == {"type": "message", "text": text}


# ── the corpus ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("connector", "became"),
    [
        (zendesk, {FEEDBACK_RECEIVED: 2, "ignored": 3}),
        (freshdesk, {FEEDBACK_RECEIVED: 1}),
        (helpscout, {FEEDBACK_RECEIVED: 1}),
        (hubspot, {"ignored": 2}),
        (chatwoot, {"ignored": 1}),
    ],
)
def test_every_payload_of_the_corpus_becomes_something_or_is_ignored_with_a_reason(
    corpus: Path, connector: Any, became: dict[str, int]
) -> None:
    source = Source(name="s", connector=connector.NAME, verify="none")
    found: Counter[str] = Counter()
    for path in sorted((corpus / "webhooks" / connector.NAME).glob("*.json")):
        request = WebhookRequest("POST", "", {"content-type": "application/json"}, path.read_bytes())
        drafts = connector.parse(request, source)
        assert not isinstance(drafts, Ignored) or drafts.reason, path.name
        found.update(["ignored"] if isinstance(drafts, Ignored) else [draft.type for draft in drafts])
    assert found == became


def test_the_signature_vectors(corpus: Path) -> None:
    vectors = json.loads((corpus / "webhooks" / "vectors.json").read_bytes())
    connectors: dict[str, Any] = {"hubspot": hubspot, "zendesk": zendesk}
    at = datetime(2025, 1, 8, 10, 12, 8, tzinfo=UTC)
    ours: Sequence[dict[str, Any]] = [vector for vector in vectors if vector["provider"] in connectors]
    assert len(ours) == 3
    for vector in ours:
        connector, file = connectors[vector["provider"]], vector.get("body_file")
        body = (corpus / "webhooks" / file).read_bytes() if file else vector["body"].encode()
        headers = {name.lower(): value for name, value in vector["headers"].items()}
        method, url = vector.get("method", "POST"), vector.get("url", "")
        assert holds(connector, WebhookRequest(method, url, headers, body), (vector["secret"],), at)
        assert not holds(connector, WebhookRequest(method, url, headers, body + b" "), (vector["secret"],), at)
        assert not holds(connector, WebhookRequest(method, url, {}, body), (vector["secret"],), at)
