"""What happened to one piece of feedback: every step over every service, with who, when and why."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from services.console.api import trace_of
from services.console.pages import Site
from services.console.queries import Rows
from services.console.visit import Visit

NEWEST = 50
CORRECTED = ("team", "kind", "sentiment", "priority")
# There is no index by time, which every event would pay for; the table's own order in blocks (BRIN) finds a stretch of it.
STRETCHES = (timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=4), timedelta(days=2), timedelta(days=30))
_NEWEST = """
SELECT id, received_at, source, title, left(text, 200) AS text, language, team, kind, priority, case_id
FROM published.feedback WHERE workspace = :workspace AND received_at > :since ORDER BY received_at DESC LIMIT :limit
"""


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/feedback")
    async def newest(request: Request, id: str = "") -> Response:  # noqa: A002 - the field that people fill in
        """The newest, and a box for an id."""
        visit = await site.door.visit(request)
        unknown = None
        if wanted := id.strip():
            try:
                return RedirectResponse(f"/feedback/{UUID(wanted)}", 303)
            except ValueError:
                unknown = wanted[:80]
        rows = await _newest(site, visit)
        return site.pages.page(visit, "feedback.html", 422 if unknown else 200, rows=rows, unknown=unknown)

    @routes.get("/feedback/{feedback_id}")
    async def trace(request: Request, feedback_id: UUID) -> Response:
        visit = await site.door.visit(request)
        found = await trace_of(site.queries, site.runtime.log, visit.workspace, str(feedback_id))
        return site.pages.page(visit, "trace.html", found=found)

    @routes.post("/feedback/{feedback_id}/correction")
    async def correct(request: Request, feedback_id: UUID) -> Response:
        """It was judged wrongly: the router learns what would have been right."""
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        visit.need("agent")
        said = {name: str(form[name]) for name in CORRECTED if form.get(name)}
        await site.closer.call(visit, "POST", f"/v1/feedback/{feedback_id}/correction", said)
        try:
            back = f"/cases/{UUID(str(form['case']))}" if form.get("case") else f"/feedback/{feedback_id}"
        except ValueError:
            back = f"/feedback/{feedback_id}"
        response = RedirectResponse(back, 303)
        site.door.tell(response, "did.correct")
        return response

    return routes


async def _newest(site: Site, visit: Visit) -> Rows:
    """From the last minute, the last quarter of an hour and so on, until a page is full."""
    for stretch in STRETCHES:
        rows = await site.queries.rows(_NEWEST, workspace=visit.workspace, since=visit.now - stretch, limit=NEWEST)
        if len(rows) == NEWEST:
            return rows
    return await site.queries.rows(
        _NEWEST, workspace=visit.workspace, since=datetime.min.replace(tzinfo=UTC), limit=NEWEST
    )
