"""Files to take away, for whoever works on cases: the queue as it is shown, all of its pages; and what was said.

An export is a copy that nobody can call back, so that it stands in the audit trail before its first byte is read: who, what,
and by which filters.
"""

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from services.console.exports import FeedbackAsked, Filters, What, answered
from services.console.pages import Site
from services.console.pages.cases import Asked, conditions
from services.console.visit import Visit
from shared.files.written import Format

DETAIL_MAX_CHARS = 500


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    async def given(request: Request, visit: Visit, what: What, form: Format, filters: Filters) -> Response:
        asked = urlencode([(name, value) for name, value in request.query_params.multi_items() if value])
        await site.door.audit.record(
            visit.workspace, visit.person, "exported", f"{what}.{form}", asked[:DETAIL_MAX_CHARS]
        )
        return await answered(site.exports, what, form, filters, visit.now)

    @routes.get("/export/cases.{form}")
    async def cases(request: Request, form: Format) -> Response:
        """What the queue at that address shows."""
        visit = await _agent(site, request)
        where, values = await conditions(site, visit, Asked.read(request.query_params))
        chosen = f"SELECT id FROM published.cases WHERE {' AND '.join(where)}"  # noqa: S608 - our own words
        return await given(request, visit, "cases", form, Filters(visit.workspace, "c").among(chosen, values))

    @routes.get("/export/feedback.{form}")
    async def feedback(request: Request, form: Format, asked: FeedbackAsked) -> Response:
        """By the filters of `GET /v1/export/feedback`."""
        visit = await _agent(site, request)
        return await given(request, visit, "feedback", form, asked(visit.workspace))

    return routes


async def _agent(site: Site, request: Request) -> Visit:
    visit = await site.door.visit(request)
    visit.need("agent")
    return visit
