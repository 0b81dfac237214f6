"""Content → event. Properties on generated bodies, tables for what a person would look up."""

import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from services.ingest.normalize import (
    Builder,
    Content,
    event_content,
    feedback_content,
    modelled_content,
    read_feedback,
)
from services.ingest.plain import read_plain, read_plain_bytes
from shared.errors import Rejected
from shared.events.acceptable import Invalid
from shared.events.characters import id_issue, is_visible
from shared.events.envelope import Envelope, rfc3339
from shared.events.feedback import METRIC_RANGES, FeedbackReceived
from shared.events.identity import NAMESPACE, Kind, Pseudonyms, delivery_id, fresh_id, joined
from shared.web import strict_json

RANGES = METRIC_RANGES | {"huge": (-1e300, 1e300)}
PSEUDONYMS = Pseudonyms("secret")

# Values near every edge of the model: what a reader could take where the model would not, or take otherwise.
strings = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "\u200b", "\u3164", "a", "zh-CN", "en-", "e", "a" * 255, "a" * 256, "好" * 255, "A-a"]),
)
emails = st.sampled_from(
    ["a@b.c", "A@B.C", "a@b", "a@b@c", "@b", "a@", "a b@c", "a@b.c\n", "ü@b.c", "a@ü.c", "a'x@b.c", "a" * 317 + "@b.c", "a" * 316 + "@b.c"]
)  # fmt: skip
times = st.one_of(
    st.sampled_from(
        [
            "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:00.123456+08:00",
            "2026-01-01t00:00:00z", "2026-01-01 00:00:00Z", "2026-01-01T00:00Z", "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-13:00",
            "0000-01-01T00:00:00Z", "0002-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01", "٢026-01-01T00:00:00Z",
            "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+00:60", "2026-01-01T00:00:00-00:00", "1767225600",
        ]
    ),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
numbers = st.one_of(
    st.integers(),
    st.integers(2**53 - 2, 2**53 + 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1, 9.0, 9.5, 10, 10.000001, 5, 7, 1e300, -1e300, 10**400, True, False, "9", None]),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def near(good: dict[str, st.SearchStrategy[Any]], odd: dict[str, st.SearchStrategy[Any]]) -> Any:
    """Objects that are good, but for at most two members."""

    @st.composite
    def draw_one(draw: Any) -> dict[str, Any]:
        body: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=good))
        for name in draw(st.lists(st.sampled_from([*odd, *good, "unknown"]), max_size=2)):
            body[name] = draw(st.one_of(odd.get(name, anything), st.none(), anything))
        return body

    return draw_one()


words = st.sampled_from(["a", "slow", "zu langsam", "遅い", "🐢"])
languages = st.sampled_from(["zh-CN", "en", "de-AT-1996"])
customers = near(
    dict.fromkeys(("id", "name", "account_id", "role", "tier", "preferred_channel"), words)
    | {"email": st.sampled_from(["a@b.c", "A.b+c@D.e"]), "locale": languages},
    dict.fromkeys(("id", "name", "role"), strings) | {"email": emails, "locale": strings},
)
good_scores = st.fixed_dictionaries(
    {"metric": st.sampled_from(["nps", "ces"]), "value": st.integers(1, 7) | st.floats(1, 7)}
)
scores = near(
    {"metric": st.sampled_from(["nps", "huge"]), "value": st.integers(1, 10)},
    {"metric": st.sampled_from(["nps", "csat", "hmd", "huge", "joy", ""]), "value": numbers},
)
bodies = near(
    dict.fromkeys(("external_id", "title", "touchpoint", "lifecycle_stage", "url"), words)
    | {
        "text": words,
        "language": languages,
        "scores": st.lists(good_scores, max_size=2),
        "customer": customers,
        "channel": st.sampled_from(["review", "chat"]),
        "solicited": st.booleans(),
        "occurred_at": st.datetimes().map(lambda at: at.isoformat() + "Z"),
        "attributes": st.dictionaries(st.text(max_size=3), anything, max_size=3),
    },
    dict.fromkeys(("source", "external_id", "text", "title", "language", "touchpoint", "url"), strings)
    | {
        "scores": st.lists(scores, max_size=2),
        "channel": st.just("pigeon"),
        "solicited": st.sampled_from([0, 1, "yes"]),
        "occurred_at": times,
    },
).map(lambda body: {"source": "s", "text": "t"} | body)


def as_json(value: Any) -> Any:
    """As it would come out of a parser: a body is decoded once for each reader, so none sees the other's changes."""
    return json.loads(json.dumps(value))


def outcome(read: Any, value: Any) -> Content | str:
    try:
        return cast(Content, read(as_json(value), RANGES))
    except Invalid:
        return "invalid"


