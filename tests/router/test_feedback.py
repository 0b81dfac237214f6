"""What a topic may hold that cannot be routed, and what can though it looks odd."""

import json
from typing import Any

import pytest

from services.router.feedback import CUSTOMER_MEMBERS, MEMBERS, Unreadable, read_feedback, read_object
from shared.events.feedback import Customer, FeedbackReceived

GOOD: dict[str, Any] = {"id": "1", "workspace": "default", "received_at": "2026-01-01T00:00:00Z", "source": "s"}


def value(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "malformed"),
        (b"nonsense", "malformed"),
        (b"{", "malformed"),
        (b"[]", "wrong-type"),
        (b'"text"', "wrong-type"),
        (b"null", "wrong-type"),
        (b"\xef\xbb\xbf" + value(), "malformed"),
        (value() + b"x", "malformed"),
        (value(note="PLACE").replace(b"PLACE", b"\xff\xfe"), "malformed"),
        (value(text="PLACE").replace(b"PLACE", b"\xed\xa0\x80"), "malformed"),
        (value(text="PLACE").replace(b"PLACE", b"\\ud800"), "malformed"),
        (value(text="PLACE").replace(b"PLACE", b"a\x00b"), "malformed"),
        (value(text="a\0b"), "nul"),
        (value(attributes={"deep": [{"a\0": 1}]}), "nul"),
        (value(note="a\0b"), "nul"),
        (value(scores=[{"metric": "nps", "value": "PLACE"}]).replace(b'"PLACE"', b"NaN"), "malformed"),
        (value(text=5), "wrong-type"),
        (value(title=["x"]), "wrong-type"),
        (value(language={}), "wrong-type"),
        (value(scores={}), "wrong-type"),
        (value(scores=[{"metric": "nps"}]), "wrong-type"),
        (value(scores=[{"metric": "nps", "value": "9"}]), "wrong-type"),
        (value(customer="c-1"), "wrong-type"),
        (value(customer={"tier": 1}), "wrong-type"),
        (value(attributes=[]), "wrong-type"),
        (b'{"text": "no id"}', "wrong-type"),
        (value(attributes=nested(40)), "too-deep"),
        (value(note=nested(32)), "too-deep"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "malformed"),
        (value(routing={"team": "x"}), "reserved-member"),
        (value(PLACE=1).replace(b"PLACE", b"\\u0072outing"), "reserved-member"),
    ],
)
def test_poison(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_feedback(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "raw",
    [
        value(),
        value(text="", title=None, scores=None, customer=None, attributes=None),
        value(note={"routing": 1}, attributes={"routing": {"team": "x"}}),
        value(text='"routing": { [ ' * 40),
        value(text="a\\u0000 spelt out"),
        value(attributes=nested(30)),
        value(attributes={"list": [{} for _ in range(100)]}),
        value(unknown=[1, {"a": 2}]),
        b" \n" + value() + b" \n",
        json.dumps(GOOD | {"text": "中文"}, ensure_ascii=False).encode(),
    ],
)
def test_odd_but_readable(raw: bytes) -> None:
    assert read_feedback(raw).id == "1"


def test_what_is_said_of_poison_does_not_repeat_it() -> None:
    with pytest.raises(Unreadable) as caught:
        read_feedback(value(text={"secret-word": 1}))
    assert "secret-word" not in str(caught.value)


def test_other_events_are_any_object() -> None:
    assert read_object(b'{"activity": "login"}') == {"activity": "login"}
    for raw in (b"[]", b"5", b"{", b'{"a": "\\u0000"}'):
        with pytest.raises(Unreadable):
            read_object(raw)


def test_the_decoder_knows_the_members_of_the_models() -> None:
    assert set(FeedbackReceived.model_fields) | {"history"} == MEMBERS
    assert set(Customer.model_fields) == CUSTOMER_MEMBERS
