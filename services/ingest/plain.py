"""The short way in: feedback that is plainly good, decided by a compiled reader. Pure.

`Feedback` in `shared.events` is the one model; what this reader takes, that model takes too, with the same canonical
bytes (a property test holds it to that). It is the stricter of the two: what it does not take may still be good, and
goes to `strict_json` and the model, which have the last word and name what is wrong. Most of what comes is plain.

From bytes it decodes straight into the struct, and proves by a count that nothing was lost on the way: whatever is lost
takes the two quotes of its name with it. A text can hold quotes too, but then its canonical form holds as many, since no
escape that could hide one is let through. A key that came twice, or was left out of the canonical form, leaves the
sender's bytes with more of them.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from shared.errors import Rejected
from shared.events.characters import is_visible
from shared.events.envelope import rfc3339
from shared.events.feedback import TEXT_MAX_CHARS
from shared.web import strict_json

_Label = Annotated[str, Meta(min_length=1, max_length=255)]
_Language = Annotated[str, Meta(pattern=r"\A[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z", max_length=35)]
_WHOLE_MAX = 2**53
_WHOLE_SECONDS_CHARS = len("2026-01-01T00:00:00Z")
# A subset of what the model takes as a time: nothing that two readers might see in two ways.
_TIME = re.compile(
    r"(?!0000|9999|0001)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-](0\d|1[0-3]):[0-5]\d)\Z", re.ASCII
)


class _Score(Struct, forbid_unknown_fields=True):
    metric: _Label
    value: int | float


class _Customer(Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: _Label | None = None
    email: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\Z", max_length=320)] | None = None
    name: Annotated[str, Meta(max_length=255)] | None = None
    locale: _Language | None = None
    account_id: _Label | None = None
    role: _Label | None = None
    tier: _Label | None = None
    preferred_channel: _Label | None = None


class PlainFeedback(Struct, forbid_unknown_fields=True, omit_defaults=True):
    source: _Label
    external_id: _Label | None = None
    text: Annotated[str, Meta(max_length=TEXT_MAX_CHARS)] | None = None
    title: Annotated[str, Meta(max_length=1000)] | None = None
    language: _Language | None = None
    scores: Annotated[list[_Score], Meta(max_length=50)] = []
    customer: _Customer | None = None
    channel: (
        Literal[
            "survey",
            "ticket",
            "chat",
            "review",
            "social",
            "email",
            "call",
            "in_app",
            "community",
            "store",
            "web",
            "help_center",
        ]
        | None
    ) = None
    solicited: bool | None = None
    touchpoint: _Label | None = None
    lifecycle_stage: _Label | None = None
    occurred_at: str | None = None
    url: Annotated[str, Meta(max_length=2048)] | None = None
    attributes: dict[str, Any] = {}


_convert = msgspec.convert
_decode = msgspec.json.Decoder(PlainFeedback, float_hook=strict_json.finite).decode
encode = msgspec.json.Encoder(order="sorted").encode
"""The canonical form: keys in order, nothing that is null or empty."""
NOBODY = _Customer()


def read_plain_bytes(raw: bytes) -> tuple[PlainFeedback, bytes] | None:
    """The feedback and its canonical form, from JSON as it was sent. None: ask `strict_json` and the model."""
    if len(raw) > strict_json.MAX_VALUES or (b"\\" in raw and b"\\u00" in raw):
        return None
    try:
        feedback = _decode(raw)
        if feedback.attributes:
            strict_json.measure(feedback.attributes, strict_json.MAX_DEPTH - 1, strict_json.MAX_VALUES)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, Rejected):
        return None
    if not _settled(feedback):
        return None
    canonical = encode(feedback)
    return (feedback, canonical) if raw.count(b'"') == canonical.count(b'"') else None


def read_plain(value: Any) -> PlainFeedback | None:
    """The same from JSON that was decoded already."""
    try:
        feedback: PlainFeedback = _convert(value, PlainFeedback)
    except (msgspec.ValidationError, OverflowError):
        return None
    return feedback if _settled(feedback) else None


def _settled(feedback: PlainFeedback) -> bool:
    """Numbers and times in their one form; false where there is none that this reader is sure of."""
    if feedback.text is not None and not is_visible(feedback.text):
        return False
    for score in feedback.scores:
        number = score.value
        if type(number) is float and number.is_integer():
            score.value = int(number)
        if not -_WHOLE_MAX <= number <= _WHOLE_MAX:
            return False
    if feedback.occurred_at is not None:
        if not _TIME.match(feedback.occurred_at):
            return False
        try:
            at = datetime.fromisoformat(feedback.occurred_at)
        except ValueError:
            return False
        if feedback.occurred_at[-1] == "Z" and len(feedback.occurred_at) == _WHOLE_SECONDS_CHARS:
            feedback.occurred_at = feedback.occurred_at[:-1] + ".000Z"
        else:
            feedback.occurred_at = rfc3339(at.astimezone(UTC))
    if feedback.customer == NOBODY:
        feedback.customer = None
    return True
