"""What somebody who knows says of a decision: the value of `feedback.corrections`. Ids and answers; what the customer said is
not repeated, but where on the log it stands is said, so that an erasure need not look here and nobody keeps it twice."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from shared.events.feedback import Kind, Label, Priority, SentimentLabel


class Place(BaseModel):
    """Of a record on the log."""

    model_config = ConfigDict(extra="allow")

    topic: str
    partition: int
    offset: int


class Corrected(BaseModel):
    """What is right. A member that is not there says nothing: what was said of it before stays."""

    model_config = ConfigDict(extra="allow")

    id: str
    """Of the feedback."""
    workspace: str
    at: datetime
    by: str
    """The id of the key or person that says so."""
    of: Place
    """The decision: the record of `feedback.routed.<team>`."""
    team: str | None = None
    kind: Kind | None = None
    sentiment: SentimentLabel | None = None
    priority: Priority | None = None
    tags: list[Label] | None = None
