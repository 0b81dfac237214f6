"""Boards, communities, trackers: which are one delivery, whose words are heard, and what closes a loop."""

import base64
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
    canny,
    discourse,
    gitlab,
    jira,
    linear,
    productboard,
    verify,
)
from services.ingest.sources import Source
from tests.ingest.recorded import case, outcomes, recorded, source_of, verify_vectors

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def request(body: bytes, query: str = "", method: str = "POST", **headers: str) -> WebhookRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return WebhookRequest(method, f"https://feedback.example.com/x?{query}", names, body)


def judged(connector: Any, payload: Any, **options: Any) -> Any:
    return connector.parse(request(json.dumps(payload).encode()), source_of(connector, **options))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("canny/post_created", "canny/post_created_again"),
        ("canny/post_created", "canny/post_created_signed"),
        ("productboard/note", "productboard/note_again"),
        ("discourse/post_created", "discourse/post_created_signed"),
        ("gitlab/issue_opened", "gitlab/issue_opened_again"),
        ("gitlab/issue_opened", "gitlab/issue_opened_signed"),
        ("gitlab/issue_closed", "gitlab/issue_closed_of_our_own"),
        ("jira/resolved", "jira/resolved_signed"),
        ("linear/issue_completed", "linear/issue_completed_sent_again"),
        ("linear/issue_completed", "linear/issue_older"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("canny/post_created", "canny/comment_created"),
        ("canny/vote_created", "canny/vote_deleted"),
        ("canny/status_complete", "canny/status_closed"),
        ("productboard/note", "productboard/note_edited"),
        ("discourse/post_created", "discourse/reply_without_raw"),
        ("discourse/post_created", "discourse/like"),
        ("gitlab/issue_opened", "gitlab/note_created"),
        ("gitlab/issue_opened", "gitlab/issue_closed"),
        ("gitlab/issue_closed", "gitlab/issue_closed_again"),
        ("jira/resolved", "jira/resolved_again"),
        ("jira/request_created", "jira/comment_of_a_customer"),
        ("linear/request_created", "linear/request_changed"),
        ("linear/issue_completed", "linear/issue_canceled"),
    ],
)
def test_what_is_said_or_done_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


@pytest.mark.parametrize(
    ("said", "closed"),
    [
        ("canny/post_created", "canny/status_complete"),
        ("canny/vote_created", "canny/status_closed"),
        ("gitlab/issue_opened", "gitlab/issue_closed"),
        ("gitlab/note_created", "gitlab/issue_closed_declined"),
        ("jira/request_created", "jira/resolved"),
        ("jira/comment_of_a_customer", "jira/declined"),
        ("linear/request_created", "linear/issue_completed"),
    ],
)
def test_what_was_asked_for_names_the_work_that_answers_it(said: str, closed: str) -> None:
    assert recorded(said)[0]["body"]["attributes"]["work_id"] == recorded(closed)[0]["body"]["work_id"]


@pytest.mark.parametrize(
    ("connector", "secret", "options", "told"),
    [
        (canny, "key", {"shipped": ["launched"], "declined": []}, None),
        (canny, "key", {"shipped": "launched"}, "shipped"),
        (canny, "key", {"declined": [1]}, "declined"),
        (canny, "key", {"staff": []}, "there is: shipped, declined"),
        (productboard, "", {"declined": ["Won't do"]}, None),
        (productboard, "", {"declined": "Won't do"}, "declined"),
        (discourse, "s", {"url": "https://forum.example.com", "staff": ["ada"], "private": True}, None),
        (discourse, "s", {"url": "forum.example.com"}, "url"),
        (discourse, "s", {"staff": "ada"}, "staff"),
        (discourse, "s", {"private": "yes"}, "private"),
        (gitlab, "whsec_" + "QUJD" * 8, {"staff": ["ada"], "declined": ["不做"], "feedback": False}, None),
        (gitlab, "a-plain-token", {}, "X-Gitlab-Token"),
        (gitlab, "", {"staff": "ada"}, "staff"),
        (gitlab, "", {"declined": "wontfix"}, "declined"),
        (gitlab, "", {"feedback": "no"}, "feedback"),
        (jira, "s", {"declined": ["不做"], "neither": ["重复"]}, None),
        (jira, "s", {"neither": "重复"}, "neither"),
        (linear, "s", {}, None),
        (linear, "s", {"team": "ENG"}, "there is: none"),
    ],
)
def test_secrets_and_options_are_looked_at(
    connector: Connector, secret: str, options: dict[str, Any], told: str | None
) -> None:
    issues = list(connector.check(source_of(connector, *filter(None, [secret]), **options)))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


# ── signatures that are unlike others ──


def test_canny_signs_no_body_so_its_time_must_be_near() -> None:
    mac = base64.b64encode(hmac.digest(b"key", b"n", "sha256")).decode()
    stamp = str(int(NOW.timestamp() * 1000))
    source = source_of(canny, "key")
    headers = {"canny_nonce": "n", "canny_timestamp": stamp, "canny_signature": mac}
    canny.verify(request(b"{}", **headers), source, NOW)
    canny.verify(request(b"anything", **headers), source, NOW)
    wrong = [{"canny_nonce": "m"}, {"canny_nonce": ""}, {"canny_signature": ""}]
    wrong += [
        {"canny_timestamp": value} for value in ("", "x", "-1", "²", "9" * 16, "9" * 400, stamp + "0", stamp[:-3])
    ]
    for header in wrong:
        with pytest.raises(SignatureInvalid):
            canny.verify(request(b"{}", **{**headers, **header}), source, NOW)
    with pytest.raises(SignatureInvalid):
        canny.verify(request(b"{}", **headers), source, NOW + timedelta(minutes=6))


