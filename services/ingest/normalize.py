"""Content → event: what is accepted, which delivery it is, and the bytes that go on the log. Pure.

The value is built once, in a form that does not depend on how the sender wrote it: nothing that is null or empty, keys
in order, times in UTC. Its hash is `ce_bodyhash`, so that the router can tell a repeat from a conflict; id,
`received_at` and workspace are put before it afterwards, because they say nothing about what was said.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from services.ingest import self_service
from services.ingest.pii import Pii
from services.ingest.plain import PlainFeedback, encode, read_plain, read_plain_bytes
from services.ingest.sources import Ranges
from shared.events.acceptable import Invalid, accepted, field_errors, refuse_too_many
from shared.events.characters import id_issue, is_visible
from shared.events.envelope import (
    CUSTOMER_ACTIVITY,
    FEEDBACK_RECEIVED,
    WORK_DECLINED,
    WORK_MOVED,
    WORK_SHIPPED,
    rfc3339,
)
from shared.events.feedback import Activity, Feedback, Moved, Work
from shared.events.identity import Pseudonyms, body_hash, customer_of, delivery_id
from shared.log import Headers, Message
from shared.topics import RECEIVED, named
from shared.web import strict_json

KEPT_SOURCES = 1_000
MODELS: Mapping[str, type[BaseModel]] = {
    FEEDBACK_RECEIVED: Feedback,
    CUSTOMER_ACTIVITY: Activity,
    WORK_SHIPPED: Work,
    WORK_DECLINED: Work,
    WORK_MOVED: Moved,
}


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a delivery said, apart from when and as which delivery it came."""

    type: str
    source: str
    who: str | None
    """The customer, as `identity.customer_of` names them."""
    external_id: str | None
    occurred_at: str | None
    """RFC 3339, UTC."""
    canonical: bytes
    hash: str


class Event(msgspec.Struct, frozen=True, gc=False):
    id: str
    hash: str
    message: Message


# ── accept ───────────────────────────────────────────────────────────────────────────────────────


def plain_content(raw: bytes, ranges: Ranges) -> Content | None:
    """The native body as it came, where it is plainly good."""
    found = read_plain_bytes(raw)
    if found is None:
        return None
    feedback, canonical = found
    return _plain_content(feedback, canonical) if _is_good(feedback, ranges) else None


def read_feedback(raw: bytes, ranges: Ranges) -> Content:
    """The native body as it came. Raises `Invalid`, `Malformed`, `Unacceptable`."""
    return plain_content(raw, ranges) or modelled_content(strict_json.loads(raw), ranges)


def feedback_content(value: Any, ranges: Ranges) -> Content:
    """The native body, decoded already. Raises `Invalid`."""
    return plain_content_of(value, ranges) or modelled_content(value, ranges)


def plain_content_of(value: Any, ranges: Ranges) -> Content | None:
    """The native body, decoded already, where it is plainly good. Raises what `msgspec` does for what is no JSON."""
    plain = read_plain(value)
    return _plain_content(plain, encode(plain)) if plain is not None and _is_good(plain, ranges) else None


def modelled_content(value: Any, ranges: Ranges) -> Content:
    """The native body, by the model itself, which has the last word. Raises `Invalid`."""
    feedback = accepted(value, ranges)
    return content_of(FEEDBACK_RECEIVED, feedback, feedback.source)


def event_content(kind: str, value: Any, source: str, ranges: Ranges) -> Content:
    """The data of an event of this type, from CloudEvents or a connector; `source` where the data name none.

    Raises `Invalid`.
    """
    if not isinstance(value, dict):
        raise Invalid([{"field": "", "message": "must be an object"}])
    if value.get("source") is None:
        value = {**value, "source": source}
    if kind == FEEDBACK_RECEIVED:
        return feedback_content(value, ranges)
    refuse_too_many(value)
    try:
        if kind in self_service.TYPES:
            deed = self_service.as_activity(kind, self_service.TYPES[kind].model_validate(value))
            return content_of(CUSTOMER_ACTIVITY, deed, value["source"])
        model = MODELS[kind].model_validate(value)
    except ValidationError as error:
        raise Invalid(field_errors(error)) from None
    return content_of(kind, model, value["source"])


def _is_good(feedback: PlainFeedback, ranges: Ranges) -> bool:
    """Whether `acceptable` would find nothing."""
    for score in feedback.scores:
        allowed = ranges.get(score.metric)
        if allowed is None or not allowed[0] <= score.value <= allowed[1]:
            return False
        if score.metric == "hmd" and score.value not in allowed:
            return False
    if feedback.text is None and not feedback.scores:
        return False
    if feedback.external_id is not None and id_issue(feedback.external_id):
        return False
    customer = feedback.customer
    return customer is None or customer.id is None or is_visible(customer.id)


