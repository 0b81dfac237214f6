"""Figures → medians, ratios, targets, and how they are shown. Pure.

A figure belongs to a part and a variant and has one value a round. What is printed is the median with its least and
its most; a ratio is one median over another of the same part.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(slots=True)
class Variant:
    """One column of a part's comparison: measures by name, one value a round."""

    name: str
    measures: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def median(self, measure: str) -> float | None:
        values = self.measures.get(measure)
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Target:
    what: str
    value: float | None
    wanted: float
    at_least: bool
    unit: str = "×"

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted


@dataclass(frozen=True, slots=True)
class Count:
    """What was acknowledged, or given, must be found once; what was answered neither yes nor no may be."""

    what: str
    wanted: int
    unknown: int
    found: int
    rounds: int = 1
    inexact: int = 0
    """In how many rounds; a loss in one is not made good by a double in another."""

    @classmethod
    def of(cls, what: str, wanted: int, unknown: int, found: int) -> "Count":
        return cls(what, wanted, unknown, found, 1, int(not wanted <= found <= wanted + unknown))

    def __add__(self, other: "Count") -> "Count":
        sums = (getattr(self, name) + getattr(other, name) for name in self.__slots__[1:])
        return Count(self.what, *sums)

    @property
    def exact(self) -> bool:
        return not self.inexact

    def __str__(self) -> str:
        doubt = f" (and {self.unknown} of unknown outcome)" if self.unknown else ""
        return f"{self.what}: {self.wanted}{doubt}, {self.found} found: {'exact' if self.exact else 'NOT EXACT'}"


@dataclass(slots=True)
class Part:
    """`base`: the variant that every other is a ratio of, by the first measure."""

    name: str
    title: str
    base: str | None = None
    variants: dict[str, Variant] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, what: str, wanted: int, found: int, *, unknown: int = 0) -> None:
        """One round's; rounds add up."""
        new = Count.of(what, wanted, unknown, found)
        for place, known in enumerate(self.counts):
            if known.what == what:
                self.counts[place] = known + new
                return
        self.counts.append(new)

    def add(self, variant: str, measures: Mapping[str, float | None], note: str = "") -> None:
        """One round of one variant."""
        found = self.variants.setdefault(variant, Variant(variant))
        found.note = note or found.note
        for name, value in measures.items():
            if value is not None:
                found.measures.setdefault(name, []).append(value)

    def median(self, variant: str, measure: str) -> float | None:
        found = self.variants.get(variant)
        return found.median(measure) if found else None

    def ratio(self, variant: str, base: str, measure: str) -> float | None:
        over, under = self.median(variant, measure), self.median(base, measure)
        return None if over is None or not under else over / under

    def aim(
        self, what: str, value: float | None, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """A ratio's target."""
        wanted = at_least if at_least is not None else at_most
        assert wanted is not None
        self.targets.append(Target(what, value, wanted, at_least is not None))

    def aim_at_most(self, what: str, value: float | None, wanted: float, unit: str) -> None:
        self.targets.append(Target(what, value, wanted, False, unit))

    @property
    def measures(self) -> list[str]:
        return list(dict.fromkeys(name for variant in self.variants.values() for name in variant.measures))


def render(parts: Iterable[Part], facts: Mapping[str, object]) -> str:
    """Markdown: what was measured on, a table for each part, the targets."""
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    parts = list(parts)
    for part in parts:
        lines += [f"### {part.name}: {part.title}", ""]
        lines += _comparison(part)
        lines += [f"- {note}" for note in [*part.counts, *part.notes]]
        lines.append("")
    aims = [(part, target) for part in parts for target in part.targets]
    if aims:
        lines += ["### Targets", ""]
        rows = [
            [part.name, target.what, _value(target.value, target.unit), _aim(target), _verdict(target.met)]
            for part, target in aims
        ]
        lines += _grid(["part", "what", "measured", "target", ""], rows)
    return "\n".join(lines)


def _comparison(part: Part) -> list[str]:
    measures = part.measures
    if not measures:
        return ["(nothing was measured)"]
    heads = ["variant", *measures]
    if part.base:
        heads.insert(2, f"÷ {part.base}")
    rows = []
    for variant in part.variants.values():
        row = [variant.name + (f" ({variant.note})" if variant.note else "")]
        row += [_spread(variant.measures.get(name)) for name in measures]
        if part.base:
            ratio = part.ratio(variant.name, part.base, measures[0])
            row.insert(2, "—" if ratio is None else f"{ratio:.2f}")
        rows.append(row)
    return [*_grid(heads, rows), ""]


def _spread(values: list[float] | None) -> str:
    if not values:
        return "—"
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} [{number(min(values))}–{number(max(values))}]"


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    return f"{value:.2f} ×" if unit == "×" else f"{number(value)} {unit}"


def _aim(target: Target) -> str:
    return ("≥ " if target.at_least else "≤ ") + (f"{target.wanted:g} {target.unit}")


def _verdict(met: bool | None) -> str:
    return {True: "met", False: "MISSED", None: "—"}[met]


def _grid(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table whose columns stand under each other in a terminal, too."""
    widths = [max(map(_width, column)) for column in zip(heads, *rows, strict=True)]
    pad: Callable[[str, int], str] = lambda cell, width: cell + " " * (width - _width(cell))  # noqa: E731
    lines = ["| " + " | ".join(map(pad, row, widths)) + " |" for row in [heads, *rows]]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def _width(text: str) -> int:
    return len(text)


def plain(parts: Iterable[Part], facts: Mapping[str, object]) -> dict[str, Any]:
    """For `--json`: every value of every round."""
    return {
        "machine": dict(facts),
        "parts": [
            {
                "name": part.name,
                "title": part.title,
                "variants": [{"name": v.name, "note": v.note, "measures": v.measures} for v in part.variants.values()],
                "targets": [
                    {
                        "what": t.what,
                        "value": t.value,
                        "wanted": t.wanted,
                        "at_least": t.at_least,
                        "unit": t.unit,
                        "met": t.met,
                    }
                    for t in part.targets
                ],
                "counts": [
                    {"what": c.what, "wanted": c.wanted, "unknown": c.unknown, "found": c.found, "exact": c.exact}
                    for c in part.counts
                ],
                "notes": part.notes,
            }
            for part in parts
        ],
    }
