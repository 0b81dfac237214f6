"""What a recorded case alone cannot say: which are one delivery, options that are wrong, HTML, answers for people."""

import json
from typing import Any

import pytest

from services.ingest.connectors import (
    Connector,
    Ignored,
    Outcome,
    WebhookRequest,
    freshdesk,
    github,
    intercom,
    slack,
    typeform,
    whatsapp,
    wjx,
    zendesk,
)
from services.ingest.connectors._fields import impersonal
from services.ingest.connectors._html import plain_text
from services.ingest.sources import Source
from tests.ingest.recorded import PAYLOADS, recorded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("slack/message_signed", "slack/message_retried"),
        ("slack/message_signed", "slack/app_mention"),
        ("slack/command", "slack/command_signed"),
        ("intercom/user_created", "intercom/user_created_again"),
        ("github/issue_opened", "github/issue_opened_redelivered"),
        ("github/issue_opened", "github/issue_opened_as_form"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


def test_a_part_says_the_same_alone_and_in_a_history() -> None:
    (alone,), history = recorded("intercom/user_replied"), recorded("intercom/user_replied_with_history")
    assert len(history) == 2
    assert alone in history


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("slack/reaction_added", "slack/reaction_removed"),
        ("slack/message_signed", "slack/reply_in_thread"),
        ("intercom/user_created", "intercom/user_replied"),
        ("github/issue_opened", "github/issue_commented"),
        ("github/issue_opened", "github/issue_closed_completed"),
        ("github/issue_closed_completed", "github/issue_closed_again"),
    ],
)
def test_what_is_said_or_done_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


@pytest.mark.parametrize(
    ("connector", "options", "told"),
    [
        (slack, {"workspace": "acme", "staff": ["T0", "U0"]}, None),
        (slack, {"workspace": "https://acme.slack.com"}, "workspace"),
        (slack, {"staff": "T0"}, "staff"),
        (slack, {"staff": [1]}, "staff"),
        (slack, {"team": "T0"}, "there is: workspace, staff"),
        (intercom, {}, None),
        (intercom, {"app": "x"}, "there is: none"),
        (typeform, {"language": "zh_CN", "fields": {"a": "text", "b": "effort10"}}, None),
        (typeform, {"language": "Chinese!"}, "language"),
        (typeform, {"fields": ["a"]}, "fields"),
        (typeform, {"fields": {"a": 5}}, "fields: a"),
        (typeform, {"fields": {5: "text"}}, "quotes"),
        (github, {"feedback": False}, None),
        (github, {"feedback": "no"}, "feedback"),
    ],
)
def test_options_are_looked_at(connector: Connector, options: dict[str, Any], told: str | None) -> None:
    source = Source(name="s", connector=connector.NAME, secrets=("x",), options=options)
    issues = list(connector.check(source))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("  ", None),
        (None, None),
        (5, None),
        ("a &amp; b", "a & b"),
        ("<p>慢</p><p>很慢</p>", "慢\n\n很慢"),
        ("one<br>two<BR/>three", "one\ntwo\nthree"),
        ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"),
        ('<a href="javascript:alert(1)" title="&quot;">a link</a>', "a link"),
        ("<script>if (a < b) alert(1)</script>x<STYLE>p {}</style >y", "xy"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;", "<script>alert(1)</script>"),
        ("a<!-- not <b>this</b> -->b", "ab"),
        ("<!DOCTYPE html><?php no ?>x<![CDATA[y]]>", "x"),
        ("1 <2 and 3 > 2", "1 <2 and 3 > 2"),
        ("never <closed", "never <closed"),
        ("never <!-- closed", "never <!-- closed"),
        ("never <script>closed", "never <script>closed"),
        ("<<p>>", "<\n>"),
        ("<p>" * 50 + "deep", "deep"),
        ("<p>\u00a0</p><img src=x>", None),
        pytest.param("<style>" + "p {} " * 30_000 + "</style><p>slow</p>", "slow", id="long-style"),
        pytest.param("<p>" + "x" * 99_990 + "<a href='" + "y" * 100 + "'>z</a>", "x" * 99_990 + "z", id="long-tag"),
        pytest.param("<p>" + "x" * 200_000, "x" * 100_000, id="long-text"),
    ],
)
def test_html_becomes_text(html: Any, text: str | None) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("accepted", ("a",)), "✅"),
        (Outcome("ignored", reason="a command without words"), "a command without words"),
        (Outcome("quarantined", reason="x"), "x"),
    ],
)
def test_who_types_a_slash_command_sees_what_became_of_it(outcome: Outcome, text: str) -> None:
    reply = slack.reply(outcome)
    said = json.loads(reply.body)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert (said["response_type"], said["text"], said["outcome"]) == ("ephemeral", text, outcome.what)


SAYS_WHO = {"user.phone": "+4930", "customer_email": "a@b.example", "BillingAddress": "1 Road", "plan": "pro"}


@pytest.mark.parametrize(
    ("connector", "name", "place", "value"),
    [
        (intercom, "event_created", ("data", "item", "metadata"), {"order": SAYS_WHO}),
        (typeform, "hidden_fields", ("form_response", "hidden"), SAYS_WHO),
        (wjx, "answered", (), SAYS_WHO),
        (zendesk, "trigger_ticket", (), SAYS_WHO),
        (freshdesk, "ticket_created", ("freshdesk_webhook",), SAYS_WHO),
        (
            whatsapp,
            "form",
            ("entry", 0, "changes", 0, "value", "messages", 0, "interactive", "nfm_reply"),
            {"response_json": json.dumps(SAYS_WHO)},
        ),
    ],
    ids=lambda value: getattr(value, "NAME", None),
)
def test_what_says_who_somebody_is_stands_in_no_attribute(
    connector: Connector, name: str, place: tuple[str | int, ...], value: dict[str, Any]
) -> None:
    said = json.loads((PAYLOADS / connector.NAME / f"{name}.json").read_bytes())
    inner = said["payload"]
    for step in place:
        inner = inner[step]
    inner.update(value)
    source = Source(name="s", connector=connector.NAME, verify="none", options=said.get("options", {}))
    drafts = connector.parse(WebhookRequest("POST", "", {}, json.dumps(said["payload"]).encode()), source)
    assert not isinstance(drafts, Ignored)
    told = json.dumps([drafts[0].body["attributes"], drafts[0].body.get("text")])
    assert "pro" in told
    assert not any(one in told for one in ("+4930", "a@b.example", "1 Road"))


@pytest.mark.parametrize(
    ("name", "is_personal"),
    [
        ("email", True),
        ("E-Mail", True),
        ("useremail", True),
        ("userEmail", True),
        ("client_ip", True),
        ("clientIPAddress", True),
        ("First Name", True),
        ("user.firstName", True),
        ("phone2", True),
        ("您的手机号", True),
        ("联系电话", True),
        ("plan", False),
        ("membership", False),
        ("product_name", False),
        ("email_count", False),
    ],
)
def test_a_name_tells_whether_it_says_who_somebody_is(name: str, is_personal: bool) -> None:
    assert impersonal({"all": [{name: "x"}]}) == {"all": [{} if is_personal else {name: "x"}]}
    assert impersonal({name: True}) == {name: True}


def test_what_is_deeper_than_our_events_is_left_out() -> None:
    deep: Any = {"email": "x"}
    for _ in range(900):
        deep = {"a": [deep]}
    assert "email" not in json.dumps(impersonal(deep))
