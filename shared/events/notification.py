"""What was sent to a customer, and what became of it: as the closer's API and the console's trace both say it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

NotificationStatus = Literal["pending", "sending", "sent", "withheld", "failed", "unknown"]
"""`unknown`: nobody can know whether the customer got it."""


class NotificationShown(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    kind: str
    channel: str
    language: str
    status: NotificationStatus
    reason: str
    created_at: datetime
    sent_at: datetime | None
    attempts: int
