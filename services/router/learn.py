"""What people say of texts → the next model, taken into use only where it is better than what judges now. ●

Both are asked about texts that neither has seen: a part of the new rows, by the hash of the text, is held back, and both
are learnt without it (the one in force from the rows that were kept with it). The whole router is asked, rules and all,
since that is what customers would get; a figure is the macro-F1 of a head, and the better one has the higher mean.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

from services.router.examples import SOURCE, Row, example_of
from services.router.model.judge import Judge
from services.router.model.learner import train
from services.router.model.trained import Trained
from services.router.route import decided
from services.router.ruleset import Ruleset

PARTS = 5
"""One of these is held back."""
LEAST_TO_COMPARE = 5
"""Fewer texts held back tell nothing: whoever knows better promotes it by hand."""

Figures = Mapping[str, float]


class Comparison(NamedTuple):
    held_back: int
    new: Figures
    old: Figures
    """Of the model in force, or (where there is none) of the lexicons."""

    @property
    def better(self) -> bool:
        return bool(self.new) and _mean(self.new) > _mean(self.old)


def _mean(figures: Figures) -> float:
    return sum(figures.values()) / len(figures)


def learnt(rows: Sequence[Row], ruleset: Ruleset) -> Trained:
    """Raises `Rejected` where there is nothing to learn from."""
    return train([example_of(row, ruleset) for row in rows])


class Candidate(NamedTuple):
    model: Trained
    told: Comparison


def candidate(rows: Sequence[Row], in_force: Sequence[Row] | None, ruleset: Ruleset) -> Candidate:
    """A model of all the rows, and how one of most of them does beside what judges now. Raises `Rejected`."""
    return Candidate(learnt(rows, ruleset), compared(rows, in_force, ruleset))


def compared(rows: Sequence[Row], in_force: Sequence[Row] | None, ruleset: Ruleset) -> Comparison:
    """`in_force`: the rows of the model that judges now; None where there is none. Raises `Rejected`."""
    held, seen = _split(rows)
    if len(held) < LEAST_TO_COMPARE or not any(map(_says, seen)):
        return Comparison(len(held), {}, {})
    new = learnt(seen, ruleset)
    old: Judge | None = None
    if in_force is not None:
        texts = {row.text for row in held}
        rest = [row for row in in_force if row.text not in texts]
        old = learnt(rest, ruleset) if any(map(_says, rest)) else None
    return Comparison(len(held), figures(held, replace(ruleset, judge=new)), figures(held, replace(ruleset, judge=old)))


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    held = [row for row in rows if crc32(row.text.encode()) % PARTS == 0]
    return held, [row for row in rows if crc32(row.text.encode()) % PARTS]


def _says(row: Row) -> bool:
    return any(said(row) for said in SAID.values())


SAID: Mapping[str, Callable[[Row], tuple[str, ...]]] = {
    "team": lambda row: (row.team,) if row.team else (),
    "kind": lambda row: row.kind,
    "sentiment": lambda row: (row.sentiment,) if row.sentiment else (),
    "priority": lambda row: (row.priority,) if row.priority else (),
}


def figures(rows: Sequence[Row], ruleset: Ruleset) -> Figures:
    """Macro-F1 by head, of those that any row says something of."""
    asked = [row for row in rows if _says(row)]
    decisions = [decided(ruleset, {"source": SOURCE, "text": row.text, "title": row.title}) for row in asked]
    given = {
        "team": [one["team"] or "" for one in decisions],
        "kind": [one["kind"] or "" for one in decisions],
        "sentiment": [one["sentiment"]["label"] for one in decisions],
        "priority": [one["priority"] or "" for one in decisions],
    }
    found = {}
    for head, said in SAID.items():
        pairs = [(answer, said(row)) for answer, row in zip(given[head], asked, strict=True) if said(row)]
        if pairs:
            found[head] = round(macro_f1(pairs), 4)
    return found


def macro_f1(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> float:
    """(what was answered, what would have been right). Averaged over the answers that are right somewhere."""
    right: dict[str, int] = {}
    answered: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for answer, said in pairs:
        meant = answer if answer in said else said[0]
        answered[answer] = answered.get(answer, 0) + 1
        wanted[meant] = wanted.get(meant, 0) + 1
        right[answer] = right.get(answer, 0) + (answer in said)
    scores = [2 * right.get(name, 0) / (count + answered.get(name, 0)) for name, count in wanted.items()]
    return sum(scores) / len(scores)