@pytest.mark.parametrize("stamp", ["null", "true", '"x"', "1e400", "-1", "1e300", "0", "{}", "99999999999999999"])
def test_linear_tells_its_time_in_what_it_signs(stamp: str) -> None:
    source = source_of(linear, "secret")

    def sent(body: bytes) -> WebhookRequest:
        return request(body, linear_signature=hmac.new(b"secret", body, "sha256").hexdigest())

    near = int(NOW.timestamp() * 1000)
    linear.verify(sent(b'{"webhookTimestamp": %d}' % near), source, NOW)
    for body in (f'{{"webhookTimestamp": {stamp}}}'.encode(), b"{}", b"[]", b"\xff", b""):
        with pytest.raises(SignatureInvalid):
            linear.verify(sent(body), source, NOW)


def test_a_token_of_gitlab_is_a_header_and_stays_behind() -> None:
    source = Source(name="s", connector="gitlab", secrets=("t",), verify="header", header="X-Gitlab-Token")
    assert list(gitlab.check(source)) == []
    verify(gitlab, request(b"{}", x_gitlab_token="t"), source, NOW)
    with pytest.raises(SignatureInvalid):
        verify(gitlab, request(b"{}", x_gitlab_token="other"), source, NOW)
    assert "x-gitlab-token" in gitlab.SECRET_HEADERS


def test_productboard_gets_its_own_token_back_and_nothing_else() -> None:
    source = source_of(productboard)
    for method, signed in (("GET", False), ("POST", False), ("POST", True)):
        reply = productboard.answer(request(b"", "validationToken=a-1.b", method), source, signed)
        assert reply is not None
        assert (reply.status, reply.body, reply.content_type) == (200, b"a-1.b", "text/plain")
    for query in ("", "validationToken=", "validationToken=%3Cscript%3E", "validationToken=a%20b", "token=a"):
        assert productboard.answer(request(b"", query, "GET"), source, False) is None


# ── whose words ──


def test_a_header_that_nobody_signed_is_believed_only_when_it_hides_nothing() -> None:
    """An edit sent under the name of a new post is known by its version."""
    said = case("discourse/post_edited")["payload"]
    sent = request(json.dumps(said).encode(), x_discourse_event="post_created")
    assert isinstance(discourse.parse(sent, source_of(discourse)), Ignored)


def test_a_resolution_may_be_written_with_a_curly_apostrophe() -> None:
    said = case("jira/declined")["payload"]
    said["changelog"]["items"][1]["toString"] = "Won\u2019t Do"
    (draft,) = judged(jira, said)
    assert draft.type == "work.declined"


def test_what_neither_ships_nor_declines_can_be_named() -> None:
    said = case("jira/resolved")["payload"]
    said["changelog"]["items"][1]["toString"] = "重复"
    assert isinstance(judged(jira, said, neither=["重复"]), Ignored)


def test_a_document_of_any_depth_is_read() -> None:
    said = case("jira/comment_as_a_document")["payload"]
    deep: Any = {"type": "text", "text": "deep"}
    for _ in range(300):
        deep = {"type": "panel", "content": [deep]}
    said["comment"]["body"] = {"type": "doc", "content": [deep]}
    (draft,) = judged(jira, said)
    assert draft.body["text"] == "deep"


def test_a_customer_of_linear_is_a_company() -> None:
    (draft,) = recorded("linear/request_created")
    assert draft["body"]["customer"] == {"account_id": "acct-7", "name": "Globex"}


def test_one_bad_note_of_a_page_keeps_no_other_from_being_heard() -> None:
    drafts = judged(productboard, {"data": [{"id": "1", "content": "Slow."}, {"content": "no id"}]})
    assert [bool(draft.body) for draft in drafts] == [True, False]
    with pytest.raises(Unreadable):
        judged(productboard, {"data": [{"content": "no id"}]})


# ── real ones ──


@pytest.mark.parametrize(
    ("connector", "became"),
    [
        (canny, {"ignored": 6, "unreadable": 1}),
        (gitlab, {"feedback.received": 1, "ignored": 10}),
        (jira, {"work.shipped": 2, "ignored": 26}),
        (linear, {"ignored": 1}),
    ],
    ids=lambda value: getattr(value, "NAME", ""),
)
def test_what_real_payloads_become(corpus: Path, connector: Connector, became: dict[str, int]) -> None:
    assert outcomes(connector, corpus / "webhooks" / connector.NAME) == became


def test_the_signature_vectors(corpus: Path) -> None:
    connectors = {"discourse": discourse, "linear": linear}
    verify_vectors(corpus, connectors, {"discourse": NOW, "linear": datetime.fromtimestamp(1681207816, UTC)})
