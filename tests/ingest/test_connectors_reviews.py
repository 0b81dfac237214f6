"""Reviews and social networks: which are one delivery, what a relay may do, challenges, and options that are wrong."""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.ingest.connectors import (
    Connector,
    Draft,
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    app_store,
    appfollow,
    facebook_page,
    google_play,
    trustpilot,
    twitter,
    whatsapp,
)
from services.ingest.connectors._fields import (
    each_of,
    id_of,
    iso_time,
    mail_time,
    stars_of,
    time_of_ms,
    vote_of,
)
from services.ingest.tidy import tidy_content
from shared.events.acceptable import Invalid
from shared.events.feedback import METRIC_RANGES
from tests.ingest.recorded import recorded, source_of

NOW = datetime(2026, 9, 15, 9, tzinfo=UTC)


def request(payload: Any = None, *, method: str = "POST", query: str = "", **headers: str) -> WebhookRequest:
    url = "https://feedback.example.com/v1/webhooks/s" + (f"?{query}" if query else "")
    body = b"" if payload is None else json.dumps(payload).encode()
    return WebhookRequest(method, url, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def parsed(connector: Any, payload: Any, **options: Any) -> list[Draft]:
    found = connector.parse(request(payload), source_of(connector, **options))
    assert not isinstance(found, Ignored), found.reason
    return list(found)


# ── one delivery, and another ──


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("app_store/page", "app_store/page_again"),
        ("google_play/list", "google_play/list_again"),
        ("trustpilot/service_review_created", "trustpilot/service_review_updated_same"),
        ("facebook_page/comment", "facebook_page/comment_edited_same"),
        ("facebook_page/message", "facebook_page/message_in_standby"),
        ("twitter/direct_message", "twitter/direct_message_newer_api"),
        ("whatsapp/text", "whatsapp/text_signed"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("app_store/page", "app_store/review_edited"),
        ("google_play/list", "google_play/review_edited"),
        ("trustpilot/service_review_created", "trustpilot/service_review_updated"),
        ("appfollow/reviews", "appfollow/review_edited"),
        ("facebook_page/comment", "facebook_page/comment_edited"),
        ("facebook_page/message", "facebook_page/message_edited"),
        ("whatsapp/text", "whatsapp/edited"),
    ],
)
def test_what_is_said_anew_is_another_delivery_of_the_same_customer(one: str, other: str) -> None:
    first, second = recorded(one)[0], recorded(other)[0]
    assert first["delivery"] != second["delivery"]
    assert first["body"]["customer"]["id"] == second["body"]["customer"]["id"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("facebook_page/reaction", "facebook_page/reaction_removed"),
        ("whatsapp/reaction", "whatsapp/reaction_withdrawn"),
        ("facebook_page/recommendation", "facebook_page/recommendation_alone"),
    ],
)
def test_what_is_done_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


def test_a_review_is_the_same_whatever_stands_beside_it() -> None:
    """Counts of who found it helpful, our answer, the order of members: a poller sends them as they are now."""
    (alone,) = recorded("appfollow/review_alone_answered")
    assert alone in recorded("appfollow/reviews")
    review = {"id": "r", "attributes": {"rating": "1", "title": " Slow ", "body": "x"}}
    same = {"attributes": {"body": "x", "title": "Slow", "rating": 1.0}, "id": "r", "type": "customerReviews"}
    assert parsed(app_store, review) == parsed(app_store, {"data": [same, same]})


def test_words_that_only_run_together_are_not_the_same() -> None:
    one = {"id": "r", "attributes": {"rating": 1, "title": "ab", "body": "c"}}
    other = {"id": "r", "attributes": {"rating": 1, "title": "a", "body": "bc"}}
    assert parsed(app_store, one)[0].delivery != parsed(app_store, other)[0].delivery


@pytest.mark.parametrize("connector", [app_store, google_play, appfollow, trustpilot])
def test_who_signs_nothing_never_holds(connector: Connector) -> None:
    with pytest.raises(SignatureInvalid):
        connector.verify(request({}), source_of(connector, "x"), NOW)


# ── several at once ──


def test_one_that_cannot_be_read_keeps_no_other_from_being_heard() -> None:
    good = {"id": "1", "attributes": {"rating": 1}}
    drafts = parsed(app_store, {"data": [good, {"id": "2"}, 5, good]})
    assert [draft.delivery.split("/")[1] if draft.delivery else "" for draft in drafts] == ["1", ""]
    with pytest.raises(Invalid):  # so that the caller keeps the whole aside
        tidy_content(drafts[1].type, drafts[1].body, "s", METRIC_RANGES)


def test_of_several_ignored_the_first_says_why() -> None:
    assert each_of([1, 2], lambda one: Ignored(str(one))) == Ignored("1")
    assert each_of([], lambda one: Ignored(str(one))) == Ignored("nothing in it")


# ── challenges ──


