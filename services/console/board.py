"""Rows → the SLA board: what is to be done now, and how well promises were kept, for each team and policy. ●

The figures are defined here, once. `COUNTS` are numbers of unfinished cases; the queue's view of the same name lists just
those (`pages/cases.py`). Attainment is kept ÷ (kept + broken) of what was decided on a clock within `DAYS`, every target of
the policy together; of nothing there is none. A promise is broken at its deadline, whether or not the case is finished, so
nobody's figure looks better for cases that are never answered. What was counted is listed by `pages/promises.py`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal, get_args

from services.console.staleness import Reason

Clock = Literal["business", "wall"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)
Target = Literal["acknowledge", "resolve", "tell_customer"]
TARGETS: tuple[Target, ...] = get_args(Target)
Count = Literal["open", "soon", "breached"]
COUNTS: tuple[Count, ...] = get_args(Count)
DAYS = 30
"""Today, as UTC has it, and those before."""
TREND_DAYS = 14
NO_POLICY = "-"
"""In an address: cases without a promise, which is imported history."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attained:
    met: int = 0
    missed: int = 0

    @property
    def decided(self) -> int:
        return self.met + self.missed

    @property
    def share(self) -> float | None:
        return self.met / self.decided if self.decided else None

    @property
    def percent(self) -> str | None:
        """Rounded down, so that 100% says that none was broken."""
        return f"{math.floor(1000 * self.met / self.decided) / 10:g}%" if self.decided else None

    def __add__(self, other: "Attained") -> "Attained":
        return Attained(self.met + other.met, self.missed + other.missed)


@dataclass(frozen=True, slots=True)
class Line:
    """Of a team and a policy; of a team; of all."""

    team: str | None
    policy: str | None
    """None: of all policies; `NO_POLICY`: of none."""
    counts: Mapping[Count, int]
    due_at: datetime | None
    """When the next promise is broken, if nobody does anything."""
    days: Mapping[Clock, tuple[Attained, ...]] = field(repr=False)
    """Of each day, the oldest first; `DAYS` of them."""

    @property
    def asked(self) -> dict[str, str]:
        """For the address of what was counted."""
        return {"team": self.team or "", "policy": self.policy or ""}

    def attained(self, clock: Clock) -> Attained:
        return sum(self.days[clock], Attained())

    def trend(self, clock: Clock) -> tuple[Attained, ...]:
        return self.days[clock][-TREND_DAYS:]


@dataclass(frozen=True, slots=True)
class Board:
    at: datetime
    lines: tuple[Line, ...]
    """A team's stand together, in the order of teams.yaml."""
    teams: tuple[Line, ...]
    total: Line
    doubts: Mapping[str | None, tuple[Reason, ...]] = field(default_factory=dict)
    """Of a team, or (None) of all: why its numbers may not be whole."""

    @property
    def trend_days(self) -> tuple[date, ...]:
        return days_until(self.at)[-TREND_DAYS:]


def days_until(now: datetime) -> tuple[date, ...]:
    """Those that are counted, the oldest first. `now` is in UTC."""
    return tuple(now.date() - timedelta(days=back) for back in reversed(range(DAYS)))


def board_of(queue: Iterable[Row], attainment: Iterable[Row], teams: Sequence[str], now: datetime) -> Board:
    """`queue`: a row for each team and policy with `COUNTS` and `due_at`. `attainment`: one for each team, policy, clock and
    day. A team of the configuration that has neither is on the board with zeros: that nothing comes is news too."""
    places = {day: place for place, day in enumerate(days_until(now))}
    found: dict[tuple[str, str], Line] = {}
    for row in queue:
        key = (row["team"], row["policy"] or NO_POLICY)
        found[key] = _line(*key, {name: row[name] for name in COUNTS}, row["due_at"])
    kept: dict[tuple[str, str], dict[Clock, list[Attained]]] = {}
    for row in attainment:
        days = kept.setdefault((row["team"], row["policy"]), {clock: [Attained()] * DAYS for clock in CLOCKS})
        if row["day"] in places and row["clock"] in days:
            days[row["clock"]][places[row["day"]]] += Attained(row["met"], row["missed"])
    for key, by_clock in kept.items():
        line = found.get(key) or _line(*key)
        found[key] = _line(*key, line.counts, line.due_at, {clock: tuple(days) for clock, days in by_clock.items()})
    order = {team: place for place, team in enumerate([*teams, *sorted({team for team, _ in found} - set(teams))])}
    lines = sorted(found.values(), key=lambda line: (order[line.team or ""], line.policy == NO_POLICY, line.policy))
    by_team = [_sum(team, [line for line in lines if line.team == team]) for team in order]
    empty = [line for line in by_team if all(one.team != line.team for one in lines)]
    lines = sorted([*lines, *empty], key=lambda line: order[line.team or ""])
    return Board(now, tuple(lines), tuple(by_team), _sum(None, by_team))


_NONE: Mapping[Count, int] = dict.fromkeys(COUNTS, 0)
_NO_DAYS: Mapping[Clock, tuple[Attained, ...]] = {clock: (Attained(),) * DAYS for clock in CLOCKS}


def _line(
    team: str | None,
    policy: str | None,
    counts: Mapping[Count, int] = _NONE,
    due_at: datetime | None = None,
    days: Mapping[Clock, tuple[Attained, ...]] = _NO_DAYS,
) -> Line:
    return Line(team, policy, counts, due_at, days)


def _sum(team: str | None, lines: Sequence[Line]) -> Line:
    counts: dict[Count, int] = {name: sum(line.counts[name] for line in lines) for name in COUNTS}
    days = {
        clock: tuple(sum(day, Attained()) for day in zip(*(line.days[clock] for line in lines), strict=True))
        for clock in CLOCKS
    }
    due_at = min((line.due_at for line in lines if line.due_at is not None), default=None)
    return _line(team, None, counts, due_at, days if lines else _NO_DAYS)
