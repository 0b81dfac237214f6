"""Which figures rest on a source that has fallen silent or speaks otherwise than usual, or on a consumer that lags behind. ●

A broken webhook looks like customers with nothing to say, and a tool that sends everything twice like twice as many. Whether
a source is silent, quiet or doubled, `hearing.py` says, for every page alike. A figure rests on it if the source used to give
what that figure is made of (`Measure.made_of`), to that group, and if the span reaches into that time. It rests on a consumer that has been behind for more than `LAG_ALLOWED` if the span reaches
into what waits there: the router's is everybody's, the closer's of a team's topic is that team's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from services.console.hearing import LOOP, Source, came_of
from services.console.metrics import MEASURES
from services.console.volume import Volume
from shared.events.envelope import rfc3339

LAG_ALLOWED = timedelta(minutes=1)
CAUSES = {made_of: f"made_{n}" for n, made_of in enumerate(dict.fromkeys(measure.made_of for measure in MEASURES))}
"""What feedback may be for a measure's sake: each predicate once, and the column that tells it."""

Row = Mapping[str, Any]
Consumer = Literal["router", "closer"]


@dataclass(frozen=True, slots=True)
class Silence:
    source: str
    since: datetime
    longest_pause: timedelta
    """That it made before."""

    def to_json(self) -> dict[str, Any]:
        longest_s = int(self.longest_pause.total_seconds())
        return {"source": self.source, "silent_since": rfc3339(self.since), "longest_pause_s": longest_s}

    @property
    def sentence(self) -> str:
        return f"nothing from {self.source} since {rfc3339(self.since)}"


@dataclass(frozen=True, slots=True)
class Unusual:
    """It came, and much less or much more than usual."""

    source: str
    volume: Volume

    @property
    def since(self) -> datetime:
        return self.volume.start

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "state": self.volume.state, **came_of(self.volume)}

    @property
    def sentence(self) -> str:
        less_or_more, usual = ("only " if self.volume.state == "quiet" else ""), f"{self.volume.expected:.0f}"
        return f"{less_or_more}{self.volume.came} from {self.source} since {rfc3339(self.since)}, usually {usual}"


@dataclass(frozen=True, slots=True)
class Lag:
    consumer: Consumer
    team: str | None = None
    """Whose topic; None: it is everybody's."""
    since: datetime | None = None
    """When the first record that waits was written; None: the log does not say."""

    def to_json(self) -> dict[str, Any]:
        since = rfc3339(self.since) if self.since is not None else None
        return {"consumer": self.consumer, "behind_since": since} | ({"team": self.team} if self.team else {})

    @property
    def sentence(self) -> str:
        of = f" of {self.team}" if self.team else ""
        if self.since is None:
            return f"how far behind the {self.consumer}{of} is cannot be told"
        return f"the {self.consumer}{of} is behind since {rfc3339(self.since)}"


Reason = Silence | Unusual | Lag


@dataclass(frozen=True, slots=True)
class Known:
    """What is known at a moment of sources and consumers."""

    doubts: tuple[Silence | Unusual, ...] = ()
    lags: tuple[Lag, ...] = ()


def doubts(sources: Iterable[Source]) -> tuple[Silence | Unusual, ...]:
    """Of these, those that are silent, quiet or doubled."""
    found = list[Silence | Unusual]()
    for one in sources:
        longest = one.rhythm.longest_pause
        if one.name == LOOP:
            continue
        if one.unusual is not None:
            found.append(Unusual(one.name, one.unusual))
        elif one.standing == "silent" and longest is not None and one.last_at is not None:
            found.append(Silence(one.name, one.last_at, longest))
    return tuple(found)


def known_until(lags: Iterable[Lag], now: datetime) -> datetime | None:
    """Until when all is counted that came in. None: nobody can tell."""
    since = [lag.since for lag in lags]
    return min([now, *filter(None, since)]) if None not in since else None


def behind(lags: Iterable[Lag], now: datetime) -> tuple[Lag, ...]:
    """Those that matter."""
    return tuple(lag for lag in lags if lag.since is None or now - lag.since > LAG_ALLOWED)


def stale(
    known: Known, gave: Iterable[Row], by: str | None, group: str | None, end: datetime
) -> Mapping[str, tuple[Reason, ...]]:
    """Measure → why its figure may not be whole; without those that rest on nothing of the kind.

    `gave`: for each of those sources and group, which of `CAUSES` it used to give (`Queries.gave`). `end`: the span's."""
    doubtful = {one.source: one for one in known.doubts if one.since < end}
    ours = [row for row in gave if row["group_name"] == group and row["source"] in doubtful]
    waits = [lag for lag in known.lags if lag.since is None or lag.since < end]
    if by == "team":
        waits = [lag for lag in waits if lag.team in (None, group)]
    found: dict[str, tuple[Reason, ...]] = {}
    for measure in MEASURES:
        cause = CAUSES[measure.made_of]
        why: list[Reason] = [doubtful[row["source"]] for row in ours if row[cause]]
        if why or waits:
            found[measure.name] = (*why, *waits)
    return found
