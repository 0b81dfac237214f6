"""What the closer's API answers, described: for OpenAPI and docs/http.md, and held to the real answers by a test.

The answers themselves are made of rows (`lists.py`): making each of them a model as well would cost every list its time and
check what the database has checked.
"""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events.case import State
from shared.events.feedback import Kind, Priority
from shared.events.notification import NotificationShown, NotificationStatus

Target = Literal["acknowledge", "resolve", "tell_customer"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaseShown(_Answer):
    id: UUID
    customer: str | None = Field(description="Their id as sent, else their address; null: not known.")
    team: str
    theme: str
    state: State
    assignee: str | None
    rota: str | None = Field(description="That a rule handed it to: whose turn it was had it first.")
    priority: Priority
    tier: str | None
    language: str = Field(description="BCP 47; `und`: not known.")
    policy: str | None = Field(description="Of sla.yaml; null: imported history, to which nothing is promised.")
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    told_at: datetime | None = Field(description="When the customer was told of the answer that stands.")
    confirmed_at: datetime | None
    assumed_at: datetime | None
    reopened_count: int
    answer: str | None
    untold: str | None = Field(description="Why the customer cannot be told.")
    merged_into: UUID | None
    linked_to: UUID | None = Field(description="The finished case of the same key before it.")
    history: bool
    breached: bool
    due_at: datetime | None = Field(description="When a deadline is next looked at; null: none is running.")
    held_until: datetime | None = Field(
        description="Until then a rule holds it back (`suppress`), unless somebody acts on it before; null: it is work."
    )
    held_because: str | None
    first_feedback_id: UUID
    version: int = Field(description="What `ETag` says.")
    account_id: str | None = Field(description="`customer.account_id` of the feedback that opened it.")


class CasePage(_Answer):
    items: list[CaseShown]
    next_cursor: str | None


class ClockShown(_Answer):
    target: Target
    generation: int = Field(description="1, and one more for each time the case was reopened.")
    business_due: datetime | None = Field(description="On the team's clock; null while it stands still.")
    wall_due: datetime | None
    met_at: datetime | None
    business_met: bool | None = Field(description="null: not decided yet.")
    wall_met: bool | None
    business_breached_at: datetime | None
    wall_breached_at: datetime | None
    warned_at: datetime | None
    open: bool


class CaseStep(_Answer):
    sequence: int
    at: datetime
    what: str
    state: State
    actor: str = Field(description="`system`, `customer`, or the name or id of the person or key that did it.")
    reason: str
    data: dict[str, Any]
    words: str | None


class SaidInCase(_Answer):
    id: UUID
    received_at: datetime
    source: str
    title: str | None
    text: str | None
    language: str
    scores: list[dict[str, Any]]
    kind: Kind
    priority: Priority
    tags: list[str]


class CaseWhole(CaseShown):
    clocks: list[ClockShown]
    timeline: list[CaseStep]
    notifications: list[NotificationShown]
    feedback: list[SaidInCase] = Field(description="What was said, in this case and in those merged into it.")
    verbs: list[str] = Field(description="What its state allows.")


class FeedbackCorrected(_Answer):
    id: UUID
    case_id: UUID | None
    said: dict[str, Any] = Field(description="What would have been right, as it was given.")


class OpenCase(_Answer):
    id: UUID
    team: str
    feedback: dict[str, Any] = Field(description="What opened it, as it came.")


class OpenPage(_Answer):
    items: list[OpenCase]
    next_cursor: str | None


class Reowned(_Answer):
    batch: UUID
    moved: list[UUID]
    left: list[UUID]


class ReownedBatch(_Answer):
    id: UUID
    at: datetime
    by: str
    why: str
    cases: int
    undone: int
    stay: int = Field(description="Were touched before they could go back.")


class ReownedPage(_Answer):
    items: list[ReownedBatch]
    next_cursor: str | None


class NotificationListed(_Answer):
    id: str
    case_id: UUID
    kind: str
    generation: int
    channel: str
    status: NotificationStatus
    reason: str
    created_at: datetime
    attempts: int


class NotificationPage(_Answer):
    items: list[NotificationListed]
    next_cursor: str | None


class MailPreview(_Answer):
    to: str | None
    withheld: str | None = Field(description="Why nothing would be sent.")
    subject: str | None
    html: str | None


class OnePresent(_Answer):
    person: str
    doing: Literal["viewing", "editing"]
    at: datetime


class PresentAtCase(_Answer):
    others: list[OnePresent]


class DueShown(_Answer):
    within: str = Field(description="As sla.yaml says it.")
    business: datetime | None
    wall: datetime


class DayShown(_Answer):
    date: date
    weekday: str
    periods: list[str]
    counted: bool
    why: str


class SlaExplained(_Answer):
    team: str
    priority: Priority
    policy: str
    starts_at: datetime
    acknowledge: DueShown | None = None
    resolve: DueShown | None = None
    tell_customer: DueShown | None = None
    zone: str
    hours: Literal["round the clock", "business hours"]
    days: list[DayShown]


class DeliveryShown(_Answer):
    id: UUID
    team: str
    channel: str
    destination: str
    event: str
    feedback_id: UUID | None
    case_id: UUID | None
    status: Literal["pending", "sending", "sent", "failed", "withheld"]
    reason: str
    created_at: datetime
    sent_at: datetime | None
    attempts: int
    due_at: datetime | None


class DeliveryPage(_Answer):
    items: list[DeliveryShown]
    next_cursor: str | None


class DeliveriesRedriven(_Answer):
    redriven: list[UUID]
    left: list[UUID]
    more: bool


class DigestMail(_Answer):
    language: str
    subject: str
    text: str
    html: str


class DigestShown(_Answer):
    subscription: str
    every: Literal["daily", "hourly"]
    readers: list[str]
    next_at: datetime | None = Field(description="When its period ends. None: the team never works.")
    mail: DigestMail | None = Field(
        description="As it would go now, without the last minute, to the first reader. None: nothing to say."
    )


class Digests(_Answer):
    items: list[DigestShown]


class DigestsSent(_Answer):
    owed: int = Field(
        description="Mails that are on their way; 0: there is nothing to say, but perhaps of the last minute."
    )


class RevenueShown(_Answer):
    amount: float
    currency: str


class OutcomeShown(_Answer):
    wanted: str
    by: date | None
    reached: bool


class AccountShown(_Answer):
    id: str
    name: str
    tier: str | None
    revenue: RevenueShown | None = Field(description="A year's.")
    renewal_on: date | None
    owner: str | None
    outcome: OutcomeShown | None
    created_at: datetime
    updated_at: datetime = Field(description="When it last became another; saying the same again is no change.")


class AccountPage(_Answer):
    items: list[AccountShown]
    next_cursor: str | None


class AccountsWritten(_Answer):
    created: int
    changed: int
    unchanged: int


class RemovedShown(_Answer):
    customers: int = Field(description="Ids, and addresses that stood for a customer.")
    feedback: int = Field(description="Pieces whose words, members and customer went.")
    cases: int = Field(description="Cases that are nobody's any more.")
    cases_ended: int = Field(description="Of those, that were unfinished, and are declined now.")
    timeline: int = Field(description="Steps of timelines whose words went.")
    mails: int = Field(description="Mails: those that were waiting are not sent.")
    activity: int = Field(description="What they did.")
    thanks: int
    unsubscribed: int
    deliveries: int = Field(description="What teams were still to be told of their words.")
    unsent: int = Field(description="Answers of theirs that were not on the log yet.")
    asked: int = Field(description="Saved views and exports that named them.")


class Erased(_Answer):
    subject: str = Field(description="The pseudonym that stands for them from now on, in the audit trail too.")
    erased_at: datetime | None = Field(description="null: a dry run, nothing is changed.")
    dry_run: bool
    names: list[str] = Field(
        description="Ids and addresses that were taken to be theirs. Told to you, and kept nowhere."
    )
    removed: RemovedShown
    topics: dict[str, datetime] = Field(
        description="What is on the topics cannot be taken back: by then the last of it has aged out."
    )


class InitiativeWork(_Answer):
    source: str
    work_id: str
    upstream: Literal["shipped", "declined"] | None = Field(
        description="The last that its own tool told of it; null: nothing yet."
    )


class InitiativeShown(_Answer):
    id: UUID
    title: str
    answer: str | None = Field(description="That is prepared, or that its customers got.")
    language: str | None
    work: list[InitiativeWork]
    shipped_upstream: bool = Field(description="All its work is shipped.")
    cases: int
    waiting: int = Field(description="Customers who are still to be told.")
    created_at: datetime
    shipped_at: datetime | None


class InitiativePage(_Answer):
    items: list[InitiativeShown]
    next_cursor: str | None


class InitiativeStep(_Answer):
    sequence: int
    at: datetime
    what: Literal["begun", "changed", "cases_added", "case_taken_out", "work.shipped", "work.declined", "shipped"]
    actor: str = Field(description="A name as colleagues know it, or the source that told of the work.")
    reason: str = Field(description="Which work, how many cases, or what changed.")


class InitiativeWhole(InitiativeShown):
    steps: list[InitiativeStep]


class InitiativeCase(_Answer):
    case_id: UUID
    state: State
    waits: bool = Field(description="Whether its customer is still to be told, here or where it goes on.")


class InitiativeCasePage(_Answer):
    items: list[InitiativeCase]
    next_cursor: str | None
