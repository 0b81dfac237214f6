"""What can be asked of a case: by a person, by its customer, by the service itself. What it makes of it: `case.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from services.closer.records import Hold
from services.closer.sla import ClockSnapshot
from shared.events.feedback import Priority

NotificationKind = Literal["heard", "answered", "declined"]
Why = Literal["answer", "praise"]
"""Said with the yes on the customer's page, or by a customer who had been told."""


class Open(Struct, frozen=True, gc=False):
    """Feedback that is owed an answer, and no unfinished case of its key."""

    case_id: str
    workspace: str
    case_key: str
    customer: str | None
    team: str
    theme: str
    priority: Priority
    feedback_id: str
    received_at: datetime
    """The clocks start here, not when we got round to it."""
    snapshot: ClockSnapshot | None
    """None for history: no clocks."""
    tier: str | None = None
    account: str | None = None
    language: str = "und"
    history: bool = False
    linked_to: str | None = None
    kind: str = ""
    tags: tuple[str, ...] = ()
    assignee: str | None = None
    """Whom a rule hands it to, or whose turn it is."""
    rota: str | None = None
    held: Hold | None = None


class Promise(Struct, frozen=True):
    """Feedback of today is owed an answer, and a case of imported history that it joins owes it from then on."""

    since: datetime
    """When it was received."""
    snapshot: ClockSnapshot
    heard: bool = False
    """Whether "we heard you" is owed too: to whoever joins as they wrote, not to those who were told already."""
    own: bool = True
    """False: another customer's. The clocks run for them; who was imported still gets no mail."""


class Also(Struct, frozen=True, array_like=True):
    """Another customer's case that goes on in this one: its customer is told what this one's is told."""

    case_id: str
    before: int = 0
    """How many answers of ours it had before. This case's are numbered on from there, so that none is taken for one that
    was given already."""


@dataclass(frozen=True, slots=True)
class Join:
    """More feedback. `on_loop`: an answer given on the customer's page, which joins whatever the state. `promise`: None
    for history, which wakes nothing. `quiet`: history too, or held back itself, and so no reason to let go what is held.
    `merged`: the case that it comes from, `reason` why it was, and `also` whom this one has to tell from now on."""

    feedback_id: str
    priority: Priority | None = None
    on_loop: bool = False
    promise: Promise | None = None
    quiet: bool = False
    merged: str | None = None
    reason: str = ""
    also: tuple[Also, ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledge:
    pass


@dataclass(frozen=True, slots=True)
class Assign:
    to: str


@dataclass(frozen=True, slots=True)
class Reassign:
    """`reason`: a sentence of ours, for the topic too."""

    team: str | None = None
    to: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Correct:
    """What the router should have made of one of its feedback: some of `team`, `kind`, `sentiment`, `priority`, `tags`."""

    feedback_id: str
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """`heard`: another tool says so, and nobody here wrote it."""

    text: str
    heard: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resolve:
    answer: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Decline:
    answer: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Merge:
    into: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reopen:
    """`other_unfinished`: the id of another unfinished case of this key: then this one is merged into that one.
    `snapshot`: today's policy and calendar for the clocks that start anew; None: those that it had."""

    reason: str = ""
    other_unfinished: str | None = None
    snapshot: ClockSnapshot | None = None


@dataclass(frozen=True, slots=True)
class CustomerSaid:
    """The answer from the customer's page. `confirms`: whether it is the case's own customer, about the answer that stands:
    a yes of anybody else, or about an earlier one, closes nothing."""

    solved: bool
    feedback_id: str | None = None
    other_unfinished: str | None = None
    snapshot: ClockSnapshot | None = None
    confirms: bool = True


@dataclass(frozen=True, slots=True)
class Telling:
    """A notification is about to be sent: said before it is tried."""

    kind: NotificationKind
    generation: int
    dedup_key: str
    channel: str


@dataclass(frozen=True, slots=True)
class Told:
    """A notification was sent."""

    kind: NotificationKind
    generation: int
    dedup_key: str
    channel: str


@dataclass(frozen=True, slots=True)
class Untold:
    """A notification was withheld, or could not be sent for good (`failed`)."""

    kind: NotificationKind
    generation: int
    reason: str
    """A slug: `unsubscribed`, `no-address`, `rejected`, `unknown-outcome` …"""
    failed: bool = False
    dedup_key: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """The customer was told and said nothing for `assume_after`."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: let go, warn, breach, escalate, assume: whatever is due."""


@dataclass(frozen=True, slots=True)
class Thanked:
    """The customer praises what was done about it. `person`: whose work it was."""

    feedback_id: str
    why: Why
    person: str | None


@dataclass(frozen=True, slots=True)
class Upstream:
    """The work that the case came from, or waits for, has ended in its own tool."""

    how: Literal["shipped", "declined"]
    source: str
    work_id: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Whose case it is was erased. `goes_on`: it is another customer's too, who still waits for the answer."""

    goes_on: bool = False


Command = (
    Join
    | Acknowledge
    | Assign
    | Reassign
    | Correct
    | Note
    | Wait
    | Resume
    | Resolve
    | Decline
    | Merge
    | Reopen
    | CustomerSaid
    | Telling
    | Told
    | Untold
    | Silence
    | Thanked
    | Upstream
    | Erase
    | Tick
)
