"""What a rule may ask, and the answers.

A condition answers three questions: does it hold for these facts, which words or values made it hold, and what must
at least be there for it to hold (its keys), so that most rules need not be asked at all.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec
import re2

from services.router.classify import Prior
from services.router.feedback import FeedbackValue, Score
from services.router.matcher import Scan
from services.router.text import fold, primary

Path = tuple[str, ...]
Scalar = str | float | tuple[str, bool]
Key = int | tuple[Path, Scalar]
"""A term that is found, or a value that stands at a path."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is known of an event when the rules are asked."""

    feedback: FeedbackValue
    scan: Scan
    """Of the folded text."""
    prior: Prior
    language: str
    priority: str
    """By the prior alone: no rule has spoken yet."""


class Condition(Protocol):
    def holds(self, facts: Facts) -> bool: ...

    def why(self, facts: Facts) -> list[str]:
        """The words and values that made it hold; asked only when it does."""

    def keys(self) -> frozenset[Key] | None:
        """Where it holds one of these is there; None when that cannot be said."""


def at(feedback: FeedbackValue, path: Path) -> list[Any]:
    """What stands there. A list on the way, or at the end, stands for each of its items."""
    found: list[Any] = [getattr(feedback, path[0], None)]
    for name in path[1:]:
        found = [_member(item, name) for value in found for item in (value if isinstance(value, list) else (value,))]
    items = [item for value in found for item in (value if isinstance(value, list) else (value,))]
    return [item for item in items if item is not None]


def _member(item: Any, name: str) -> Any:
    if isinstance(item, dict):
        return item.get(name)
    return getattr(item, name, None) if isinstance(item, msgspec.Struct) else None


def comparable(value: Any) -> Scalar | None:
    """Words are compared folded; True is not 1, and "1" is not 1."""
    if isinstance(value, str):
        return fold(value)
    if isinstance(value, bool):
        return ("bool", value)
    return value if isinstance(value, int | float) else None


def quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


# ── joined ──


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Condition, ...]

    def holds(self, facts: Facts) -> bool:
        return all(part.holds(facts) for part in self.parts)

    def why(self, facts: Facts) -> list[str]:
        return [reason for part in self.parts for reason in part.why(facts)]

    def keys(self) -> frozenset[Key] | None:
        known = [keys for part in self.parts if (keys := part.keys()) is not None]
        return min(known, key=len) if known else None


@dataclass(frozen=True, slots=True)
class Any_:
    parts: tuple[Condition, ...]

    def holds(self, facts: Facts) -> bool:
        return any(part.holds(facts) for part in self.parts)

    def why(self, facts: Facts) -> list[str]:
        return [reason for part in self.parts if part.holds(facts) for reason in part.why(facts)]

    def keys(self) -> frozenset[Key] | None:
        every = [part.keys() for part in self.parts]
        if any(keys is None for keys in every):
            return None
        return frozenset(key for keys in every if keys is not None for key in keys)


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition

    def holds(self, facts: Facts) -> bool:
        return not self.part.holds(facts)

    def why(self, facts: Facts) -> list[str]:
        return []

    def keys(self) -> frozenset[Key] | None:
        return None


# ── text ──


@dataclass(frozen=True, slots=True)
class Contains:
    """One of these terms is in the text."""

    terms: Mapping[int, str]

    def holds(self, facts: Facts) -> bool:
        return not facts.scan.terms.isdisjoint(self.terms)

    def why(self, facts: Facts) -> list[str]:
        found = [term for number, term in self.terms.items() if number in facts.scan.terms]
        return [f"the text contains {', '.join(map(quoted, found))}"]

    def keys(self) -> frozenset[Key] | None:
        return frozenset(self.terms)


@dataclass(frozen=True, slots=True)
class Matches:
    """The folded text matches the pattern: RE2, so in linear time whatever the pattern."""

    pattern: str
    search: Callable[[str], Any]

    def holds(self, facts: Facts) -> bool:
        return self.search(facts.scan.text) is not None

    def why(self, facts: Facts) -> list[str]:
        found = self.search(facts.scan.text)
        return [f"the text matches {self.pattern} ({quoted(found[0][:80])})"]

    def keys(self) -> frozenset[Key] | None:
        return None


