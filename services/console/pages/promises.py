"""The promises that a number of the SLA board counted: when each was kept or broken, on which clock, for which case.

The address holds the same filters as the number, so it is the number's list; `count` says it again, from the same sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from services.console.board import CLOCKS, DAYS, TARGETS, Attained, Clock, days_until
from services.console.pages import Site
from services.console.queries import Rows
from services.console.render import query
from services.console.visit import Visit
from shared.web.problems import malformed

PAGE = 50
Kept = Literal["", "yes", "no"]

# Each team and policy in its own index's order, and of all of them the newest: none is read to be left out.
_ROWS = """
WITH grp AS (
    SELECT DISTINCT team, policy FROM published.attainment
    WHERE workspace = :workspace AND clock = :clock AND day >= :first AND day <= :last{groups}
), newest AS (
    SELECT s.* FROM grp CROSS JOIN LATERAL (
        SELECT team, policy, at, target, met, case_id, generation FROM published.settled
        WHERE workspace = :workspace AND team = grp.team AND policy = grp.policy AND clock = :clock
          AND at >= :since AND at < :until{rows}
        ORDER BY at DESC, case_id DESC, target DESC LIMIT :limit) AS s
    ORDER BY s.at DESC, s.case_id DESC, s.target DESC LIMIT :limit
)
SELECT n.*, c.language, c.state, f.title, left(f.text, 200) AS text FROM newest n
LEFT JOIN published.cases c ON c.workspace = :workspace AND c.id = n.case_id
LEFT JOIN published.feedback f ON f.workspace = :workspace AND f.id = c.first_feedback_id
ORDER BY n.at DESC, n.case_id DESC, n.target DESC
"""
_DAYS = """
SELECT day, sum(met)::bigint AS met, sum(missed)::bigint AS missed FROM published.attainment
WHERE workspace = :workspace AND clock = :clock AND day >= :first AND day <= :last{groups}{target} GROUP BY day ORDER BY day DESC
"""
_AFTER = " AND (at, case_id, target) < (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid), :after_target)"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for. Whatever is no value of ours is as if it were not there."""

    clock: Clock
    team: str
    policy: str
    target: str
    kept: Kept
    day: date | None

    @classmethod
    def read(cls, given: QueryParams) -> "Asked":
        clock: Clock = "wall" if given.get("clock") == "wall" else "business"
        kept: Kept = "yes" if given.get("kept") == "yes" else "no" if given.get("kept") == "no" else ""
        target = given.get("target", "")
        return cls(
            clock,
            given.get("team", ""),
            given.get("policy", ""),
            target if target in TARGETS else "",
            kept,
            _day(given.get("day", "")),
        )

    @property
    def parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def days(self, visit: Visit) -> tuple[date, date]:
        """The first and the last."""
        days = days_until(visit.now)
        return (self.day, self.day) if self.day is not None else (days[0], days[-1])


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/sla/promises")
    async def promises(request: Request, after: str = "") -> Response:
        visit = await site.door.visit(request)
        asked = Asked.read(request.query_params)
        days = await _days(site, visit, asked)
        rows = await _rows(site, visit, asked, after)
        return site.pages.page(
            visit,
            "promises.html",
            asked=asked,
            clocks=CLOCKS,
            targets=TARGETS,
            days=days,
            span=DAYS,
            count=sum((attained for _, attained in days), Attained()),
            rows=rows[:PAGE],
            more=query(asked.parts, after=_cursor(rows[PAGE - 1])) if len(rows) > PAGE else None,
            first=query(asked.parts) if after else None,
        )

    return routes


async def _days(site: Site, visit: Visit, asked: Asked) -> list[tuple[date, Attained]]:
    """The newest first; those on which nothing was decided are left out."""
    target = " AND target = :target" if asked.target else ""
    statement = _DAYS.format(groups=_groups(asked), target=target)
    rows = await site.queries.rows(statement, **_values(visit, asked))
    return [(row["day"], Attained(row["met"], row["missed"])) for row in rows]


async def _rows(site: Site, visit: Visit, asked: Asked, after: str) -> Rows:
    where = {"yes": " AND met", "no": " AND NOT met", "": ""}[asked.kept]
    values = _values(visit, asked) | {"limit": PAGE + 1}
    first, last = asked.days(visit)
    values["since"] = datetime.combine(first, time(), UTC)
    values["until"] = datetime.combine(last + timedelta(days=1), time(), UTC)
    if asked.target:
        where += " AND target = :target"
    if after:
        where += _AFTER
        values |= _read_cursor(after)
    return await site.queries.rows(_ROWS.format(groups=_groups(asked), rows=where), **values)


def _groups(asked: Asked) -> str:
    return (" AND team = :team" if asked.team else "") + (" AND policy = :policy" if asked.policy else "")


def _values(visit: Visit, asked: Asked) -> dict[str, Any]:
    first, last = asked.days(visit)
    named = {"team": asked.team, "policy": asked.policy, "target": asked.target}
    given = {name: value for name, value in named.items() if value}
    return {"workspace": visit.workspace, "clock": asked.clock, "first": first, "last": last, **given}


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 <= found.year < 2200 else None


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{row['at'].isoformat()}~{row['case_id']}~{row['target']}"


def _read_cursor(after: str) -> dict[str, Any]:
    """Raises 400."""
    moment, _, rest = after.partition("~")
    case_id, _, target = rest.partition("~")
    try:
        return {
            "after_at": datetime.fromisoformat(moment).astimezone(UTC),
            "after_id": str(UUID(case_id)),
            "after_target": target,
        }
    except (ValueError, OverflowError):
        raise malformed("after: take it from the link to the next page") from None
