"""Content → event: what is accepted, which delivery it is, and the bytes that go on the log. Pure.

The value is built once, in a form that does not depend on how the sender wrote it: nothing that is null or empty, keys
in order, times in UTC. Its hash is `ce_bodyhash`, so that the router can tell a repeat from a conflict; id,
`received_at` and workspace are put before it afterwards, because they say nothing about what was said.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, ValidationError

from services.ingest.characters import id_issue, is_visible
from services.ingest.plain import PlainFeedback, encode, read_plain, read_plain_bytes
from services.ingest.sources import Ranges
from shared.errors import Rejected
from shared.events.envelope import CUSTOMER_ACTIVITY, FEEDBACK_RECEIVED, WORK_DECLINED, WORK_SHIPPED, rfc3339
from shared.events.feedback import Activity, Feedback, Work
from shared.events.identity import Pseudonyms, body_hash, customer_of, delivery_id
from shared.log import Headers, Message
from shared.topics import RECEIVED, named
from shared.web import strict_json
from shared.web.problems import FORMS, MAX_ERRORS, FieldError
from shared.web.strict_json import shown

KEPT_SOURCES = 1_000
MEMBERS_MAX = 100
"""Of one object of ours; the model knows less than 20. Whoever sends thousands means to keep us busy naming them."""
SCORES_MAX = 50
MODELS: Mapping[str, type[BaseModel]] = {
    FEEDBACK_RECEIVED: Feedback,
    CUSTOMER_ACTIVITY: Activity,
    WORK_SHIPPED: Work,
    WORK_DECLINED: Work,
}

_read_feedback = Feedback.__pydantic_validator__.validate_python


class Invalid(Rejected):
    """The content is not acceptable; every field that is wrong is named."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{e['field']}: {e['message']}" for e in errors))
        self.errors = list(errors)


class Content(NamedTuple):
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


class Event(NamedTuple):
    id: str
    hash: str
    message: Message


# ── accept ───────────────────────────────────────────────────────────────────────────────────────


def plain_content(raw: bytes, ranges: Ranges) -> Content | None:
    """The native body as it came, where it is plainly good."""
    found = read_plain_bytes(raw)
    return _plain_content(*found) if found is not None and _is_good(found[0], ranges) else None


def read_feedback(raw: bytes, ranges: Ranges) -> Content:
    """The native body as it came. Raises `Invalid`, `Malformed`, `Unacceptable`."""
    return plain_content(raw, ranges) or modelled_content(strict_json.loads(raw), ranges)


def feedback_content(value: Any, ranges: Ranges) -> Content:
    """The native body, decoded already. Raises `Invalid`."""
    plain = read_plain(value)
    if plain is not None and _is_good(plain, ranges):
        return _plain_content(plain, encode(plain))
    return modelled_content(value, ranges)


def modelled_content(value: Any, ranges: Ranges) -> Content:
    """The native body, by the model itself, which has the last word. Raises `Invalid`."""
    _refuse_too_many(value)
    try:
        feedback: Feedback = _read_feedback(value)
    except ValidationError as error:
        raise Invalid(field_errors(error)) from None
    errors = _wrong_with(feedback, ranges)
    if errors:
        raise Invalid(errors)
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
    _refuse_too_many(value)
    try:
        model = MODELS[kind].model_validate(value)
    except ValidationError as error:
        raise Invalid(field_errors(error)) from None
    return content_of(kind, model, value["source"])


def _refuse_too_many(value: Any) -> None:
    """Before the model looks: it would name 20,000 unknown fields one by one. Raises `Invalid`."""
    if not isinstance(value, dict):
        return
    scores = value.get("scores")
    if not isinstance(scores, list):
        scores = []
    if len(scores) > SCORES_MAX:
        raise Invalid([{"field": "scores", "message": f"must have at most {SCORES_MAX} items"}])
    ours = [("", value), ("customer", value.get("customer"))]
    ours += [(f"scores.{index}", score) for index, score in enumerate(scores)]
    for path, part in ours:
        if isinstance(part, dict) and len(part) > MEMBERS_MAX:
            raise Invalid([{"field": path, "message": f"has more than {MEMBERS_MAX} fields"}])


