"""The SLA board: for each team and policy what is to do, what is late, and how well promises were kept on both clocks.

Every number leads to the rows that it counted: those of cases to the queue, those of promises to `promises`. Both are asked
of indexes and of sums by day, so the board of a million cases costs what is unfinished and a month of days.
"""

from dataclasses import replace
from datetime import datetime

from fastapi import APIRouter, Request, Response

from services.console.board import CLOCKS, COUNTS, DAYS, TREND_DAYS, Board, board_of, days_until
from services.console.pages import Site
from services.console.pages.cases import SOON, UNFINISHED
from services.console.pages.signals import signals_up
from services.console.spark import segments
from services.console.staleness import Reason, stale

RESTS_AS = "cases"
"""The measure that rests on what the board rests on: what is owed an answer."""
# Nothing but columns of the queue's index (migration 0009): no case is read for it.
_QUEUE = f"""
SELECT team, policy, min(queue_at) FILTER (WHERE queue_at < '9999-01-01') AS due_at,
       {", ".join(f"count(*) FILTER (WHERE {UNFINISHED[name]}) AS {name}" for name in COUNTS)}
FROM published.cases WHERE workspace = :workspace AND unfinished GROUP BY team, policy
"""  # noqa: S608 - our own words only
_ATTAINMENT = """
SELECT team, policy, clock, day, sum(met)::bigint AS met, sum(missed)::bigint AS missed
FROM published.attainment WHERE workspace = :workspace AND day >= :since GROUP BY team, policy, clock, day
"""


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/sla")
    async def board(request: Request) -> Response:
        visit = await site.door.visit(request)
        found = await read_board(site, visit.workspace, visit.teams.names, visit.now)
        return site.pages.page(
            visit,
            "sla.html",
            board=found,
            counts=COUNTS,
            clocks=CLOCKS,
            days=DAYS,
            trend_days=TREND_DAYS,
            segments=segments,
            signals=await signals_up(site, visit.workspace),
        )

    return routes


async def read_board(site: Site, workspace: str, teams: tuple[str, ...], now: datetime) -> Board:
    queue = await site.queries.rows(_QUEUE, workspace=workspace, soon=now + SOON)
    attainment = await site.queries.rows(_ATTAINMENT, workspace=workspace, since=days_until(now)[0])
    board = board_of(queue, attainment, teams, now)
    known, all_gave = await site.freshness.of(workspace, None)
    _, gave = await site.freshness.of(workspace, "team")
    doubts: dict[str | None, tuple[Reason, ...]] = {}
    for by, gave, line in [(None, all_gave, board.total), *(("team", gave, line) for line in board.teams)]:
        doubts[line.team] = stale(known, gave, by, line.team, now).get(RESTS_AS, ())
    return replace(board, doubts=doubts)
