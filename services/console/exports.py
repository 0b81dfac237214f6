"""Files out: cases and feedback as CSV, JSONL or XLSX, read by a cursor and written as they are read. And which rows of
a file that is coming in are here already.

An export is one read-only transaction, so that it shows one moment. It may be as long as its reader is slow, within
`READER_MAX_PAUSE_S`; two at a time, for each holds a connection. One that fails on the way breaks the connection: what
ends properly is whole.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text

from services.console.judged import emotion_in, urgency_in
from services.console.queries import AS_READER
from services.console.shown import KnownImports
from shared.auth import Principal, needs
from shared.clock import YEARS
from shared.database import Database
from shared.errors import Transient
from shared.events.case import State
from shared.events.envelope import rfc3339
from shared.events.feedback import Kind
from shared.events.identity import delivery_id
from shared.files.exported import COLUMNS
from shared.files.written import MEDIA_TYPES, Format, XlsxFile, csv_head, csv_rows, jsonl_rows
from shared.runtime import Runtime
from shared.telemetry import get_logger
from shared.web.problems import Problem, malformed
from shared.web.routes import answers

CHUNK_ROWS = 500
CHUNK_BYTES = 1 << 16
AT_ONCE = 2
READER_MAX_PAUSE_S = 300
STATEMENT_MAX_S = 30
"""What the first row may take: it waits for the sorting."""
RETRY_AFTER_S = 10
MAX_Q_CHARS = 200
MAX_ASKED = 1_000
STATES: frozenset[str] = frozenset(get_args(State))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
What = Literal["cases", "feedback"]
_log = get_logger("console")

Rows = Sequence[Mapping[str, Any]]
Chunks = AsyncGenerator[Rows, None]
Parts = AsyncGenerator[bytes, None]

_Label = Annotated[str, Field(max_length=255)]


class Asked(BaseModel):
    """Which of these are known: source and external id each."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[tuple[_Label, _Label]], Field(max_length=MAX_ASKED)]


class Filters:
    """Conditions over a published view, and their values."""

    def __init__(self, workspace: str, view: str) -> None:
        self._view = view
        self.where = [f"{view}.workspace = :workspace"]
        self.values: dict[str, Any] = {"workspace": workspace}

    def equal(self, **columns: Any) -> "Filters":
        for column, value in columns.items():
            if value is not None:
                self.where.append(f"{self._view}.{column} = :{column}")
                self.values[column] = value
        return self

    def states(self, given: str | None) -> "Filters":
        if given:
            states = sorted(set(given.split(",")))
            if any(state not in STATES for state in states):
                raise malformed(f"state: the states are {', '.join(sorted(STATES))}")
            self.where.append(f"{self._view}.state = ANY(:states)")
            self.values["states"] = states
        return self

    def between(self, column: str, start: datetime | None, end: datetime | None) -> "Filters":
        for name, at, sign in (("from", start, ">="), ("to", end, "<")):
            if at is not None:
                self.where.append(f"{self._view}.{column} {sign} :{name}_")
                self.values[f"{name}_"] = _aware(at, name)
        return self

    def among(self, chosen: str, values: Mapping[str, Any]) -> "Filters":
        """Those whose ids that statement gives."""
        self.where.append(f"{self._view}.id IN ({chosen})")
        self.values |= values
        return self

    def words(self, given: str | None, condition: str) -> "Filters":
        if given:
            if len(given) > MAX_Q_CHARS:
                raise malformed(f"q: at most {MAX_Q_CHARS} characters")
            self.where.append(condition)
            self.values["q"] = "%" + re.sub(r"([\\%_])", r"\\\1", given) + "%"
        return self


