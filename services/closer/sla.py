"""Policy + calendar → due times, and what a passed deadline means.

Every target (acknowledge, resolve, tell the customer) runs on two clocks at once. The *wall* clock is the
customer's: `3d` is 72 hours, through nights and holidays, and nothing pauses it. The *business* clock is the
team's: `8h` is eight hours of its work, `3d` three of its working days (how a day counts: `calendar.py`), `1w` as
many days as its week has; it stands still while the case waits on the customer.

Both are told from a snapshot of policy and calendar taken when the clock starts, and from the pauses since.
Nothing else: no deadline is moved in place, so none can drift. Each warning and each breach is said once per
target and clock; each escalation once per target. Who was never warned before a breach is not warned after it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from math import ceil
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from services.closer.calendar import ROUND_THE_CLOCK, Calendar, Measure, days_between, utc

Target = Literal["acknowledge", "resolve", "tell_customer"]
ClockName = Literal["business", "wall"]
Unit = Literal["m", "h", "d", "w"]
TARGETS: tuple[Target, ...] = ("acknowledge", "resolve", "tell_customer")
CLOCKS: tuple[ClockName, ...] = ("business", "wall")

_DURATION = re.compile(r"([1-9][0-9]{0,4}) ?([mhdw])\Z")
_UNIT_S: Mapping[str, int] = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
# Beyond this a promise is none, and dates run out.
_MAX_S = 5 * 366 * 86_400
# Daylight saving takes an hour, two at one station; no zone takes three.
SHORTEST_DAY_S = 21 * 3600


@dataclass(frozen=True, slots=True)
class Duration:
    """`30m`, `8h`, `3d`, `2w`."""

    amount: int
    unit: Unit

    @classmethod
    def read(cls, value: Any) -> "Duration":
        """As a file of configuration has it. Raises ValueError."""
        return value if isinstance(value, cls) else cls.parse(value)

    @classmethod
    def parse(cls, text: Any) -> "Duration":
        """Raises ValueError."""
        match = _DURATION.match(text) if isinstance(text, str) else None
        if not match:
            raise ValueError(f"{text!r} is not a duration: write 30m, 8h, 3d or 2w")
        found = cls(int(match[1]), match[2])  # type: ignore[arg-type]
        if found.amount * _UNIT_S[found.unit] > _MAX_S:
            raise ValueError(f"{text!r} is more than five years")
        return found

    @property
    def wall(self) -> timedelta:
        return timedelta(seconds=self.amount * _UNIT_S[self.unit])

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"


@dataclass(frozen=True)
class ClockSnapshot:
    """What was promised when the clock started, and on which calendar. The same for all cases that start in one
    year under one policy and one team, so it is stored once, by `id`."""

    policy: str
    targets: tuple[tuple[Target, Duration], ...]
    warn_at_percent: int
    assume_after: Duration
    escalate_to: tuple[str, ...]
    """Addresses, or names of teams. Empty: the team that has the case."""
    calendar: Calendar | None
    """None: round the clock."""

    @cached_property
    def id(self) -> str:
        """A hash of the content."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)
        return sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def durations(self) -> Mapping[Target, Duration]:
        return dict(self.targets)

    @cached_property
    def measure(self) -> Measure:
        return ROUND_THE_CLOCK if self.calendar is None else self.calendar.measure

    @cached_property
    def _steps(self) -> Mapping[Target, tuple[bool, float, float]]:
        """Per target on the business clock: whether it counts days, how much, and how much until the warning."""
        share = self.warn_at_percent / 100
        week = 7 if self.calendar is None else self.calendar.working_days_a_week
        steps: dict[Target, tuple[bool, float, float]] = {}
        for target, duration in self.targets:
            in_days = duration.unit in ("d", "w")
            per = (week if duration.unit == "w" else 1) if in_days else _UNIT_S[duration.unit]
            steps[target] = (in_days, duration.amount * per, duration.amount * per * share)
        return steps

    @cached_property
    def _wall_steps(self) -> Mapping[Target, tuple[timedelta, timedelta]]:
        return {
            target: (duration.wall, duration.wall * self.warn_at_percent / 100) for target, duration in self.targets
        }

    @cached_property
    def _soonest(self) -> tuple[Target, ...]:
        """Whose warning comes first on the wall clock; and whose, on the business clock, might come before it."""
        wall = min(self._wall_steps, key=lambda target: self._wall_steps[target])
        first_s = self._wall_steps[wall][1].total_seconds()
        before: list[Target] = []
        for target, (in_days, _, amount) in self._steps.items():
            # Work never outruns the wall clock; and of any stretch of working days, the inner ones pass whole.
            at_least_s = max(ceil(amount) - 2, 0) * SHORTEST_DAY_S if in_days else amount
            if at_least_s < first_s:
                before.append(target)
        return (wall, *before)

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "targets": {target: str(duration) for target, duration in self.targets},
            "warn_at_percent": self.warn_at_percent,
            "assume_after": str(self.assume_after),
            "escalate_to": list(self.escalate_to),
            "calendar": self.calendar.to_json() if self.calendar is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ClockSnapshot":
        calendar = data["calendar"]
        return cls(
            policy=data["policy"],
            targets=tuple(
                (target, Duration.parse(data["targets"][target])) for target in TARGETS if target in data["targets"]
            ),
            warn_at_percent=data["warn_at_percent"],
            assume_after=Duration.parse(data["assume_after"]),
            escalate_to=tuple(data["escalate_to"]),
            calendar=None if calendar is None else Calendar.from_json(calendar),
        )


