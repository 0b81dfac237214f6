"""What the console's API answers, described: for OpenAPI and docs/http.md, and held to the real answers by a test."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.console.bases import By
from services.console.volume import Standing
from shared.events.case import State
from shared.events.feedback import Emotion, Kind, Priority, Sentiment, Urgency
from shared.events.notification import NotificationShown


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TracedFeedback(_Answer):
    """Only `id` where nothing but a repeat, or a dead letter, is known of it."""

    id: UUID
    source: str | None = None
    channel: str | None = None
    title: str | None = None
    text: str | None = None
    scores: list[dict[str, Any]] = []
    customer: str | None = None
    tier: str | None = None
    account_id: str | None = None
    language: str | None = None
    solicited: bool | None = None
    touchpoint: str | None = None
    lifecycle_stage: str | None = None
    url: str | None = None
    attributes: dict[str, Any] = {}
    occurred_at: datetime | None = None
    received_at: datetime | None = None
    history: bool = False


class TracedRouting(_Answer):
    team: str
    tags: list[str]
    kind: Kind
    priority: Priority
    language: str
    confidence: float
    decided_by: Literal["rule", "model", "default"]
    rule: str | None
    ruleset_version: str
    reasons: list[dict[str, Any]]
    sentiment: Sentiment
    emotion: Emotion | None
    urgency: list[Urgency]


class TracedCase(_Answer):
    id: UUID
    state: State
    team: str
    assignee: str | None
    priority: Priority
    theme: str
    opened_at: datetime
    policy: str | None
    answer: str | None
    untold: str | None
    merged_into: UUID | None


class TraceStep(_Answer):
    at: datetime
    service: Literal["ingest", "router", "closer"]
    what: str
    why: str
    actor: str | None = Field(None, description="Of the closer's steps: who did it.")


class TracedLetter(_Answer):
    place: str
    at: datetime
    service: str
    reason: str
    detail: str


class Trace(_Answer):
    feedback: TracedFeedback
    routing: TracedRouting | None
    case: TracedCase | None
    notifications: list[NotificationShown]
    steps: list[TraceStep] = Field(description="Over every service, the oldest first.")
    dead_letter: TracedLetter | None


class StaleReason(BaseModel):
    """A source that is silent, quiet or doubled, or a service that is behind."""

    model_config = ConfigDict(extra="allow")

    source: str | None = None
    silent_since: datetime | None = None
    state: Literal["quiet", "doubled"] | None = None
    came: int | None = Field(None, description="Between `from` and `to`.")
    expected: float | None = Field(None, description="What these hours of the week usually bring.")
    consumer: Literal["router", "closer"] | None = None
    behind_since: datetime | None = None
    team: str | None = None


class FigureShown(_Answer):
    """What is there depends on the measure: a share has a numerator and a denominator, times have `p50` and `p90` (seconds)."""

    value: float | None = None
    numerator: int | None = None
    denominator: int | None = None
    p50: float | None = None
    p90: float | None = None
    of: str | None = Field(None, description="What the denominator counts.")
    counts: str | None = Field(None, description="What the numerator counts.")
    stale: list[StaleReason] | None = Field(None, description="Why it may not be whole.")


class MeasuredGroup(_Answer):
    group: str | None
    measures: dict[str, FigureShown]


class MeasuresShown(_Answer):
    from_: datetime = Field(alias="from")
    to: datetime
    by: By | None
    items: list[MeasuredGroup]


class VolumeShown(_Answer):
    """What came in the last hours, and what these hours of the week usually bring."""

    from_: datetime = Field(alias="from")
    to: datetime
    came: int
    expected: float


class SourceShown(_Answer):
    source: str
    connector: str | None = Field(description="null: it does not stand in sources.yaml.")
    state: Standing
    last_at: datetime | None
    silence_s: int | None
    longest_pause_s: int | None = Field(description="Within 28 days.")
    volume: VolumeShown | None = Field(description="null: it has no habits, or the log cannot be asked.")


class SourcesShown(_Answer):
    items: list[SourceShown]


class KnownImports(_Answer):
    known: list[int] = Field(description="Places in `items`.")


class CustomerSaid(_Answer):
    id: UUID
    received_at: datetime
    source: str
    channel: str | None
    title: str | None
    text: str | None = Field(description="Its first 300 characters.")
    language: str
    scores: list[dict[str, Any]]
    kind: Kind
    case_id: UUID | None
    account_id: str | None


class CustomerDid(_Answer):
    at: datetime
    activity: str
    source: str
    attributes: dict[str, Any]
    account_id: str | None


class CustomerCase(_Answer):
    id: UUID
    state: State
    team: str
    theme: str
    priority: Priority
    opened_at: datetime
    account_id: str | None


class CustomerShown(_Answer):
    id: str
    name: str | None
    accounts: list[str] = Field(description="Where they were seen, the latest first.")
    feedback: list[CustomerSaid]
    activity: list[CustomerDid]
    cases: list[CustomerCase]
