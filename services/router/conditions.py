"""What a rule may ask, and the answers.

A condition answers four questions: does it hold for these facts, which words or values made it hold, what is it short of
where it does not, and what must at least be there for it to hold (its keys), so that most rules need not be asked at all.
"""

import re
from calendar import day_abbr
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec
import re2

from services.router.classify import Prior, Urgency
from services.router.feedback import FeedbackValue, Score
from services.router.matcher import Scan, pattern, places
from services.router.negation import denied, sides
from services.router.text import primary
from shared.folding import fold, in_word

Path = tuple[str, ...]
Scalar = str | float | tuple[str, bool]
Key = int | tuple[Path, Scalar]
"""A term that is found, or a value that stands at a path."""
MAX_SAID = 5
"""So many terms, values or alternatives are named where a condition says what it is short of."""
MAX_SAID_CHARS = 80
MAX_PATTERN_CHARS = 1_000
MAX_VALUES = 100
"""Of a list in a field, so many values are looked at."""
MAX_VALUE_CHARS = 30_000
"""Of a value in a field, so many characters: as many as a text has."""
MAX_MENTIONS = 16
"""So many mentions of one term are looked at, to find one that is not denied. If all of them are, and there are more, the
rule holds: in doubt a mention is one."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is known of an event when the rules are asked."""

    feedback: FeedbackValue
    scan: Scan
    """Of the folded text."""
    prior: Prior
    language: str
    priority: str
    """By the prior alone: no rule has spoken yet."""
    urgency: list[Urgency]


class Lack(NamedTuple):
    """What a condition that does not hold is short of."""

    conditions: int
    """At least so many within it do not hold; of alternatives, those of the nearest."""
    near: bool
    """Something within it holds, or what it asks about is there and is not quite as it should be."""
    what: str
    """What is asked, and what is there instead: `score nps ≤ 6: it is 9`. Only told of one condition."""


class Condition(Protocol):
    def holds(self, facts: Facts) -> bool: ...

    def why(self, facts: Facts) -> list[str]:
        """The words and values that made it hold; asked only when it does."""

    def lack(self, facts: Facts) -> Lack:
        """Asked only when it does not hold, and never on the hot path."""

    def keys(self) -> frozenset[Key] | None:
        """Where it holds one of these is there; None when that cannot be said."""


def at(feedback: FeedbackValue, path: Path) -> list[Any]:
    """What stands there. A list on the way, or at the end, stands for each of its items."""
    found: list[Any] = [getattr(feedback, path[0], None)]
    for name in path[1:]:
        found = [_member(item, name) for item in _items(found)]
    return [item for item in _items(found) if item is not None]


def _items(found: list[Any]) -> list[Any]:
    """Lists opened, the first `MAX_VALUES`."""
    if len(found) == 1 and not isinstance(found[0], list):
        return found
    items = (item for value in found for item in (value if isinstance(value, list) else (value,)))
    return list(islice(items, MAX_VALUES))


@lru_cache(maxsize=64)
def _folded(value: str) -> str:
    """Many rules may ask about the same long value."""
    return fold(value)


def _member(item: Any, name: str) -> Any:
    if isinstance(item, dict):
        return item.get(name)
    return getattr(item, name, None) if isinstance(item, msgspec.Struct) else None


def comparable(value: Any) -> Scalar | None:
    """Words are compared folded; True is not 1, and "1" is not 1."""
    if isinstance(value, str):
        return _folded(value[:MAX_VALUE_CHARS])
    if isinstance(value, bool):
        return ("bool", value)
    return value if isinstance(value, int | float) else None


def quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


# ── what is asked and what is there, in words ──


def _one_of(values: Iterable[Any]) -> str:
    known = list(values)
    said = ", ".join(map(quoted, known[:MAX_SAID]))
    if len(known) > MAX_SAID:
        return f"one of {said} … ({len(known)} in all)"
    return said if len(known) == 1 else f"one of {said}"


def _there(values: Sequence[Any]) -> str:
    if not values:
        return "it is not given"
    shown = [value[:MAX_SAID_CHARS] if isinstance(value, str) else value for value in values[:MAX_SAID]]
    return f"it is {', '.join(quoted(value)[: MAX_SAID_CHARS + 2] for value in shown)}"


def _bounds(least: float, most: float) -> str:
    if least == most:
        return f"= {least:g}"
    if least == float("-inf"):
        return f"≤ {most:g}"
    return f"≥ {least:g}" if most == float("inf") else f"{least:g} to {most:g}"


