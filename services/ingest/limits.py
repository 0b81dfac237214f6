"""The token bucket: how often is too often. Pure: (bucket, now, cost) → (bucket, admitted).

A bucket holds at most a second's worth and may go into debt: a batch larger than the bucket is admitted when there is
anything in it, and paid for by a longer wait. Nobody is limited unless `INGEST_RATE_PER_KEY` or
`INGEST_RATE_PER_SOURCE` is set.
"""

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache

_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|m|h)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
BUCKETS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in so many seconds; as many may come at once."""

    count: int
    window_s: int

    @property
    def per_second(self) -> float:
        return self.count / self.window_s


@cache
def parse_rate(text: str) -> Rate:
    """`1000/s`, `60/m`, `5000/h`. Raises ValueError."""
    match = _RATE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate: write 1000/s, 600/m or 5000/h")
    return Rate(int(match[1]), _SECONDS[match[2]])


@dataclass(frozen=True, slots=True)
class Bucket:
    tokens: float
    at: float
    """When `tokens` was true, in monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Admission:
    admitted: bool
    remaining: int
    retry_after_s: int
    """0 when admitted; else until the bucket holds one again."""


def take(rate: Rate, bucket: Bucket | None, now: float, cost: int) -> tuple[Bucket, Admission]:
    """A bucket never seen is full."""
    if bucket is None:
        tokens = float(rate.count)
    else:
        tokens = min(rate.count, bucket.tokens + max(0.0, now - bucket.at) * rate.per_second)
    if tokens < 1:
        wait = math.ceil((1 - tokens) / rate.per_second)
        return Bucket(tokens, now), Admission(False, 0, max(1, wait))
    tokens -= cost
    return Bucket(tokens, now), Admission(True, max(0, math.floor(tokens)), 0)


class Buckets:
    """A bucket for each name; the one unused for longest goes first when there are too many (it is full by then, or
    its owner is one of very many)."""

    def __init__(self, rate: Rate, *, maximum: int = BUCKETS_MAX) -> None:
        self.rate = rate
        self._maximum = maximum
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str, now: float, cost: int = 1) -> Admission:
        bucket, admission = take(self.rate, self._buckets.get(name), now, cost)
        self._buckets[name] = bucket
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._maximum:
            self._buckets.popitem(last=False)
        return admission

    def charge(self, name: str, cost: int) -> None:
        """What turned out to be more, or less, than was asked for when it was admitted."""
        bucket = self._buckets.get(name)
        if bucket is not None:
            self._buckets[name] = Bucket(bucket.tokens - cost, bucket.at)

    def __len__(self) -> int:
        return len(self._buckets)


class RateLimits:
    """Names of which each has a rate of its own."""

    def __init__(self) -> None:
        self._buckets: dict[Rate, Buckets] = {}

    def take(self, rate: Rate, name: str, now: float) -> Admission:
        buckets = self._buckets.get(rate)
        if buckets is None:
            buckets = self._buckets[rate] = Buckets(rate)
        return buckets.take(name, now)

    def give_back(self, rate: Rate, name: str) -> None:
        """What was admitted and not taken."""
        if (buckets := self._buckets.get(rate)) is not None:
            buckets.charge(name, -1)
