"""Signals as JSON: which are up, which were, and the feedback that one of them is made of."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.closer.lists import DEFAULT_LIMIT, MAX_LIMIT, foreign_cursor, plain, read_limit
from services.closer.records import is_uuid
from shared.auth import Principal, needs
from shared.database import Database
from shared.events.signal import TagCount, Test
from shared.links import Links
from shared.web.problems import malformed, not_found
from shared.web.routes import answers

STATES = ("up", "passed")
CURSOR, FEEDBACK_CURSOR = "signals-cursor", "signal-feedback-cursor"
_COLUMNS = (
    "id, name, by, nullif(group_name, '') AS group, team, watchers, reason, test, metric,"
    " extract(epoch FROM within)::int AS window_s, from_at AS since, raised_at, resolved_at, came AS count, number AS mean,"
    " expected, threshold, latest, latest_number AS latest_mean, feedback, cases, customers, tags"
)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignalShown(_Answer):
    id: UUID
    name: str = Field(description="Of `signals:` in routing.yaml.")
    by: str | None = Field(description="What it is counted by.")
    group: str | None = Field(description="The value of it that this is about.")
    team: str
    watchers: list[str]
    reason: str = Field(description="A sentence: why it is up, or how it passed.")
    test: Test
    metric: str | None
    window_s: int
    since: datetime = Field(description="What it counts came after this.")
    raised_at: datetime
    resolved_at: datetime | None = Field(description="null: it is up.")
    count: int = Field(description="In the window when it was raised.")
    mean: float | None = Field(description="Of the metric, then.")
    expected: float | None = Field(
        description="What is usual: a count in the same hours of past weeks, or a mean; null: the limit is fixed."
    )
    threshold: float
    latest: int = Field(description="In the window that ended at the last look.")
    latest_mean: float | None
    feedback: int = Field(description="How many pieces of feedback belong to it.")
    cases: int
    customers: int
    tags: list[TagCount] = Field(description="Those that most of it has.")


class SignalPage(_Answer):
    items: list[SignalShown]
    next_cursor: str | None


class SignalFeedback(_Answer):
    feedback_id: UUID
    case_id: UUID | None
    at: datetime


class SignalFeedbackPage(_Answer):
    items: list[SignalFeedback] = Field(description="In the order in which it came.")
    next_cursor: str | None


_Id = Annotated[str, Path(description="The signal's id.")]
_Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
_Limit = Annotated[str | None, Query(description=f"1 to {MAX_LIMIT}; {DEFAULT_LIMIT}.")]
_Reader = Annotated[Principal, Depends(needs("cases:read"))]


def routes_for(database: Database, links: Links) -> APIRouter:
    routes = APIRouter(tags=["signals"])

    @routes.get("/v1/signals", **answers(SignalPage))
    async def list_signals(
        principal: _Reader,
        state: Annotated[str | None, Query(description=f"One of {', '.join(STATES)}; without it, both.")] = None,
        team: Annotated[str | None, Query(description="Whose they are, or who watches them.")] = None,
        cursor: _Cursor = None,
        limit: _Limit = None,
    ) -> dict[str, Any]:
        """What came too often, the newest first."""
        if state is not None and state not in STATES:
            raise malformed(f"state: one of {', '.join(STATES)}")
        size, filters = read_limit(limit), f"{state or ''}/{team or ''}"
        where, values = ["workspace = :workspace"], {"workspace": principal.workspace, "limit": size + 1}
        if state is not None:
            where.append(f"resolved_at IS {'NOT ' if state == 'passed' else ''}NULL")
        if team is not None:
            where.append("(team = :team OR CAST(:team AS text) = ANY (watchers))")
            values["team"] = team
        if cursor is not None:
            where.append("(raised_at, id) < (CAST(CAST(:at AS text) AS timestamptz), CAST(:after AS uuid))")
            values |= _after(links, CURSOR, cursor, filters)
        statement = f"SELECT {_COLUMNS} FROM published.signals WHERE {' AND '.join(where)}"  # noqa: S608
        async with database.transaction() as connection:
            rows = await _rows(connection, f"{statement} ORDER BY raised_at DESC, id DESC LIMIT :limit", values)
        return _page(links, CURSOR, filters, rows, size, "raised_at", "id")

    @routes.get("/v1/signals/{signal_id}", **answers(SignalShown))
    async def one_signal(signal_id: _Id, principal: _Reader) -> dict[str, Any]:
        """One, as it is."""
        async with database.transaction() as connection:
            return await _one(connection, principal.workspace, signal_id)

    @routes.get("/v1/signals/{signal_id}/feedback", **answers(SignalFeedbackPage))
    async def feedback_of_a_signal(
        signal_id: _Id, principal: _Reader, cursor: _Cursor = None, limit: _Limit = None
    ) -> dict[str, Any]:
        """What it is made of: the feedback that was counted, and what came while it was up, each with its case."""
        size = read_limit(limit)
        values: dict[str, Any] = {"workspace": principal.workspace, "id": signal_id, "limit": size + 1}
        after = ""
        if cursor is not None:
            values |= _after(links, FEEDBACK_CURSOR, cursor, signal_id)
            after = " AND (at, feedback_id) > (CAST(CAST(:at AS text) AS timestamptz), CAST(:after AS uuid))"
        async with database.transaction() as connection:
            await _one(connection, principal.workspace, signal_id)
            statement = (
                "SELECT feedback_id, case_id, at FROM published.signal_feedback"  # noqa: S608
                f" WHERE workspace = :workspace AND signal_id = CAST(:id AS uuid){after}"
                " ORDER BY at, feedback_id LIMIT :limit"
            )
            rows = await _rows(connection, statement, values)
        return _page(links, FEEDBACK_CURSOR, signal_id, rows, size, "at", "feedback_id")

    return routes


async def _one(connection: AsyncConnection, workspace: str, signal_id: str) -> dict[str, Any]:
    """Raises 404."""
    statement = f"SELECT {_COLUMNS} FROM published.signals WHERE workspace = :workspace AND id = CAST(:id AS uuid)"  # noqa: S608
    found = None
    if is_uuid(signal_id):
        found = next(iter(await _rows(connection, statement, {"workspace": workspace, "id": signal_id})), None)
    if found is None:
        raise not_found("no signal has this id")
    return plain(found)


async def _rows(connection: AsyncConnection, statement: str, values: dict[str, Any]) -> list[Any]:
    return list((await connection.execute(text(statement), values)).mappings())


def _page(links: Links, kind: str, filters: str, rows: list[Any], size: int, at: str, identity: str) -> dict[str, Any]:
    last = rows[size - 1] if len(rows) > size else None
    key = f"{filters}/{last[at].isoformat()}/{last[identity]}" if last is not None else None
    return {
        "items": [plain(row) for row in rows[:size]],
        "next_cursor": links.sign(kind, key) if key is not None else None,
    }


def _after(links: Links, kind: str, cursor: str, filters: str) -> dict[str, Any]:
    payload = links.read(kind, cursor, None) or ""
    parts = payload.removeprefix(f"{filters}/").split("/")
    if not payload.startswith(f"{filters}/") or len(parts) != 2:
        raise foreign_cursor()
    return {"at": parts[0], "after": parts[1]}
