"""What the same hours of past weeks usually brought, and whether what came now is more, or less, than chance would do. ●

A week repeats itself, nights and weekends included, so a span is held against the same span of each of `WEEKS` before.
What they brought is taken by its quartiles: a holiday among them, an outage or a flood is one of them, and moves nothing.
Each is counted moved by an hour too, whichever is nearer to what came: a batch that is late by an hour, and a clock that
people moved for summer, are nothing to tell of.

More (or less) is said where it matters and is no chance, both: so many times what usually comes, and so far from even the
busiest (quietest) quarter of the weeks that a Poisson process would do it once in `1 / CHANCE` times.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

WEEK = 168
"""Hours."""
WEEKS = 4
"""Enough for quartiles, few enough that who grows by a fifth each week (1.2 ** 2.5 = 1.6) has not doubled."""
WEEKS_LEAST = 3
"""Of fewer nobody can say what is usual."""
CHANCE = 1e-4
TELLING = -math.log(CHANCE)
"""How surprising (`surprise`) what is told of must be."""


@dataclass(frozen=True, slots=True)
class Usual:
    low: float
    """The first quartile of the weeks, each taken by whichever hour brought least."""
    expected: float
    """The median of the weeks."""
    high: float


def usual(weeks: Iterable[Sequence[int]]) -> Usual:
    """`weeks`: for each what came an hour later, at the same time, and an hour earlier. At least two of them."""
    moved = list(weeks)
    return Usual(
        quantiles((min(one) for one in moved), n=4, method="inclusive")[0],
        float(median(one[1] for one in moved)),
        quantiles((max(one) for one in moved), n=4, method="inclusive")[2],
    )


def is_less(came: int, of: Usual, factor: float) -> bool:
    return came * factor <= of.expected and came < of.low and surprise(came, of.low) >= TELLING


def is_more(came: int, of: Usual, factor: float) -> bool:
    # That none came in any of the weeks is no proof that none ever does: it is what one in so many weeks would look like.
    busiest = max(of.high, 1 / WEEKS)
    return came >= of.expected * factor and came > busiest and surprise(came, busiest) >= TELLING


def surprise(came: int, expected: float) -> float:
    """-ln of Chernoff's bound on a Poisson variable of that mean being so far off, or farther: never too little."""
    return expected - came + (came * math.log(came / expected) if came else 0.0)
