"""How one destination is spared, and the others because of it. Pure.

Each has its own room, so one that is slow takes nobody else's turn. After a few failures in a row it is left alone for a
while, longer each time, then tried with one message: what is due for it waits meanwhile, and no try of it is used up.
"""

from dataclasses import dataclass

TRIPS_AFTER = 5
FIRST_S = 15.0
LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a destination takes."""

    at_once: int
    pause_s: float


@dataclass(slots=True)
class Destination:
    """How it goes with one of them. Times are monotonic seconds."""

    pace: Pace
    in_flight: int = 0
    failures: int = 0
    """In a row."""
    closings: int = 0
    """In a row, without an answer in between."""
    closed_until: float = 0.0
    not_before: float = 0.0
    """By its own pace, or as it asked for."""

    @property
    def is_failing(self) -> bool:
        return self.failures >= TRIPS_AFTER

    def room(self, now: float) -> int:
        """How many sends it may be given now."""
        if now < max(self.closed_until, self.not_before):
            return 0
        limit = 1 if self.is_failing or self.pace.pause_s else self.pace.at_once
        return max(0, limit - self.in_flight)

    def began(self, now: float) -> None:
        self.in_flight += 1
        self.not_before = max(self.not_before, now + self.pace.pause_s)

    def answered(self) -> None:
        """Whatever it said: it is there."""
        self.in_flight -= 1
        self.failures = self.closings = 0
        self.closed_until = 0.0

    def failed(self, now: float, retry_after_s: float | None) -> None:
        self.in_flight -= 1
        self.failures += 1
        self.not_before = max(self.not_before, now + (retry_after_s or 0.0))
        # What was under way when it was closed says nothing new.
        if self.is_failing and now >= self.closed_until:
            self.closed_until = now + min(FIRST_S * 2.0**self.closings, LONGEST_S)
            self.closings = min(self.closings + 1, 20)
