"""The value of `feedback.signals`: too much of something came, or that has passed. Ids, counts, times and tags; no personal
fields and no verbatims. `group` is a value of the field or attribute that whoever wrote the signal chose to count by."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Test = Literal["more_than", "rises", "falls"]


class TagCount(BaseModel):
    model_config = ConfigDict(extra="allow")

    tag: str
    count: int


class SignalChanged(BaseModel):
    model_config = ConfigDict(extra="allow")

    signal_id: str
    """One for raised and resolved; another time is another signal."""
    workspace: str
    what: Literal["raised", "resolved"]
    at: datetime
    name: str
    """Of `signals:` in routing.yaml."""
    by: str | None = None
    """What it is counted by, `attributes.product` for one."""
    group: str | None = None
    """The value of it that this is about."""
    team: str
    watchers: list[str] = []
    reason: str = ""
    """A sentence."""
    test: Test
    since: datetime = Field(description="What it counts came after this.")
    window_s: int
    count: int
    """In the window, when this was said."""
    threshold: float
    """The count that is too many; of a score that falls, the mean that is too low."""
    expected: float | None = None
    """What is usual: a count in the same hours of past weeks, or a mean; none where the limit is fixed."""
    metric: str | None = None
    mean: float | None = None
    feedback: int
    """How many pieces of feedback belong to it so far."""
    cases: int
    customers: int
    feedback_ids: list[str] = []
    """The first of them."""
    case_ids: list[str] = []
    """The first of them."""
    tags: list[TagCount] = []
    """Those that most of it has."""
