"""Which column is which member of `POST /v1/feedback`: as a person says, else by its name and by what stands in it. Pure.

A guess is shown with its reason before anything is sent. What is not recognised is kept as an attribute, under its own
name. A member may have several columns: the first that is not empty counts.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from shared.errors import Misuse
from shared.events.feedback import Channel
from shared.files.cells import as_number, as_text, as_yes, is_blank, says_nothing
from shared.files.dates import Dates, NotADate, looks_like_a_date
from shared.files.exported import BY_NAME, is_export
from shared.files.names import EMAIL, NAMES, PHRASES, folded

Ranges = Mapping[str, tuple[float, float]]

MEMBERS = (
    "text",
    "title",
    "external_id",
    "source",
    "occurred_at",
    "language",
    "channel",
    "solicited",
    "touchpoint",
    "lifecycle_stage",
    "url",
    "customer.id",
    "customer.email",
    "customer.name",
    "customer.locale",
    "customer.account_id",
    "customer.role",
    "customer.tier",
    "customer.preferred_channel",
    "scores",
    "attributes",
)
"""Besides `score.METRIC` and `attributes.NAME`. `scores` and `attributes` are JSON, as an export writes them."""
IGNORE = "ignore"
CHANNELS = frozenset(get_args(Channel))
SHOWN = 3
SHOWN_CHARS = 40
MOST = 0.9
TEXT_LEAST_CHARS = 8
"""On average, of a column that only its length says is what was said."""
ROW, ID, REASON = "flywheel_row", "flywheel_id", "flywheel_reason"
"""What a file of refusals adds to the columns of the one it came from."""
MAP = "flywheel_map"
"""And how that one was read, in the header's last cell (in JSONL: in each line), so that its rows are read so again."""
LINE = "flywheel_line"
"""And, in JSONL, a line that could not be read."""
AS_THE_TOOL = "as the tool calls it"
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_ELLIPSIS = ("…", "...")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the file, and what it is taken for."""

    name: str
    member: str | None
    """None: left out."""
    why: str
    samples: tuple[str, ...] = ()


# ── what a person says ──


def mapping_of(given: Iterable[str], names: Sequence[str], ranges: Ranges) -> list[tuple[str, str]]:
    """`--map "text=Comment,score.nps=How likely…"`: (member, column's name) each. Raises `Misuse`."""
    pairs: list[tuple[str, str]] = []
    for words in given:
        rest = words.strip()
        while rest:
            member, equals, value = rest.partition("=")
            member = member.strip().strip('"')
            if not equals:
                raise Misuse(f"--map takes MEMBER=COLUMN, for example text=Comment, not {rest!r}")
            _must_be_a_member(member, ranges)
            name, rest = _column(value, names)
            pairs.append((member, name))
    return pairs


def placed(given: Iterable[tuple[int, str]], names: Sequence[str], ranges: Ranges) -> list[tuple[str, str]]:
    """The same, by the column's place. Raises `Misuse`."""
    pairs = [(member, names[place]) for place, member in given if place < len(names)]
    for member, _ in pairs:
        _must_be_a_member(member, ranges)
    return pairs


def _must_be_a_member(member: str, ranges: Ranges) -> None:
    kind, _, name = member.partition(".")
    if member in MEMBERS or member == IGNORE or (kind == "attributes" and name):
        return
    if kind == "score" and name:
        if name in ranges:
            return
        known = ", ".join(sorted(ranges))
        raise Misuse(f"--map: {name!r} is not a known metric ({known}): add it under metrics: in sources.yaml")
    raise Misuse(
        f"--map: there is no {member!r}; it is one of {', '.join(MEMBERS)}, score.METRIC, attributes.NAME, ignore"
    )


def _column(value: str, names: Sequence[str]) -> tuple[str, str]:
    """The longest name that the value begins with, and what comes behind it: names may hold commas."""
    value = value.strip().removeprefix('"')
    best: tuple[int, str, str] | None = None
    for end in [i for i, char in enumerate(value) if char == ","] + [len(value)]:
        word = value[:end].strip().removesuffix('"').strip()
        found = _named(word, names)
        if found is not None and (best is None or end > best[0]):
            best = (end, found, value[end + 1 :].strip())
    if best is None:
        word = value.partition(",")[0].strip()
        raise Misuse(f"--map: there is no column {word!r}; the columns are {', '.join(map(repr, names))}")
    return best[1], best[2]


def _named(word: str, names: Sequence[str]) -> str | None:
    """Exactly, else without regard to case and spaces, else by its beginning before an ellipsis, where one fits."""
    if word in names:
        return word
    ellipsis = next((dots for dots in _ELLIPSIS if word.endswith(dots)), None)
    wanted = _loosely(word.removesuffix(ellipsis) if ellipsis else word)
    if not wanted:
        return None
    fits = [name for name in names if (_loosely(name).startswith(wanted) if ellipsis else _loosely(name) == wanted)]
    return fits[0] if len(fits) == 1 else None


def _loosely(name: str) -> str:
    return " ".join(name.split()).casefold()


# ── what can be guessed ──


@dataclass(frozen=True, slots=True)
class _Candidate:
    strength: float
    index: int
    member: str
    why: str


@dataclass(frozen=True, slots=True)
class Guess:
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    """What could not be guessed, and which `--map` would mend it."""


def guess(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    given: Sequence[tuple[str, str]],
    ranges: Ranges,
    before: Mapping[str, str | None] | None = None,
    tool: Mapping[str, str | None] | None = None,
    derived: Sequence[tuple[str, str]] = (),
) -> Guess:
    """`rows`: the first of the file. `given`: what a person said. `before`: what the columns were when rows of them were
    refused. `tool`: what its columns are, where one is known to write so; `derived`: (name, member) of what it says
    besides, whose cells stand behind those of `names`."""
    under = [_below(rows, index) for index in range(len(names))]
    once = list({repr(row): row for row in rows}.values())  # a row that stands there twice is no second of its id
    taken: dict[int, tuple[str | None, str]] = {}
    notes: list[str] = []
    for member, name in given:
        taken[names.index(name)] = (None if member == IGNORE else member, "--map")
    _take_ours(names, taken)
    for name, was in (before or {}).items():
        if name in names and names.index(name) not in taken and was not in dict(given):
            taken[names.index(name)] = (was, "as in the file it came from")
    for name, what in (tool or {}).items():
        if names.index(name) not in taken and (what is None or what not in dict(given)):
            taken[names.index(name)] = (what, AS_THE_TOOL)
    behind = [Column(name, member, AS_THE_TOOL) for name, member in derived if member not in dict(given)]
    said = {member for member, _ in [*given, *taken.values(), *((one.member, "") for one in behind)] if member}
    candidates = [
        candidate
        for index, name in enumerate(names)
        if index not in taken
        for candidate in _candidates(index, name, under[index], _below(once, index), ranges, notes)
    ]
    for candidate in sorted(candidates, key=lambda one: (-one.strength, one.index)):
        if candidate.index not in taken and candidate.member not in said:
            taken[candidate.index] = (candidate.member, candidate.why)
            said.add(candidate.member)
    if "text" not in said and (found := _longest(under, taken)) is not None:
        taken[found] = ("text", "the longest texts")
        said.add("text")
    columns = tuple(
        Column(
            name,
            *taken.get(index, (f"attributes.{name}", "not recognised: kept as an attribute")),
            samples=_samples(under[index]),
        )
        for index, name in enumerate(names)
    )
    return Guess((*columns, *behind), tuple(notes + _missing(said)))


def _take_ours(names: Sequence[str], taken: dict[int, tuple[str | None, str]]) -> None:
    """The columns of our own exports and of our files of refusals."""
    export = is_export(frozenset(names))
    for index, name in enumerate(names):
        if index in taken:
            continue
        if name in (ROW, REASON) or name.startswith(MAP):
            taken[index] = (None, "says what was refused")
        elif name == ID:
            taken[index] = ("external_id", "the row's identity when it was refused")
        elif export and name in BY_NAME:
            member = BY_NAME[name].member
            taken[index] = (member, "an export of ours" if member else "decided anew")


def _below(rows: Sequence[Sequence[Any]], index: int) -> list[Any]:
    """What stands in a column."""
    return [row[index] for row in rows if index < len(row) and not is_blank(row[index])]


def _candidates(
    index: int, name: str, cells: Sequence[Any], once: Sequence[Any], ranges: Ranges, notes: list[str]
) -> list[_Candidate]:
    """What this column may be."""
    found: list[_Candidate] = []
    for strength, member in _by_name(name, ranges):
        fits, why_not = _fits(member, once if member == "external_id" else cells, ranges)
        if fits:
            # Of several that are called so, the one that people write most into.
            more = min(9.0, _length(cells) / 100) if member == "text" else 0.0
            found.append(_Candidate(strength + more, index, member, "its name" if not cells else "its name and values"))
        elif why_not:
            notes.append(f"“{_cut(name)}” is called like {member}, but {why_not}")
    if cells and (member_ := _by_values(cells)) is not None:
        found.append(_Candidate(30, index, *member_))
    return found


def _by_name(name: str, ranges: Ranges) -> list[tuple[float, str]]:
    bare = name.strip()
    if bare in MEMBERS or (bare.partition(".")[0] == "score" and bare.partition(".")[2] in ranges):
        return [(100, bare)]
    if bare.partition(".")[0] == "attributes" and bare.partition(".")[2]:
        return [(100, bare)]
    word = folded(name)
    found = [(80.0, member) for member, names in NAMES.items() if word in names]
    if not found and word in {folded(metric) for metric in ranges}:
        found = [(80.0, f"score.{metric}") for metric in ranges if folded(metric) == word]
    if not found:
        found = [
            (60.0 - place, member)
            for place, (member, phrases) in enumerate(PHRASES.items())
            if any(phrase in word for phrase in phrases)
        ]
    return found


def _fits(member: str, cells: Sequence[Any], ranges: Ranges) -> tuple[bool, str]:
    """Whether what stands in the column may be that; else what speaks against it, where a person should hear of it."""
    kind, _, name = member.partition(".")
    told = [cell for cell in cells if not says_nothing(cell)]
    if not told:
        return True, ""
    if kind == "score":
        return _fits_a_score(name, told, ranges[name]) if name in ranges else (False, "")
    if member == "occurred_at":
        share = _share(told, _is_date)
        return share >= MOST, f"{_percent(1 - share)} of its values are no dates: --map occurred_at=… names another"
    if member == "external_id":
        seen = {as_text(cell).strip() for cell in told}
        if len(seen) < len(told):
            return False, "its values repeat: rows are told apart otherwise"
        return len(told) >= MOST * len(cells), ""
    if member == "customer.email":
        return _share(told, lambda cell: EMAIL.fullmatch(as_text(cell).strip()) is not None) >= 0.8, ""
    if member == "channel":
        return _share(told, lambda cell: as_text(cell).strip().casefold() in CHANNELS) >= MOST, ""
    if member == "language":
        return _share(told, lambda cell: _LANGUAGE.fullmatch(as_text(cell).strip()) is not None) >= MOST, ""
    if member == "url":
        return _share(told, _is_url) >= 0.8, ""
    if member == "solicited":
        return _share(told, lambda cell: as_yes(cell) is not None) >= MOST, ""
    if member == "text":
        return _share(told, lambda cell: any(c.isalpha() for c in as_text(cell))) >= 0.5, ""
    if member in {"scores", "attributes"}:
        return True, ""
    return _share(told, lambda cell: len(as_text(cell)) <= 255) == 1.0, ""


def _fits_a_score(metric: str, cells: Sequence[Any], range_: tuple[float, float]) -> tuple[bool, str]:
    numbers = [as_number(cell, metric) for cell in cells]
    good = [number for number in numbers if number is not None]
    if len(good) < MOST * len(cells):
        return False, f"{_percent(1 - len(good) / len(cells))} of its values are no numbers" if good else ""
    outside = [number for number in good if not range_[0] <= number <= range_[1]]
    if len(outside) > (1 - MOST) * len(good):
        return False, (
            f"its values go from {min(good):g} to {max(good):g} and {metric} from {range_[0]:g} to {range_[1]:g}:"
            " --map score.METRIC=… says which score it is"
        )
    return True, ""


def _by_values(cells: Sequence[Any]) -> tuple[str, str] | None:
    """What needs no name."""
    if _share(cells, lambda cell: EMAIL.fullmatch(as_text(cell).strip()) is not None) >= MOST:
        return "customer.email", "its values are e-mail addresses"
    if _share(cells, lambda cell: isinstance(cell, datetime) or looks_like_a_date(as_text(cell))) >= MOST:
        return "occurred_at", "its values are dates"
    if _share(cells, _is_url) >= MOST:
        return "url", "its values are addresses"
    return None


def _is_date(cell: Any) -> bool:
    try:
        Dates(order="day first").read(cell)
    except NotADate:
        return False
    return True


def _is_url(cell: Any) -> bool:
    return as_text(cell).strip().startswith(("https://", "http://"))


def _longest(under: Sequence[Sequence[Any]], taken: Mapping[int, Any]) -> int | None:
    """The column with the longest texts, where they are texts: long for their script, and seldom twice."""
    best, best_length = None, 0.0
    for index, cells in enumerate(under):
        texts = [as_text(cell) for cell in cells if isinstance(cell, str)]
        if index in taken or not texts or len(set(texts)) < 0.5 * len(texts):
            continue
        length = sum(map(_width, texts)) / len(texts)
        if (
            length >= TEXT_LEAST_CHARS
            and length > best_length
            and _share(texts, lambda one: any(c.isalpha() for c in one)) >= MOST
        ):
            best, best_length = index, length
    return best


def _width(text: str) -> float:
    """In letters of Latin: a Chinese character says as much as two or three."""
    return len(text) + 1.5 * sum(char >= "\u2e80" for char in text[:1000])


def _length(cells: Sequence[Any]) -> float:
    return sum(_width(as_text(cell)) for cell in cells) / len(cells) if cells else 0.0


def _missing(said: set[str]) -> list[str]:
    notes = []
    if "text" not in said:
        notes.append('no column looks like what was said: --map "text=COLUMN" names it')
    if "external_id" not in said:
        notes.append(
            "no column holds an id for each row, so a row is known by this file's content and its number:"
            ' --map "external_id=COLUMN" names one'
        )
    if "occurred_at" not in said:
        notes.append('no column looks like when it was said: --map "occurred_at=COLUMN" names it')
    return notes


def _share(cells: Sequence[Any], test: Any) -> float:
    return sum(bool(test(cell)) for cell in cells) / len(cells) if cells else 0.0


def _percent(share: float) -> str:
    return f"{max(1, round(100 * share))} %"


def _samples(cells: Sequence[Any]) -> tuple[str, ...]:
    """The first that differ."""
    found: dict[str, None] = {}
    for cell in cells:
        found.setdefault(_cut(" ".join(as_text(cell).split())))
        if len(found) == SHOWN:
            break
    return tuple(found)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