@settings(max_examples=1500, deadline=None)
@given(bodies)
@example({"source": "s", "scores": [{"metric": "huge", "value": 2**53 + 1}]})
@example({"source": "s", "text": "t", "customer": {"id": None}})
@example({"source": "s", "text": "t", "occurred_at": "0001-01-01T00:00:00+14:00"})
@example({"source": "s", "text": "t", "solicited": 1, "scores": [{"metric": "hmd", "value": True}]})
def test_the_short_way_and_the_model_never_differ(body: dict[str, Any]) -> None:
    """Accepted by both with the same bytes, customer, time and hash, or refused by both."""
    assert outcome(feedback_content, body) == outcome(modelled_content, body)


def read_exactly(raw: bytes) -> Content | str:
    """By the standard library's reader and the model: the long way."""
    try:
        return modelled_content(strict_json._exact(raw, strict_json.MAX_DEPTH, strict_json.MAX_VALUES), RANGES)
    except Rejected as error:
        return type(error).__name__


def read_as_served(raw: bytes) -> Content | str:
    try:
        return read_feedback(raw, RANGES)
    except Rejected as error:
        return type(error).__name__


# What could hide a key that came twice from a count of `":`.
tricky = st.lists(
    st.sampled_from(
        ['":', '" :', '"', ":", "\\", '\\":', "\\u0022:", "\0", "\ud800", "é", "好", " ", "\n", "{", "}", "/", "a"]
    ),
    max_size=5,
).map("".join)
writings = st.sampled_from(
    [
        {"ensure_ascii": True},
        {"ensure_ascii": False},
        {"ensure_ascii": False, "separators": (",", ":")},
        {"ensure_ascii": False, "separators": (" ,", " : ")},
        {"ensure_ascii": False, "indent": 2},
    ]
)


@settings(max_examples=1500, deadline=None)
@given(bodies, tricky, st.dictionaries(tricky, tricky, max_size=2), writings, st.booleans(), st.booleans())
def test_bytes_are_read_as_the_long_way_reads_them(
    body: dict[str, Any], text: str, attributes: dict[str, str], writing: dict[str, Any], twice: bool, escaped: bool
) -> None:
    body = body | {"title": text} | ({"attributes": attributes} if attributes else {})
    written = json.dumps(body, **writing)
    if escaped:
        written = written.replace('\\"', "\\u0022")
    if twice:
        written = written.replace("{", '{"text":"first",', 1)
    try:
        raw = written.encode("utf-8", "surrogatepass")
    except UnicodeEncodeError:
        return
    assert read_as_served(raw) == read_exactly(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"source":"s","text":"a","text":"b\\u0022:"}',
        b'{"source":"s","text":"a","text":"b\\":"}',
        b'{"source":"s","text":"\\":","text":"b"}',
        b'{"source":"s","text":"t","attributes":{"a":1,"a":2}}',
        b'{"source":"s","text":"t","scores":[{"metric":"nps","value":1,"value":2}]}',
    ],
)
def test_a_key_that_comes_twice_is_not_hidden_by_what_stands_in_a_text(raw: bytes) -> None:
    assert read_plain_bytes(raw) is None
    assert read_as_served(raw) == "Malformed"


def test_the_short_way_is_the_usual_one() -> None:
    body = {
        "source": "app-store",
        "external_id": "r-1",
        "text": "慢",
        "title": "t",
        "language": "zh-CN",
        "scores": [{"metric": "nps", "value": 9}],
        "customer": {"id": "c", "email": "a.b+c@example.com", "name": "李", "locale": "zh", "tier": "gold"},
        "channel": "review",
        "solicited": True,
        "touchpoint": "site",
        "lifecycle_stage": "renewal",
        "occurred_at": "2026-01-01T00:00:00+08:00",
        "url": "https://example.com/1",
        "attributes": {"a": {"b": [1, None]}},
    }
    assert read_plain(as_json(body)) is not None
    for written in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=1)):
        found = read_plain_bytes(written.encode())
        assert found is not None
        assert found[1] == feedback_content(body, RANGES).canonical


@settings(max_examples=300, deadline=None)
@given(bodies, st.randoms(use_true_random=False))
def test_content_does_not_depend_on_how_it_was_written(body: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(k, shuffled(v)) for k, v in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(v) for v in value] if isinstance(value, list) else value

    first = outcome(feedback_content, body)
    assert outcome(feedback_content, shuffled(body)) == first
    if isinstance(first, Content):
        assert outcome(feedback_content, body | {"extra": 1}) == "invalid"
        with_null = {name: None for name in ("title", "url", "touchpoint") if name not in body} | body
        assert outcome(feedback_content, with_null) == first


