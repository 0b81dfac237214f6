"""What the closer reads, as it sees it: a record of the log → routed feedback, a decision, or nothing of ours. ●

The value stays as the bytes that it came in; only what a case needs is decoded, once, typed. A record that does not fit
raises `Poison`, which says why without repeating what somebody wrote.
"""

import math
import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

from shared.errors import Rejected
from shared.events.dead_letter import REDRIVE_FOR
from shared.events.envelope import FEEDBACK_DECIDED, FEEDBACK_ROUTED, WORK_DECLINED, WORK_MOVED, WORK_SHIPPED
from shared.events.feedback import Kind, Priority, SentimentLabel
from shared.events.identity import customer_of
from shared.log import Record
from shared.topics import DEFAULT_WORKSPACE, REDRIVE

LOOP_SOURCE = "loop"
NOTED = "activity.noted"
NEWS = {WORK_MOVED: "moved", WORK_SHIPPED: "shipped", WORK_DECLINED: "declined"}
MERGES_FOLLOWED = 10
"""From a case to the one that it was merged into, and on."""

_Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", max_length=36)]
_Time = Annotated[datetime, Meta(tz=True)]
_Label = Annotated[str, Meta(max_length=255)]
# What JSON can say and a JSONB column cannot hold: NUL, and halves of a surrogate pair.
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class Poison(Rejected):
    """This record fails the same way for ever. `slug` names the reason; the text holds no personal field."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug


class Customer(Struct, frozen=True, gc=False):
    id: str | None = None
    email: str | None = None
    name: str | None = None
    locale: str | None = None
    account_id: str | None = None
    tier: str | None = None
    preferred_channel: str | None = None


class Sentiment(Struct, frozen=True, gc=False):
    label: SentimentLabel
    score: float


class Hold(Struct, frozen=True, gc=False):
    """A rule holds it back: nobody is to be troubled by it until then."""

    until: _Time
    because: _Label


class Routing(Struct, frozen=True, gc=False):
    role: Literal["owner", "watcher"]
    team: _Label
    tags: list[_Label]
    theme: _Label
    kind: Kind
    sentiment: Sentiment
    priority: Priority
    language: _Label
    confidence: float
    decided_by: Literal["rule", "model", "default"]
    ruleset_version: str
    follow_up: bool
    reasons: Raw
    rule: str | None = None
    history: bool = False
    tier: _Label | None = None
    """That a rule set, instead of the customer's own."""
    person: _Label | None = None
    """Whom a rule hands it to."""
    rota: _Label | None = None
    held: Hold | None = None


class Score(Struct, frozen=True, gc=False):
    metric: str
    value: float


class Value(Struct, frozen=True, gc=False):
    """Of `feedback.routed.<team>`: every member that a view casts has its type here, so that reading cannot fail."""

    id: _Uuid
    workspace: _Label
    received_at: _Time
    source: str
    routing: Routing
    customer: Customer | None = None
    text: str | None = None
    title: str | None = None
    language: str | None = None
    channel: str | None = None
    solicited: bool | None = None
    touchpoint: str | None = None
    lifecycle_stage: str | None = None
    occurred_at: _Time | None = None
    url: str | None = None
    scores: list[Score] = []
    attributes: Raw = Raw(b"{}")


class Decided(Struct, frozen=True):
    """Of `feedback.decisions`."""

    id: _Uuid
    workspace: _Label
    decision: str
    reason: str
    decided_at: _Time
    of: str | None = None
    type: str = ""
    """Of work: which of its events it was."""


class Deed(Struct, frozen=True):
    """What a customer did: the members of the event, beside the decision that it was noted."""

    customer: Customer
    activity: _Label
    received_at: _Time | None = None
    occurred_at: _Time | None = None
    source: _Label = ""
    attributes: Raw = Raw(b"{}")


class Work(Struct, frozen=True):
    """A ticket of which its own tool has news: the members of the event, beside the decision that it was noted."""

    work_id: _Label
    source: _Label = ""
    team: _Label | None = None
    """Of one that was moved: what the tool calls its new team."""
    team_id: _Label | None = None
    feedback_ids: list[str] = []
    """Of one that has ended: which feedback it is about."""
    received_at: _Time | None = None
    occurred_at: _Time | None = None


class LoopAnswer(Struct, frozen=True):
    """`attributes.loop` of an answer given on the customer's page."""

    case_id: _Uuid
    solved: bool


class _Loop(Struct):
    loop: LoopAnswer


class Feedback(Struct, frozen=True, gc=False):
    """One routed piece of feedback that is ours to look after."""

    record: Record
    value: Value
    customer: str | None
    """`customer.id` as sent, else the lower-cased address."""
    loop: LoopAnswer | None
    bodyhash: str
    traceparent: str


class Watched(Struct, frozen=True, gc=False):
    """A watching team's copy: another team's to look after."""

    record: Record
    value: Value
    traceparent: str


