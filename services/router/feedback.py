"""Can this value be read? What the rules and the classifier touch has the type that they expect, or it is poison.

The value is decoded once, into plain dicts, by a compiled decoder that checks the known members on the way and passes
over the others (they reach the teams all the same: the routed value is the original bytes). What ingest refuses at
its door is refused here too, for anybody with access may write to a topic.
"""

from collections.abc import Mapping
from typing import Any, Required, TypedDict

import msgspec

from shared.errors import Rejected

MAX_DEPTH = 32


class Unreadable(Rejected):
    """The value can never be routed: a dead letter. `reason` is a slug; the text repeats nothing of the value."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Score(TypedDict):
    metric: str
    value: float


class Customer(TypedDict, total=False):
    id: str | None
    email: str | None
    name: str | None
    locale: str | None
    account_id: str | None
    role: str | None
    tier: str | None
    preferred_channel: str | None


class FeedbackValue(TypedDict, total=False):
    """`shared.events.feedback.FeedbackReceived` as a decoder can check it; a test holds the two together."""

    id: Required[str]
    workspace: Required[str]
    received_at: Required[str]
    source: Required[str]
    external_id: str | None
    text: str | None
    title: str | None
    language: str | None
    scores: list[Score] | None
    customer: Customer | None
    channel: str | None
    solicited: bool | None
    touchpoint: str | None
    lifecycle_stage: str | None
    occurred_at: str | None
    url: str | None
    history: bool | None
    attributes: dict[str, Any] | None
    routing: msgspec.Raw
    """Reserved: there must be none."""


MEMBERS = frozenset(FeedbackValue.__annotations__) - {"routing"}
CUSTOMER_MEMBERS = frozenset(Customer.__annotations__)

_decode = msgspec.json.Decoder(FeedbackValue).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def read_feedback(value: bytes) -> Mapping[str, Any]:
    """Raises `Unreadable`."""
    _check(value)
    try:
        found: Mapping[str, Any] = _decode(value)
    except msgspec.ValidationError as error:
        raise Unreadable("wrong-type", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("malformed", f"the value is not JSON: {error}") from None
    if "routing" in found:
        raise Unreadable("reserved-member", "the value has a member `routing`, which is ours to add")
    return found


def read_object(value: bytes) -> dict[str, Any]:
    """A value of another type: any JSON object. Raises `Unreadable`."""
    _check(value)
    return _decode_whole(value)


def convert(feedback: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same check for what is a dict already, and was not received yet. Raises `Unreadable`."""
    try:
        value = msgspec.json.encode({"id": "", "workspace": "", "received_at": "", **feedback})
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable("malformed", f"the feedback cannot be written as JSON: {error}") from None
    return read_feedback(value)


def _check(value: bytes) -> None:
    """What the decoder lets through in members that it passes over: bad UTF-8, depth, NUL.

    Only a value that could hold one of the last two is looked at closely: more brackets than levels are allowed, or an
    escaped NUL somewhere (a plain one is no JSON).
    """
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise Unreadable("malformed", f"the value is not UTF-8 (byte {error.start})") from None
    if (b"\\" in value and b"\\u0000" in value) or value.count(b"{") + value.count(b"[") > MAX_DEPTH:
        _inspect(_decode_whole(value), MAX_DEPTH)


def _decode_whole(value: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decode_any(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("malformed", f"the value is not a JSON object: {error}") from None
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