@pytest.mark.parametrize("connector", [facebook_page, whatsapp])
def test_meta_gets_its_challenge_back_from_who_knows_the_word(connector: Connector) -> None:
    ours = source_of(connector, "a secret", verify_token="our word")
    good = "hub.mode=subscribe&hub.verify_token=our+word&hub.challenge=115820"
    reply = connector.answer(request(method="GET", query=good), ours, False)
    assert reply is not None
    assert (reply.status, reply.body, reply.content_type) == (200, b"115820", "text/plain")
    for asked, of in (
        (good.replace("our+word", "another"), ours),
        (good.replace("&hub.verify_token=our+word", ""), ours),
        (good, source_of(connector, "a secret")),
        (good.replace("our+word", "%ED%A0%80"), ours),
    ):
        with pytest.raises(SignatureInvalid):
            connector.answer(request(method="GET", query=asked), of, False)
    script = good.replace("115820", "%3Cscript%3E")
    assert connector.answer(request(method="GET", query=script), ours, False) is None
    assert connector.answer(request(method="GET"), ours, False) is None
    assert connector.answer(request(hello, query=good), ours, True) is None


hello = {"object": "page", "entry": []}


def test_x_gets_its_token_signed_and_nothing_that_could_be_a_body() -> None:
    """The key is the one that signs posts: who could have a body signed could post it."""
    ours = source_of(twitter, "newest", "older")
    token = "9b4507b3-9040-4669-9ca3-6b94edb50553"
    reply = twitter.answer(request(method="GET", query=f"crc_token={token}&nonce=1"), ours, False)
    assert reply is not None
    mac = base64.b64encode(hmac.digest(b"newest", token.encode(), "sha256")).decode()
    assert json.loads(reply.body) == {"response_token": f"sha256={mac}"}
    for query in ("crc_token=%7B%22for_user_id%22%3A1%7D", "crc_token=%5B1%5D", "crc_token=", "crc_token=a+b", ""):
        assert twitter.answer(request(method="GET", query=query), ours, False) is None
    assert twitter.answer(request({}, query=f"crc_token={token}"), ours, True) is None
    assert twitter.answer(request(method="GET", query=f"crc_token={token}"), source_of(twitter), False) is None


# ── options ──


@pytest.mark.parametrize(
    ("connector", "options", "told"),
    [
        (app_store, {}, None),
        (app_store, {"app": "1"}, "there is: none"),
        (google_play, {"purchases": True}, None),
        (google_play, {"purchases": "yes"}, "purchases"),
        (appfollow, {"x": 1}, "there is: none"),
        (trustpilot, {"x": 1}, "there is: none"),
        (facebook_page, {"verify_token": "our-word"}, None),
        (facebook_page, {"verify_token": 5}, "verify_token"),
        (whatsapp, {"verify_token": " "}, "verify_token"),
        (twitter, {"handle": "x"}, "there is: none"),
    ],
)
def test_options_are_looked_at(connector: Connector, options: dict[str, Any], told: str | None) -> None:
    issues = list(connector.check(source_of(connector, "x", **options)))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


# ── the traps of the tools ──


def test_a_name_with_a_tab_is_a_title_of_google_plays_and_not_another_review() -> None:
    def said(text: str) -> Mapping[str, Any]:
        review = {"reviewId": "r", "comments": [{"userComment": {"text": text, "starRating": 3}}]}
        return parsed(google_play, review)[0].body

    assert (said("\tslow")["text"], said("\tslow").get("title")) == ("slow", None)
    assert (said("Slow\tvery")["text"], said("Slow\tvery")["title"]) == ("very", "Slow")
    assert (said("Slow\t")["text"], said("slow").get("title")) == ("Slow", None)


def test_a_purchase_is_one_customers_whatever_becomes_of_it() -> None:
    def push(kind: int, message: str) -> Any:
        told = {"subscriptionNotification": {"notificationType": kind, "purchaseToken": "t", "subscriptionId": "p"}}
        data = base64.b64encode(json.dumps(told).encode()).decode()
        return {"message": {"data": data, "messageId": message}}

    bought, gone, odd = (parsed(google_play, push(kind, str(kind)), purchases=True)[0] for kind in (4, 13, 99))
    assert bought.body["customer"] == gone.body["customer"]
    assert [draft.body["activity"] for draft in (bought, gone, odd)] == [
        "subscription purchased",
        "subscription expired",
        "subscription changed",
    ]


def test_stars_of_appfollows_message_are_counted_whoever_draws_the_empty_ones() -> None:
    for line, stars in (("★☆☆☆☆ Japan", 1), ("★★★ Japan", 3), ("★★★★★", 5)):
        (draft,) = parsed(appfollow, {"text": f"App\nStore\n{line}\nwords"})
        assert draft.body["scores"] == [{"metric": "stars", "value": stars}]
    assert parsed(appfollow, {"text": "★★ Japan\nwords"})[0].body["text"] == "words"
    with pytest.raises(Invalid):
        (draft,) = parsed(appfollow, {"text": "★★★★★★★ Japan"})
        tidy_content(draft.type, draft.body, "s", METRIC_RANGES)


