"""Open cases go to whom the rules in force would give them: as one batch with an id, which can be taken back.

The closer knows no rules: whoever asks for it (`flywheel rules reown`) reads the cases that nobody has taken here, has the router
decide about each anew, and says which go where. A case goes only if it is as it was read: unfinished, with its team, taken
by nobody, and never given to a team by a person, who knows better than rules. Nothing is learnt from it. Taken back, a case goes to
the team that it had, unless somebody has touched it since.
"""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.closer.case import decide
from services.closer.commands import Reassign
from services.closer.lists import DEFAULT_LIMIT, MAX_LIMIT
from services.closer.lookups import name_of
from services.closer.shown import OpenPage, Reowned, ReownedPage
from services.closer.store import Unit
from services.closer.transactions import Driver
from shared.auth import Principal, needs
from shared.events.envelope import rfc3339
from shared.events.feedback import When
from shared.telemetry import get_logger
from shared.web.problems import invalid_field, not_found
from shared.web.routes import answers

MAX_CASES = 2_000
"""Of one request, and of one transaction; a batch may have many."""
NEWEST = 100

# A case that a person gave to a team has such a step; the service's own say `system`, and those of a batch are in `reowned`.
_GIVEN = """
EXISTS (SELECT FROM closer.timeline t WHERE t.case_id = c.id AND t.what = 'reassigned' AND t.actor <> 'system'
    AND NOT EXISTS (SELECT FROM closer.reowned r WHERE r.case_id = c.id AND t.sequence IN (r.sequence, r.undone_sequence)))
"""
_OPEN = f"""
SELECT c.id::text, c.team, f.value::text AS value FROM closer.case c
JOIN closer.feedback f ON f.workspace = c.workspace AND f.id = c.first_feedback_id
WHERE c.workspace = $1 AND c.unfinished AND c.assignee IS NULL AND c.opened_at >= $2
    AND NOT coalesce((c.data->>'history')::boolean, false) AND ($3::uuid IS NULL OR c.id > $3) AND NOT {_GIVEN}
ORDER BY c.id LIMIT $4
"""  # noqa: S608 - our own words
_FREE = f"SELECT c.id::text FROM closer.case c WHERE c.id = ANY ($1::uuid[]) AND NOT {_GIVEN}"  # noqa: S608
_BATCH = """
INSERT INTO closer.reowning (id, workspace, at, by, why) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING
"""
_MOVED = """
INSERT INTO closer.reowned (batch, case_id, before, after, sequence)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::int[])
"""
_TO_UNDO = """
SELECT r.case_id::text, r.before, r.after, r.sequence FROM closer.reowned r
WHERE r.batch = $1 AND r.undone_sequence IS NULL AND NOT r.stays ORDER BY r.case_id LIMIT $2 FOR UPDATE
"""
_TOUCHED = """
SELECT DISTINCT t.case_id::text FROM closer.timeline t
JOIN unnest($1::uuid[], $2::int[]) AS n (case_id, sequence) ON t.case_id = n.case_id AND t.sequence > n.sequence
WHERE t.actor NOT IN ('system', 'customer')
"""
_UNDONE = """
UPDATE closer.reowned r SET undone_sequence = n.sequence, stays = n.sequence IS NULL
FROM unnest($2::uuid[], $3::int[]) AS n (case_id, sequence) WHERE r.batch = $1 AND r.case_id = n.case_id
"""
_BATCHES = """
SELECT b.id::text, b.at, b.by, b.why, count(r.*) AS cases, count(r.undone_sequence) AS undone,
    count(*) FILTER (WHERE r.stays) AS stay
FROM closer.reowning b LEFT JOIN closer.reowned r ON r.batch = b.id WHERE b.workspace = $1
GROUP BY b.id ORDER BY b.at DESC LIMIT $2
"""

_log = get_logger("closer")


class OneCase(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: UUID
    before: str = Field(alias="from", max_length=63)
    after: str = Field(alias="to", max_length=63)


class ReownBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    batch: UUID = Field(description="Yours: several requests of one batch carry the same.")
    why: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="A sentence for the timelines, without anybody's name: it goes to the topic too."
    )
    cases: Annotated[list[OneCase], Field(min_length=1, max_length=MAX_CASES)]