class Due(Struct, frozen=True, gc=False):
    """When a running target's time is up on each clock."""

    business: datetime | None
    """None: paused, so nobody can tell yet."""
    wall: datetime


class Settled(Struct, frozen=True, gc=False):
    """A target that runs no more. `met` tells whether it was reached; a promise that fell away was not."""

    target: Target
    generation: int
    started_at: datetime
    stopped_at: datetime
    met: bool
    """False: it fell away (merged, nobody to tell)."""
    due: Due

    def within(self, clock: ClockName) -> bool | None:
        """Whether the promise was kept on that clock; None: it fell away."""
        due = self.due.business if clock == "business" else self.due.wall
        return (due is None or self.stopped_at <= due) if self.met else None


class Clocks(Struct, frozen=True, gc=False):
    """A case's clocks. Settings stand in the snapshot, what moves stands here."""

    snapshot: ClockSnapshot
    running: Mapping[Target, datetime]
    """Target → since when."""
    settled: tuple[Settled, ...] = ()
    pauses: tuple[tuple[datetime, datetime | None], ...] = ()
    """In order; the last may be open."""
    fired: frozenset[str] = frozenset()
    """`resolve.business.warned`: said already, of the targets that run."""
    generation: int = 1

    @property
    def paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1][1] is None

    def to_json(self) -> dict[str, Any]:
        """Without the snapshot, of which only the id is kept here."""
        return {
            "snapshot": self.snapshot.id,
            "generation": self.generation,
            "running": {target: _text(at) for target, at in self.running.items()},
            "settled": [
                {
                    "target": one.target,
                    "generation": one.generation,
                    "started_at": _text(one.started_at),
                    "stopped_at": _text(one.stopped_at),
                    "met": one.met,
                    "business": _text(one.due.business) if one.due.business else None,
                    "wall": _text(one.due.wall),
                }
                for one in self.settled
            ],
            "pauses": [[_text(since), _text(until) if until else None] for since, until in self.pauses],
            "fired": sorted(self.fired),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], snapshot: ClockSnapshot) -> "Clocks":
        return cls(
            snapshot=snapshot,
            running={target: _time(at) for target, at in data["running"].items()},
            settled=tuple(
                Settled(
                    one["target"],
                    one["generation"],
                    _time(one["started_at"]),
                    _time(one["stopped_at"]),
                    one["met"],
                    Due(_time(one["business"]) if one["business"] else None, _time(one["wall"])),
                )
                for one in data["settled"]
            ),
            pauses=tuple((_time(since), _time(until) if until else None) for since, until in data["pauses"]),
            fired=frozenset(data["fired"]),
            generation=data["generation"],
        )


class Passed(Struct, frozen=True, gc=False):
    kind: Literal["warned", "breached", "escalated"]
    target: Target
    clock: ClockName
    due_at: datetime | None
    """The deadline itself, for a warning too; None: a pause since keeps it open."""
    passed_at: datetime
    """The moment that has passed: for a warning, its own."""


# ── start, pause, resume, stop ────────────────────────────────────────────────────────────────────────────────────


def start(snapshot: ClockSnapshot, at: datetime, *, acknowledged: bool = False) -> Clocks:
    """All targets' clocks, running from that moment; but for `acknowledge` where that was done."""
    since = _whole_ms(at)
    return Clocks(
        snapshot, {target: since for target, _ in snapshot.targets if not acknowledged or target != "acknowledge"}
    )


