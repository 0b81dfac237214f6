"""What a rules file says in vain: rules that are never asked, and words that no rule names. ●

Only what can be proved from the file is said, so nothing here is a guess: a rule is shadowed where whatever makes it hold
makes an earlier rule hold that decides. What cannot be proved, the past tells (`backtest`).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from services.router import conditions as c
from services.router.ruleset import Rule, Ruleset
from shared.config.document import Document, Issue

MAX_COMPARED = 50
"""With so many earlier rules that share a word a rule is compared: three thousand rules in a moment."""


def remarks(ruleset: Ruleset, document: Document) -> list[Issue]:
    """Of routing.yaml, in its order."""
    found = [
        document.issue(("rules", number, "name"), said) for number, said in sorted(_never_asked(ruleset.rules).items())
    ]
    data = document.data or {}
    named = set(_lexicons_named(data.get("rules") or []))
    found += [
        document.issue(("lexicons", name), "no rule names this lexicon")
        for name in data.get("lexicons") or {}
        if name not in named
    ]
    return found


def _never_asked(rules: Sequence[Rule]) -> dict[int, str]:
    """By the number of the rule, why."""
    found: dict[int, str] = {}
    deciders: dict[c.Key | None, list[int]] = {}
    for number, rule in enumerate(rules):
        shared = {earlier for key in (*_named(rule.when), None) for earlier in deciders.get(key, ())}
        for earlier in islice(sorted(shared), MAX_COMPARED):
            before = rules[earlier]
            if implies(rule.when, before.when):
                always = implies(EVERYTHING, before.when)
                why = "which holds for everything" if always else "which holds whenever this one does"
                found[number] = f'"{rule.name}" is never asked: "{before.name}" stands before it, {why}, and decides'
                break
        if rule.decides and number not in found:
            for key in rule.when.keys() or (None,):
                deciders.setdefault(key, []).append(number)
    return found


def _named(when: c.Condition) -> Iterator[c.Key]:
    """Every word and value in it that may be looked up."""
    if isinstance(when, c.All | c.Any_):
        for part in when.parts:
            yield from _named(part)
    else:
        yield from when.keys() or ()


def _lexicons_named(data: Any) -> Iterator[Any]:
    for value in data if isinstance(data, list) else data.values():
        if isinstance(value, list | dict):
            yield from _lexicons_named(value)
    if isinstance(data, dict) and "lexicon" in data:
        yield data["lexicon"]


# ── what follows from what ──

EVERYTHING = c.All(())


def implies(one: c.Condition, other: c.Condition) -> bool:
    """Whether it is certain that `other` holds where `one` does."""
    if isinstance(other, c.All):
        return all(implies(one, part) for part in other.parts)
    if isinstance(one, c.Any_):
        return all(implies(part, other) for part in one.parts)
    if isinstance(other, c.Any_) and any(implies(one, part) for part in other.parts):
        return True
    if isinstance(one, c.All):
        return any(implies(part, other) for part in one.parts)
    match one, other:
        case c.Not(), c.Not():
            return implies(other.part, one.part)
        case c.Contains() | c.Says(), c.Contains():
            return one.terms.keys() <= other.terms.keys()
        case c.Says(), c.Says():
            return one.terms.keys() <= other.terms.keys()
        case c.Matches(), c.Matches():
            return one.pattern == other.pattern
        case c.Is(), c.Is():
            return one.path == other.path and one.values.keys() <= other.values.keys()
        case c.Is(), c.Exists():
            return other.wanted and one.path == other.path
        case c.HasPart(), c.HasPart():
            same = one.path == other.path and one.how == other.how
            return same and all(_has(one.how, part, other.parts) for part in one.parts)
        case c.InRange(), c.InRange():
            return one.path == other.path and _within(one, other)
        case c.ScoreIs(), c.ScoreIs():
            return one.metric == other.metric and _within(one, other)
        case c.Feels(), c.Feels():
            return _within(one, other)
        case c.Said(), c.Said():
            return one.what == other.what and one.values <= other.values
        case c.Presses(), c.Presses():
            return one.causes <= other.causes
        case c.When(), c.When():
            same = one.member == other.member and one.zone.key == other.zone.key and one.days <= other.days
            return same and all(any(_covers(wide, period) for wide in other.periods) for period in one.periods)
        case _:
            return one == other


def _within(one: Any, other: Any) -> bool:
    return bool(other.least <= one.least and one.most <= other.most)


def _covers(wide: tuple[int, int], period: tuple[int, int]) -> bool:
    return wide[0] <= period[0] and period[1] <= wide[1]


def _has(how: str, part: str, others: Iterable[str]) -> bool:
    if how == "contains":
        return any(other in part for other in others)
    return part.startswith(tuple(others)) if how == "starts_with" else part.endswith(tuple(others))
