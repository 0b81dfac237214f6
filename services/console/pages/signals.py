"""Signals: what comes too often, or much more than usual; which are up, which have passed, and what each is made of.

A number leads to the very rows that it counted (`published.signal_feedback`), and on to their cases.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.console.pages import Site
from services.console.queries import Rows
from services.console.render import query
from shared.web.problems import malformed, not_found

PAGE = 50
UP_SHOWN = 5
"""In the line above a queue or a board."""
State = Literal["up", "passed"]
STATES: Mapping[State, str] = {"up": "resolved_at IS NULL", "passed": "resolved_at IS NOT NULL"}

_LISTED = """
SELECT * FROM published.signals WHERE workspace = :workspace AND {state}{after} ORDER BY raised_at DESC, id DESC LIMIT :limit
"""
_AFTER = " AND (raised_at, id) < (CAST(:at AS timestamptz), CAST(:after AS uuid))"
_ONE = "SELECT * FROM published.signals WHERE workspace = :workspace AND id = CAST(:id AS uuid)"
_MADE_OF = """
SELECT s.*, f.title, left(f.text, 300) AS text, f.language, f.source, f.customer, f.customer_name, f.scores, c.state, c.team
FROM (SELECT workspace, feedback_id, case_id, at FROM published.signal_feedback
      WHERE workspace = :workspace AND signal_id = CAST(:id AS uuid){after} ORDER BY at, feedback_id LIMIT :limit) AS s
JOIN published.feedback f ON f.workspace = s.workspace AND f.id = s.feedback_id
LEFT JOIN published.cases c ON c.id = s.case_id AND c.workspace = s.workspace ORDER BY s.at, s.feedback_id
"""
_MADE_OF_AFTER = " AND (at, feedback_id) > (CAST(:at AS timestamptz), CAST(:after AS uuid))"
_UP = """
SELECT id, name, group_name, cases FROM published.signals WHERE workspace = :workspace AND resolved_at IS NULL
AND (CAST(:teams AS text[]) = '{}' OR team = ANY (CAST(:teams AS text[])) OR watchers && CAST(:teams AS text[]))
ORDER BY raised_at DESC, id LIMIT :limit
"""
_OF_CASE = """
SELECT DISTINCT s.id, s.name, s.group_name, s.cases, s.raised_at FROM published.signal_feedback f
JOIN published.signals s ON s.id = f.signal_id
WHERE f.workspace = :workspace AND f.case_id = CAST(:id AS uuid) ORDER BY s.raised_at DESC LIMIT :limit
"""


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/signals")
    async def signals(request: Request, state: str = "up", after: str = "") -> Response:
        visit = await site.door.visit(request)
        known: State = "passed" if state == "passed" else "up"
        values: dict[str, Any] = {"workspace": visit.workspace, "limit": PAGE + 1}
        values |= _read_cursor(after) if after else {}
        statement = _LISTED.format(state=STATES[known], after=_AFTER if after else "")
        rows = await site.queries.rows(statement, **values)
        parts = {"state": known if known != "up" else ""}
        return site.pages.page(
            visit,
            "signals.html",
            rows=rows[:PAGE],
            state=known,
            states=tuple(STATES),
            more=query(parts, after=_cursor(rows[PAGE - 1], "raised_at", "id")) if len(rows) > PAGE else None,
            first=query(parts) if after else None,
        )

    @routes.get("/signals/{signal_id}")
    async def signal(request: Request, signal_id: UUID, after: str = "") -> Response:
        visit = await site.door.visit(request)
        values: dict[str, Any] = {"workspace": visit.workspace, "id": str(signal_id)}
        found = await site.queries.rows(_ONE, **values)
        if not found:
            raise not_found("no signal has this id")
        values |= {"limit": PAGE + 1} | (_read_cursor(after) if after else {})
        rows = await site.queries.rows(_MADE_OF.format(after=_MADE_OF_AFTER if after else ""), **values)
        return site.pages.page(
            visit,
            "signal.html",
            signal=found[0],
            rows=rows[:PAGE],
            more=query({}, after=_cursor(rows[PAGE - 1], "at", "feedback_id")) if len(rows) > PAGE else None,
            first=query({}) if after else None,
        )

    return routes


async def signals_up(site: Site, workspace: str, teams: Sequence[str] = ()) -> Rows:
    """Those of these teams, or that they watch; of none: all. The newest."""
    return await site.queries.rows(_UP, workspace=workspace, teams=list(teams), limit=UP_SHOWN)


async def signals_of(site: Site, workspace: str, case_id: str) -> Rows:
    """Those that the case belongs to."""
    return await site.queries.rows(_OF_CASE, workspace=workspace, id=case_id, limit=UP_SHOWN)


def _cursor(row: Mapping[str, Any], at: str, identity: str) -> str:
    return f"{row[at].isoformat()}~{row[identity]}"


def _read_cursor(after: str) -> dict[str, Any]:
    """Raises 400."""
    moment, _, identity = after.partition("~")
    try:
        return {"at": datetime.fromisoformat(moment).astimezone(UTC), "after": str(UUID(identity))}
    except (ValueError, OverflowError):
        raise malformed("after: take it from the link to the next page") from None
