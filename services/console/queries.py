"""SELECT from the published views, and from nothing else, in read-only transactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from services.console.metrics import SURVEYS
from shared.database import Database

Rows = Sequence[dict[str, Any]]

# What measures can be cut by: the expression over a feedback row `f`.
GROUPS = {
    "team": "f.team",
    "source": "f.source",
    "tier": "f.tier",
    "language": "f.language",
    "tag": "tag.name",
}


class Queries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def _rows(self, query: str, **values: Any) -> Rows:
        async with self._database.transaction() as connection:
            await connection.execute(text("SET TRANSACTION READ ONLY"))
            return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]

    async def feedback(self, workspace: str, feedback_id: str) -> dict[str, Any] | None:
        rows = await self._rows(
            "SELECT * FROM published.feedback WHERE workspace = :workspace AND id = CAST(:id AS uuid)",
            workspace=workspace,
            id=feedback_id,
        )
        return rows[0] if rows else None

    async def decisions(self, workspace: str, feedback_id: str) -> Rows:
        return await self._rows(
            "SELECT * FROM published.decisions WHERE workspace = :workspace AND id = CAST(:id AS uuid) ORDER BY at",
            workspace=workspace,
            id=feedback_id,
        )

    async def case(self, workspace: str, case_id: str) -> dict[str, Any]:
        rows = await self._rows(
            "SELECT * FROM published.cases WHERE workspace = :workspace AND id = CAST(:id AS uuid)",
            workspace=workspace,
            id=case_id,
        )
        return rows[0]

    async def timeline(self, workspace: str, case_id: str) -> Rows:
        return await self._rows(
            "SELECT * FROM published.timeline WHERE workspace = :workspace AND case_id = CAST(:id AS uuid) ORDER BY sequence",
            workspace=workspace,
            id=case_id,
        )

    async def notifications(self, workspace: str, case_id: str) -> Rows:
        return await self._rows(
            "SELECT * FROM published.notifications WHERE workspace = :workspace AND case_id = CAST(:id AS uuid)"
            " ORDER BY created_at",
            workspace=workspace,
            id=case_id,
        )

    async def measures(self, workspace: str, start: datetime, end: datetime, by: str | None) -> Rows:
        """One row a group (one of all without `by`), with the counts that `metrics` makes measures of."""
        group = GROUPS[by] if by else "NULL::text"
        tags = " CROSS JOIN LATERAL unnest(f.tags) AS tag(name)" if by == "tag" else ""
        return await self._rows(
            _MEASURES.format(group=group, tags=tags, surveys=_surveys()), workspace=workspace, start=start, end=end
        )


def _surveys() -> str:
    """The aggregates of each survey metric over exploded scores `s`."""
    parts = []
    for metric in SURVEYS:
        only = f"FILTER (WHERE s.metric = '{metric}')"
        parts.append(f"count(*) {only} AS {metric}_count, avg(s.value) {only} AS {metric}_mean")
    parts += [
        "count(*) FILTER (WHERE s.metric = 'nps' AND s.value >= 9) AS nps_promoters",
        "count(*) FILTER (WHERE s.metric = 'nps' AND s.value <= 6) AS nps_detractors",
        "count(*) FILTER (WHERE s.metric = 'csat' AND s.value >= 4) AS csat_good",
        "count(*) FILTER (WHERE s.metric = 'hmd' AND s.value >= 1) AS hmd_good",
    ]
    return ", ".join(parts)


# No look-up for each row: what is asked of every customer is one aggregate, joined, so that the time grows as the rows do.
# What is told, confirmed or assumed is asked of the first answer: a case whose customer said no was told all the same. A
# clock runs from when the feedback was received, not from when we came to it. A case that was merged into another
# customer's is owed its own telling.
# A customer without an id counts as one for each piece of feedback. History is counted as feedback, never as cases
# owed an answer. "Low": nps ≤ 6, csat and stars ≤ 2, ces ≤ 3, hmd 0; rescued: a later score of the same metric above it. Whose customer
# was told was asked on the loop's page; what they say there is feedback whose source is `loop`, and no repeated contact.
_MEASURES = """
WITH f AS MATERIALIZED (
    SELECT *, coalesce(customer, id::text) AS who FROM published.feedback
    WHERE workspace = :workspace AND received_at >= :start AND received_at < :end
), grouped AS (
    SELECT {group} AS grp, f.* FROM f{tags}
), events AS (
    SELECT grp, count(*) AS feedback, count(DISTINCT who) AS customers FROM grouped GROUP BY grp
), scored AS (
    SELECT g.grp, g.who, g.received_at, s->>'metric' AS metric, (s->>'value')::float8 AS value
    FROM grouped g CROSS JOIN LATERAL jsonb_array_elements(g.scores) AS s
), surveys AS (
    SELECT grp, {surveys} FROM scored s GROUP BY grp
), low AS (
    SELECT grp, who, metric, min(received_at) AS at, min(value) AS value FROM scored
    WHERE (metric = 'nps' AND value <= 6) OR (metric IN ('csat', 'stars') AND value <= 2)
       OR (metric = 'ces' AND value <= 3) OR (metric = 'hmd' AND value = 0)
    GROUP BY grp, who, metric
), rescue AS (
    SELECT low.grp, count(DISTINCT low.who) AS customers_unhappy, count(DISTINCT later.who) AS customers_rescued
    FROM low LEFT JOIN scored later ON later.who = low.who AND later.metric = low.metric
        AND later.received_at > low.at AND later.value > low.value
    GROUP BY low.grp
), heard AS (
    SELECT who, max(received_at) AS last FROM f WHERE source <> 'loop' GROUP BY who
), c AS (
    SELECT g.grp, g.who, g.received_at AS since, k.* FROM grouped g
    JOIN published.cases k ON k.workspace = :workspace AND k.first_feedback_id = g.id
    LEFT JOIN published.cases t ON t.workspace = :workspace AND t.id = k.merged_into
    WHERE NOT k.history AND (k.state <> 'merged' OR t.customer <> k.customer)
), cased AS (
    SELECT grp, count(*) AS cases,
           count(DISTINCT who) AS customers_owed,
           count(DISTINCT who) FILTER (WHERE first_told_at IS NOT NULL) AS customers_told,
           count(*) FILTER (WHERE first_told_at IS NOT NULL) AS cases_told,
           count(*) FILTER (WHERE confirmed_at IS NOT NULL) AS cases_confirmed,
           count(*) FILTER (WHERE assumed_at IS NOT NULL AND confirmed_at IS NULL) AS cases_assumed,
           count(*) FILTER (WHERE resolved_at IS NOT NULL OR reopened_count > 0) AS cases_answered,
           count(*) FILTER (WHERE reopened_count > 0) AS cases_reopened,
           count(*) FILTER (WHERE breached) AS cases_breached,
           count(acknowledged_at) AS acknowledge_timed,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM acknowledged_at - since)) AS acknowledge_p50,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM acknowledged_at - since)) AS acknowledge_p90,
           count(resolved_at) AS resolve_timed,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM resolved_at - since)) AS resolve_p50,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM resolved_at - since)) AS resolve_p90,
           count(first_told_at) AS tell_customer_timed,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM first_told_at - since)) AS tell_customer_p50,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM first_told_at - since)) AS tell_customer_p90
    FROM c GROUP BY grp
), joined AS (
    SELECT case_id, id, received_at, source FROM published.feedback
    WHERE workspace = :workspace AND received_at >= :start AND case_id IS NOT NULL
), contacted AS (
    SELECT grp, count(*) FILTER (WHERE repeated) AS cases_repeated, count(*) FILTER (WHERE responded) AS cases_responded
    FROM (
        SELECT c.grp, bool_or(j.source = 'loop') AND min(c.first_told_at) IS NOT NULL AS responded,
               bool_or(j.source <> 'loop' AND j.id <> c.first_feedback_id
                       AND (c.first_told_at IS NULL OR j.received_at < c.first_told_at)) AS repeated
        FROM c JOIN joined j ON j.case_id = c.id GROUP BY c.grp, c.id
    ) contacts GROUP BY grp
), wheel AS (
    SELECT grp,
           count(*) FILTER (WHERE first_told_at IS NOT NULL) AS told_customers,
           count(*) FILTER (WHERE first_told_at IS NOT NULL AND again_after_told) AS told_again,
           count(*) FILTER (WHERE first_told_at IS NULL) AS not_told_customers,
           count(*) FILTER (WHERE first_told_at IS NULL AND again) AS not_told_again
    FROM (
        SELECT o.grp, o.first_told_at, heard.last > o.first_told_at AS again_after_told, heard.last > o.since AS again
        FROM (SELECT grp, who, min(first_told_at) AS first_told_at, min(since) AS since FROM c GROUP BY grp, who) o
        LEFT JOIN heard ON heard.who = o.who
    ) customers GROUP BY grp
), clocks AS (
    SELECT c.grp,
           count(*) FILTER (WHERE l.target = 'acknowledge' AND l.business_met) AS acknowledge_business_met,
           count(*) FILTER (WHERE l.target = 'acknowledge' AND l.business_met IS NOT NULL) AS acknowledge_business_settled,
           count(*) FILTER (WHERE l.target = 'acknowledge' AND l.wall_met) AS acknowledge_wall_met,
           count(*) FILTER (WHERE l.target = 'acknowledge' AND l.wall_met IS NOT NULL) AS acknowledge_wall_settled,
           count(*) FILTER (WHERE l.target = 'resolve' AND l.business_met) AS resolve_business_met,
           count(*) FILTER (WHERE l.target = 'resolve' AND l.business_met IS NOT NULL) AS resolve_business_settled,
           count(*) FILTER (WHERE l.target = 'resolve' AND l.wall_met) AS resolve_wall_met,
           count(*) FILTER (WHERE l.target = 'resolve' AND l.wall_met IS NOT NULL) AS resolve_wall_settled,
           count(*) FILTER (WHERE l.target = 'tell_customer' AND l.business_met) AS tell_customer_business_met,
           count(*) FILTER (WHERE l.target = 'tell_customer' AND l.business_met IS NOT NULL) AS tell_customer_business_settled,
           count(*) FILTER (WHERE l.target = 'tell_customer' AND l.wall_met) AS tell_customer_wall_met,
           count(*) FILTER (WHERE l.target = 'tell_customer' AND l.wall_met IS NOT NULL) AS tell_customer_wall_settled
    FROM c JOIN published.clocks l ON l.workspace = :workspace AND l.case_id = c.id GROUP BY c.grp
)
SELECT events.grp AS group_name, events.feedback, events.customers, surveys.*, rescue.*, cased.*, contacted.*, wheel.*, clocks.*
FROM events
LEFT JOIN surveys ON surveys.grp IS NOT DISTINCT FROM events.grp
LEFT JOIN rescue ON rescue.grp IS NOT DISTINCT FROM events.grp
LEFT JOIN cased ON cased.grp IS NOT DISTINCT FROM events.grp
LEFT JOIN contacted ON contacted.grp IS NOT DISTINCT FROM events.grp
LEFT JOIN wheel ON wheel.grp IS NOT DISTINCT FROM events.grp
LEFT JOIN clocks ON clocks.grp IS NOT DISTINCT FROM events.grp
ORDER BY events.feedback DESC, events.grp
"""