@settings(max_examples=300, deadline=None)
@given(bodies, st.booleans())
def test_a_value_is_a_feedback_received_and_its_headers_are_the_envelopes(body: dict[str, Any], history: bool) -> None:
    content = outcome(feedback_content, body)
    assume(isinstance(content, Content))
    assert isinstance(content, Content)
    event_id = fresh_id()
    event = Builder("acme", PSEUDONYMS).build(content, event_id, "2026-02-03T04:05:06.789Z", "00-ab", history=history)
    value = json.loads(event.message.value)
    FeedbackReceived.model_validate(value)
    assert (value["id"], value["workspace"], value["received_at"]) == (event_id, "acme", "2026-02-03T04:05:06.789Z")
    assert value.get("history", False) is history
    envelope = Envelope.from_headers(event.message.headers)
    expected = dict(envelope.headers()) | ({"ce_history": b"1"} if history else {})
    assert dict(event.message.headers) == expected
    assert envelope.time == value.get("occurred_at", value["received_at"])
    assert event.message.topic == "acme.feedback.received"


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=300))
def test_a_pseudonym_is_the_standards_hmac(secret: str, workspace: str, who: str) -> None:
    key = hashlib.sha256(b"flywheel pseudonyms\0" + secret.encode()).digest()
    expected = hmac.digest(key, joined(workspace, who).encode(), "sha256").hex()[:32].encode()
    assert Pseudonyms(secret).key(workspace, who) == expected


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_has_milliseconds(at: datetime) -> None:
    assert rfc3339(at) == at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def test_the_key_is_the_customers_else_the_events_own() -> None:
    build = Builder("default", PSEUDONYMS).build

    def key(customer: Any, event_id: str = "e-1") -> bytes | None:
        content = feedback_content({"source": "s", "text": "t", "customer": customer}, RANGES)
        return build(content, event_id, "2026-02-03T04:05:06.789Z", "00-ab").message.key

    assert key({"id": "c", "email": "a@b.c"}) == key({"id": "c"}) == PSEUDONYMS.key("default", "c")
    assert key({"email": "A@B.c"}) == key({"email": "a@b.C"}) == PSEUDONYMS.key("default", "a@b.c")
    assert key(None) == key({"name": "x"}) == PSEUDONYMS.key("default", "e-1")
    assert key({"id": "A@B.c"}) != key({"email": "A@B.c"}), "an id is taken as sent"


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("customer.activity", {"activity": "login", "customer": {"name": "x"}}, ""),
        ("customer.activity", {"customer": {"id": "c"}}, "activity"),
        ("work.shipped", {"work_id": ""}, "work_id"),
        ("work.declined", {"work_id": "w", "id": "x"}, "id"),
        ("work.moved", {"work_id": "w"}, ""),
        ("feedback.received", [], ""),
        ("feedback.received", {"text": "t", "occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at"),
    ],
)
def test_what_is_wrong_with_an_event_is_named(kind: str, data: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        event_content(kind, data, "s", RANGES)
    assert [error["field"] for error in caught.value.errors] == [field]


VISIBLE = ["a", "。", "🐢", " . ", "\u200bx", "é", "１", "-"]
INVISIBLE = ["", " ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b\u200c\u200d\u2060\ufeff", "\u00ad", "\u3164\u115f", "\u2800", "\u034f", "\ufe0f", "\u202e"]  # fmt: skip


@pytest.mark.parametrize(("text", "visible"), [(t, True) for t in VISIBLE] + [(t, False) for t in INVISIBLE])
def test_what_there_is_to_read(text: str, visible: bool) -> None:
    assert is_visible(text) is visible


GOOD_IDS = [
    "1",
    "rev-123",
    "a/b",
    "a..b",
    "https://x.example/1?y=2#z",
    "отзыв",
    "评论-7",
    "a b",
    "<x@y.z>",
    "é",
    "a+b=c~",
    "5€",
]
BAD_IDS = [
    "",
    " a",
    "a ",
    "a\tb",
    "a\x7f",
    "../a",
    "a/../b",
    "a/..",
    "e\u0301",
    "a\u200bb",
    "\u202ea",
    "🙂",
    "a\u2028b",
    "x" * 256,
]


@pytest.mark.parametrize(("value", "good"), [(i, True) for i in GOOD_IDS] + [(i, False) for i in BAD_IDS])
def test_34_ids(value: str, good: bool) -> None:
    assert (id_issue(value) is None) is good


@given(st.sampled_from(["ext", "key", "ce", "hook"]), st.text(), st.text(), st.text())
def test_ids_are_version_5_uuids(kind: Kind, workspace: str, source: str, value: str) -> None:
    assert delivery_id(kind, workspace, source, value) == str(
        uuid.uuid5(NAMESPACE, joined(kind, workspace, source, value))
    )


def test_fresh_ids_are_version_4_uuids() -> None:
    ids = [fresh_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(
        str(uuid.UUID(i)) == i and uuid.UUID(i).version == 4 and uuid.UUID(i).variant == uuid.RFC_4122 for i in ids
    )