_CASE_SAYS = """
(c.id IN (SELECT f.case_id FROM published.feedback f WHERE f.workspace = :workspace AND f.case_id IS NOT NULL
          AND (f.text ILIKE :q OR f.title ILIKE :q))
 OR c.id IN (SELECT t.case_id FROM published.timeline t WHERE t.workspace = :workspace AND t.words ILIKE :q))
"""
_CASES = """
SELECT c.*, f.title, f.text FROM published.cases c
LEFT JOIN published.feedback f ON f.workspace = c.workspace AND f.id = c.first_feedback_id
WHERE {where} ORDER BY c.id
"""
# Sorted by their keys alone, and looked up one by one as they are read: whole rows, texts and all, would have to be
# sorted on the disk before the first could be sent.
_FEEDBACK = """
SELECT whole.* FROM (SELECT f.id FROM published.feedback f WHERE {where} ORDER BY f.received_at, f.id OFFSET 0) AS key
CROSS JOIN LATERAL (
    SELECT f.id, f.workspace, f.received_at, f.occurred_at, f.team, f.tags, f.theme, f.kind, f.sentiment_label,
        f.sentiment_score, f.priority, f.language, f.confidence, f.decided_by, f.rule, f.ruleset_version, f.reasons,
        f.follow_up, f.history, f.case_id, b.body
    FROM published.feedback f JOIN published.bodies b ON b.workspace = f.workspace AND b.id = f.id
    WHERE f.workspace = :workspace AND f.id = key.id OFFSET 0
) AS whole
"""


class Exports:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._running = 0

    async def known(self, workspace: str, items: Sequence[tuple[str, str]]) -> list[int]:
        """The places of those that the view has seen, by the sender's id, or by ours, which an export gives them instead."""
        ids = [delivery_id("ext", workspace, source, external_id) for source, external_id in items]
        ours = [external_id for _, external_id in items if _UUID.fullmatch(external_id)]
        async with self._database.transaction() as connection:
            statement = (
                "SELECT id::text FROM published.feedback WHERE workspace = :w AND id = ANY(CAST(:ids AS uuid[]))"
            )
            await connection.execute(AS_READER)
            found = {row[0] for row in await connection.execute(text(statement), {"w": workspace, "ids": ids + ours})}
        return [index for index, one in enumerate(ids) if one in found or items[index][1] in found]

    async def file(self, what: What, form: Format, filters: Filters) -> Parts:
        """The file, chunk by chunk. Raises `Problem` 429, or `Transient`, before the first."""
        if self._running >= AT_ONCE:
            raise Problem(
                429,
                "too-many-requests",
                "Too many exports at once.",
                f"At most {AT_ONCE} at a time: ask again after {RETRY_AFTER_S} s.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        self._running += 1
        try:
            statement = (_CASES if what == "cases" else _FEEDBACK).format(where=" AND ".join(filters.where))
            async with aclosing(self._rows(statement, filters.values)) as chunks:
                written = _xlsx(what, chunks) if form == "xlsx" else _lines(what, form, chunks)
                async with aclosing(written) as parts:
                    async for part in parts:
                        yield part
        finally:
            self._running -= 1

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> Chunks:
        async with self._database.transaction() as connection:
            await connection.execute(AS_READER)
            limits = f"SET LOCAL idle_in_transaction_session_timeout = '{READER_MAX_PAUSE_S}s'"
            await connection.execute(text(limits))
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_MAX_S}s'"))
            result = await connection.stream(text(statement), values, execution_options={"yield_per": CHUNK_ROWS})
            async for rows in result.mappings().partitions(CHUNK_ROWS):
                yield [dict(row) for row in rows]


async def _lines(what: What, form: Format, chunks: Chunks) -> Parts:
    columns = COLUMNS[what]
    if form == "csv":
        yield csv_head(columns)
    async for rows in chunks:
        if form == "csv":
            yield await asyncio.to_thread(csv_rows, columns, rows)
        else:
            yield await asyncio.to_thread(_documents, what, rows)


async def _xlsx(what: What, chunks: Chunks) -> Parts:
    """A workbook is written whole before its first byte is known."""
    with tempfile.TemporaryDirectory(prefix="flywheel-export-") as folder:
        path = Path(folder) / "export.xlsx"
        file = XlsxFile(path, what, COLUMNS[what])
        async for rows in chunks:
            await asyncio.to_thread(file.add, rows)
        await asyncio.to_thread(file.close)
        with await asyncio.to_thread(path.open, "rb") as written:
            while part := await asyncio.to_thread(written.read, CHUNK_BYTES):
                yield part


def _documents(what: What, rows: Rows) -> bytes:
    return jsonl_rows([_feedback(row) if what == "feedback" else _case(row) for row in rows])