# ── joined ──


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Condition, ...]

    def holds(self, facts: Facts) -> bool:
        return all(part.holds(facts) for part in self.parts)

    def why(self, facts: Facts) -> list[str]:
        return [reason for part in self.parts for reason in part.why(facts)]

    def lack(self, facts: Facts) -> Lack:
        short = [part for part in self.parts if not part.holds(facts)]
        if len(short) > 1:
            return Lack(len(short), True, "")
        lack = short[0].lack(facts)
        return lack._replace(near=lack.near or len(self.parts) > 1)

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

    def lack(self, facts: Facts) -> Lack:
        lacks = [part.lack(facts) for part in self.parts]
        conditions, not_near = least = min((lack.conditions, not lack.near) for lack in lacks)
        nearest = [lack.what for lack in lacks if (lack.conditions, not lack.near) == least]
        return Lack(conditions, not not_near, ", or ".join(nearest[:MAX_SAID]))

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

    def lack(self, facts: Facts) -> Lack:
        seen = " and ".join(self.part.why(facts)) or "what it rules out is so"
        return Lack(1, False, f"not that {seen}: it is so")

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
        found = [number for number in self.terms if number in facts.scan.terms]
        return [f"the text contains {_as_found(self.terms, found, facts.scan)}"]

    def lack(self, facts: Facts) -> Lack:
        return _not_there("contains", self.terms.values(), facts.scan.text)

    def keys(self) -> frozenset[Key] | None:
        return frozenset(self.terms)


@dataclass(frozen=True, slots=True)
class Says:
    """One of these terms is in the text, and not every mention of it is denied: "it is not a bug" does not say "bug"."""

    terms: Mapping[int, str]

    def holds(self, facts: Facts) -> bool:
        scan = facts.scan
        return not scan.terms.isdisjoint(self.terms) and any(
            _is_said(number, term, scan) for number, term in self.terms.items() if number in scan.terms
        )

    def why(self, facts: Facts) -> list[str]:
        scan = facts.scan
        found = [number for number, term in self.terms.items() if number in scan.terms and _is_said(number, term, scan)]
        return [f"the text says {_as_found(self.terms, found, scan)}"]

    def lack(self, facts: Facts) -> Lack:
        mentioned = [term for number, term in self.terms.items() if number in facts.scan.terms]
        if mentioned:
            return Lack(1, True, f"text says {_one_of(mentioned)}: only to deny it")
        return _not_there("says", self.terms.values(), facts.scan.text)

    def keys(self) -> frozenset[Key] | None:
        return frozenset(self.terms)


def _is_said(number: int, term: str, scan: Scan) -> bool:
    """Of a term that is in the text."""
    known = scan.said.get(number)
    if known is None:
        known = scan.said[number] = _look_whether_said(number, term, scan)
    return known


def _look_whether_said(number: int, term: str, scan: Scan) -> bool:
    span = scan.typos.get(number)
    if span is not None:
        return not denied(*sides(scan.data, *span))
    for looked_at, place in enumerate(places(scan.data, pattern(term))):
        if looked_at == MAX_MENTIONS or (place is not None and not denied(*sides(scan.data, *place))):
            return True
    return False


def _as_found(terms: Mapping[int, str], found: Sequence[int], scan: Scan) -> str:
    said = []
    for number in found:
        span = scan.typos.get(number)
        written = f" (written {quoted(scan.written(span))})" if span is not None else ""
        said.append(f"{quoted(terms[number])}{written}")
    return ", ".join(said)


def _not_there(asked: str, terms: Collection[str], text: str) -> Lack:
    longer = [term for term in terms if _begins_a_word(text, pattern(term).text)]
    if longer:
        return Lack(1, True, f"text {asked} {_one_of(longer)}: only as the beginning of a longer word")
    return Lack(1, False, f"text {asked} {_one_of(terms)}: {'not in the text' if text else 'there is no text'}")


def _begins_a_word(text: str, term: str) -> bool:
    """Both folded."""
    at = text.find(term)
    while at > 0 and in_word(text[at - 1]):
        at = text.find(term, at + 1)
    return at >= 0


@dataclass(frozen=True, slots=True)
class Matches:
    """The folded text matches the pattern: RE2, so in linear time whatever the pattern."""

    pattern: str
    search: Callable[[bytes], Any]
    """In the folded text's UTF-8."""

    def holds(self, facts: Facts) -> bool:
        return self.search(facts.scan.utf8) is not None

    def why(self, facts: Facts) -> list[str]:
        found = self.search(facts.scan.utf8)[0].decode()
        return [f"the text matches {self.pattern} ({quoted(found[:80])})"]

    def lack(self, facts: Facts) -> Lack:
        there = "nothing in the text does" if facts.scan.text else "there is no text"
        return Lack(1, False, f"text matches {self.pattern[:MAX_SAID_CHARS]}: {there}")

    def keys(self) -> frozenset[Key] | None:
        return None


