"""What was counted → figures, and those as JSON and as lines of a CSV. ●"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.console.metrics import MEASURES, Count, Mean, Measure, Percentiles, Ratio, Share
from services.console.staleness import Reason

Words = Mapping[str, str]
Row = Mapping[str, Any]
COLUMNS = (
    *("from", "to", "by", "group", "measure", "unit", "value", "p50", "p90"),
    *("numerator", "denominator", "counts", "of", "stale"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Figure:
    measure: Measure
    denominator: int = 0
    numerator: int = 0
    """Of a share."""
    value: float | None = None
    within: tuple[float, float] | None = None
    """Of percentiles: half of them, nine tenths of them."""
    stale: tuple[Reason, ...] = ()
    """Why it may not be whole."""


def figures(row: Row, stale: Mapping[str, tuple[Reason, ...]]) -> dict[str, Figure]:
    """Of one group, every measure by its name. `row`: of `bases.counting`, all units together; `stale`: by measure."""
    found: dict[str, Figure] = {}
    for measure in MEASURES:
        why = stale.get(measure.name, ())
        if isinstance(measure.aggregate, Ratio):
            found[measure.name] = Figure(measure, value=_ratio(measure.aggregate, found), stale=why)
        else:
            found[measure.name] = _figure(measure, row, why)
    return found


def _figure(measure: Measure, row: Row, stale: tuple[Reason, ...]) -> Figure:
    name, of = measure.name, int(row.get(f"{measure.name}_of") or 0)
    match measure.aggregate:
        case Share():
            counted = int(row.get(f"{name}_counted") or 0)
            return Figure(measure, of, counted, counted / of if of else None, stale=stale)
        case Mean():
            return Figure(measure, of, value=row[f"{name}_mean"] if of else None, stale=stale)
        case Percentiles():
            return Figure(measure, of, within=tuple(row[f"{name}_within"]) if of else None, stale=stale)
        case _:
            return Figure(measure, of, value=of, stale=stale)


def _ratio(ratio: Ratio, found: Mapping[str, Figure]) -> float | None:
    over, under = found[ratio.over].value, found[ratio.under].value
    return over / under if over is not None and under else None


def to_json(figure: Figure, words: Words) -> dict[str, Any]:
    """As `GET /v1/measures` says it. `stale` is there only where there is a reason."""
    measure = figure.measure
    of, counts = words[f"of.{measure.of}"], words.get(f"counted.{measure.name}")
    match measure.aggregate:
        case Count():
            said: dict[str, Any] = {"value": figure.denominator, "counts": of}
        case Share():
            said = {"value": figure.value, "numerator": figure.numerator, "denominator": figure.denominator}
            said |= {"of": of, "counts": counts}
        case Mean():
            said = {"value": figure.value, "denominator": figure.denominator, "of": of}
        case Percentiles():
            half, most = figure.within or (None, None)
            said = {"p50": half, "p90": most, "denominator": figure.denominator, "of": of}
        case Ratio():
            said = {"value": figure.value, "of": of, "counts": counts}
    return said | ({"stale": [reason.to_json() for reason in figure.stale]} if figure.stale else {})


def csv_of(
    groups: Iterable[tuple[str | None, Mapping[str, Figure]]], span: tuple[str, str], by: str | None, words: Words
) -> str:
    """The same as a table (RFC 4180): a line for each measure of each group. `span`: from, to."""
    written = io.StringIO()
    table = csv.DictWriter(written, COLUMNS)
    table.writeheader()
    head = {"from": span[0], "to": span[1], "by": by}
    for group, found in groups:
        for figure in found.values():
            named = {"group": _named(group), "measure": figure.measure.name, "unit": figure.measure.unit}
            why = {"stale": "; ".join(reason.sentence for reason in figure.stale)}
            table.writerow(head | named | to_json(figure, words) | why)
    return written.getvalue()


def _named(text: str | None) -> str | None:
    """By somebody else: a spreadsheet must not take it for a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text
