"""What happened to a case: the value of `feedback.cases`. Ids, states, times, tags and reasons; no personal
fields and no verbatims, for this topic is kept for good."""

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


class CaseChanged(BaseModel):
    model_config = ConfigDict(extra="allow")

    case_id: str
    workspace: str
    sequence: int
    """From 1, without gaps, per case."""
    at: datetime
    what: str
    """opened, joined, acknowledged, assigned, …, clock.warned, clock.breached, notification.sent, notification.withheld …"""
    state: State
    team: str
    actor: str
    """`system`, `customer`, or the id of the key or person that did it."""
    reason: str = ""
    data: dict[str, Any] = {}
