"""Initiatives: one change that answers many cases, the work that it is made of, and what happened to it.

One that was shipped is finished: nothing of it changes any more. Whoever changes one, or sends its answer, holds its row, and takes
those of its cases after it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from services.closer.transactions import Driver

_COLUMNS = "i.workspace, i.id::text, i.title, i.answer, i.language, i.shipped_at"
_BY_ID = f"SELECT {_COLUMNS} FROM closer.initiative i WHERE workspace = $1 AND id = $2 FOR UPDATE"  # noqa: S608 - our own words
_OF_WORK = f"""
SELECT {_COLUMNS} FROM closer.initiative i WHERE EXISTS (
    SELECT FROM closer.initiative_work w WHERE w.workspace = i.workspace AND w.initiative_id = i.id
        AND w.source = $2 AND w.work_id = $3) AND i.workspace = $1
ORDER BY i.id FOR UPDATE
"""  # noqa: S608
_CASES = "SELECT case_id::text FROM closer.initiative_case WHERE workspace = $1 AND initiative_id = $2"
_SHIPPED_UPSTREAM = """
SELECT coalesce(bool_and(upstream IS NOT DISTINCT FROM 'shipped'), false) FROM published.initiative_work
WHERE workspace = $1 AND initiative_id = $2
"""
_STEP = """
WITH i AS (UPDATE closer.initiative SET steps = steps + 1 WHERE workspace = $1 AND id = $2 RETURNING steps)
INSERT INTO closer.initiative_step (workspace, initiative_id, sequence, at, what, actor, reason)
SELECT $1, $2, steps, $3, $4, $5, $6 FROM i
"""
_WORK = """
INSERT INTO closer.initiative_work (workspace, initiative_id, source, work_id)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[]) ON CONFLICT DO NOTHING
"""
_NEW_CASES = """
INSERT INTO closer.initiative_case (workspace, initiative_id, case_id) SELECT $1, $2, unnest($3::uuid[]) ON CONFLICT DO NOTHING
"""


class Initiative(NamedTuple):
    """One whose row we hold."""

    workspace: str
    id: str
    title: str
    answer: str | None
    """What its customers will get to read, or got."""
    language: str | None
    shipped_at: datetime | None


async def begin(driver: Driver, one: Initiative, now: datetime) -> None:
    await driver.execute(
        "INSERT INTO closer.initiative (workspace, id, title, answer, language, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        *one[:5],
        now,
    )


async def by_id(driver: Driver, workspace: str, identity: str) -> Initiative | None:
    row = await driver.fetchrow(_BY_ID, workspace, identity)
    return Initiative(*row) if row is not None else None


async def of_work(driver: Driver, workspace: str, source: str, work_id: str) -> list[Initiative]:
    """Those that name it, shipped ones too."""
    return [Initiative(*row) for row in await driver.fetch(_OF_WORK, workspace, source, work_id)]


async def cases_of(driver: Driver, one: Initiative) -> list[str]:
    return [row["case_id"] for row in await driver.fetch(_CASES, one.workspace, one.id)]


async def wants_shipping(driver: Driver, one: Initiative) -> bool:
    """Whether all its work has been shipped, and nobody was told."""
    return one.shipped_at is None and bool(await driver.fetchval(_SHIPPED_UPSTREAM, one.workspace, one.id))


async def names_work(driver: Driver, one: Initiative, work: Iterable[tuple[str, str]]) -> None:
    """This work from now on, and no other."""
    await driver.execute(
        "DELETE FROM closer.initiative_work WHERE workspace = $1 AND initiative_id = $2", one.workspace, one.id
    )
    sources, ids = [], []
    for source, work_id in work:
        sources.append(source)
        ids.append(work_id)
    await driver.execute(_WORK, one.workspace, one.id, sources, ids)


async def takes_cases(driver: Driver, one: Initiative, cases: Sequence[str]) -> int:
    """How many were not there already."""
    done = await driver.execute(_NEW_CASES, one.workspace, one.id, cases)
    return int(done.rpartition(" ")[2])


async def lets_case_go(driver: Driver, one: Initiative, case_id: str) -> bool:
    done = await driver.execute(
        "DELETE FROM closer.initiative_case WHERE workspace = $1 AND initiative_id = $2 AND case_id = $3",
        one.workspace,
        one.id,
        case_id,
    )
    return bool(done.endswith(" 1"))


async def is_now(driver: Driver, one: Initiative) -> None:
    """Its title, its answer and whether it was shipped, as they are here."""
    await driver.execute(
        "UPDATE closer.initiative SET title = $3, answer = $4, language = $5, shipped_at = $6 WHERE workspace = $1 AND id = $2",
        *one,
    )


async def step(driver: Driver, one: Initiative, now: datetime, what: str, actor: str, reason: str = "") -> None:
    """What happened to it, for its timeline."""
    await driver.execute(_STEP, one.workspace, one.id, now, what, actor, reason)
