"""The topics, described from the models that the code itself uses: AsyncAPI 3.1 and JSON Schemas. Pure.

What teams and tools build on is generated, committed under deploy/ and compared by a test, so that a change of the
contract is seen as one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from shared.events.case import CaseChanged
from shared.events.correction import Corrected
from shared.events.envelope import (
    CASE_CHANGED,
    CUSTOMER_ACTIVITY,
    CUSTOMER_ERASED,
    FEEDBACK_CORRECTED,
    FEEDBACK_DECIDED,
    FEEDBACK_RECEIVED,
    FEEDBACK_ROUTED,
    SIGNAL_RAISED,
    SIGNAL_RESOLVED,
    WORK_DECLINED,
    WORK_MOVED,
    WORK_SHIPPED,
)
from shared.events.erasure import CustomerErased
from shared.events.feedback import Activity, Decision, FeedbackReceived, FeedbackRouted, Moved, Work
from shared.events.signal import SignalChanged
from shared.topics import (
    CASES,
    CORRECTIONS,
    DEAD_LETTER,
    DECISIONS,
    ERASURES,
    MAX_MESSAGE_BYTES,
    RECEIVED,
    SIGNALS,
    all_topics,
    routed,
)

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# ce_type → (model, what it says)
MESSAGES: Mapping[str, tuple[type[BaseModel], str]] = {
    FEEDBACK_RECEIVED: (FeedbackReceived, "What somebody said, as it came in."),
    CUSTOMER_ACTIVITY: (
        Activity,
        "What a customer did. Of self-service (help.searched, help.viewed, contact.abandoned) `activity` is the event's"
        " type, and `attributes` hold what it says.",
    ),
    WORK_SHIPPED: (Work, "Work that feedback is linked to was shipped."),
    WORK_DECLINED: (Work, "Work that feedback is linked to was declined."),
    WORK_MOVED: (Moved, "A ticket that feedback came from has another team in its own tool."),
    FEEDBACK_ROUTED: (FeedbackRouted, "The event as it came, plus its routing."),
    FEEDBACK_DECIDED: (Decision, "What else the router decided: duplicate, conflict, discarded, noted."),
    CASE_CHANGED: (CaseChanged, "What happened to a case."),
    FEEDBACK_CORRECTED: (Corrected, "What a person says would have been right."),
    SIGNAL_RAISED: (SignalChanged, "More came of something than should: once, with its evidence."),
    SIGNAL_RESOLVED: (SignalChanged, "That has passed: once, with all that belonged to it."),
    CUSTOMER_ERASED: (CustomerErased, "A customer was erased: whoever keeps copies finds theirs by the key."),
}

_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0, binary content mode of the Kafka protocol binding; values are raw UTF-8.",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_workspace"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid", "description": "The feedback id, the same on every copy."},
        "ce_type": {"type": "string"},
        "ce_source": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time", "description": "When it occurred."},
        "ce_workspace": {"type": "string"},
        "ce_bodyhash": {"type": "string", "description": "What the delivery said: tells a repeat from a conflict."},
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
        "redrive": {"type": "string", "description": "How often an operator sent it again; such a record comes late."},
    },
}

_KEYS = {
    "customer": "A pseudonym of the customer (HMAC), else of the feedback: 32 hex digits. Order is kept per customer.",
    "case": "The case's id.",
    "feedback": "The feedback's id.",
    "signal": "The signal's id.",
    "original": "The key of the record that could not be processed.",
}


def schemas() -> dict[str, dict[str, Any]]:
    """ce_type → the JSON Schema of its value."""
    found = {}
    for kind, (model, _) in MESSAGES.items():
        schema = model.model_json_schema(mode="serialization" if kind == FEEDBACK_ROUTED else "validation")
        found[kind] = {"$schema": SCHEMA_DIALECT, "$id": f"{kind}.json", **schema}
    return found


def document(teams: Iterable[str]) -> dict[str, Any]:
    """The AsyncAPI document of the default workspace's topics."""
    names = sorted(teams)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    retention = {topic.name: topic.retention for topic in all_topics(names)}

    def channel(topic: str, key: str, kinds: list[str], says: str) -> None:
        identifier = topic.replace(".", "_").replace("-", "_")
        days = retention[topic].days if retention[topic] is not None else None  # type: ignore[union-attr]
        kept = f"Kept {days} days." if days is not None else "Kept for good."
        channels[identifier] = {
            "address": topic,
            "description": f"{says} Key: {_KEYS[key]} {kept}",
            "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
            "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
        }
        operations[f"receive_{identifier}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{identifier}"},
            "summary": says,
            "messages": [{"$ref": f"#/channels/{identifier}/messages/{kind}"} for kind in kinds],
        }

    incoming = [FEEDBACK_RECEIVED, CUSTOMER_ACTIVITY, WORK_SHIPPED, WORK_DECLINED, WORK_MOVED]
    channel(RECEIVED, "customer", incoming, "Everything that came in, normalised.")
    for team in names:
        says = f"What the team {team} owns (routing.role owner) or watches (watcher)."
        channel(routed(team), "customer", [FEEDBACK_ROUTED], says)
    channel(DECISIONS, "customer", [FEEDBACK_DECIDED], "What else the router decided about an event.")
    channel(
        CASES, "case", [CASE_CHANGED], "Everything that happened to a case, with a per-case sequence; at least once."
    )
    channel(
        CORRECTIONS,
        "feedback",
        [FEEDBACK_CORRECTED],
        "What people say of decisions, by which the router learns; at least once.",
    )
    says = "What came too often (`signals:` of routing.yaml), and that it has passed; at least once."
    channel(SIGNALS, "signal", [SIGNAL_RAISED, SIGNAL_RESOLVED], says)
    says = "Who was erased, by pseudonym: so that whoever keeps copies can let go of them; at least once."
    channel(ERASURES, "customer", [CUSTOMER_ERASED], says)
    channel(DEAD_LETTER, "original", ["dead-letter"], "What could not be processed: original bytes, where from, why.")
    # `feedback.redrive` is between an operator and the service that it says; nobody else has a use for it.
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Feedback Flywheel",
            "version": "1.0.0",
            "description": "Changes are additive only; unknown members are kept; a break is a new type. Read with"
            " `isolation.level=read_committed`: then each event is seen once.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {**_messages(), "dead-letter": _dead_letter()},
            "messageTraits": {"cloudEvent": {"headers": _HEADERS}},
        },
    }


def _messages() -> dict[str, Any]:
    return {
        kind: {
            "name": kind,
            "summary": summary,
            "contentType": "application/json",
            "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": {"$ref": f"schemas/{kind}.json"},
            },
        }
        for kind, (_, summary) in MESSAGES.items()
    }


def _dead_letter() -> dict[str, Any]:
    names = {
        "dlq_id": "topic/partition/offset of the original.",
        "dlq_service": "Who could not process it.",
        "dlq_reason": "A slug.",
        "dlq_detail": "A sentence, without personal fields.",
        "dlq_attempts": "How often it was tried.",
        "dlq_original_topic": "Where it came from.",
        "dlq_bytes": "How large the original is.",
        "dlq_part": "n/m, where the original had to be cut to fit.",
    }
    return {
        "name": "dead-letter",
        "summary": "The original bytes; the original's headers beside ours.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": says} for name, says in names.items()},
        },
        "x-max-bytes": MAX_MESSAGE_BYTES,
    }


def files(teams: Iterable[str]) -> dict[str, Any]:
    """Path under deploy/ → what it must hold."""
    return {"asyncapi.json": document(teams)} | {f"schemas/{kind}.json": schema for kind, schema in schemas().items()}
