"""What a team's digest says: what was counted in a period, beside the one before, and some of it in the customers' words. ●

Counts hold no words and are kept with what is owed, so that every reader and every try is told the same. The words are
read when it is sent, so that an erasure reaches what waits.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

Every = Literal["daily", "hourly"]


class Counts(Struct, frozen=True, omit_defaults=True):
    """Of one period. `waiting` and `overdue` are of its end; everything else happened in it."""

    heard: int = 0
    """Pieces of feedback, without answers to our own question."""
    opened: int = 0
    """Cases. So are all that follow."""
    waiting: int = 0
    """Unfinished."""
    overdue: int = 0
    """Unfinished, with a broken promise."""
    breached: int = 0
    """With a promise that was broken in the period."""
    told: int = 0
    """Answered, and the customer was told."""
    solved: int = 0
    """The customer said yes."""
    unsolved: int = 0
    """The customer said no."""
    thanked: int = 0
    """Pieces of praise that follow a case."""
    kinds: Mapping[str, int] = {}
    tags: Mapping[str, int] = {}
    """The most frequent ones."""

    def is_worth_saying(self, every: Every) -> bool:
        """Nothing happened: nothing to say. Once a day, what is overdue is worth saying again; once an hour it is nagging."""
        happened = (
            self.heard or self.opened or self.breached or self.told or self.solved or self.unsolved or self.thanked
        )
        return bool(happened or (every == "daily" and self.overdue))


class Quote(Struct, frozen=True):
    """The beginning of what a customer wrote. Who they are is not said: the console tells those who may know."""

    words: str
    language: str
    feedback_id: str
    case_id: str | None = None
    kind: str = ""
    priority: str = "normal"
    tags: tuple[str, ...] = ()
    person: str | None = None
    """Of praise: whose work it praises."""


class Owed(Struct, frozen=True, omit_defaults=True):
    """What is kept of a digest until it is sent."""

    to: str
    since: datetime
    until: datetime
    counts: Counts
    before_since: datetime | None = None
    """When the period before began; None: there was none."""
    before: Counts | None = None


class Digest(Struct, frozen=True):
    """Ready to go to one reader."""

    owed: Owed
    quotes: tuple[Quote, ...] = ()
    thanks: tuple[Quote, ...] = ()