def matches(pattern: str) -> Matches:
    """Raises `ValueError` where RE2 cannot take it. What folding takes from the text, it takes from the pattern."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"it has more than {MAX_PATTERN_CHARS} characters")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    folded = "".join(_unwritten(char) for char in pattern)
    try:
        return Matches(pattern, re2.compile(folded.encode(), options).search)
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

    def lack(self, facts: Facts) -> Lack:
        there = _there(at(facts.feedback, self.path))
        return Lack(1, False, f"{'.'.join(self.path)} is {_one_of(self.values.values())}: {there}")

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

    def lack(self, facts: Facts) -> Lack:
        wanted = "given" if self.wanted else "not given"
        return Lack(1, False, f"{'.'.join(self.path)} is {wanted}: {_there(at(facts.feedback, self.path))}")

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

    def lack(self, facts: Facts) -> Lack:
        values = at(facts.feedback, self.path)
        near = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        return Lack(1, near, f"{'.'.join(self.path)} {_bounds(self.least, self.most)}: {_there(values)}")

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

    def lack(self, facts: Facts) -> Lack:
        words, there = self.how.replace("_", " "), _there(at(facts.feedback, self.path))
        return Lack(1, False, f"{'.'.join(self.path)} {words} {_one_of(self.parts)}: {there}")

    def keys(self) -> frozenset[Key] | None:
        return None

    def _has(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        folded = _folded(value[:MAX_VALUE_CHARS])
        if self.how == "contains":
            return any(part in folded for part in self.parts) if len(self.parts) > 1 else self.parts[0] in folded
        return folded.startswith(self.parts) if self.how == "starts_with" else folded.endswith(self.parts)


@dataclass(frozen=True, slots=True)
class ScoreIs:
    metric: str
    least: float
    most: float

    def holds(self, facts: Facts) -> bool:
        return any(self._within(score) for score in islice(facts.feedback.scores or (), MAX_VALUES))

    def why(self, facts: Facts) -> list[str]:
        scores = facts.feedback.scores or ()
        return [f"{self.metric} is {score.value:g}" for score in scores if self._within(score)]

    def lack(self, facts: Facts) -> Lack:
        values = [f"{score.value:g}" for score in facts.feedback.scores or () if score.metric == self.metric]
        there = f"it is {', '.join(values[:MAX_SAID])}" if values else "it is not given"
        return Lack(1, bool(values), f"score {self.metric} {_bounds(self.least, self.most)}: {there}")

    def keys(self) -> frozenset[Key] | None:
        return frozenset({(("scores", "metric"), self.metric)})

    def _within(self, score: Score) -> bool:
        return score.metric == self.metric and self.least <= score.value <= self.most


# ── what the classifier says ──


@dataclass(frozen=True, slots=True)
class Said:
    """The language, sentiment, emotion, kind or priority is one of these."""

    what: str
    values: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        return _said(self.what, facts) in self.values

    def why(self, facts: Facts) -> list[str]:
        return [f"the {self.what} is {_said(self.what, facts)}"]

    def lack(self, facts: Facts) -> Lack:
        asked = " or ".join(sorted(self.values)[:MAX_SAID])
        return Lack(1, False, f"{self.what} {asked}: it is {_said(self.what, facts)}")

    def keys(self) -> frozenset[Key] | None:
        return None


def _said(what: str, facts: Facts) -> str:
    match what:
        case "sentiment":
            return facts.prior.sentiment
        case "emotion":
            return facts.prior.emotion.label if facts.prior.emotion is not None else "none"
        case "kind":
            return facts.prior.kind
        case "priority":
            return facts.priority
        case _:
            return primary(facts.language)


@dataclass(frozen=True, slots=True)
class Presses:
    """One of these causes presses."""

    causes: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        return any(one.cause in self.causes for one in facts.urgency)

    def why(self, facts: Facts) -> list[str]:
        return [
            f"what presses is {one.cause} ({', '.join(map(quoted, one.words))})"
            for one in facts.urgency
            if one.cause in self.causes
        ]

    def lack(self, facts: Facts) -> Lack:
        asked = " or ".join(sorted(self.causes)[:MAX_SAID])
        there = ", ".join(one.cause for one in facts.urgency) or "nothing presses"
        return Lack(1, bool(facts.urgency), f"urgency {asked}: {there if not facts.urgency else f'it is {there}'}")

    def keys(self) -> frozenset[Key] | None:
        return None


@dataclass(frozen=True, slots=True)
class Feels:
    """The sentiment's score lies between."""

    least: float
    most: float

    def holds(self, facts: Facts) -> bool:
        return self.least <= facts.prior.feeling <= self.most

    def why(self, facts: Facts) -> list[str]:
        return [f"the sentiment is {facts.prior.feeling:g}"]

    def lack(self, facts: Facts) -> Lack:
        return Lack(1, False, f"sentiment {_bounds(self.least, self.most)}: it is {facts.prior.feeling:g}")

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

    def lack(self, facts: Facts) -> Lack:
        local = self._local(facts)
        days = ", ".join(day_abbr[day] for day in sorted(self.days))
        hours = ", ".join(
            f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}" for start, end in self.periods
        )
        there = f"it was {local:%a} at {local:%H:%M}" if local is not None else "it is not given"
        return Lack(1, False, f"{self.member.removesuffix('_at')} {days} {hours} ({self.zone.key}): {there}")

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
