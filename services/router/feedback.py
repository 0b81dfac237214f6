"""Can this value be read? What the rules and the classifier touch has the type that they expect, or it is poison.

The value is decoded once, by a compiled decoder that checks the members that we know; the others reach the teams all
the same, because the routed value is the original bytes. What ingest refuses at
its door is refused here too, for anybody with access may write to a topic.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.errors import Rejected

MAX_DEPTH = 32


class Unreadable(Rejected):
    """The value can never be routed: a dead letter. `reason` is a slug; the text repeats nothing of the value."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Score(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    metric: str
    value: float


class Customer(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    id: str | None = None
    email: str | None = None
    name: str | None = None
    locale: str | None = None
    account_id: str | None = None
    role: str | None = None
    tier: str | None = None
    preferred_channel: str | None = None


class FeedbackValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`shared.events.feedback.FeedbackReceived` as a decoder can check it; a test holds the two together."""

    id: str
    workspace: str
    received_at: str
    source: str
    external_id: str | None = None
    text: str | None = None
    title: str | None = None
    language: str | None = None
    scores: list[Score] | None = None
    customer: Customer | None = None
    channel: str | None = None
    solicited: bool | None = None
    touchpoint: str | None = None
    lifecycle_stage: str | None = None
    occurred_at: str | None = None
    url: str | None = None
    history: bool | None = None
    attributes: dict[str, Any] | None = None


MEMBERS = frozenset(FeedbackValue.__struct_fields__)
CUSTOMER_MEMBERS = frozenset(Customer.__struct_fields__)
SCORE_MEMBERS = frozenset(Score.__struct_fields__)

_decode = msgspec.json.Decoder(FeedbackValue).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def read_feedback(value: bytes) -> FeedbackValue:
    """Raises `Unreadable`.

    What ingest writes holds members that we know and no others, so all of it is decoded and thereby checked. Anything
    else is looked at slowly.
    """
    try:
        found: FeedbackValue = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_slowly(value)
    # Only attributes may be of any depth, and only an escape may be a NUL (a plain one is no JSON).
    if (b"\\" in value and b"\\u0000" in value) or (
        found.attributes and value.count(b"{") + value.count(b"[") > MAX_DEPTH
    ):
        _inspect(_decode_whole(value), MAX_DEPTH)
    return found


def read_object(value: bytes) -> dict[str, Any]:
    """A value of another type: any JSON object. Raises `Unreadable`."""
    found = _decode_whole(value)
    _inspect(found, MAX_DEPTH)
    return found


def convert(feedback: Mapping[str, Any]) -> FeedbackValue:
    """The same check for what is a dict already, and was not received yet. Raises `Unreadable`."""
    try:
        value = msgspec.json.encode({"id": "", "workspace": "", "received_at": "", **feedback})
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable("malformed", f"the feedback cannot be written as JSON: {error}") from None
    return read_feedback(value)


def _read_slowly(value: bytes) -> FeedbackValue:
    """Members that we do not know are left out here; the routed value holds them all the same."""
    whole = _decode_whole(value)
    _inspect(whole, MAX_DEPTH)
    if "routing" in whole:
        raise Unreadable("reserved-member", "the value has a member `routing`, which is ours to add")
    known = {name: item for name, item in whole.items() if name in MEMBERS}
    if isinstance(customer := known.get("customer"), dict):
        known["customer"] = {name: item for name, item in customer.items() if name in CUSTOMER_MEMBERS}
    if isinstance(scores := known.get("scores"), list):
        known["scores"] = [
            {name: item for name, item in score.items() if name in SCORE_MEMBERS} if isinstance(score, dict) else score
            for score in scores
        ]
    try:
        return msgspec.convert(known, FeedbackValue)
    except msgspec.ValidationError as error:
        raise Unreadable("wrong-type", str(error)) from None


def _decode_whole(value: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decode_any(value)
    except msgspec.ValidationError as error:
        raise Unreadable("wrong-type", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("malformed", f"the value is not JSON: {error}") from None
    return found


def _inspect(value: Any, levels: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Unreadable("nul", "the value holds a NUL character, which no database keeps")
    elif isinstance(value, dict | list):
        if levels == 0:
            raise Unreadable("too-deep", f"the value is nested deeper than {MAX_DEPTH}")
        for item in value:
            _inspect(item, levels - 1)
        if isinstance(value, dict):
            for item in value.values():
                _inspect(item, levels - 1)
