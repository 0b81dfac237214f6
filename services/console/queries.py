"""SELECT from the published views, and from nothing else: the database holds us to it."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, get_args
from uuid import UUID

from asyncpg import InternalClientError
from sqlalchemy import text

from services.console.bases import By, Part, counting, listing, tally
from services.console.metrics import Measure, Unit
from services.console.rhythm import DAYS
from services.console.staleness import CAUSES
from services.console.volume import HOURS
from shared.database import Database
from shared.errors import Transient
from shared.habits import TELLING
from shared.web.problems import Problem

Rows = Sequence[dict[str, Any]]
UNITS: tuple[Unit, ...] = get_args(Unit)
COUNTS_AT_ONCE = 2
"""A count may take long, and its connection is one of those that everybody here shares."""
WAIT_S = 10.0
COUNT_MAX_S = 20.0
SHARES_LOOKED_AT = (1 / 512, 1 / 64, 1 / 8, 1)
"""Of the span, from its end. What is read in vain is an eighth and less of what is read at last."""
QUERY_CANCELED = "57014"
"""SQLSTATE of a statement whose time was up."""

AS_READER = text("SELECT set_config('transaction_read_only', 'on', true), set_config('role', 'flywheel_console', true)")
"""Makes of a transaction one that may read the views, and do nothing else."""


class Queries:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts = asyncio.Semaphore(COUNTS_AT_ONCE)

    async def rows(self, query: str, /, **values: Any) -> Rows:
        """As a role that may read the views and do nothing else, in a transaction that may write nothing."""
        async with self._database.transaction() as connection:
            await connection.execute(AS_READER)
            return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]

    async def feedback(self, workspace: str, feedback_id: str) -> dict[str, Any] | None:
        rows = await self.rows(
            "SELECT * FROM published.feedback WHERE workspace = :workspace AND id = CAST(:id AS uuid)",
            workspace=workspace,
            id=feedback_id,
        )
        return rows[0] if rows else None

    async def said(self, workspace: str, feedback_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """By its id, what was said in each of these that is there."""
        rows = await self.rows(
            "SELECT id, title, text, language FROM published.feedback"
            " WHERE workspace = :workspace AND id = ANY(CAST(:ids AS uuid[]))",
            workspace=workspace,
            ids=list(feedback_ids),
        )
        return {str(row["id"]): row for row in rows}

    async def decisions(self, workspace: str, feedback_id: str) -> Rows:
        return await self.rows(
            "SELECT * FROM published.decisions WHERE workspace = :workspace AND id = CAST(:id AS uuid) ORDER BY at",
            workspace=workspace,
            id=feedback_id,
        )

    async def news(self, workspace: str, event_id: str) -> Rows:
        """What became of the news that a ticket was moved, shipped or declined; none while nothing did."""
        return await self.rows(
            "SELECT * FROM published.news WHERE workspace = :workspace AND id = CAST(:id AS uuid) AND outcome IS NOT NULL",
            workspace=workspace,
            id=event_id,
        )

    async def case(self, workspace: str, case_id: str) -> dict[str, Any]:
        rows = await self.rows(
            "SELECT * FROM published.cases WHERE workspace = :workspace AND id = CAST(:id AS uuid)",
            workspace=workspace,
            id=case_id,
        )
        return rows[0]

    async def timeline(self, workspace: str, case_id: str) -> Rows:
        return await self.rows(
            "SELECT * FROM published.timeline WHERE workspace = :workspace AND case_id = CAST(:id AS uuid) ORDER BY sequence",
            workspace=workspace,
            id=case_id,
        )

    async def notifications(self, workspace: str, case_id: str) -> Rows:
        return await self.rows(
            "SELECT * FROM published.notifications WHERE workspace = :workspace AND case_id = CAST(:id AS uuid)"
            " ORDER BY created_at",
            workspace=workspace,
            id=case_id,
        )

    async def measures(self, workspace: str, start: datetime, end: datetime, by: By | None) -> Rows:
        """One row a group (one of all without `by`), with what `figures` makes figures of. All units at one moment."""
        values = _of_the_span(workspace, (start, end))
        found: dict[str | None, dict[str, Any]] = {}
        async with self._counting() as count:
            for unit in UNITS:
                for row in await count(counting(unit, by), values):
                    found.setdefault(row["group_name"], {}).update(row)
        return sorted(found.values(), key=lambda row: (-row["feedback_of"], row["group_name"] or ""))

    async def listed(
        self,
        measure: Measure,
        part: Part,
        workspace: str,
        span: tuple[datetime, datetime],
        group: tuple[By, str | None] | None,
        after: tuple[datetime, UUID, str] | None,
        limit: int,
    ) -> Rows:
        """The rows that a number counted, the newest first: looked for in ever longer ends of the span, for where there
        are many, the page is full soon."""
        by, name = group or (None, None)
        values = _of_the_span(workspace, span) | {"limit": limit} | _of_the_group(name)
        until = span[1]
        if after is not None:
            values |= dict(zip(("at", "id", "part"), after, strict=True))
            until = min(until, after[0] + timedelta(microseconds=1))
        statement = listing(measure, part, by, named=name is not None, after=after is not None)
        found: Rows = ()
        async with self._counting() as count:
            for part_of_it in SHARES_LOOKED_AT:
                since = max(span[0], until - (span[1] - span[0]) * part_of_it)
                found = await count(statement, values | {"since": since, "until": until})
                if len(found) == limit or since == span[0]:
                    break
        return found

    async def how_many(
        self,
        measure: Measure,
        part: Part,
        workspace: str,
        span: tuple[datetime, datetime],
        group: tuple[By, str | None] | None,
    ) -> int:
        """Of those rows there are in all."""
        by, name = group or (None, None)
        values = _of_the_span(workspace, span) | _of_the_group(name)
        async with self._counting() as count:
            rows = await count(tally(measure, part, by, named=name is not None), values)
        return int(rows[0]["listed"])

    @asynccontextmanager
    async def _counting(self) -> AsyncIterator[Callable[[str, Mapping[str, Any]], Awaitable[Rows]]]:
        """For statements over as many rows as a span has, all at one moment and together within `COUNT_MAX_S`.

        Raises `Problem` where others count already, or it takes too long."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._counts.acquire()
        except TimeoutError:
            raise Problem(
                429,
                "too-many-requests",
                "Others are counting already.",
                f"At most {COUNTS_AT_ONCE} counts at a time: ask again after {WAIT_S:.0f} s.",
                headers={"Retry-After": f"{WAIT_S:.0f}"},
            ) from None
        try:
            async with self._database.transaction() as connection:
                await connection.execute(_AT_ONE_MOMENT)
                await connection.execute(AS_READER)
                await connection.execute(_FOR_MANY_ROWS)
                until = asyncio.get_running_loop().time() + COUNT_MAX_S

                async def count(statement: str, values: Mapping[str, Any]) -> Rows:
                    left_ms = max(1, int(1000 * (until - asyncio.get_running_loop().time())))
                    await connection.execute(_AT_MOST, {"ms": str(left_ms)})
                    return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]

                yield count
        except Transient as error:
            if _time_was_up(error):
                raise Problem(
                    422,
                    "invalid-request",
                    "This takes too long to count.",
                    f"Choose a shorter span: a count may take {COUNT_MAX_S:.0f} seconds.",
                ) from error
            raise
        finally:
            self._counts.release()

    async def heard(self, workspace: str, now: datetime) -> Rows:
        """Of each source that ever was heard of, what `rhythm` judges it by; the last heard first."""
        return await self.rows(_HEARD, workspace=workspace, since=now - timedelta(days=DAYS))

    async def hours(self, workspace: str, end: datetime) -> Rows:
        """Of each source that may have habits, how much came in which hour before `end`, as `volume` takes it."""
        since = end - timedelta(hours=HOURS)
        return await self.rows(_HOURS, workspace=workspace, since=since, until=end, least=math.ceil(TELLING))

    async def gave(self, workspace: str, sources: Sequence[str], by: By | None, now: datetime) -> Rows:
        """Of each of these sources and each group, what it gave within `rhythm.DAYS` (`staleness.CAUSES`)."""
        causes = ", ".join(f"bool_or({made_of}) AS {column}" for made_of, column in CAUSES.items())
        group, tags = {None: ("NULL::text", ""), "tag": ("tag.name", _TAGS)}.get(by, (by, ""))
        return await self.rows(
            _GAVE.format(group=group, tags=tags, causes=causes),
            workspace=workspace,
            sources=list(sources),
            since=now - timedelta(days=DAYS),
        )