def pause(clocks: Clocks, at: datetime) -> Clocks:
    """The business clock stands still from now. Idempotent."""
    return clocks if clocks.paused else replace(clocks, pauses=(*clocks.pauses, (_whole_ms(at), None)))


def resume(clocks: Clocks, at: datetime) -> Clocks:
    """The business clock runs on. Idempotent."""
    if not clocks.paused:
        return clocks
    since = clocks.pauses[-1][0]
    return replace(clocks, pauses=(*clocks.pauses[:-1], (since, max(since, _whole_ms(at)))))


def stop(clocks: Clocks, target: Target, at: datetime, *, met: bool = True) -> Clocks:
    """The target was reached, or (`met=False`) fell away. Its due times are kept as they are now. Idempotent."""
    since = clocks.running.get(target)
    if since is None:
        return clocks
    one = Settled(target, clocks.generation, since, _whole_ms(at), met, _due(clocks, target))
    return replace(
        clocks,
        running={other: when for other, when in clocks.running.items() if other != target},
        settled=(*clocks.settled, one),
        fired=frozenset(name for name in clocks.fired if not name.startswith(f"{target}.")),
    )


def restart(clocks: Clocks, at: datetime, snapshot: ClockSnapshot | None = None) -> Clocks:
    """Reopened: resolving and telling are owed anew. What was settled before stays as it was."""
    for target in TARGETS:
        clocks = stop(clocks, target, at, met=False)
    since, promise = _whole_ms(at), snapshot or clocks.snapshot
    return replace(
        clocks,
        snapshot=promise,
        running={target: since for target, _ in promise.targets if target != "acknowledge"},
        pauses=(),
        fired=frozenset(),
        generation=clocks.generation + 1,
    )


# ── what is due ───────────────────────────────────────────────────────────────────────────────────────────────────


def due(clocks: Clocks) -> dict[Target, Due]:
    """When each running target's time is up."""
    since = next(iter(clocks.running.values()), None)
    if clocks.pauses or since is None:
        return {target: _due(clocks, target) for target in clocks.running}
    # What runs together started together, so the clocks are read once for all; every opened case comes here.
    measure, at = clocks.snapshot.measure, since.timestamp()
    seconds, days = measure.seconds_at(at), measure.days_at(at)
    found: dict[Target, Due] = {}
    for target in clocks.running:
        in_days, amount, _ = clocks.snapshot._steps[target]
        end = measure.after_days(days + amount) if in_days else measure.after_seconds(seconds + amount)
        found[target] = Due(utc(end), since + clocks.snapshot._wall_steps[target][0])
    return found


def next_breach(clocks: Clocks, due: Mapping[Target, Due]) -> datetime | None:
    """The earliest moment at which a promise is broken that is not broken yet; None: there is none. `due`: of `due()`."""
    moments = [
        at
        for target, one in due.items()
        for clock, at in (("business", one.business), ("wall", one.wall))
        if at is not None and f"{target}.{clock}.breached" not in clocks.fired
    ]
    return min(moments, default=None)


def next_event(clocks: Clocks) -> tuple[datetime, str] | None:
    """The earliest moment that is yet to be said, past or not, and its name; None: nothing runs."""
    if not clocks.fired and not clocks.pauses and len(clocks.running) == len(clocks.snapshot.targets):
        return _first(clocks)
    return min(((at, f"{target}.{clock}.{kind}") for at, target, clock, kind in _unsaid(clocks)), default=None)


def passed(clocks: Clocks, now: datetime) -> tuple[Clocks, tuple[Passed, ...]]:
    """What has passed by `now` and was not said yet, in the order in which it passed."""
    found = [one for one in _unsaid(clocks, until=now) if one[0] <= now]
    if not found:
        return clocks, ()
    found.sort()
    fired = set(clocks.fired)
    fired.update(f"{target}.{clock}.{kind}" for _, target, clock, kind in found)
    breached = {(target, clock) for _, target, clock, kind in found if kind == "breached"}
    told: list[Passed] = []
    for at, target, clock, kind in found:
        if kind == "warned" and (target, clock) in breached:
            continue  # Too late for a warning.
        ends = _due(clocks, target)
        due_at = ends.business if clock == "business" else ends.wall
        told.append(Passed(kind, target, clock, due_at, at))
        if kind == "breached" and (escalated := f"{target}.escalated") not in fired:
            fired.add(escalated)
            told.append(Passed("escalated", target, clock, due_at, at))
    return replace(clocks, fired=frozenset(fired)), tuple(told)