def field_errors(error: ValidationError) -> list[FieldError]:
    """Which fields, as the sender wrote their paths, and what is wrong; never what was in them."""
    if error.error_count() > MAX_ERRORS:
        # To name them takes longer than to find them, and nobody reads so many.
        return [{"field": "", "message": f"more than {MAX_ERRORS} things are wrong with it"}]
    return [
        {"field": shown(".".join(map(str, e["loc"]))), "message": _message(e)}
        for e in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _message(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not a known field"
        case "missing":
            return "is required"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be an object"
        case "string_pattern_mismatch" if error["loc"][-1] in FORMS:
            return FORMS[error["loc"][-1]]
        case "timezone_aware":
            return "must have a zone, such as 2026-01-01T09:00:00+08:00 or …Z"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")


def _is_good(feedback: PlainFeedback, ranges: Ranges) -> bool:
    """Whether `_wrong_with` would find nothing."""
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


def _wrong_with(feedback: Feedback, ranges: Ranges) -> list[FieldError]:
    """What the model cannot say: ranges, ids fit to be compared, and that something was said at all."""
    errors: list[FieldError] = []
    for index, score in enumerate(feedback.scores):
        allowed = ranges.get(score.metric)
        if allowed is None:
            message = f"is not a known metric ({', '.join(sorted(ranges))}): add it under metrics: in sources.yaml"
            errors.append({"field": f"scores.{index}.metric", "message": message})
        elif not allowed[0] <= score.value <= allowed[1]:
            message = f"must be from {allowed[0]:g} to {allowed[1]:g} for {score.metric}"
            errors.append({"field": f"scores.{index}.value", "message": message})
        elif score.metric == "hmd" and score.value not in allowed:
            errors.append({"field": f"scores.{index}.value", "message": "must be 0 or 1 for hmd"})
    if not feedback.scores and not is_visible(feedback.text):
        errors.append({"field": "text", "message": "is required where there are no scores, with something to read"})
    if feedback.external_id is not None and (issue := id_issue(feedback.external_id)):
        errors.append({"field": "external_id", "message": issue})
    customer = feedback.customer
    if customer is not None and customer.id is not None and not is_visible(customer.id):
        errors.append({"field": "customer.id", "message": "must hold something to read"})
    return errors


# ── build ────────────────────────────────────────────────────────────────────────────────────────


def content_of(kind: str, model: Any, source: str) -> Content:
    """A validated model as content. Raises `Invalid` for a time that UTC cannot say."""
    members = _members(model)
    if kind == FEEDBACK_RECEIVED:
        if not is_visible(members.get("text")):
            members.pop("text", None)
    else:
        members["type"] = kind
    external_id: str | None = getattr(model, "external_id", None)
    return _content(
        kind, source, _who(getattr(model, "customer", None)), external_id, members.get("occurred_at"), encode(members)
    )


def _plain_content(feedback: PlainFeedback, canonical: bytes) -> Content:
    """The same for what the compiled reader took."""
    who = _who(feedback.customer)
    return _content(FEEDBACK_RECEIVED, feedback.source, who, feedback.external_id, feedback.occurred_at, canonical)


def _who(customer: Any) -> str | None:
    return None if customer is None else customer_of(customer.id, customer.email)


def _content(
    kind: str, source: str, who: str | None, external_id: str | None, occurred_at: str | None, canonical: bytes
) -> Content:
    return Content(kind, source, who, external_id, occurred_at, canonical, body_hash(canonical))


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
        headers = [
            *self._of(content.type, content.source),
            ("ce_id", event_id.encode()),
            ("ce_time", (content.occurred_at or received_at).encode()),
            ("ce_bodyhash", content.hash.encode()),
            ("traceparent", traceparent.encode()),
        ]
        if history:
            headers.append(("ce_history", b"1"))
        value = b"".join(
            (
                b'{"id":"',
                event_id.encode(),
                b'","received_at":"',
                received_at.encode(),
                self._workspace_member,
                b',"history":true,' if history else b",",
                content.canonical[1:],
            )
        )
        key = self._pseudonyms.key(self.workspace, event_id if content.who is None else content.who)
        return Event(event_id, content.hash, Message(self.topic, key, value, headers))

    def _of(self, kind: str, source: str) -> Headers:
        """The headers that all events of a type and a source share."""
        found = self._fixed.get((kind, source))
        if found is None:
            if len(self._fixed) >= KEPT_SOURCES:
                self._fixed.clear()
            found = self._fixed[kind, source] = [
                ("ce_specversion", b"1.0"),
                ("content-type", b"application/json"),
                ("ce_workspace", self.workspace.encode()),
                ("ce_type", kind.encode()),
                ("ce_source", source.encode()),
            ]
        return found