class DecisionRead(Struct, frozen=True):
    record: Record
    value: Decided
    deed: Deed | None = None
    """Of activity that was noted."""
    work: Work | None = None
    """Of which there is news; `NEWS` says by the event's type what it is."""


_value = msgspec.json.Decoder(Value)
_decided = msgspec.json.Decoder(Decided)
_deed = msgspec.json.Decoder(Deed)
_work = msgspec.json.Decoder(Work)
_loop = msgspec.json.Decoder(_Loop)


def value_of(stored: str) -> Value | None:
    """A value as `closer.feedback` keeps it; None where that does not hold all of it any more."""
    try:
        found: Value = _value.decode(stored)
    except msgspec.MsgspecError:
        return None
    return found


def read(record: Record) -> Feedback | Watched | DecisionRead | None:
    """None: an event type that we do not know yet, or sent again for another service. Raises `Poison`."""
    headers = dict(record.headers)
    if record.topic.endswith(REDRIVE) and headers.get(REDRIVE_FOR) != b"closer":
        return None
    kind = headers.get("ce_type", b"").decode("latin-1")
    if kind == FEEDBACK_ROUTED:
        return _feedback(record, headers)
    if kind == FEEDBACK_DECIDED:
        decided: Decided = _decoded(_decided, record)
        _in_its_own(record, decided.workspace)
        if decided.decision == NOTED:
            return DecisionRead(record, decided, deed=_decoded(_deed, record))
        return DecisionRead(record, decided, work=_decoded(_work, record) if decided.type in NEWS else None)
    if not kind:
        raise Poison("not-an-event", "header ce_type is missing")
    return None


def _feedback(record: Record, headers: dict[str, bytes]) -> Feedback | Watched:
    value: Value = _decoded(_value, record)
    _in_its_own(record, value.workspace)
    traceparent = headers.get("traceparent", b"").decode("latin-1")
    if value.routing.role == "watcher":
        return Watched(record, value, traceparent)
    routing = value.routing
    if not (math.isfinite(routing.confidence) and math.isfinite(routing.sentiment.score)):
        raise Poison("violates-model", "a number of the routing is not finite")
    customer = value.customer
    return Feedback(
        record,
        value,
        customer_of(customer.id, customer.email) if customer is not None else None,
        _answer_of(value) if value.source == LOOP_SOURCE else None,
        headers.get("ce_bodyhash", b"").decode("latin-1"),
        traceparent,
    )


@lru_cache(1000)
def workspace_of(topic: str) -> str:
    """Whose topic it is, by its name."""
    prefix, found, _ = topic.partition(".feedback.")
    return prefix if found else DEFAULT_WORKSPACE


def _in_its_own(record: Record, workspace: str) -> None:
    """Who may write to a workspace's topic may not speak for another one."""
    if workspace != workspace_of(record.topic):
        raise Poison("wrong-workspace", "the value names another workspace than its topic")


def _answer_of(value: Value) -> LoopAnswer | None:
    """A source may call itself `loop` without being ours: then it is feedback like any other."""
    try:
        return _loop.decode(value.attributes).loop
    except msgspec.MsgspecError:
        return None


def _decoded(decoder: "msgspec.json.Decoder[Any]", record: Record) -> Any:
    if b"\\u" in record.value and _UNSTORABLE.search(record.value):
        _refuse_unstorable(record.value)
    try:
        return decoder.decode(record.value)
    except msgspec.ValidationError as error:
        raise Poison("violates-model", _without_values(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Poison("not-json", "the value is not JSON") from None


def _refuse_unstorable(value: bytes) -> None:
    """The slow look, for the few values that seem to hold such an escape (an escaped backslash before `u` is fine)."""
    try:
        text = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Poison("not-json", "the value is not JSON") from None
    if any("\0" in string for string in _strings(text)):
        raise Poison("unstorable", "the value holds U+0000, which no database column can")


def _strings(value: Any) -> "list[str]":
    """Every string in it, members' names too; without recursion, since depth is the sender's choice."""
    found, todo = [], [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, list):
            todo.extend(one)
        elif isinstance(one, dict):
            todo.extend(one.keys())
            todo.extend(one.values())
    return found


def _without_values(error: msgspec.ValidationError) -> str:
    """Where, and what was expected: msgspec repeats the value only for a wrong choice (`Invalid enum value 'x'`)."""
    return re.sub(r"'[^']*'", "…", str(error), count=1) if "enum" in str(error) else str(error)


def case_id_of(feedback_id: str, received_at: datetime) -> str:
    """The id of the case that this feedback opens: UUIDv7's layout, the time it was received and the feedback's own
    random bits. The same after a crash, and in order of time, so that the newest cases stand together in the index."""
    milliseconds = f"{max(0, int(received_at.timestamp() * 1000)) & 0xFFFFFFFFFFFF:012x}"
    digits = feedback_id.replace("-", "")
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def is_uuid(text: str) -> bool:
    """Whether it is one, spelt as we spell them."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