def routes_for(unit: Unit, teams: Callable[[], frozenset[str]]) -> APIRouter:
    routes = APIRouter(tags=["cases"])
    reading = Annotated[Principal, Depends(needs("cases:read"))]
    writing = Annotated[Principal, Depends(needs("cases:write"))]

    @routes.get("/v1/reownings/open", **answers(OpenPage))
    async def open_cases(
        principal: reading,
        since: Annotated[When, Query(description="Opened then or later.")],
        cursor: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    ) -> dict[str, Any]:
        """Unfinished cases that nobody has taken and no person gave to a team, each with the feedback that opened it."""
        async with unit.transactions.begin() as driver:
            rows = await driver.fetch(_OPEN, principal.workspace, since, cursor, limit)
        items = [{"id": row["id"], "team": row["team"], "feedback": _as_it_came(row["value"])} for row in rows]
        return {"items": items, "next_cursor": items[-1]["id"] if len(items) == limit else None}

    @routes.get("/v1/reownings", **answers(ReownedPage))
    async def batches(principal: reading) -> dict[str, Any]:
        """The newest batches."""
        async with unit.transactions.begin() as driver:
            rows = await driver.fetch(_BATCHES, principal.workspace, NEWEST)
        return {"items": [{**row, "at": rfc3339(row["at"])} for row in rows], "next_cursor": None}

    @routes.post("/v1/reownings", **answers(Reowned))
    async def reown(principal: writing, body: ReownBody) -> dict[str, Any]:
        """These cases go to another team, each if it is as it was read. `left`: those that are not any more."""
        strange = sorted({one.after for one in body.cases} - teams())
        if strange:
            raise invalid_field("cases", f"there is no team {strange[0]!r}")
        moved, left = await _reown(unit, principal, body)
        _log.info("cases.reowned", batch=str(body.batch), moved=len(moved), left=len(left), actor=principal.key_id)
        return {"batch": str(body.batch), "moved": moved, "left": left}

    @routes.post("/v1/reownings/{batch}/undo", **answers(Reowned))
    async def undo(batch: UUID, principal: writing) -> dict[str, Any]:
        """The batch's cases go back to the teams that they had; `left`: those that somebody has touched since."""
        back: list[str] = []
        left: list[str] = []
        while found := await _undo(unit, principal, str(batch)):
            back += found[0]
            left += found[1]
        _log.info("cases.reowned_back", batch=str(batch), moved=len(back), left=len(left), actor=principal.key_id)
        return {"batch": str(batch), "moved": back, "left": left}

    return routes


async def _reown(unit: Unit, principal: Principal, body: ReownBody) -> tuple[list[str], list[str]]:
    batch, actor = str(body.batch), principal.key_id
    wanted = {str(one.id): one for one in body.cases}
    async with unit.work() as (driver, effects):
        name = await name_of(driver, principal)
        effects.names = {actor: name}
        await driver.execute(_BATCH, batch, principal.workspace, effects.now, name, body.why)
        await _owned(driver, principal, batch)
        cases = await unit.cases.by_id(driver, sorted(wanted))
        free = {row["id"] for row in await driver.fetch(_FREE, list(cases))}
        moved = []
        for identity, held in cases.items():
            one, case = wanted[identity], held.case
            if case.workspace != principal.workspace or not case.unfinished or identity not in free:
                continue
            if case.team == one.before != one.after and case.assignee is None:
                effects.record(held, decide(case, Reassign(one.after, reason=body.why), effects.now, actor))
                moved.append((identity, one.before, one.after, held.case.sequence))
        if moved:
            await driver.execute(_MOVED, batch, *zip(*moved, strict=True))
    done = [identity for identity, *_ in moved]
    return done, sorted(wanted.keys() - set(done))


async def _undo(unit: Unit, principal: Principal, batch: str) -> tuple[list[str], list[str]] | None:
    """Some of the batch: (went back, stay). None when there are no more."""
    actor = principal.key_id
    async with unit.work() as (driver, effects):
        effects.names = {actor: await name_of(driver, principal)}
        why = await _owned(driver, principal, batch)
        rows = {row["case_id"]: row for row in await driver.fetch(_TO_UNDO, batch, MAX_CASES)}
        if not rows:
            return None
        sequences = [row["sequence"] for row in rows.values()]
        cases = await unit.cases.by_id(driver, list(rows))
        touched = {row["case_id"] for row in await driver.fetch(_TOUCHED, list(rows), sequences)}
        back: dict[str, int | None] = {}
        for identity, row in rows.items():
            held = cases.get(identity)
            back[identity] = None
            if held is not None and identity not in touched and held.case.unfinished and held.case.team == row["after"]:
                command = Reassign(row["before"], reason=f"taken back: {why}")
                effects.record(held, decide(held.case, command, effects.now, actor))
                back[identity] = held.case.sequence
        await driver.execute(_UNDONE, batch, list(back), list(back.values()))
    went = [identity for identity, sequence in back.items() if sequence is not None]
    return went, [identity for identity, sequence in back.items() if sequence is None]


async def _owned(driver: Driver, principal: Principal, batch: str) -> str:
    """Why it was done. Raises 404 for another workspace's."""
    why: str | None = await driver.fetchval(
        "SELECT why FROM closer.reowning WHERE id = $1 AND workspace = $2", batch, principal.workspace
    )
    if why is None:
        raise not_found("no batch has this id")
    return why


def _as_it_came(value: str) -> dict[str, Any]:
    """The event without its routing."""
    found: dict[str, Any] = msgspec.json.decode(value)
    return {name: member for name, member in found.items() if name != "routing"}
