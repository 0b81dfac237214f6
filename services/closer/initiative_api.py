"""Initiatives as people and tools meet them: one is begun, given cases, its answer prepared, and shipped.

Each verb holds the initiative's row; one that was shipped takes no more (409). Another workspace's is answered like one that does
not exist.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import text

from services.closer import initiatives
from services.closer.api import Language, Text
from services.closer.initiatives import Initiative
from services.closer.lists import DEFAULT_LIMIT, MAX_LIMIT, foreign_cursor, plain, read_limit
from services.closer.lookups import name_of
from services.closer.records import is_uuid
from services.closer.shipping import gather, ship
from services.closer.shown import InitiativeCasePage, InitiativePage, InitiativeWhole
from services.closer.store import Effects, Unit
from services.closer.transactions import Driver
from shared.auth import Principal, needs
from shared.database import Database
from shared.events.feedback import Id, Label
from shared.links import Links
from shared.telemetry import get_logger
from shared.web.problems import Problem, invalid_field, not_found
from shared.web.routes import answers

MAX_CASES = 2_000
"""Of one initiative: they are answered in one transaction."""
MAX_AT_ONCE = 1_000
MAX_WORK = 50
CURSOR, CASES_CURSOR = "initiatives-cursor", "initiative-cases-cursor"
State = Literal["open", "shipped_upstream", "shipped"]
STATES: dict[State, str] = {
    "open": "shipped_at IS NULL",
    "shipped_upstream": "shipped_at IS NULL AND shipped_upstream",
    "shipped": "shipped_at IS NOT NULL",
}
_COLUMNS = "id, title, answer, language, work, shipped_upstream, cases, waiting, created_at, shipped_at"
_ONE = f"SELECT {_COLUMNS} FROM published.initiatives WHERE workspace = :workspace AND id = CAST(:id AS uuid)"  # noqa: S608
_STEPS = """
SELECT sequence, at, what, actor, reason FROM published.initiative_steps
WHERE workspace = :workspace AND initiative_id = CAST(:id AS uuid) ORDER BY sequence
"""

_log = get_logger("closer")

_Title = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
_Ids = Annotated[list[uuid.UUID], Field(max_length=MAX_AT_ONCE, description="Ids of cases, any of yours.")]


class WorkNamed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: Label = Field(description="As sources.yaml, or the event, names it.")
    work_id: Id = Field(description="As `work.shipped` names it: `JIRA-7`, `acme/app#12`.")


_Work = Annotated[
    list[WorkNamed],
    Field(
        max_length=MAX_WORK,
        description="What it is made of elsewhere: it is shipped upstream when all of it is. One issue may stand for several.",
    ),
]
_ANSWER = "What its customers get to read. Given beforehand, it is sent by itself when the last of the work is shipped."


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answer: Text | None = Field(None, description=_ANSWER)
    language: Language | None = None


class InitiativeBody(_Change):
    title: _Title
    work: _Work = []
    cases: _Ids = []


class InitiativeChange(_Change):
    """What is left out stays as it is; an answer of null is taken back."""

    title: _Title | None = None
    work: _Work | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("say what changes: title, work, answer or language")
        return self


class CasesBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cases: Annotated[_Ids, Field(min_length=1)]


class ShipBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answer: Text | None = Field(
        None, description="What its customers get to read; left out: the one that was prepared."
    )
    language: Language | None = None


_Id = Annotated[str, Path(description="The initiative's id.")]
_Limit = Annotated[str | None, Query(description=f"1 to {MAX_LIMIT}; {DEFAULT_LIMIT}.")]


def routes_for(unit: Unit, database: Database, links: Links) -> APIRouter:
    routes = APIRouter(tags=["initiatives"])
    reading = Annotated[Principal, Depends(needs("cases:read"))]
    writing = Annotated[Principal, Depends(needs("cases:write"))]
    lists = _Lists(database, links)
    verbs = _Verbs(unit)

    @routes.get("/v1/initiatives", **answers(InitiativePage))
    async def list_initiatives(
        principal: reading,
        state: Annotated[
            State | None,
            Query(description="`shipped_upstream`: all its work is shipped, and its customers are not told."),
        ] = None,
        cursor: str | None = None,
        limit: _Limit = None,
    ) -> dict[str, Any]:
        """Initiatives, the newest first."""
        return await lists.page(principal.workspace, state, cursor, read_limit(limit))

    @routes.post("/v1/initiatives", **answers(InitiativeWhole))
    async def begin_initiative(principal: writing, body: InitiativeBody) -> dict[str, Any]:
        """Begin one: one change that answers many cases."""
        return await lists.whole(principal.workspace, await verbs.begin(principal, body))

    @routes.get("/v1/initiatives/{initiative_id}", **answers(InitiativeWhole))
    async def one_initiative(initiative_id: _Id, principal: reading) -> dict[str, Any]:
        """One, with what happened to it."""
        return await lists.whole(principal.workspace, initiative_id)

    @routes.patch("/v1/initiatives/{initiative_id}", **answers(InitiativeWhole))
    async def change_initiative(initiative_id: _Id, principal: writing, body: InitiativeChange) -> dict[str, Any]:
        """Change its title, its work, or the answer that is prepared. Nothing is sent by it."""
        await verbs.change(principal, initiative_id, body)
        return await lists.whole(principal.workspace, initiative_id)

    @routes.get("/v1/initiatives/{initiative_id}/cases", **answers(InitiativeCasePage))
    async def cases_of_an_initiative(
        initiative_id: _Id, principal: reading, cursor: str | None = None, limit: _Limit = None
    ) -> dict[str, Any]:
        """Its cases, the oldest first."""
        return await lists.cases(principal.workspace, initiative_id, cursor, read_limit(limit))

    @routes.post("/v1/initiatives/{initiative_id}/cases", **answers(InitiativeWhole))
    async def add_cases(initiative_id: _Id, principal: writing, body: CasesBody) -> dict[str, Any]:
        """These cases are answered by it too. Those that are there already stay."""
        await verbs.add(principal, initiative_id, [str(one) for one in body.cases])
        return await lists.whole(principal.workspace, initiative_id)

    @routes.delete("/v1/initiatives/{initiative_id}/cases/{case_id}", **answers(InitiativeWhole))
    async def take_case_out(
        initiative_id: _Id, case_id: Annotated[str, Path(description="The case's id.")], principal: writing
    ) -> dict[str, Any]:
        """This case is not answered by it after all."""
        await verbs.take_out(principal, initiative_id, case_id)
        return await lists.whole(principal.workspace, initiative_id)

    @routes.post("/v1/initiatives/{initiative_id}/ship", **answers(InitiativeWhole))
    async def ship_initiative(initiative_id: _Id, principal: writing, body: ShipBody | None = None) -> dict[str, Any]:
        """It is there: its unfinished cases are resolved with this answer, and every customer is told once, however many of
        the cases are theirs. The same again changes nothing."""
        await verbs.ship(principal, initiative_id, body or ShipBody())
        return await lists.whole(principal.workspace, initiative_id)

    return routes


class _Lists:
    """Reads the views, like everybody else."""

    def __init__(self, database: Database, links: Links) -> None:
        self._database = database
        self._links = links

    async def page(self, workspace: str, state: State | None, cursor: str | None, limit: int) -> dict[str, Any]:
        where, values = "workspace = :workspace", dict[str, Any](workspace=workspace, limit=limit + 1)
        if state is not None:
            where += f" AND {STATES[state]}"
        if cursor is not None:
            where += " AND (created_at, id) < (CAST(CAST(:at AS text) AS timestamptz), CAST(:after AS uuid))"
            values["at"], values["after"] = self._after(CURSOR, cursor, state or "", 2)
        statement = (
            f"SELECT {_COLUMNS} FROM published.initiatives WHERE {where} ORDER BY created_at DESC, id DESC LIMIT :limit"  # noqa: S608
        )
        rows = await self._rows(statement, values)
        last = rows[limit - 1] if len(rows) > limit else None
        key = f"{state or ''}/{last['created_at'].isoformat()}/{last['id']}" if last is not None else None
        return self._listed(CURSOR, rows[:limit], key)

    async def cases(self, workspace: str, identity: str, cursor: str | None, limit: int) -> dict[str, Any]:
        await self.whole(workspace, identity)
        values: dict[str, Any] = {"workspace": workspace, "id": identity, "limit": limit + 1}
        after = ""
        if cursor is not None:
            after = " AND case_id > CAST(:after AS uuid)"
            (values["after"],) = self._after(CASES_CURSOR, cursor, identity, 1)
        statement = (
            "SELECT case_id, state, waits FROM published.initiative_cases WHERE workspace = :workspace"  # noqa: S608
            f" AND initiative_id = CAST(:id AS uuid){after} ORDER BY case_id LIMIT :limit"
        )
        rows = await self._rows(statement, values)
        key = f"{identity}/{rows[limit - 1]['case_id']}" if len(rows) > limit else None
        return self._listed(CASES_CURSOR, rows[:limit], key)

    async def whole(self, workspace: str, identity: str) -> dict[str, Any]:
        """Raises 404."""
        values = {"workspace": workspace, "id": identity}
        found = await self._rows(_ONE, values) if is_uuid(identity) else []
        if not found:
            raise _no_such()
        return plain(found[0]) | {"steps": [plain(row) for row in await self._rows(_STEPS, values)]}

    async def _rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        async with self._database.transaction() as connection:
            return list((await connection.execute(text(statement), values)).mappings())

    def _listed(self, kind: str, rows: Sequence[Any], key: str | None) -> dict[str, Any]:
        next_cursor = self._links.sign(kind, key) if key is not None else None
        return {"items": [plain(row) for row in rows], "next_cursor": next_cursor}

    def _after(self, kind: str, cursor: str, filters: str, parts: int) -> list[str]:
        payload = self._links.read(kind, cursor, None) or ""
        found = payload.removeprefix(f"{filters}/").split("/")
        if not payload.startswith(f"{filters}/") or len(found) != parts:
            raise foreign_cursor()
        return found


class _Verbs:
    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def begin(self, principal: Principal, body: InitiativeBody) -> str:
        """Its id."""
        one = Initiative(principal.workspace, str(uuid.uuid4()), body.title, body.answer, body.language, None)
        async with self._unit.work() as (driver, effects):
            who = await name_of(driver, principal)
            await initiatives.begin(driver, one, effects.now)
            await initiatives.names_work(driver, one, [(work.source, work.work_id) for work in body.work])
            await initiatives.step(driver, one, effects.now, "begun", who)
            await self._take(driver, effects, one, [str(case) for case in body.cases], who)
        _log.info("initiative.begun", initiative=one.id, cases=len(body.cases), actor=principal.key_id)
        return one.id

    async def change(self, principal: Principal, identity: str, body: InitiativeChange) -> None:
        async with self._held(principal, identity) as (driver, effects, one, who):
            given = {name: getattr(body, name) for name in body.model_fields_set}
            for name in ("title", "work"):
                if name in given and given[name] is None:
                    raise invalid_field(name, "cannot be null")
            given.pop("work", None)
            await initiatives.is_now(driver, one._replace(**given))
            if body.work is not None:
                await initiatives.names_work(driver, one, [(work.source, work.work_id) for work in body.work])
            await initiatives.step(driver, one, effects.now, "changed", who, ", ".join(sorted(body.model_fields_set)))
        _log.info("initiative.changed", initiative=identity, actor=principal.key_id)

    async def add(self, principal: Principal, identity: str, cases: Sequence[str]) -> None:
        async with self._held(principal, identity) as (driver, effects, one, who):
            await self._take(driver, effects, one, cases, who)

    async def take_out(self, principal: Principal, identity: str, case_id: str) -> None:
        async with self._held(principal, identity) as (driver, effects, one, who):
            if not is_uuid(case_id) or not await initiatives.lets_case_go(driver, one, case_id):
                raise not_found("the initiative has no such case")
            await initiatives.step(driver, one, effects.now, "case_taken_out", who, case_id)

    async def ship(self, principal: Principal, identity: str, body: ShipBody) -> None:
        async with self._held(principal, identity, shipped_too=True) as (driver, effects, one, who):
            answer = body.answer if body.answer is not None else one.answer
            language = body.language if body.answer is not None or body.language is not None else one.language
            if one.shipped_at is not None:
                if (answer, language) != (one.answer, one.language):
                    raise _shipped(one)
                return
            if answer is None:
                raise invalid_field("answer", "say what its customers get to read: none is prepared")
            effects.names = {principal.key_id: who}
            wanted = sorted(await initiatives.cases_of(driver, one))
            cases = await gather(self._unit, driver, one.workspace, wanted)
            await ship(self._unit, driver, effects, one, cases, answer, language, principal.key_id)
        _log.info("initiative.shipped", initiative=identity, cases=len(wanted), actor=principal.key_id)

    async def _take(self, driver: Driver, effects: Effects, one: Initiative, cases: Sequence[str], who: str) -> None:
        if not cases:
            return
        rows = await driver.fetch(
            "SELECT id::text FROM closer.case WHERE workspace = $1 AND id = ANY ($2::uuid[])", one.workspace, cases
        )
        if strange := sorted(set(cases) - {row["id"] for row in rows}):
            raise invalid_field("cases", f"{strange[0]} is not a case of yours")
        fresh = await initiatives.takes_cases(driver, one, cases)
        if len(await initiatives.cases_of(driver, one)) > MAX_CASES:
            raise invalid_field("cases", f"an initiative has at most {MAX_CASES:,}")
        if fresh:
            await initiatives.step(driver, one, effects.now, "cases_added", who, str(fresh))

    @asynccontextmanager
    async def _held(
        self, principal: Principal, identity: str, *, shipped_too: bool = False
    ) -> AsyncIterator[tuple[Driver, Effects, Initiative, str]]:
        """Raises 404, and 409 for one that was shipped."""
        async with self._unit.work() as (driver, effects):
            one = await initiatives.by_id(driver, principal.workspace, identity) if is_uuid(identity) else None
            if one is None:
                raise _no_such()
            if one.shipped_at is not None and not shipped_too:
                raise _shipped(one)
            yield driver, effects, one, await name_of(driver, principal)


def _no_such() -> Problem:
    return not_found("no initiative has this id")


def _shipped(one: Initiative) -> Problem:
    return Problem(
        409,
        "already-shipped",
        "It was shipped already.",
        f"“{one.title}” was shipped, and its customers have been told.",
    )
