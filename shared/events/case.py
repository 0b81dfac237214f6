"""What a case goes through: its states, the verbs that lead from one to the other, and the value of `feedback.cases`. Ids,
states, times, tags and reasons; no personal fields and no verbatims, for this topic is kept for good."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

State = Literal[
    "open",
    "acknowledged",
    "in_progress",
    "waiting_on_customer",
    "resolved",
    "declined",
    "merged",
    "notified",
    "confirmed",
    "assumed",
    "reopened",
]
UNFINISHED: frozenset[State] = frozenset({"open", "acknowledged", "in_progress", "waiting_on_customer", "reopened"})


FINISHED: frozenset[State] = frozenset({"resolved", "declined", "notified", "confirmed", "assumed"})
ANSWERED: frozenset[State] = frozenset({"resolved", "declined"})
By = Literal["person", "customer", "system"]


@dataclass(frozen=True, slots=True)
class Transition:
    verb: str
    sources: frozenset[State]
    to: State | None
    """None: the state stays as it is."""
    by: By
    means: str


TABLE: tuple[Transition, ...] = (
    Transition("acknowledge", frozenset({"open", "reopened"}), "acknowledged", "person", "somebody has seen it"),
    Transition("assign", frozenset({"open", "acknowledged", "reopened"}), "in_progress", "person", "somebody does it"),
    Transition("reassign", UNFINISHED, None, "person", "another team, or another person"),
    Transition("note", UNFINISHED, None, "person", "a word among colleagues"),
    Transition("wait", frozenset({"in_progress"}), "waiting_on_customer", "person", "the customer is asked"),
    Transition("resume", frozenset({"waiting_on_customer"}), "in_progress", "person", "the work goes on"),
    Transition("resolve", UNFINISHED, "resolved", "person", "done: what we did"),
    Transition("decline", UNFINISHED, "declined", "person", "not done: why not"),
    Transition("merge", UNFINISHED, "merged", "person", "goes on in another case"),
    Transition("reopen", FINISHED, "reopened", "person", "not solved after all"),
    Transition("join", UNFINISHED, None, "customer", "more feedback of the same customer on the same theme"),
    Transition("told", ANSWERED, "notified", "system", "the customer was told"),
    Transition("untold", ANSWERED, None, "system", "the customer cannot be told"),
    Transition("yes", frozenset({"notified"}), "confirmed", "customer", "the customer says that it is solved"),
    Transition("silence", frozenset({"notified"}), "assumed", "system", "told, and no word since"),
    Transition("no", FINISHED, "reopened", "customer", "the customer says that it is not solved"),
)
BY_VERB: Mapping[str, Transition] = {transition.verb: transition for transition in TABLE}


def legal_verbs(state: State, by: By = "person") -> tuple[str, ...]:
    """What may be done to a case in this state."""
    return tuple(t.verb for t in TABLE if t.by == by and state in t.sources)


class CaseChanged(BaseModel):
    model_config = ConfigDict(extra="allow")

    case_id: str
    workspace: str
    sequence: int
    """From 1, without gaps, per case."""
    at: datetime
    what: str
    """opened, released (a rule held it back, and does no more), joined, acknowledged, assigned, …, clock.warned, clock.breached,
    notification.sent, notification.withheld, thanked (praise that follows the case), work.shipped, work.declined (the work that
    it came from or waits for, in its own tool) …"""
    state: State
    team: str
    actor: str
    """`system`, `customer`, or the id of the key or person that did it."""
    reason: str = ""
    data: dict[str, Any] = {}
