"""How often a source speaks, and whether its present silence is longer than any of its own. ●

A fixed limit cries wolf every night or sleeps through a week. So a source is measured by itself: it is *silent* when it has
said nothing for `LONGER` times the longest pause that it made within `DAYS`, nights and weekends included.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

DAYS = 28
LONGER = 1.5
HOURS_MIN = 5
"""Whoever spoke in fewer hours than this has no habits that one could tell."""
SHORTEST = timedelta(hours=2)
"""Hours are counted whole: a pause is known to an hour."""

State = Literal["heard", "silent", "unsure", "never"]


@dataclass(frozen=True, slots=True)
class Rhythm:
    state: State
    usual_gap: timedelta | None
    """Between one event and the next, on the average."""
    longest_pause: timedelta | None
    silence: timedelta | None
    """Since the last event."""


def rhythm(
    last_at: datetime | None,
    events: int,
    hours: int,
    first_hour: datetime | None,
    longest_pause: timedelta | None,
    now: datetime,
) -> Rhythm:
    """`events`, `hours` in which there were any, the first of these and the longest pause between two: within `DAYS`."""
    if last_at is None:
        return Rhythm("never", None, None, None)
    silence = max(timedelta(0), now - last_at)
    gap = (last_at - first_hour) / (events - 1) if first_hour is not None and events > 1 else None
    if hours == 0:
        state: State = "silent"  # it spoke, and has not for all of that time
    elif hours < HOURS_MIN or longest_pause is None:
        state = "unsure"
    else:
        state = "silent" if silence > max(longest_pause * LONGER, SHORTEST) else "heard"
    return Rhythm(state, gap, longest_pause, silence)