def without(content: Content, pii: Pii | None) -> Content:
    """The same content as it may be kept, and whose it is then."""
    if pii is None:
        return content
    members = pii.applied(msgspec.json.decode(content.canonical))
    customer = members.get("customer") or {}
    canonical = encode(members)
    return msgspec.structs.replace(
        content,
        who=customer_of(customer.get("id"), customer.get("email")) if customer else None,
        canonical=canonical,
        hash=body_hash(canonical),
    )


# ── build ────────────────────────────────────────────────────────────────────────────────────────


def content_of(kind: str, model: Any, source: str) -> Content:
    """A validated model as content. Raises `Invalid` for a time that UTC cannot say."""
    members = _members(model)
    if kind == FEEDBACK_RECEIVED:
        if not is_visible(members.get("text")):
            members.pop("text", None)
    else:
        members["type"] = kind
    customer = getattr(model, "customer", None)
    canonical = encode(members)
    return Content(
        kind,
        source,
        None if customer is None else customer_of(customer.id, customer.email),
        getattr(model, "external_id", None),
        members.get("occurred_at"),
        canonical,
        body_hash(canonical),
    )


def _plain_content(feedback: PlainFeedback, canonical: bytes) -> Content:
    """The same for what the compiled reader took."""
    customer = feedback.customer
    return Content(
        FEEDBACK_RECEIVED,
        feedback.source,
        None if customer is None else customer_of(customer.id, customer.email),
        feedback.external_id,
        feedback.occurred_at,
        canonical,
        body_hash(canonical),
    )


def _members(model: BaseModel) -> dict[str, Any]:
    """A model as plain data: nothing null or empty, times in UTC, whole numbers as such."""
    found: dict[str, Any] = {}
    for name, value in model.__dict__.items():
        if value is None or value in ((), {}):
            continue
        if isinstance(value, BaseModel):
            if inner := _members(value):
                found[name] = inner
        elif isinstance(value, tuple):
            found[name] = [_members(item) if isinstance(item, BaseModel) else item for item in value]
        elif isinstance(value, datetime):
            found[name] = _utc(name, value)
        elif isinstance(value, float):
            found[name] = int(value) if value.is_integer() else value
        else:
            found[name] = value
    return found


def _utc(name: str, value: datetime) -> str:
    try:
        return rfc3339(value.astimezone(UTC))
    except OverflowError:
        raise Invalid([{"field": name, "message": "is outside of the years that UTC can say"}]) from None


def event_id(content: Content, workspace: str, idempotency_key: str | None) -> str | None:
    """Which delivery a native post is; None when nothing identifies it, so that it is new."""
    if content.external_id is not None:
        return delivery_id("ext", workspace, content.source, content.external_id)
    if idempotency_key is not None:
        return delivery_id("key", workspace, content.source, idempotency_key)
    return None


class Builder:
    """Content → event, for one workspace. What does not change from event to event is encoded once."""

    def __init__(self, workspace: str, pseudonyms: Pseudonyms) -> None:
        self.workspace = workspace
        self.topic = named(workspace, RECEIVED)
        self._pseudonyms = pseudonyms
        self._workspace_member = b'","workspace":' + msgspec.json.encode(workspace)
        self._fixed: dict[tuple[str, str], Headers] = {}

    def build(
        self, content: Content, event_id: str, received_at: str, traceparent: str, *, history: bool = False
    ) -> Event:
        """`received_at` RFC 3339. The headers are those of `shared.events.envelope.Envelope` (a test holds them to it)."""
        encoded_id, encoded_time = event_id.encode(), received_at.encode()
        occurred_at = content.occurred_at
        headers = [
            *(self._fixed.get((content.type, content.source)) or self._of(content.type, content.source)),
            ("ce_id", encoded_id),
            ("ce_time", encoded_time if occurred_at is None else occurred_at.encode()),
            ("ce_bodyhash", content.hash.encode()),
            ("traceparent", traceparent.encode()),
        ]
        if history:
            headers.append(("ce_history", b"1"))
        value = b"".join(
            (
                b'{"id":"',
                encoded_id,
                b'","received_at":"',
                encoded_time,
                self._workspace_member,
                b',"history":true,' if history else b",",
                content.canonical[1:],
            )
        )
        key = self._pseudonyms.key(self.workspace, event_id if content.who is None else content.who)
        return Event(event_id, content.hash, Message(self.topic, key, value, headers))

    def _of(self, kind: str, source: str) -> Headers:
        """The headers that all events of a type and a source share."""
        if len(self._fixed) >= KEPT_SOURCES:
            self._fixed.clear()
        made = self._fixed[kind, source] = [
            ("ce_specversion", b"1.0"),
            ("content-type", b"application/json"),
            ("ce_workspace", self.workspace.encode()),
            ("ce_type", kind.encode()),
            ("ce_source", source.encode()),
        ]
        return made