def matches(pattern: str) -> Matches:
    """Raises `ValueError` where RE2 cannot take it. What folding takes from the text, it takes from the pattern."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    folded = "".join(_unwritten(char) for char in pattern)
    try:
        return Matches(pattern, re2.compile(folded, options).search)
    except re2.error as error:
        said = error.args[0] if error.args else error
        raise ValueError(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from None


def _unwritten(char: str) -> str:
    """A character of a pattern, folded. A full-width bracket is a letter to whoever wrote it, and stays one."""
    if char.isascii():
        return "'" if char == "`" else char
    # Between two letters, because what stands at an end is lost there: a space.
    return _escape_syntax(lambda found: "\\" + found[0], fold(f"x{char}x")[1:-1])


_escape_syntax = re.compile(r"[!-/:-@\[-`{-~]").sub


# ── values ──


@dataclass(frozen=True, slots=True)
class Is:
    """One of these values stands at the path."""

    path: Path
    values: Mapping[Scalar, Any]
    """Comparable → as written."""

    def holds(self, facts: Facts) -> bool:
        return any(comparable(value) in self.values for value in at(facts.feedback, self.path))

    def why(self, facts: Facts) -> list[str]:
        return [
            f"{'.'.join(self.path)} is {quoted(value)}"
            for value in at(facts.feedback, self.path)
            if comparable(value) in self.values
        ]

    def keys(self) -> frozenset[Key] | None:
        return frozenset((self.path, value) for value in self.values)


@dataclass(frozen=True, slots=True)
class Exists:
    path: Path
    wanted: bool

    def holds(self, facts: Facts) -> bool:
        return bool(at(facts.feedback, self.path)) == self.wanted

    def why(self, facts: Facts) -> list[str]:
        return [f"{'.'.join(self.path)} is {'given' if self.wanted else 'not given'}"]

    def keys(self) -> frozenset[Key] | None:
        return None


@dataclass(frozen=True, slots=True)
class InRange:
    path: Path
    least: float
    most: float

    def holds(self, facts: Facts) -> bool:
        return any(self._within(value) for value in at(facts.feedback, self.path))

    def why(self, facts: Facts) -> list[str]:
        return [f"{'.'.join(self.path)} is {value:g}" for value in at(facts.feedback, self.path) if self._within(value)]

    def keys(self) -> frozenset[Key] | None:
        return None

    def _within(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.least <= value <= self.most


@dataclass(frozen=True, slots=True)
class HasPart:
    """The words at the path contain, begin with or end with one of these."""

    path: Path
    how: str
    """contains, starts_with or ends_with."""
    parts: tuple[str, ...]
    """Folded."""

    def holds(self, facts: Facts) -> bool:
        return any(self._has(value) for value in at(facts.feedback, self.path))

    def why(self, facts: Facts) -> list[str]:
        words = self.how.replace("_", " ")
        return [f"{'.'.join(self.path)} {words} {', '.join(map(quoted, self.parts))}"]

    def keys(self) -> frozenset[Key] | None:
        return None

    def _has(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        folded = fold(value)
        if self.how == "contains":
            return any(part in folded for part in self.parts)
        return folded.startswith(self.parts) if self.how == "starts_with" else folded.endswith(self.parts)


@dataclass(frozen=True, slots=True)
class ScoreIs:
    metric: str
    least: float
    most: float

    def holds(self, facts: Facts) -> bool:
        return any(self._within(score) for score in facts.feedback.scores or ())

    def why(self, facts: Facts) -> list[str]:
        scores = facts.feedback.scores or ()
        return [f"{self.metric} is {score.value:g}" for score in scores if self._within(score)]

    def keys(self) -> frozenset[Key] | None:
        return frozenset({(("scores", "metric"), self.metric)})

    def _within(self, score: Score) -> bool:
        return score.metric == self.metric and self.least <= score.value <= self.most


# ── what the classifier says ──


@dataclass(frozen=True, slots=True)
class Said:
    """The language, sentiment, kind or priority is one of these."""

    what: str
    values: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        return _said(self.what, facts) in self.values

    def why(self, facts: Facts) -> list[str]:
        return [f"the {self.what} is {_said(self.what, facts)}"]

    def keys(self) -> frozenset[Key] | None:
        return None


def _said(what: str, facts: Facts) -> str:
    match what:
        case "sentiment":
            return facts.prior.sentiment
        case "kind":
            return facts.prior.kind
        case "priority":
            return facts.priority
        case _:
            return primary(facts.language)


@dataclass(frozen=True, slots=True)
class Feels:
    """The sentiment's score lies between."""

    least: float
    most: float

    def holds(self, facts: Facts) -> bool:
        return self.least <= facts.prior.feeling <= self.most

    def why(self, facts: Facts) -> list[str]:
        return [f"the sentiment is {facts.prior.feeling:g}"]

    def keys(self) -> frozenset[Key] | None:
        return None


@dataclass(frozen=True, slots=True)
class When:
    """It was received (or occurred) on one of these days, in one of these periods, in that zone."""

    member: str
    zone: ZoneInfo
    days: frozenset[int]
    periods: tuple[tuple[int, int], ...]
    """Minutes since midnight, the end excluded."""

    def holds(self, facts: Facts) -> bool:
        local = self._local(facts)
        if local is None or local.weekday() not in self.days:
            return False
        minute = local.hour * 60 + local.minute
        return any(start <= minute < end for start, end in self.periods)

    def why(self, facts: Facts) -> list[str]:
        local = self._local(facts)
        assert local is not None
        verb = "received" if self.member == "received_at" else "occurred"
        return [f"it {verb} on {local:%A} at {local:%H:%M} ({self.zone.key})"]

    def keys(self) -> frozenset[Key] | None:
        return None

    def _local(self, facts: Facts) -> datetime | None:
        given = getattr(facts.feedback, self.member) or facts.feedback.received_at
        try:
            moment = datetime.fromisoformat(given) if given else None
        except ValueError:
            return None
        if moment is None:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(self.zone)


def joined(parts: Sequence[Condition]) -> Condition:
    """All of them; one needs no wrapper."""
    return parts[0] if len(parts) == 1 else All(tuple(parts))
