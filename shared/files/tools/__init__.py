"""Exports of tools as they come: one file for each tool, found by being here (`shared.registry`). Pure.

A tool says how its files are known (columns that stand in them, and in nobody else's together), what its columns are,
and what all of its rows are. The rest of a file, such as a survey's own questions, is guessed as in any other. Each file
says where its facts come from; what nobody could be asked about says "from memory". A tool that exports in another way
is another `Form` of it, or goes on as a file like any other: nothing is refused for being unknown.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from shared import registry
from shared.errors import Misuse
from shared.files.cells import Cell, as_text

Get = Callable[[str], Cell]
"""A column's name, as `key` has it → what stands in it."""
NONE = "none"
"""`--as none`: a file like any other."""


@dataclass(frozen=True, slots=True)
class ByKind:
    """A score whose metric another column says."""

    score: str
    kind: str
    metrics: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a tool writes. Columns are named as `key` has them."""

    needs: frozenset[str]
    """Which tell it."""
    members: Mapping[str, str | None]
    """None: left out."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """What all of its rows are."""
    begins: str = ""
    """A column that begins so tells it too."""
    by_kind: ByKind | None = None
    reads: Mapping[str, Callable[[Get], Cell]] = field(default_factory=dict)
    """What stands in a column in other words than ours."""
    derived: Mapping[str, tuple[str, Callable[[Get], Cell]]] = field(default_factory=dict)
    """Name → member, and what it is: of several columns, or of a part of one."""
    has_two_headers: bool = False
    """The second one says what each column of a question is."""

    def fits(self, keys: frozenset[str]) -> bool:
        return self.needs <= keys and any(one.startswith(self.begins) for one in keys)


class Tool(Protocol):
    """A module of this package has these names."""

    TITLE: str
    FORMS: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """A form, for the columns of a file."""

    tool: str
    title: str
    form: Form
    names: tuple[str, ...]
    members: Mapping[str, str | None]
    """By the file's own names."""
    notes: tuple[str, ...]

    @property
    def derived(self) -> Sequence[tuple[str, str]]:
        """(name, member)"""
        return [(name, member) for name, (member, _) in self.form.derived.items()]

    def cells(self, cells: Sequence[Cell]) -> list[Cell]:
        """In our words, and behind them what is derived of them."""
        padded = [*cells, *[None] * (len(self.names) - len(cells))][: len(self.names)]
        by_key = {key(name): cell for name, cell in zip(reversed(self.names), reversed(padded), strict=True)}
        told = [
            read(by_key.get) if (read := self.form.reads.get(key(n))) else c
            for n, c in zip(self.names, padded, strict=True)
        ]
        return told + [make(by_key.get) for _, make in self.form.derived.values()]

    def object(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """The same, of a line's members. Those that no line had that was looked at are left out where the form says so."""
        by_key = {key(name): one for name, one in members.items()}
        told = {}
        for name, one in members.items():
            if name in self.names or self.form.members.get(key(name), "") is not None:
                told[name] = read(by_key.get) if (read := self.form.reads.get(key(name))) else one
        return told | {name: make(by_key.get) for name, (_, make) in self.form.derived.items()}


def key(name: str) -> str:
    return " ".join(name.split()).casefold()


@cache
def tools() -> Mapping[str, Tool]:
    return registry.load(sys.modules[__name__], Tool)


def form_of(names: Sequence[str], wanted: str | None = None) -> tuple[str, Form] | None:
    """The tool that writes such columns, and its form: of several that fit, the one that is told by most of them.
    `wanted`: as a person says. Raises `Misuse`."""
    if wanted == NONE:
        return None
    known, keys = tools(), frozenset(map(key, names))
    if wanted is not None and wanted not in known:
        raise Misuse(f"--as: there is no {wanted!r}; it is one of {', '.join(known)}, {NONE}")
    fitting = [
        (name, form) for name, tool in known.items() if wanted in (None, name) for form in tool.FORMS if form.fits(keys)
    ]
    if fitting:
        return max(fitting, key=lambda one: len(one[1].needs))
    if wanted is None:
        return None
    forms = " or ".join(", ".join(sorted(form.needs)) for form in known[wanted].FORMS)
    raise Misuse(f"--as {wanted}: its columns are not those of {known[wanted].TITLE} ({forms})")


def taken(tool: str, form: Form, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Taken:
    """`rows`: the first of the file."""
    members = {name: form.members[key(name)] for name in names if key(name) in form.members}
    notes: list[str] = []
    if (by := form.by_kind) is not None:
        places = {key(name): index for index, name in enumerate(names)}
        at = places.get(by.kind)
        kinds = (
            {as_text(row[at]).strip().casefold() for row in rows if at < len(row)} - {""} if at is not None else set()
        )
        metrics = {by.metrics.get(kind) for kind in kinds or {next(iter(by.metrics))}}
        metric = metrics.pop() if len(metrics) == 1 else None
        if metric is not None:
            members[names[places[by.score]]] = f"score.{metric}"
        else:
            notes.append(
                f"what its scores measure is not told by one kind of survey that is known ({', '.join(sorted(kinds))}):"
                f" import one kind at a time, and say which score it is by --map score.METRIC={by.score}"
            )
            members[names[places[by.score]]] = f"attributes.{by.score}"
    return Taken(tool, tools()[tool].TITLE, form, tuple(names), members, tuple(notes))


def with_second_header(first: Sequence[Cell], second: Sequence[Cell], form: Form) -> list[str] | None:
    """The names of both rows as one: the question, and which of its columns. None: the second is data."""
    width = max(len(first), len(second))
    above = [as_text(cell).strip() for cell in [*first, *[None] * (width - len(first))]]
    below = [as_text(cell).strip() for cell in [*second, *[None] * (width - len(second))]]
    if any(part for name, part in zip(above, below, strict=True) if key(name) in form.needs):
        return None
    names, question = [], ""
    for name, part in zip(above, below, strict=True):
        question = name or question
        names.append(question if part.casefold() in ANSWERS else f"{question} – {part}" if question else part)
    return names


ANSWERS = frozenset({"", "response", "open-ended response"})
"""What stands below a question that has one column."""
