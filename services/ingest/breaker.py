"""When a mapping, and not what comes, is what is wrong. Pure.

Of a source whose webhooks cannot be read, one after the other or most of them, only a few are quarantined; the others are
answered 503, so that the provider keeps them, tries again, and finds the mapping repaired. What can be read is taken always.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SAMPLE_EVERY_S = 60.0


class Limits(BaseModel):
    """`breaker:` of a source. The defaults are far from what odd senders do, and near to what a wrong mapping does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: int = Field(default=50, ge=1, le=100_000)
    """So many in a row that could not be read."""
    ratio: float = Field(default=0.5, gt=0, le=1)
    """Such a share of the last `of`."""
    of: int = Field(default=200, ge=1, le=100_000)


@dataclass(slots=True)
class Breaker:
    limits: Limits
    run: int = 0
    last: deque[bool] = field(default_factory=deque)
    """Of the last ones, whether each could not be read."""
    unread: int = 0
    """How many of them."""
    sampled_at: float | None = None

    @property
    def is_open(self) -> bool:
        full = len(self.last) >= self.limits.of
        return self.run >= self.limits.run or (full and self.unread >= self.limits.ratio * self.limits.of)

    def note(self, *, readable: bool) -> None:
        self.run = 0 if readable else self.run + 1
        self.last.append(not readable)
        self.unread += not readable
        if len(self.last) > self.limits.of:
            self.unread -= self.last.popleft()

    def verdict(self, now_s: float) -> Literal["quarantine", "refuse"]:
        """What becomes of one that cannot be read. While it is open one a minute is kept, to see by."""
        if not self.is_open:
            return "quarantine"
        if self.sampled_at is None or now_s - self.sampled_at >= SAMPLE_EVERY_S:
            self.sampled_at = now_s
            return "quarantine"
        return "refuse"
