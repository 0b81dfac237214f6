"""Figures as people read them. ●"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.console.figures import Figure
from services.console.metrics import Count, Measure, Percentiles, Ratio, Share
from services.console.render import left
from services.console.visit import Language


@dataclass(frozen=True, slots=True)
class Change:
    """Against the span before."""

    way: str
    """`more`, `less`, `same` or `unknown`."""
    by: str = ""
    before: str = ""


def written(figure: Figure, language: Language) -> str:
    """Its value; a dash for that of nothing."""
    match figure.measure.aggregate:
        case Percentiles():
            return seconds(figure.within[0], language) if figure.within is not None else "–"
        case _ if figure.value is None:
            return "–"
        case Count():
            return f"{figure.denominator:,}"
        case Share():
            return f"{_percent(figure.value):g}%"
        case Ratio():
            return f"{figure.value:.2f}×"
        case _:
            return f"{round(figure.value, 1):g}"


def change(figure: Figure, before: Figure, language: Language) -> Change:
    now_is, was = _plain(figure), _plain(before)
    if now_is is None or was is None:
        return Change("unknown")
    difference, text = now_is - was, written(before, language)
    match figure.measure.aggregate:
        case Percentiles():
            by = seconds(abs(difference), language)
        case Share():
            by = f"{abs(difference):.1f}"
        case Count():
            by = f"{abs(difference):,.0f}"
        case _:
            by = f"{abs(difference):.2f}"
    return Change("more" if difference > 0 else "less" if difference < 0 else "same", by, text)


def _plain(figure: Figure) -> float | None:
    """What is compared."""
    if figure.within is not None:
        return figure.within[0]
    if figure.value is None:
        return None
    return _percent(figure.value) if isinstance(figure.measure.aggregate, Share) else float(figure.value)


def _percent(share: float) -> float:
    """With one decimal, and neither 0 nor 100 unless it is."""
    rounded = round(100 * share, 1)
    if 0 < share < 1:
        return min(max(rounded, 0.1), 99.9)
    return rounded


def seconds(number: float, language: Language) -> str:
    if number < 60:
        return f"{number:.0f}{'秒' if language == 'zh-CN' else 's'}"
    return left(timedelta(seconds=number), language)


def worth(measure: Measure, row: Mapping[str, Any], language: Language) -> str:
    """What a row brings to the figure, where that is a number."""
    if row["value"] is None:
        return ""
    if isinstance(measure.aggregate, Percentiles):
        return seconds(row["value"], language)
    return f"{row['value']:g}"
