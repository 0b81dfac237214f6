"""The rows that a number of the measures counted, the newest first: what was said, by whom, and the case as it is now.

How many there are is counted afterwards (by htmx, or by a link), for that may take much longer than to show the first.

The address holds the measure, whether it is the numerator or the denominator, the group, and the span to the microsecond:
asked again, it goes on meaning the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.console.bases import PARTS, Part
from services.console.metrics import BY_NAME, Measure, Ratio, Share
from services.console.pages import Site
from services.console.spans import Asked, exactly, moments, rows_address
from services.console.written import worth
from shared.web.problems import malformed, not_found

PAGE = 50


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/measures/{name}/rows")
    async def rows(request: Request, name: str, part: str = "denominator", after: str = "") -> Response:
        visit = await site.door.visit(request)
        measure, counted, asked = _countable(name), _part(name, part), Asked.read(request.query_params)
        span = asked.between(visit.now, visit.zone)
        group = (asked.by, request.query_params.get("group")) if asked.by is not None else None
        found = await site.queries.listed(
            measure,
            counted,
            visit.workspace,
            (span.start, span.end),
            group,
            _place(after) if after else None,
            PAGE + 1,
        )
        more, listed = len(found) > PAGE, None
        if not more and not after:
            listed = len(found)
        elif "count" in request.query_params:
            listed = await site.queries.how_many(measure, counted, visit.workspace, (span.start, span.end), group)
        here = rows_address(measure, counted, span, group)
        return site.pages.page(
            visit,
            "measure_rows.html",
            measure=measure,
            part=counted,
            span=span,
            group=group,
            rows=found[:PAGE],
            listed=listed,
            here=here,
            first=here if after else None,
            more=f"{here}&{urlencode({'after': _mark(found[PAGE - 1])})}" if more else None,
            back=f"/measures?{urlencode(moments(span) | {'by': asked.by or ''})}",
            worth=lambda row: worth(measure, row, visit.language),
            is_share=isinstance(measure.aggregate, Share),
        )

    return routes


def _countable(name: str) -> Measure:
    """Raises 404."""
    measure = BY_NAME.get(name)
    if measure is None or isinstance(measure.aggregate, Ratio):
        raise not_found("no measure of this name counts rows")
    return measure


def _part(name: str, part: str) -> Part:
    """Raises 400."""
    if part not in PARTS or (part == "numerator" and not isinstance(BY_NAME[name].aggregate, Share)):
        raise malformed("part: denominator, or of a share numerator")
    return "numerator" if part == "numerator" else "denominator"


def _mark(row: Mapping[str, Any]) -> str:
    return f"{exactly(row['at'])}~{row['id']}~{row['part']}"


def _place(after: str) -> tuple[datetime, UUID, str]:
    """Raises 400."""
    moment, _, rest = after.partition("~")
    row_id, _, part = rest.partition("~")
    try:
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError
        return at, UUID(row_id), part
    except ValueError:
        raise malformed("after: take it from the link to the next page") from None
