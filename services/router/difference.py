"""What another rules file would change: the rules themselves, and what is decided. ●"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from services.router.route import Discarded, Routing, decided
from services.router.rules import received
from services.router.ruleset import Ruleset

COMPARED = ("team", "discarded", "watchers", "tags", "priority", "tier", "follow_up", "person", "rota", "held")
"""What somebody would notice of a decision. That another rule decided the same is no difference."""
_ROUTED = ("team", "watchers", "tags", "theme", "priority", "tier", "person", "rota", "held", "follow_up")
_noticed = attrgetter(*_ROUTED)
NOBODY = "(discarded)"
DEFAULT = "(no rule)"


class Changed(NamedTuple):
    name: str
    what: tuple[str, ...]
    """when, then, examples, note: what is not as it was."""


class Moved(NamedTuple):
    name: str
    before: int
    after: int
    """Its place in the file, from 1."""


class Difference(NamedTuple):
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Changed, ...]
    moved: tuple[Moved, ...]
    """The fewest that have to be moved to come from the one order to the other."""
    lexicons: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """By name: words that came, words that went."""


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    """Of two routing.yaml that were read, as they are written."""
    before, after = by_name(old), by_name(new)
    common = [name for name in before if name in after]
    places = {name: place for place, name in enumerate(after, 1)}
    stay = _longest_in_order([places[name] for name in common])
    return Difference(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(
            Changed(name, what) for name in after if name in before and (what := _changes(before[name], after[name]))
        ),
        moved=tuple(
            Moved(name, place, places[name])
            for place, name in enumerate(before, 1)
            if name in after and places[name] not in stay
        ),
        lexicons=_lexicons(old.get("lexicons") or {}, new.get("lexicons") or {}),
    )


def by_name(routing: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {rule["name"]: rule for rule in routing.get("rules") or ()}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(part for part in ("when", "then", "examples", "note") if old.get(part) != new.get(part))


def _lexicons(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    found = {}
    for name in {**old, **new}:
        before, after = _words(old.get(name)), _words(new.get(name))
        if before != after:
            came = tuple(word for word in after if word not in before)
            went = tuple(word for word in before if word not in after)
            found[name] = (came, went)
    return found


def _words(given: Any) -> list[str]:
    return given if isinstance(given, list) else [] if given is None else [given]


def _longest_in_order(places: Sequence[int]) -> frozenset[int]:
    """Of different numbers, the longest run that stands in order already."""
    ends: list[int] = []
    """The least last one of the runs of each length."""
    before: dict[int, int | None] = {}
    for place in places:
        length = bisect_left(ends, place)
        before[place] = ends[length - 1] if length else None
        ends[length : length + 1] = [place]
    run: list[int] = []
    last = ends[-1] if ends else None
    while last is not None:
        run.append(last)
        last = before[last]
    return frozenset(run)


# ── what is decided ──


def unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of `COMPARED` are not the same in two decisions. The order of tags matters to the first alone, the theme."""
    found = [name for name in COMPARED if _compared(old.get(name)) != _compared(new.get(name))]
    if old.get("theme") != new.get("theme"):
        found.append("theme")
    return tuple(found)


def _compared(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def alike(old: Routing | Discarded, new: Routing | Discarded) -> bool:
    """Whether nothing at all is otherwise. Nearly always so, and then nothing is made of it; of those that are not, a few are
    the same to `unlike`."""
    return isinstance(old, Routing) and isinstance(new, Routing) and _noticed(old) == _noticed(new)


def as_compared(decision: Routing | Discarded) -> dict[str, Any]:
    """As plain data: what `unlike` compares, and the rule that decided. No word of the customer's."""
    if isinstance(decision, Discarded):
        nothing: dict[str, Any] = dict.fromkeys(_ROUTED)
        return nothing | {"discarded": decision.why, "watchers": [], "tags": [], "rule": decision.rule}
    said = dict(zip(_ROUTED, _noticed(decision), strict=True)) | {"held": msgspec.to_builtins(decision.held)}
    return said | {"discarded": None, "rule": decision.rule}


class Example(NamedTuple):
    rule: str
    feedback: Mapping[str, Any]
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    what: tuple[str, ...]


def examples_decided(old: Ruleset, new: Ruleset, *written: Mapping[str, Any]) -> tuple[int, list[Example]]:
    """How many examples of these files were asked, and those that are decided otherwise by the one than by the other."""
    asked: set[str] = set()
    found: list[Example] = []
    for routing in written:
        for rule in routing.get("rules") or ():
            for example in rule.get("examples") or ():
                given = example.get("feedback", {name: value for name, value in example.items() if name != "expect"})
                key = json.dumps(given, sort_keys=True, default=str)
                if key in asked:
                    continue
                asked.add(key)
                feedback = received(given)
                before, after = decided(old, feedback), decided(new, feedback)
                if what := unlike(before, after):
                    found.append(Example(rule["name"], given, before, after, what))
    return len(asked), found
