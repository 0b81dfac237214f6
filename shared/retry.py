"""(attempt, now) → when, or give up. Pure: the caller asks the clock and rolls the dice."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A schedule of waits. `jitter` is the share of each wait that is random (0 to 1)."""

    delays_s: tuple[float, ...]
    jitter: float = 0.2

    def next_attempt(
        self, attempt: int, now: datetime, roll: float, retry_after_s: float | None = None
    ) -> datetime | None:
        """When to try again after the `attempt`-th try (from 1) failed; None: give up.

        `roll` is uniform in [0, 1). What the other side asked for (`Retry-After`) is a floor.
        """
        if attempt > len(self.delays_s):
            return None
        delay = self.delays_s[attempt - 1] * (1 - self.jitter + 2 * self.jitter * roll)
        return now + timedelta(seconds=max(delay, retry_after_s or 0.0))


# Standard Webhooks' published schedule: 8 tries in 27.6 hours.
WEBHOOK = RetryPolicy((5, 300, 1800, 7200, 18000, 36000, 36000))
# Mail servers greylist for minutes and are down for hours (RFC 5321 §4.5.4.1 asks for 4–5 days).
EMAIL = RetryPolicy((60, 300, 900, 3600, 14400, 43200, 86400, 86400))
