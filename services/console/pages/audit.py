"""Who did what: what people did to cases, and what they did at the console besides, newest first.

The first stands on the cases' own timelines, the second in the audit trail; both are read in the order of time from an index
and merged, a page at a time. What the service and customers did is on the cases, and not here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from services.console.pages import Site
from services.console.queries import Rows
from services.console.render import query
from services.console.visit import Visit
from shared.sessions import ACTIONS
from shared.web.problems import malformed

PAGE = 50
STEPS = (
    "acknowledged",
    "assigned",
    "reassigned",
    "corrected",
    "noted",
    "waiting",
    "resumed",
    "resolved",
    "declined",
    "merged",
    "reopened",
)
"""What a person can do to a case, as its timeline says it."""
PLACE_MAX_CHARS = 60

# The order of time is the indexes' own (migration 0009); `place` tells two of one moment apart, and only there is sorted.
_STEPS = """
SELECT at, place, actor AS person, '' AS role, what AS action, case_id::text AS object, reason AS detail, assigned_to,
       true AS is_step
FROM (SELECT *, case_id || '/' || to_char(sequence, 'FM0000000000') AS place FROM published.timeline) AS step
WHERE workspace = :workspace AND actor NOT IN ('system', 'customer') AND {which} ORDER BY at DESC, place DESC LIMIT :limit
"""
_OF_EACH = "SELECT t.* FROM unnest(CAST(:steps AS text[])) AS one (what) CROSS JOIN LATERAL ({steps}) AS t"
_TRAIL = """
SELECT at, place, person, role, action, object, detail, NULL AS assigned_to, false AS is_step
FROM (SELECT *, 'trail/' || to_char(id, 'FM000000000000000000') AS place FROM published.audit) AS line
WHERE workspace = :workspace AND {which} ORDER BY at DESC, place DESC LIMIT :limit
"""
_ALL = "SELECT * FROM ({parts}) AS either ORDER BY at DESC, place DESC LIMIT :limit"
_AFTER = " AND at <= :after_at AND (at, place) < (:after_at, :after_place)"


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/audit")
    async def audit(request: Request, person: str = "", action: str = "", after: str = "") -> Response:
        visit = await site.door.visit(request)
        visit.need("lead")
        person, action = person.strip()[:320], action if action in (*STEPS, *ACTIONS) else ""
        rows = await _rows(site, visit, person, action, after)
        parts = {"person": person, "action": action}
        return site.pages.page(
            visit,
            "audit.html",
            person=person,
            action=action,
            steps=STEPS,
            actions=ACTIONS,
            rows=rows[:PAGE],
            more=query(parts, after=_cursor(rows[PAGE - 1])) if len(rows) > PAGE else None,
            first=query(parts) if after else None,
        )

    return routes


async def _rows(site: Site, visit: Visit, person: str, action: str, after: str) -> Rows:
    values: dict[str, Any] = {"workspace": visit.workspace, "limit": PAGE + 1}
    behind, parts = "", []
    if after:
        behind = _AFTER
        values |= _read_cursor(after)
    if person:
        values["person"] = person
    if action not in ACTIONS:
        values["steps"] = [action] if action else list(STEPS)
        which = "actor = :person AND what = ANY(:steps)" if person else "what = one.what"
        steps = _STEPS.format(which=which + behind)
        parts.append(steps if person else _OF_EACH.format(steps=steps))
    if action not in STEPS:
        which = ("person = :person" if person else "true") + (" AND action = :action" if action else "")
        parts.append(_TRAIL.format(which=which + behind))
        values |= {"action": action} if action else {}
    return await site.queries.rows(_ALL.format(parts=" UNION ALL ".join(f"({part})" for part in parts)), **values)


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{row['at'].isoformat()}~{row['place']}"


def _read_cursor(after: str) -> dict[str, Any]:
    """Raises 400."""
    moment, _, place = after.partition("~")
    try:
        if not place or len(place) > PLACE_MAX_CHARS:
            raise ValueError
        return {"after_at": datetime.fromisoformat(moment).astimezone(UTC), "after_place": place}
    except (ValueError, OverflowError):
        raise malformed("after: take it from the link to the next page") from None
