"""The measures: each with its value, what it is a share of, how it was in the span before, and why it may not be whole.

Every number is a link to the rows that it counted (`measure_rows`), which the same definition lists. The address holds the
span and what it is cut by. Where counting takes long, the usual span is shown as it was counted last in the background, and
the page says as of when.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from services.console.api import csv_response
from services.console.bases import BYS, By, Part
from services.console.figures import Figure
from services.console.measuring import Group, Measured
from services.console.pages import Site
from services.console.spans import SPANS, Asked, Span, rows_address
from services.console.visit import Language, Visit
from services.console.written import Change, change, seconds, written
from shared.topics import DEFAULT_WORKSPACE

GROUPS_SHOWN = 10
LIVE_S = 0.2
"""What takes longer to count than this is not counted while somebody waits, where it was counted lately."""
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "loop": (
        "closed_loop_rate",
        "confirmed_rate",
        "assumed_rate",
        "response_rate",
        "reopen_rate",
        "flywheel_rate",
        "flywheel_rate_told",
        "flywheel_rate_not_told",
        "rescue_rate",
    ),
    "promises": (
        "sla_acknowledge_business",
        "sla_acknowledge_wall",
        "sla_resolve_business",
        "sla_resolve_wall",
        "sla_tell_customer_business",
        "sla_tell_customer_wall",
        "escalation_rate",
    ),
    "time": ("time_to_acknowledge_s", "time_to_resolve_s", "time_to_tell_customer_s", "repeat_contact_rate"),
    "alone": ("abandonment_rate", "searches_without_result"),
    "voice": ("nps", "csat", "ces", "hmd", "stars"),
    "volume": ("feedback", "customers", "cases"),
}


@dataclass(frozen=True, slots=True)
class Card:
    figure: Figure
    change: Change
    groups: Sequence[tuple[str | None, Figure]]
    more: int
    """Groups that are not shown."""

    @property
    def kind(self) -> str:
        """`count`, `share`, `mean`, `percentiles` or `ratio`."""
        return type(self.figure.measure.aggregate).__name__.lower()


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/measures")
    async def measures(request: Request) -> Response:
        visit = await site.door.visit(request)
        asked = Asked.read(request.query_params)
        found = await _measured(site, visit, asked)
        return site.pages.page(
            visit,
            "measures.html",
            asked=asked,
            spans=SPANS,
            bys=BYS,
            span=found.whole.span,
            kept=found.kept,
            sections={
                name: [_card(measure, found, visit.language) for measure in names] for name, names in SECTIONS.items()
            },
            written=lambda figure: written(figure, visit.language),
            seconds=lambda number: seconds(number, visit.language),
            rows=_rows_in(found.whole.span, asked.by),
        )

    @routes.get("/measures.csv")
    async def as_csv(request: Request) -> Response:
        visit = await site.door.visit(request)
        asked = Asked.read(request.query_params)
        span = asked.between(visit.now, visit.zone)
        return csv_response(await site.measuring.measured(visit.workspace, span, asked.by), "utf-8-sig")

    return routes


@dataclass(frozen=True, slots=True)
class _Found:
    whole: Measured
    before: Measured
    cut: Measured | None
    kept: bool
    """Whether it is as it was counted in the background."""


async def _measured(site: Site, visit: Visit, asked: Asked) -> _Found:
    latest = site.measuring.latest
    usual = asked.usual and visit.workspace == DEFAULT_WORKSPACE
    if usual and latest is not None and latest.took_s > LIVE_S:
        return _Found(latest.whole, latest.before, latest.by_team if asked.by else None, True)
    span = asked.between(visit.now, visit.zone)
    whole = await site.measuring.measured(visit.workspace, span, None)
    before = await site.measuring.measured(visit.workspace, span.before, None)
    cut = await site.measuring.measured(visit.workspace, span, asked.by) if asked.by else None
    return _Found(whole, before, cut, False)


def _card(name: str, found: _Found, language: Language) -> Card:
    (whole,), (before,) = found.whole.groups, found.before.groups
    figure = whole.figures[name]
    groups = [group for group in found.cut.groups if _says(group, name)] if found.cut is not None else []
    groups.sort(key=lambda group: -group.figures[name].denominator)
    shown = [(group.name, group.figures[name]) for group in groups[:GROUPS_SHOWN]]
    return Card(figure, change(figure, before.figures[name], language), shown, len(groups) - len(shown))


def _says(group: Group, name: str) -> bool:
    figure = group.figures[name]
    return bool(figure.denominator or figure.value is not None or figure.stale)


def _rows_in(span: Span, by: By | None) -> Callable[..., Markup]:
    """For the template: a number, as the link to what it counted."""

    def link(figure: Figure, part: Part, *group: str | None) -> Markup:
        number = figure.numerator if part == "numerator" else figure.denominator
        of = (by, group[0]) if group and by is not None else None
        return Markup('<a href="{}">{}</a>').format(rows_address(figure.measure, part, span, of), f"{number:,}")

    return link
