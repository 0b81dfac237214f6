"""Feedback as it came in, what customers do, finished work, and what the router made of it.

These models are the one definition: the HTTP API's schema, the topics' JSON Schema and the AsyncAPI document
all come from them.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

TEXT_MAX_CHARS = 30_000
FEEDBACK_IDS_MAX = 1_000

Channel = Literal[
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
Kind = Literal["bug", "request", "complaint", "comment", "praise", "question", "noise"]
Priority = Literal["urgent", "high", "normal", "low"]
SentimentLabel = Literal["positive", "neutral", "negative"]
EmotionLabel = Literal["anger", "worry", "disappointment", "confusion", "delight", "thanks"]
UrgencyCause = Literal["outage", "safety", "security", "legal", "churn", "refund", "vip", "blocked", "waiting", "asked"]

Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)]

# The zone may be missing here, for that has a message of its own.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def as_written(value: Any) -> Any:
    """A time as RFC 3339 writes it. pydantic would take 20260101 for seconds, and make it a day in 1970."""
    if isinstance(value, datetime) or value is None or (isinstance(value, str) and _TIME.fullmatch(value)):
        return value
    raise ValueError("must be a time as RFC 3339 writes it, such as 2026-01-01T09:00:00+08:00")


When = Annotated[AwareDatetime, BeforeValidator(as_written)]

# Built-in ranges; `metrics:` in sources.yaml adds more. Inclusive.
METRIC_RANGES: dict[str, tuple[float, float]] = {
    "nps": (0, 10),
    "csat": (1, 5),
    "ces": (1, 7),
    "hmd": (0, 1),
    "stars": (1, 5),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Score(_Strict):
    metric: Label
    value: Annotated[float, Field(strict=True)]
    """A number as JSON has it: neither true nor "9"."""


class Customer(_Strict):
    """Personal fields stand here and nowhere else."""

    id: Id | None = None
    email: (
        Annotated[
            str, StringConstraints(max_length=320, pattern=r"^[^\s@,;<>\"\x00-\x1f\x7f]+@[^\s@,;<>\"\x00-\x1f\x7f]+$")
        ]
        | None
    ) = None
    name: Annotated[str, StringConstraints(max_length=255)] | None = None
    locale: Language | None = None
    account_id: Id | None = None
    role: Label | None = None
    tier: Label | None = None
    preferred_channel: Label | None = None


class Feedback(_Strict):
    """What somebody said: the body of `POST /v1/feedback`."""

    source: Label
    external_id: Id | None = None
    text: Annotated[str, StringConstraints(max_length=TEXT_MAX_CHARS)] | None = None
    title: Annotated[str, StringConstraints(max_length=1000)] | None = None
    language: Language | None = None
    scores: Annotated[tuple[Score, ...], Field(max_length=50)] = ()
    customer: Customer | None = None
    channel: Channel | None = None
    solicited: StrictBool | None = None
    touchpoint: Label | None = None
    lifecycle_stage: Label | None = None
    occurred_at: When | None = None
    url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class FeedbackReceived(Feedback):
    """The value of `feedback.received`: the feedback, its id, and when we had it."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    id: str
    workspace: str
    received_at: datetime


class Activity(_Strict):
    """What a customer did: `data` of a `customer.activity` event."""

    source: Label | None = None
    customer: Customer
    activity: Label
    """login, usage, order, cancellation …: the sender's word."""
    occurred_at: When | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not (self.customer.id or self.customer.email):
            raise ValueError("customer.id or customer.email is required: activity is somebody's")
        return self


class Work(_Strict):
    """An issue or ticket that feedback is linked to was shipped or declined: `data` of `work.shipped` / `work.declined`."""

    source: Label | None = None
    work_id: Id
    title: Annotated[str, StringConstraints(max_length=1000)] | None = None
    url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    note: Annotated[str, StringConstraints(max_length=TEXT_MAX_CHARS)] | None = None
    feedback_ids: Annotated[tuple[Id, ...], Field(max_length=FEEDBACK_IDS_MAX)] = ()
    occurred_at: When | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class Moved(_Strict):
    """A ticket that feedback came from has another team in its own tool: `data` of `work.moved`."""

    source: Label | None = None
    """As its feedback names it."""
    work_id: Id
    """Which ticket: `attributes.ticket_id`, `conversation_id` or `work_id` of its feedback."""
    team: Label | None = None
    """What the tool calls the team."""
    team_id: Label | None = None
    url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    occurred_at: When | None = None
    """Of several moves of one ticket the last one by this time counts."""
    attributes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not (self.team or self.team_id):
            raise ValueError("team or team_id is required: whose it is now")
        return self


class Sentiment(BaseModel):
    label: SentimentLabel
    score: float
    """−1 (unhappy) to 1 (happy)."""


class Emotion(BaseModel):
    """What the customer feels, as their words show it: each wants another answer."""

    label: EmotionLabel
    words: list[str]


class Urgency(BaseModel):
    """One cause for haste."""

    cause: UrgencyCause
    """`vip`: a customer of a key tier is in trouble; `asked`: haste is asked for and no cause is named."""
    words: list[str]
    """That say it; of `vip` the tier."""


class Reason(BaseModel):
    """One step of a decision, for people: what decided, and the words or values it saw."""

    model_config = ConfigDict(extra="allow")

    code: str
    """A stable slug: `rule.matched`, `default.team`, `sentiment.words`, `priority.rule` …"""
    text: str
    """In English, one sentence."""


class Held(BaseModel):
    """A rule holds it back: its case troubles nobody until then, and is work from then on."""

    model_config = ConfigDict(extra="allow")

    until: datetime
    because: str


class Routing(BaseModel):
    """What the router decided: the reserved member `routing` of a routed value."""

    model_config = ConfigDict(extra="allow")

    role: Literal["owner", "watcher"]
    team: str
    watchers: list[str]
    tags: list[str]
    theme: str
    """The first tag set by the rule that assigned, else `general`: part of the case key."""
    kind: Kind
    sentiment: Sentiment
    priority: Priority
    language: str
    """BCP 47, `und` when it cannot be told."""
    confidence: float
    decided_by: Literal["rule", "model", "default"]
    rule: str | None
    ruleset_version: str
    follow_up: bool
    """Whether the customer is owed an answer: all but praise, noise and a yes on the loop page, unless a rule says otherwise."""
    history: bool = False
    """Imported: routed and counted; cases without mails and without clocks."""
    triage: bool = False
    """The team is a guess of which little is sure: somebody who knows should look."""
    reasons: list[Reason]
    emotion: Emotion | None = None
    """None where no word shows one."""
    urgency: list[Urgency] = []
    """What presses, by its causes. The priority follows from them where no rule sets one."""
    tier: str | None = None
    """By which the case goes where a rule sets one, instead of the customer's own."""
    person: str | None = None
    """Whom a rule hands it to, beside the team: their address in teams.yaml."""
    rota: str | None = None
    """Whose turn it is has it: `rotas:` of teams.yaml."""
    held: Held | None = None
    """Where a rule holds it back (`suppress`). It is routed at once all the same."""


class FeedbackRouted(FeedbackReceived):
    """The value of `feedback.routed.<team>`: the event as it came, plus its routing."""

    routing: Routing


class Decision(BaseModel):
    """The value of `feedback.decisions`: what else the router decided about an event."""

    model_config = ConfigDict(extra="allow")

    id: str
    workspace: str
    decision: Literal["duplicate", "conflict", "discarded", "activity.noted", "work.noted"]
    of: str | None = None
    """topic/partition/offset of the occurrence that this one repeats."""
    reason: str
    decided_at: datetime
