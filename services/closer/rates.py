"""Is this too much? What came in a window, against a limit, the same hours of past weeks, or the score that was usual. ●

A signal that is up stays up until it is clearly over (`RELEASE`), so that it does not come and go at its limit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.closer.signals import Definition
from shared.habits import TELLING, WEEKS_LEAST, is_more, usual

RELEASE = 0.5
"""It has passed once no more than this share of what raises it is left."""
DEVIATIONS = math.sqrt(2 * TELLING)
"""So many standard errors may a mean be off by chance as seldom as `shared.habits.CHANCE` says."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Of what came in a span; `total` and `squares` of the metric, where one is looked at."""

    came: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.came

    @property
    def variance(self) -> float:
        return max(0.0, self.squares / self.came - self.mean**2)


@dataclass(frozen=True, slots=True)
class Past:
    weeks: Sequence[Sequence[int]] = ()
    """For `rises`: as `shared.habits.usual` takes them, of those weeks in which we listened already."""
    scores: Sums = Sums()
    """For `falls`: of all weeks before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    is_up: bool
    threshold: float
    """A count; of a score that falls, the mean."""
    expected: float | None = None
    """What is usual; None where nobody asks."""


def could_be(one: Definition, now: Sums) -> bool:
    """Whether the past need be asked at all."""
    return now.came > one.more_than if one.more_than is not None else now.came >= one.at_least


def judge(one: Definition, now: Sums, past: Past, *, up_since: Verdict | None = None) -> Verdict:
    """`up_since`: what raised it, where it is up."""
    if one.rises is not None:
        return _rises(one, one.rises, now, past, up_since)
    if one.falls is not None:
        return _falls(one, one.falls.by, now, past, up_since)
    assert one.more_than is not None, "a signal has one test"
    limit = one.more_than
    return Verdict(now.came > limit * (RELEASE if up_since else 1), limit)


def _rises(one: Definition, factor: float, now: Sums, past: Past, up_since: Verdict | None) -> Verdict:
    if len(past.weeks) < WEEKS_LEAST:
        return Verdict(False, one.at_least)
    of = usual(past.weeks)
    threshold = max(float(one.at_least), factor * of.expected)
    if up_since:
        return Verdict(now.came > threshold * RELEASE, threshold, of.expected)
    return Verdict(now.came >= threshold and is_more(now.came, of, factor), threshold, of.expected)


def _falls(one: Definition, by: float, now: Sums, past: Past, up_since: Verdict | None) -> Verdict:
    """Against what was usual when it was raised: the fall itself becomes part of the past."""
    if up_since:
        expected = up_since.expected or 0.0
        enough = now.came >= max(1.0, one.at_least * RELEASE)
        return Verdict(enough and expected - now.mean > by * RELEASE, up_since.threshold, expected)
    if past.scores.came < one.at_least or now.came < one.at_least:
        return Verdict(False, 0.0)
    expected = past.scores.mean
    # Few scores may all be alike: they are taken to differ as much as those before.
    spread = max(now.variance, past.scores.variance)
    error = math.sqrt(spread / now.came + past.scores.variance / past.scores.came)
    fell = expected - now.mean
    return Verdict(fell >= by and fell > DEVIATIONS * error, expected - by, expected)