def _feedback(row: Mapping[str, Any]) -> dict[str, Any]:
    """As a routed topic holds it, and its case."""
    routing = {
        name: row[name]
        for name in ("team", "tags", "theme", "kind", "priority", "language", "confidence", "decided_by", "rule",
                     "ruleset_version", "follow_up", "history", "reasons")
    }  # fmt: skip
    routing["sentiment"] = {"label": row["sentiment_label"], "score": row["sentiment_score"]}
    routing["emotion"], routing["urgency"] = emotion_in(row["reasons"]), urgency_in(row["reasons"])
    ours = {"id": str(row["id"]), "received_at": _plain(row["received_at"]), "workspace": row["workspace"]}
    body: dict[str, Any] = row["body"]
    return ours | body | {"routing": routing, "case_id": _plain(row["case_id"])}


def _case(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column.name: _plain(row[column.path[0]]) for column in COLUMNS["cases"]}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value.astimezone(UTC))
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _aware(at: datetime, name: str) -> datetime:
    if at.tzinfo is None:
        raise malformed(f"{name}: a time needs a zone, such as 2026-10-01T00:00:00Z")
    if at.year not in YEARS:
        raise malformed(f"{name}: must lie in the years {YEARS.start} to {YEARS.stop - 1}")
    return at.astimezone(UTC)


# ── routes ──

_From = Annotated[datetime | None, Query(alias="from", description="RFC 3339")]
_To = Annotated[datetime | None, Query(description="RFC 3339")]


def _feedback_asked(
    team: str | None = None,
    source: str | None = None,
    kind: Kind | None = None,
    customer: str | None = None,
    q: str | None = None,
    from_: _From = None,
    to: _To = None,
) -> Callable[[str], Filters]:
    """By the address; of which workspace, whoever lets in says."""

    def of(workspace: str) -> Filters:
        filters = Filters(workspace, "f").equal(team=team, source=source, kind=kind, customer=customer)
        return filters.between("received_at", from_, to).words(q, "(f.text ILIKE :q OR f.title ILIKE :q)")

    return of


FeedbackAsked = Annotated[Callable[[str], Filters], Depends(_feedback_asked)]


async def answered(exports: Exports, what: What, form: Format, filters: Filters, now: datetime) -> StreamingResponse:
    parts = exports.file(what, form, filters)
    first = await anext(parts, b"")  # before anything is answered: what is wrong at the start has its own answer

    async def whole() -> Parts:
        async with aclosing(parts):
            yield first
            try:
                async for part in parts:
                    yield part
            except Transient as error:  # on from here: the server ends the connection, which the client notices
                _log.warning("export.cut", what=what, form=form, reason=str(error))
                raise

    name = f"{what}-{filters.values['workspace']}-{now:%Y%m%dT%H%M%SZ}.{form}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(whole(), media_type=MEDIA_TYPES[form], headers=headers)


def routes_for(runtime: Runtime, exports: Exports) -> APIRouter:
    routes = APIRouter(tags=["files"])

    @routes.get("/v1/export/cases.{form}", response_class=StreamingResponse)
    async def cases(
        form: Format,
        principal: Annotated[Principal, Depends(needs("cases:read"))],
        team: str | None = None,
        state: str | None = None,
        assignee: str | None = None,
        customer: str | None = None,
        breached: bool | None = None,
        q: str | None = None,
        from_: _From = None,
        to: _To = None,
    ) -> StreamingResponse:
        """Every case, by the filters of `GET /v1/cases`; `from` and `to`: when it was opened."""
        filters = Filters(principal.workspace, "c")
        filters.equal(team=team, assignee=assignee, customer=customer, breached=breached).states(state)
        filters.between("opened_at", from_, to).words(q, _CASE_SAYS)
        return await answered(exports, "cases", form, filters, runtime.clock.now())

    @routes.get("/v1/export/feedback.{form}", response_class=StreamingResponse)
    async def feedback(
        form: Format,
        principal: Annotated[Principal, Depends(needs("feedback:read"))],
        asked: FeedbackAsked,
    ) -> StreamingResponse:
        """What was said, and what was decided about it; `from` and `to`: when it was received. It can be imported again."""
        return await answered(exports, "feedback", form, asked(principal.workspace), runtime.clock.now())

    @routes.post("/v1/imports/known", **answers(KnownImports))
    async def known(
        body: Asked, principal: Annotated[Principal, Depends(needs("feedback:read"))]
    ) -> dict[str, list[int]]:
        """Which of these pieces of feedback are here already: their places in `items`."""
        return {"known": await exports.known(principal.workspace, body.items)}

    return routes
