"""What teams were told, and what became of it: listed, and sent again where it was given up."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text

from services.closer.lists import DEFAULT_LIMIT, MAX_LIMIT, foreign_cursor, plain, read_limit
from services.closer.shown import DeliveriesRedriven, DeliveryPage
from services.closer.store import Unit
from shared.auth import Principal, needs
from shared.database import Database
from shared.links import Links
from shared.web.problems import malformed
from shared.web.routes import answers

CURSOR = "deliveries-cursor"
STATUSES = ("pending", "sending", "sent", "failed", "withheld")
REDRIVEN_AT_ONCE = 1000
MAX_IDS = 1000

_COLUMNS = (
    "id, team, channel, destination, event, feedback_id, case_id, status, reason, created_at, sent_at, attempts, due_at"
)
# Those that are named, whatever became of them; else all that were given up. What is waiting or under way is left.
_REDRIVE = """
UPDATE closer.delivery SET status = 'pending', reason = '', attempts = 0, waiting_since = $2, due_at = $2, shown = 0
WHERE id IN (SELECT id FROM closer.delivery WHERE workspace = $1 AND due_at IS NULL
             AND (id = ANY ($3::uuid[]) OR ($3 IS NULL AND status = 'failed' AND ($4::text IS NULL OR team = $4)))
             ORDER BY created_at LIMIT $5 FOR UPDATE)
RETURNING id::text
"""


class Which(BaseModel):
    """Nothing: all that were given up."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[UUID], Field(min_length=1, max_length=MAX_IDS)] | None = None
    team: str | None = None


def routes_for(unit: Unit, database: Database, links: Links) -> APIRouter:
    routes = APIRouter(tags=["deliveries"])

    @routes.get("/v1/deliveries", **answers(DeliveryPage))
    async def list_deliveries(
        principal: Annotated[Principal, Depends(needs("cases:read"))],
        team: str | None = None,
        status: Annotated[str | None, Query(description=f"One of {', '.join(STATUSES)}. `failed`: given up.")] = None,
        cursor: str | None = None,
        limit: Annotated[str | None, Query(description=f"1 to {MAX_LIMIT}; {DEFAULT_LIMIT}.")] = None,
    ) -> dict[str, Any]:
        """What teams' subscriptions were told, the newest first."""
        if status is not None and status not in STATUSES:
            raise malformed(f"status: one of {', '.join(STATUSES)}")
        return await _page(database, links, principal.workspace, team, status, cursor, read_limit(limit))

    @routes.post("/v1/deliveries/redrive", **answers(DeliveriesRedriven))
    async def redrive(
        principal: Annotated[Principal, Depends(needs("cases:write"))], which: Which | None = None
    ) -> dict[str, Any]:
        """Send again, under the same ids: those that are named, or all that were given up, the oldest first. `more`: there
        are more than were taken at once."""
        wanted = which or Which()
        ids = [str(one) for one in wanted.ids] if wanted.ids is not None else None
        async with unit.transactions.begin() as driver:
            values = (principal.workspace, unit.clock.now(), ids, wanted.team, REDRIVEN_AT_ONCE)
            found = [row["id"] for row in await driver.fetch(_REDRIVE, *values)]
        left = [one for one in ids or () if one not in found]
        return {"redriven": found, "left": left, "more": ids is None and len(found) == REDRIVEN_AT_ONCE}

    return routes


async def _page(
    database: Database,
    links: Links,
    workspace: str,
    team: str | None,
    status: str | None,
    cursor: str | None,
    limit: int,
) -> dict[str, Any]:
    where, values = ["workspace = :workspace"], dict[str, Any](workspace=workspace, limit=limit + 1)
    if team is not None:
        where.append("team = :team")
        values["team"] = team
    if status is not None:
        # One of ours, and written out: an index for one status is of no use to a parameter.
        where.append(f"status = '{STATUSES[STATUSES.index(status)]}'")
    filters = f"{team or ''}/{status or ''}"
    if cursor is not None:
        where.append("(created_at, id) < (CAST(CAST(:at AS text) AS timestamptz), CAST(:after AS uuid))")
        values |= _after(links, cursor, filters)
    statement = (
        f"SELECT {_COLUMNS} FROM published.deliveries WHERE {' AND '.join(where)}"  # noqa: S608
        " ORDER BY created_at DESC, id DESC LIMIT :limit"
    )
    async with database.transaction() as connection:
        rows = (await connection.execute(text(statement), values)).mappings().all()
    last = rows[limit - 1] if len(rows) > limit else None
    key = f"{filters}/{last['created_at'].isoformat()}/{last['id']}" if last is not None else None
    return {
        "items": [plain(row) for row in rows[:limit]],
        "next_cursor": links.sign(CURSOR, key) if key is not None else None,
    }


def _after(links: Links, cursor: str, filters: str) -> dict[str, Any]:
    payload = links.read(CURSOR, cursor, None) or ""
    parts = payload.removeprefix(f"{filters}/").split("/")
    if not payload.startswith(f"{filters}/") or len(parts) != 2:
        raise foreign_cursor()
    return {"at": parts[0], "after": parts[1]}