def test_a_number_of_x_that_is_rounded_is_not_taken_where_its_text_is_there() -> None:
    tweet = {"id": 1830000000000000000, "id_str": "1830000000000000001", "text": "x", "user": {"id": 1, "id_str": "2"}}
    (draft,) = parsed(twitter, {"for_user_id": "9", "tweet_create_events": [tweet]})
    assert (draft.delivery, draft.body["customer"]["id"]) == ("post/1830000000000000001", "2")


@pytest.mark.parametrize(
    ("lang", "language"), [("ja", "ja"), ("und", None), ("qme", None), ("zxx", None), ("qu", "qu")]
)
def test_what_x_calls_a_language_and_is_none(lang: str, language: str | None) -> None:
    tweet = {"id_str": "1", "text": "x", "lang": lang, "user": {"id_str": "2"}}
    (draft,) = parsed(twitter, {"for_user_id": "9", "tweet_create_events": [tweet]})
    assert draft.body.get("language") == language


def test_two_long_ids_of_whatsapp_that_begin_alike_are_two() -> None:
    def said(which: str) -> Draft:
        message = {"from": "1", "id": which, "type": "text", "text": {"body": "x"}}
        change = {"field": "messages", "value": {"messages": [message]}}
        return parsed(whatsapp, {"object": "w", "entry": [{"changes": [change]}]})[0]

    long = "wamid." + "A" * 120
    assert said(long + "1").delivery != said(long + "2").delivery
    assert said(long + "1").delivery == said(long + "1").delivery


# ── values ──


@pytest.mark.parametrize(
    ("value", "stars"),
    [
        (1, 1),
        (5.0, 5),
        ("4", 4),
        ("4.5", 4.5),
        (0, None),
        (6, None),
        ("0", None),
        ("5.5", None),
        (True, None),
        ("★", None),
    ],
)
def test_stars(value: Any, stars: float | None) -> None:
    assert stars_of(value) == ([] if stars is None else [{"metric": "stars", "value": stars}])


@pytest.mark.parametrize(
    ("read", "value", "time"),
    [
        (iso_time, "2026-09-15T10:00:00+0000", "2026-09-15T10:00:00.000Z"),
        (iso_time, "2026-09-15T10:00:00-08:00", "2026-09-15T18:00:00.000Z"),
        (iso_time, "2026-09-15T10:00:00", None),
        (iso_time, "0001-01-01T00:00:00+14:00", None),
        (iso_time, 5, None),
        (mail_time, "Tue, 15 Sep 2026 10:00:00 +0800", "2026-09-15T02:00:00.000Z"),
        (mail_time, "Tue, 15 Sep 2026 10:00:00 -0000", "2026-09-15T10:00:00.000Z"),
        (mail_time, "Tue, 15 Sep 2026 10:00:00", None),
        (mail_time, "yesterday", None),
        (mail_time, None, None),
        (time_of_ms, "1789459200123", "2026-09-15T08:00:00.123Z"),
        (time_of_ms, 1789459200123, "2026-09-15T08:00:00.123Z"),
        (time_of_ms, -1, None),
        (time_of_ms, 10**18, None),
        (time_of_ms, True, None),
    ],
)
def test_times(read: Any, value: Any, time: str | None) -> None:
    assert read(value) == time


@pytest.mark.parametrize(
    ("reaction", "vote"),
    [
        ("👍", "up"),
        ("👍🏽", "up"),
        ("❤️", "up"),
        ("LIKE", "up"),
        ("angry", "down"),
        ("haha", None),
        (None, None),
        (5, None),
    ],
)
def test_votes(reaction: Any, vote: str | None) -> None:
    assert vote_of(reaction) == vote


def test_ids() -> None:
    assert id_of("x" * 100) == "x" * 100
    assert len({id_of("x" * 100), id_of("x" * 100 + "1"), id_of("x" * 100 + "2")}) == 3
    assert (id_of(" a "), id_of(5), id_of(None), id_of("")) == ("a", "5", None, None)


# ── real ones ──

BECAME: dict[Any, dict[str, int]] = {
    app_store: {"feedback.received": 1},
    google_play: {"feedback.received": 1},
    appfollow: {"feedback.received": 1},
    facebook_page: {"feedback.received": 1},
    whatsapp: {"feedback.received": 9, "customer.activity": 2, "ignored": 9},
    twitter: {"feedback.received": 1},
}


@pytest.mark.parametrize("connector", BECAME, ids=lambda connector: str(connector.NAME))
def test_every_payload_of_the_corpus_becomes_something_or_is_ignored_with_a_reason(
    corpus: Path, connector: Connector
) -> None:
    became: Counter[str] = Counter()
    for path in sorted((corpus / "webhooks" / connector.NAME).glob("*.json")):
        posted = WebhookRequest("POST", "https://x.example/s", {"content-type": "application/json"}, path.read_bytes())
        try:
            found = connector.parse(posted, source_of(connector))
        except Unreadable as error:
            raise AssertionError(path.name) from error
        if isinstance(found, Ignored):
            assert found.reason
            became["ignored"] += 1
            continue
        for draft in found:
            tidy_content(draft.type, draft.body, "s", METRIC_RANGES)
            became[draft.type] += 1
    assert became == BECAME[connector]
