"""The only place that asks the time.

Every process takes its time from the database's clock, so that a deadline passes at one moment for all
of them. `sync()` is called now and then; between two calls the monotonic clock carries the time, so a
step of the machine's wall clock moves nothing.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

YEARS = range(1970, 2200)
"""What a person may ask about: at the ends of the calendar every sum overflows."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards: for durations only."""


class SystemClock:
    """This machine's clock: for client verbs, which decide nothing."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class DatabaseClock:
    """The database's clock, carried between two looks at it by the monotonic clock."""

    def __init__(self, ask: Callable[[], Awaitable[datetime]]) -> None:
        self._ask = ask
        self._base = datetime.now(UTC)
        self._at = time.monotonic()

    async def sync(self) -> None:
        """Look at the database's clock; of the round trip half is taken off."""
        before = time.monotonic()
        base = await self._ask()
        after = time.monotonic()
        self._base, self._at = base.astimezone(UTC), (before + after) / 2

    def now(self) -> datetime:
        return self._base + timedelta(seconds=time.monotonic() - self._at)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that tests turn by hand."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, delta: timedelta) -> None:
        self._now += delta
        self._elapsed += delta.total_seconds()
