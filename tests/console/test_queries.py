"""Measures counted by the database: over rows written by hand, under the published views' own names and types."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.console.bases import BYS, By, counting
from services.console.figures import figures, to_json
from services.console.metrics import Unit
from services.console.queries import UNITS, Queries
from services.console.render import words
from shared.database import Database

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=31)
NO_SCORES: Mapping[str, int] = {}


class Views:
    """The views as tables, so that a row can be put there by its columns' names."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.queries = Queries(database)

    async def replace(self) -> None:
        async with self._database.transaction() as connection:
            for view in ("feedback", "cases", "clocks"):
                await connection.execute(text(f"CREATE TABLE kept AS SELECT * FROM published.{view}"))
                await connection.execute(text(f"DROP VIEW published.{view} CASCADE"))
                await connection.execute(text("ALTER TABLE kept SET SCHEMA published"))
                await connection.execute(text(f"ALTER TABLE published.kept RENAME TO {view}"))
                await connection.execute(text(f"GRANT SELECT ON published.{view} TO flywheel_console"))

    async def said(
        self,
        who: str | None,
        day: int,
        *,
        team: str = "support",
        source: str = "app",
        scores: Mapping[str, int] = NO_SCORES,
        case: str | None = None,
    ) -> str:
        made = str(uuid.uuid4())
        given = [{"metric": metric, "value": value} for metric, value in scores.items()]
        await self._insert(
            "INSERT INTO published.feedback (workspace, id, received_at, source, customer, team, tags, scores, case_id)"
            " VALUES ('default', CAST(:id AS uuid), :at, :source, :who, :team, ARRAY['a', 'b'], CAST(:scores AS jsonb),"
            " CAST(:case AS uuid))",
            case=case, id=made, at=_day(day), source=source, who=who, team=team, scores=json.dumps(given),
        )  # fmt: skip
        return made

    async def case(self, first: str, **columns: Any) -> None:
        """That this feedback opened."""
        values = {
            "id": str(uuid.uuid4()),
            "state": "open",
            "opened_at": _day(0),
            "reopened_count": 0,
            "history": False,
        } | columns
        names = ", ".join(values)
        await self._insert(
            f"INSERT INTO published.cases (workspace, first_feedback_id, {names})"
            f" VALUES ('default', CAST(:first AS uuid), {', '.join(':' + name for name in values)})",
            first=first, **values,
        )  # fmt: skip
        await self._insert(
            "UPDATE published.feedback SET case_id = CAST(:id AS uuid) WHERE id = CAST(:first AS uuid)",
            first=first, id=values["id"],
        )  # fmt: skip

    async def measured(self, by: By | None = None) -> dict[str | None, dict[str, Any]]:
        rows = await self.queries.measures("default", START, END, by)
        return {
            row["group_name"]: {name: to_json(figure, words("en")) for name, figure in figures(row, {}).items()}
            for row in rows
        }

    async def _insert(self, statement: str, **values: Any) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(text(statement), values)


def _day(number: int) -> datetime:
    return START + timedelta(days=number)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    yield made
    await made.close()


@pytest.fixture
async def views(database: Database) -> Views:
    made = Views(database)
    await made.replace()
    return made


def share(found: dict[str, Any], name: str) -> tuple[int, int]:
    return found[name]["numerator"], found[name]["denominator"]


async def test_shares_count_what_they_name_and_stay_within_it(views: Views) -> None:
    await views.case(
        await views.said("told", 0), state="confirmed", resolved_at=_day(1), first_told_at=_day(2), confirmed_at=_day(3)
    )
    await views.said("told", 5)
    await views.case(await views.said("reopened", 0), state="reopened", reopened_count=1)
    await views.case(await views.said("waits", 0))
    await views.said("waits", 1)
    await views.case(
        await views.said("silent", 0), state="assumed", resolved_at=_day(1), first_told_at=_day(2), assumed_at=_day(16)
    )
    await views.said("silent", 4, source="loop")
    await views.case(await views.said(None, 0))
    await views.case(await views.said("imported", 0), history=True)
    await views.case(await views.said("merged", 0), state="merged")
    found = (await views.measured())[None]
    assert found["feedback"]["value"] == 10
    assert found["cases"]["value"] == 5, "neither history nor what was merged away"
    assert share(found, "closed_loop_rate") == (2, 5)
    assert share(found, "confirmed_rate") == (1, 2)
    assert share(found, "assumed_rate") == (1, 2)
    assert share(found, "reopen_rate") == (1, 3), "what was reopened had been resolved"
    assert share(found, "flywheel_rate_told") == (1, 2), "an answer on the loop's page is no new feedback"
    assert share(found, "flywheel_rate_not_told") == (1, 3)


async def test_who_answers_who_writes_again_and_what_was_late(views: Views) -> None:
    answers, again = str(uuid.uuid4()), str(uuid.uuid4())
    first = await views.said("answers", 0, case=answers)
    await views.case(first, id=answers, state="confirmed", resolved_at=_day(1), first_told_at=_day(2), breached=False)
    await views.said("answers", 3, source="loop", case=answers)
    await views.said("answers", 4, case=answers)  # after having been told: no sign of an answer too late
    first = await views.said("again", 0, case=again)
    await views.case(first, id=again, state="notified", resolved_at=_day(5), first_told_at=_day(6), breached=True)
    await views.said("again", 2, case=again)
    await views.said("again", 3, case=again)
    await views.case(await views.said("waits", 0), breached=True)
    found = (await views.measured())[None]
    assert share(found, "response_rate") == (1, 2)
    assert share(found, "repeat_contact_rate") == (1, 3)
    assert share(found, "escalation_rate") == (2, 3)


async def test_a_rescue_is_a_later_and_higher_score_of_the_same_kind(views: Views) -> None:
    for who, later in (("higher", {"nps": 9}), ("same", {"nps": 3}), ("another", {"stars": 5}), ("never", {})):
        await views.said(who, 1, scores={"nps": 3})
        if later:
            await views.said(who, 2, scores=later)
    await views.said("before", 1, scores={"nps": 9})
    await views.said("before", 2, scores={"nps": 3})
    found = (await views.measured())[None]
    assert share(found, "rescue_rate") == (1, 5)
    assert found["nps"] == {"value": pytest.approx(100 * (2 - 6) / 8), "denominator": 8, "of": "nps answers"}


async def test_groups(views: Views) -> None:
    await views.case(await views.said("a", 0, team="product"), first_told_at=_day(1))
    await views.case(await views.said("b", 0, team="sales"))
    by_team = await views.measured("team")
    assert {team: share(found, "closed_loop_rate") for team, found in by_team.items()} == {
        "product": (1, 1),
        "sales": (0, 1),
    }
    assert {tag: found["feedback"]["value"] for tag, found in (await views.measured("tag")).items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("by", [None, *BYS])
async def test_no_row_is_looked_up_for_each_row(database: Database, unit: Unit, by: By | None) -> None:
    """Over five thousand customers a look-up for each took eleven seconds, and the statement's time was up."""
    async with database.transaction() as connection:
        values = {"workspace": "default", "start": START, "end": END}
        plan = [row[0] for row in (await connection.execute(text("EXPLAIN " + counting(unit, by)), values)).all()]
    per_row = [line for line in plan if "SubPlan" in line and "hashed" not in line]
    # Each feedback's own tags, out of the row at hand, are the view's.
    assert len(per_row) <= 1, "\n".join(plan)