_Moment = tuple[datetime, Target, ClockName, Literal["warned", "breached"]]


def _unsaid(clocks: Clocks, until: datetime | None = None) -> Iterator[_Moment]:
    """Of each running target and clock, what is yet to be said: the warning, and once that is said or is past
    (`until`), the breach."""
    snapshot, fired = clocks.snapshot, clocks.fired
    for target, since in clocks.running.items():
        in_days, amount, until_warning = snapshot._steps[target]
        whole, warning = snapshot._wall_steps[target]
        for clock in CLOCKS:
            past = f"{target}.{clock}.warned" in fired
            if not past:
                warn_at = (
                    since + warning
                    if clock == "wall"
                    else _business(snapshot.measure, since, in_days, until_warning, clocks.pauses)
                )
                if warn_at is None:
                    continue  # Paused before the warning, and so before the breach.
                yield warn_at, target, clock, "warned"
                past = until is not None and warn_at <= until
            if past and f"{target}.{clock}.breached" not in fired:
                end = (
                    since + whole
                    if clock == "wall"
                    else _business(snapshot.measure, since, in_days, amount, clocks.pauses)
                )
                if end is not None:
                    yield end, target, clock, "breached"


def _first(clocks: Clocks) -> tuple[datetime, str]:
    """`next_event` of clocks that have just started together: a case is opened far more often than it is warned."""
    snapshot = clocks.snapshot
    wall, *business = snapshot._soonest
    since = next(iter(clocks.running.values()))
    found = (since + snapshot._wall_steps[wall][1], f"{wall}.wall.warned")
    for target in business:
        in_days, _, until_warning = snapshot._steps[target]
        at = _business(snapshot.measure, since, in_days, until_warning, ())
        if at is not None and at < found[0]:
            found = (at, f"{target}.business.warned")
    return found


def _due(clocks: Clocks, target: Target) -> Due:
    since = clocks.running[target]
    in_days, amount, _ = clocks.snapshot._steps[target]
    business = _business(clocks.snapshot.measure, since, in_days, amount, clocks.pauses)
    return Due(business, since + clocks.snapshot._wall_steps[target][0])


def _business(
    measure: Measure,
    since: datetime,
    in_days: bool,
    amount: float,
    pauses: tuple[tuple[datetime, datetime | None], ...],
) -> datetime | None:
    """The first moment at which that much work is over, not counting pauses; None: paused before it."""
    start = since.timestamp()
    if in_days:
        done_at, after, slack = measure.days_at, measure.after_days, 1e-9
    else:
        done_at, after, slack = measure.seconds_at, measure.after_seconds, 1e-4
    total = done_at(start) + amount
    for begun, ended in pauses:
        if ended is not None and ended <= since:
            continue
        before = done_at(max(begun, since).timestamp())
        if before >= total - slack:
            break  # The time was up before this pause began.
        if ended is None:
            return None
        total += done_at(ended.timestamp()) - before
    return utc(after(total))


# ── explaining ────────────────────────────────────────────────────────────────────────────────────────────────────


def explain(snapshot: ClockSnapshot, at: datetime) -> dict[str, Any]:
    """What would be due when, for a clock that starts then, with the days of the calendar that counted."""
    clocks = start(snapshot, at)
    calendar = snapshot.calendar
    zone = calendar.zone if calendar is not None else "UTC"
    ends = due(clocks)
    told: dict[str, Any] = {
        target: {
            "within": str(snapshot.durations[target]),
            "business": _text(end.business) if end.business else None,
            "wall": _text(end.wall),
        }
        for target, end in ends.items()
    }
    told["policy"] = snapshot.policy
    told["starts_at"] = _text(next(iter(clocks.running.values())))
    told["zone"] = zone
    told["hours"] = "round the clock" if calendar is None else "business hours"
    told["days"] = []
    if calendar is not None:
        last = max(end.business for end in ends.values() if end.business is not None)
        told["days"] = [
            {
                "date": day.isoformat(),
                "weekday": day.strftime("%a").lower(),
                "periods": [f"{_hm(start_)}-{_hm(end_)}" for start_, end_ in periods],
                "counted": bool(periods),
                "why": why,
            }
            for day, periods, why in days_between(calendar, at, last)
        ]
    return told


def _hm(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _whole_ms(at: datetime) -> datetime:
    beyond = at.microsecond % 1000
    return at if beyond == 0 else at - timedelta(microseconds=beyond)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
