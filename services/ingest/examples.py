"""What may be sent, shown in the API's own description; a test sends each. ●"""

from collections.abc import Mapping
from typing import Any, Final

from services.ingest import cloudevents

Examples = Mapping[str, Mapping[str, Any]]
"""As OpenAPI has them: by a name, what it shows, and the value."""

REVIEW: Final[Mapping[str, Any]] = {
    "source": "app-store",
    "external_id": "rev-123",
    "text": "The map is blank after the update.",
    "language": "en",
    "scores": [{"metric": "stars", "value": 2}],
    "customer": {"id": "c-1", "email": "ann@example.com", "name": "Ann", "tier": "enterprise"},
    "channel": "review",
    "occurred_at": "2026-03-01T08:00:00+01:00",
    "url": "https://apps.example.com/reviews/rev-123",
    "attributes": {"os": "ios", "build": 17},
}
SCORE: Final[Mapping[str, Any]] = {
    "source": "survey",
    "scores": [{"metric": "nps", "value": 9}],
    "customer": {"id": "c-2"},
    "solicited": True,
    "touchpoint": "site",
}
ACTIVITY: Final[Mapping[str, Any]] = {"customer": {"id": "c-1"}, "activity": "login"}
EVENT: Final[Mapping[str, Any]] = {
    "specversion": "1.0",
    "id": "login-42",
    "source": "/shop",
    "type": "customer.activity",
    "time": "2026-03-01T08:00:00Z",
    "data": ACTIVITY,
}
SHIPPED: Final[Mapping[str, Any]] = {
    "specversion": "1.0",
    "id": "jira-7-done",
    "source": "/jira",
    "type": "work.shipped",
    "data": {"work_id": "JIRA-7", "title": "Dark mode", "note": "Dark mode is there."},
}

MOVED: Final[Mapping[str, Any]] = {
    "specversion": "1.0",
    "id": "desk-812-moved-2",
    "source": "/desk",
    "type": "work.moved",
    "time": "2026-03-01T08:00:00Z",
    "data": {"source": "desk", "work_id": "812", "team": "Billing EU"},
}


def shown(summary: str, value: Any) -> Examples:
    return {summary.lower().replace(" ", "-"): {"summary": summary, "value": value}}


FEEDBACK: Final[Examples] = {**shown("A review", REVIEW), **shown("A score without words", SCORE)}
BATCH: Final[Examples] = shown("Two of an array", [REVIEW, SCORE])
NDJSON: Final[Examples] = shown(
    "Two lines",
    '{"source":"app-store","text":"It crashes."}\n{"source":"survey","scores":[{"metric":"nps","value":9}]}\n',
)
EVENTS: Final[Mapping[str, Examples]] = {
    cloudevents.STRUCTURED: shown("What a customer did", EVENT),
    cloudevents.BATCHED: shown("Several", [EVENT, SHIPPED, MOVED]),
    cloudevents.BINARY: shown("The data alone, its attributes in headers", ACTIVITY),
}
HEADERS: Final[Mapping[str, str]] = {
    "ce-specversion": "1.0",
    "ce-id": "login-43",
    "ce-source": "/shop",
    "ce-type": "customer.activity",
    "ce-time": "2026-03-01T08:00:00Z",
}
"""Of the last of them."""
WEBHOOK: Final[Examples] = shown(
    "As Standard Webhooks have it",
    {"type": "feedback.received", "data": {"text": "The map is blank.", "customer": {"id": "c-1"}}},
)
LETTERS: Final[Examples] = shown("What would become of one", {"letters": ["0-17"], "dry_run": True})
ACCEPTED: Final[Examples] = shown(
    "Accepted", {"id": "6fa459ea-ee8a-5ca4-894e-db77e160355e", "received_at": "2026-03-01T07:00:01.250Z"}
)
BATCH_ACCEPTED: Final[Examples] = shown(
    "One of two",
    {
        "accepted": 1,
        "rejected": [{"index": 1, "errors": [{"field": "source", "message": "Field required"}]}],
        "ids": ["6fa459ea-ee8a-5ca4-894e-db77e160355e"],
    },
)
HANDLED: Final[Examples] = shown(
    "Accepted",
    {
        "outcome": "accepted",
        "id": "6fa459ea-ee8a-5ca4-894e-db77e160355e",
        "ids": ["6fa459ea-ee8a-5ca4-894e-db77e160355e"],
    },
)
