"""Compiled rules, and which of them an event must be asked.

Most rules hold only where a certain word is in the text or a certain value stands at a path. Those words come out of
the one pass over the text, the values out of a look-up, so two hundred rules cost little more than the few that
could hold. A rule that names nothing of the kind is always asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from services.router.actions import Draft
from services.router.conditions import Condition, Facts, Path, Scalar, at, comparable
from services.router.lexicons import LEXICON
from services.router.matcher import Matcher
from services.router.model.judge import Judge
from services.router.model.leanings import LEANINGS


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a rule, with its parameters."""

    verb: str
    params: Any
    apply: Callable[[Draft, Any], None]
    says: str


class Term(NamedTuple):
    text: str
    forgiven: bool
    """It may have a letter wrong."""


class Rule(msgspec.Struct, frozen=True):
    name: str
    when: Condition
    then: tuple[Step, ...]
    done: str
    """What it does, in words: "assigned to product, tagged feature-request"."""
    decides: bool
    """No rule is asked after this one."""
    theme: str | None
    """Its first tag."""


def rule_of(name: str, when: Condition, then: Sequence[Step]) -> Rule:
    tags = [step.params.root[0] for step in then if step.verb == "tag"]
    return Rule(
        name,
        when,
        tuple(then),
        ", ".join(step.says for step in then),
        any(step.verb in {"assign", "discard"} for step in then),
        tags[0] if tags else None,
    )


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything that a decision depends on, besides the event. Immutable: a new version is a new one."""

    version: str
    teams: frozenset[str]
    default_team: str
    rules: tuple[Rule, ...]
    examples: int
    """How many were proved on load."""
    metrics: Mapping[str, tuple[float, float]]
    terms: tuple[Term, ...]
    """What the rules look for, by its number in `Scan.terms`."""
    matcher: Matcher
    leanings_from: int
    """The matcher's terms from this number on are those of `model.leanings`, in their order."""
    index: "Index"
    judge: Judge | None = None
    """What was learnt; None while nobody has taught anything, and then the words of the lexicons judge alone."""

    def matching(self, facts: Facts) -> "list[Rule]":
        """The rules that hold, in their order, up to the first that decides."""
        found: list[Rule] = []
        for number in self.index.candidates(facts):
            rule = self.rules[number]
            if rule.when.holds(facts):
                found.append(rule)
                if rule.decides:
                    break
        return found


@dataclass(frozen=True, slots=True)
class Index:
    always: tuple[int, ...]
    by_term: Mapping[int, tuple[int, ...]]
    by_value: tuple[tuple[Path, Mapping[Scalar, tuple[int, ...]]], ...]

    def candidates(self, facts: Facts) -> Sequence[int]:
        """The numbers of the rules that could hold, in their order."""
        found: list[int] | None = None
        for term in facts.scan.terms:
            if (rules := self.by_term.get(term)) is not None:
                found = [*self.always, *rules] if found is None else [*found, *rules]
        for path, by_value in self.by_value:
            if getattr(facts.feedback, path[0]) is None:
                continue
            for value in at(facts.feedback, path):
                key = comparable(value)
                if key is not None and (rules := by_value.get(key)) is not None:
                    found = [*self.always, *rules] if found is None else [*found, *rules]
        return self.always if found is None else sorted(set(found))


def index_of(rules: Sequence[Rule]) -> Index:
    always: list[int] = []
    by_term: dict[int, list[int]] = {}
    by_value: dict[Path, dict[Scalar, list[int]]] = {}
    for number, rule in enumerate(rules):
        keys = rule.when.keys()
        if keys is None:
            always.append(number)
            continue
        for key in keys:
            if isinstance(key, int):
                by_term.setdefault(key, []).append(number)
            else:
                by_value.setdefault(key[0], {}).setdefault(key[1], []).append(number)
    return Index(
        tuple(always),
        {term: tuple(numbers) for term, numbers in by_term.items()},
        tuple(
            (path, {value: tuple(numbers) for value, numbers in values.items()}) for path, values in by_value.items()
        ),
    )


def compiled(
    *,
    version: str,
    teams: Sequence[str],
    default_team: str,
    rules: Sequence[Rule],
    terms: Sequence[Term],
    metrics: Mapping[str, tuple[float, float]],
    examples: int,
) -> Ruleset:
    """`terms`: the rules' own, by their number."""
    return Ruleset(
        version,
        frozenset(teams),
        default_team,
        tuple(rules),
        examples,
        metrics,
        tuple(terms),
        matcher_of(terms),
        len(terms),
        index_of(rules),
    )


def matcher_of(terms: Sequence[Term]) -> Matcher:
    """For the rules' terms, and behind them the words that lean towards a team."""
    forgiven = [number for number, term in enumerate(terms) if term.forgiven]
    return Matcher([*(term.text for term in terms), *(word for word, _ in LEANINGS)], LEXICON, forgiven)