def _of_the_span(workspace: str, span: tuple[datetime, datetime]) -> dict[str, Any]:
    start, end = span
    return {"workspace": workspace, "start": start, "end": end}


def _of_the_group(name: str | None) -> dict[str, Any]:
    return {} if name is None else {"group": name}


def _time_was_up(error: Transient) -> bool:
    """Whether the server ended the statement, also where asyncpg cannot say so.

    The server counts from Parse to Sync, and asyncpg (0.32) sends no Sync between Parse and Bind: time that is up
    between the two is an answer that nobody waits for, and the next call an `InternalClientError`."""
    orig = getattr(error.__cause__, "orig", None)
    return getattr(orig, "sqlstate", None) == QUERY_CANCELED or isinstance(
        getattr(orig, "__cause__", None), InternalClientError
    )


_AT_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
_AT_MOST = text("SELECT set_config('statement_timeout', :ms, true)")
# On any disk of today the blocks of a stretch of time are read quicker than the whole table; what is added up stays in
# memory; and a case's clocks, out of its own value, are found again by nothing shorter than that value.
_FOR_MANY_ROWS = text(
    "SELECT set_config('random_page_cost', '1.1', true), set_config('work_mem', '64MB', true),"
    " set_config('enable_memoize', 'off', true)"
)
_HEARD = """
SELECT s.source, s.last_at, coalesce(h.events, 0) AS events, coalesce(h.hours, 0) AS hours, h.first_hour, h.longest
FROM published.sources s LEFT JOIN (
    SELECT source, sum(events)::bigint AS events, count(*) AS hours, min(hour) AS first_hour, max(hour - before) AS longest
    FROM (SELECT source, hour, sum(events) AS events, lag(hour) OVER (PARTITION BY source ORDER BY hour) AS before
          FROM published.heard WHERE workspace = :workspace AND hour >= :since GROUP BY source, hour) AS hourly
    GROUP BY source) AS h USING (source)
WHERE s.workspace = :workspace ORDER BY s.last_at DESC
"""
_HOURS = """
SELECT source, array_agg(ago) AS ago, array_agg(events) AS events
FROM (SELECT source, (extract(epoch FROM CAST(:until AS timestamptz) - hour) / 3600)::integer - 1 AS ago,
             sum(events)::bigint AS events
      FROM published.heard WHERE workspace = :workspace AND hour >= :since AND hour < :until
      GROUP BY source, hour) AS hourly
GROUP BY source HAVING sum(events) >= :least
"""
_TAGS = " CROSS JOIN LATERAL unnest(tags) AS tag(name)"
_GAVE = """
SELECT source, {group} AS group_name, {causes} FROM published.feedback{tags}
WHERE workspace = :workspace AND received_at >= :since AND source = ANY(:sources) AND NOT history GROUP BY 1, 2
"""
