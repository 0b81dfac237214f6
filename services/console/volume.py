"""How much of a source came in the last hours, and how much these hours of the week usually bring. ●

Spans of whole hours in UTC, held against the same hours of the weeks before as `shared.habits` says. That learns each of the
week's 168 hours, and whatever span of them is asked about, without a table to keep. *Quiet* is half of what usually comes or
less, *doubled* twice or more, and neither by chance.

One hour is noise, and of a small source so is a day: the shortest of `SPANS` that usually brings enough to tell decides.
Who brings not enough in a week has no habits here: only `rhythm.py` has a word on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Literal

from services.console.rhythm import Rhythm
from services.console.rhythm import State as Spoken
from shared.habits import TELLING, WEEK, WEEKS, WEEKS_LEAST, is_less, is_more, usual

SPANS = (6, 24, WEEK)
"""Hours. Six: half of a working day, so that one that was lost in the morning is told by its afternoon. Twenty sources are
judged by 28 spans of six hours a week each: one false word in eighteen weeks, were they Poisson."""
FACTOR = 2.0
HOURS = (WEEKS + 2) * WEEK
"""What is looked at: a week more than is compared, to know whether the source was there before them."""

State = Literal["usual", "quiet", "doubled"]
Standing = Literal["heard", "quiet", "doubled", "silent", "unsure", "never"]


@dataclass(frozen=True, slots=True)
class Volume:
    state: State
    start: datetime
    end: datetime
    came: int
    expected: float
    """The median of the weeks before."""


def volume(hours: Mapping[int, int], end: datetime) -> Volume | None:
    """`hours`: how many events in the hour that ended so many hours before `end`, 0 being the last. None: no habits."""
    oldest = max(hours, default=-1)
    sums = [0, *accumulate(hours.get(ago, 0) for ago in range(HOURS))]
    for span in SPANS:
        weeks = [back * WEEK for back in range(1, WEEKS + 1) if back * WEEK + span <= oldest]
        if len(weeks) < WEEKS_LEAST:
            continue
        of = usual([sums[at + by + span] - sums[at + by] for by in (-1, 0, 1)] for at in weeks)
        if of.low < TELLING:  # a span that brings fewer than these nine may, by chance, bring nothing
            continue
        came, before = sums[span], sums[span + 1] - sums[1]
        state: State = "usual"
        if is_less(max(came, before), of, FACTOR):
            state = "quiet"
        elif is_more(min(came, before), of, FACTOR):
            state = "doubled"
        return Volume(state, end - timedelta(hours=span), end, came, of.expected)
    return None


def standing(spoken: Rhythm, heard: Volume | None) -> Standing:
    """One word for both. Longer without a word than ever before is more than quiet, for whoever has habits too."""
    if heard is None or spoken.state in ("never", "silent"):
        state: Spoken = spoken.state
        return state
    return "heard" if heard.state == "usual" else heard.state


def whole_hours(now: datetime) -> datetime:
    """The end of the last hour that is over."""
    return now.replace(minute=0, second=0, microsecond=0)
