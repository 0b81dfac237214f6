"""What measures are counted over: one relation for each unit, and the two statements made of it and of the measures. ●

A unit's relation has one row for each event, answer, customer, case, clock, contact or search that a span holds, of each group where it is
cut into groups. `at`, `id` and `part` name the row and give it its place in a list; `feedback_id` and `case_id` are where
it came from; what predicates need stands beside. `counting` adds up every measure of a unit in one statement, `listing`
gives the rows behind one number, a page at a time. Both are of the same relation and the same predicates: that is why a
number and its list agree.

What belongs to a span was received within it, whatever became of it since. Imported history is counted as feedback, never
as cases that are owed an answer; nor is a case that was merged into another one of the same customer's, who is told there.
"""

from collections.abc import Iterator
from typing import Literal, get_args

from services.console.metrics import MEASURES, Count, Mean, Measure, Percentiles, Ratio, Share, Unit

By = Literal["team", "source", "tag", "tier", "language"]
BYS: tuple[By, ...] = get_args(By)
Part = Literal["denominator", "numerator"]
PARTS: tuple[Part, ...] = get_args(Part)

# `said` is everything in the span, `f` the same in its groups; feedback with two tags is in two of them.
_SAID = """
said AS (
    SELECT id, received_at, coalesce(customer, id::text) AS who, source, case_id, scores, {column} AS cut
    FROM published.feedback
    WHERE workspace = :workspace AND {lately}
), f AS (
    SELECT said.*, {group} AS grp FROM said{groups}
)"""
_LATELY = "received_at >= :since AND received_at < :until"
# Of a customer's row all that they said in the span is needed, but of no customer who said nothing lately.
_WHO_SPOKE_LATELY = """received_at >= :start AND received_at < :end AND coalesce(customer, id::text) IN (
        SELECT coalesce(customer, id::text) FROM published.feedback
        WHERE workspace = :workspace AND received_at >= :since AND received_at < :until)"""
# The cases that feedback in the span opened. `CASE`, since the planner would multiply the odds of two conditions, and prepare
# for one row where there are as many as events. Kept apart, with nothing in it but what is asked for: a case's whole value
# must not be carried through what follows.
_OPENED = """, opened AS MATERIALIZED (
    SELECT f.grp, f.who, f.received_at AS at, k.id, f.id AS feedback_id, {of_cases}
           k.customer, k.merged_into, k.state = 'merged' AS merged
    FROM f JOIN published.cases k ON k.workspace = :workspace AND k.id = f.case_id
    WHERE CASE WHEN k.first_feedback_id = f.id THEN NOT k.history END
), c AS (
    SELECT opened.* FROM opened LEFT JOIN published.cases goes_on
        ON goes_on.workspace = :workspace AND goes_on.id = opened.merged_into
        AND goes_on.id IN (SELECT merged_into FROM opened WHERE merged)
    WHERE NOT opened.merged OR goes_on.customer <> opened.customer
)"""
# No look-up for each row: what is asked of every one is an aggregate, joined, so that the time grows as the rows do.
# "Repeated": the customer wrote again before they were told. What they say on the loop's page is feedback whose source is
# `loop`: an answer to us, and no repeated contact.
_JOINED = """, joined AS (
    SELECT c.id, bool_or(j.source = 'loop') AS on_page,
           bool_or(j.source <> 'loop' AND (c.first_told_at IS NULL OR j.received_at < c.first_told_at)) AS repeated
    FROM c JOIN published.feedback j
        ON j.workspace = :workspace AND j.received_at >= :start AND j.case_id = c.id AND j.id <> c.feedback_id
    GROUP BY c.id
)"""
# "Unhappy": nps ≤ 6, csat and stars ≤ 2, ces ≤ 3, hmd 0. "Rescued": a later score of the same metric above the lowest.
_CUSTOMERS = """, scored AS (
    SELECT who, received_at, score->>'metric' AS metric, (score->>'value')::float8 AS value
    FROM said CROSS JOIN LATERAL jsonb_array_elements(scores) AS score
), low AS (
    SELECT grp, who, metric, min(received_at) AS at, min(value) AS value FROM (
        SELECT grp, who, received_at, score->>'metric' AS metric, (score->>'value')::float8 AS value
        FROM f CROSS JOIN LATERAL jsonb_array_elements(scores) AS score) AS scores
    WHERE (metric = 'nps' AND value <= 6) OR (metric IN ('csat', 'stars') AND value <= 2)
       OR (metric = 'ces' AND value <= 3) OR (metric = 'hmd' AND value = 0)
    GROUP BY grp, who, metric
), unhappy AS (
    SELECT low.grp, low.who, bool_or(later.who IS NOT NULL) AS rescued
    FROM low LEFT JOIN scored later ON later.who = low.who AND later.metric = low.metric
        AND later.received_at > low.at AND later.value > low.value
    GROUP BY low.grp, low.who
), heard AS (
    SELECT who, max(received_at) AS at FROM said WHERE source <> 'loop' GROUP BY who
), owed AS (
    SELECT grp, who, min(at) AS since, min(first_told_at) AS told_at, max(id::text)::uuid AS case_id FROM c GROUP BY grp, who
), spoke AS (
    SELECT grp, who, max(received_at) AS at, (array_agg(id ORDER BY received_at DESC, id DESC))[1] AS id
    FROM f GROUP BY grp, who
)"""
# What customers do by themselves is of no team, tag or language, and its source is no source of feedback: it is counted of all
# together, and of no group ({whole}). Only channels of which somebody says that customers give up there have contacts: where
# there is none, `said` is not read.
_CONTACTS = """
gave_up AS (
    SELECT id, received_at AS at, customer AS who FROM published.activity
    WHERE workspace = :workspace AND activity = 'contact.abandoned' AND {lately}
      AND {whole}
), live AS MATERIALIZED (
    SELECT DISTINCT attributes->>'channel' AS channel FROM published.activity
    WHERE workspace = :workspace AND activity = 'contact.abandoned' AND received_at < :end AND {whole}
), reached AS (
    SELECT k.id, f.received_at AS at, coalesce(f.customer, f.id::text) AS who, f.id AS feedback_id
    FROM live JOIN published.feedback f ON f.channel = live.channel
    JOIN published.cases k ON k.workspace = :workspace AND k.id = f.case_id
    WHERE f.workspace = :workspace AND {lately}
      AND k.first_feedback_id = f.id AND NOT k.history
)"""
_SEARCHES = """
searched AS (
    SELECT id, received_at AS at, customer AS who, attributes->>'results' AS results FROM published.activity
    WHERE workspace = :workspace AND activity = 'help.searched' AND {lately} AND {whole}
)"""

_OF_CASES: dict[Unit, str] = {
    "cases": "k.acknowledged_at, k.resolved_at, k.first_told_at, k.confirmed_at, k.assumed_at, k.reopened_count, k.breached,",
    "customers": "k.first_told_at,",
}
_RELATIONS: dict[Unit, tuple[str, str]] = {
    "events": (
        _SAID,
        "SELECT grp, who, received_at AS at, id, '' AS part, id AS feedback_id, case_id FROM f",
    ),
    "answers": (
        _SAID,
        "SELECT grp, who, received_at AS at, id, n::text AS part, id AS feedback_id, case_id,"
        " score->>'metric' AS metric, (score->>'value')::float8 AS value"
        " FROM f CROSS JOIN LATERAL jsonb_array_elements(scores) WITH ORDINALITY AS s (score, n)",
    ),
    "cases": (
        _SAID + _OPENED + _JOINED,
        "SELECT c.*, '' AS part, c.id AS case_id, coalesce(joined.repeated, false) AS repeated,"
        " c.first_told_at IS NOT NULL AND coalesce(joined.on_page, false) AS responded"
        " FROM c LEFT JOIN joined ON joined.id = c.id",
    ),
    "clocks": (
        _SAID + _OPENED,
        "SELECT c.grp, c.who, c.at, c.id, l.target || '.' || l.generation AS part, c.feedback_id, c.id AS case_id,"
        " l.target, l.business_met, l.wall_met"
        " FROM c JOIN published.clocks l ON l.workspace = :workspace AND l.case_id = c.id",
    ),
    "customers": (
        _SAID + _OPENED + _CUSTOMERS,
        "SELECT spoke.grp, spoke.who, spoke.at, spoke.id, '' AS part, spoke.id AS feedback_id, owed.case_id,"
        " owed.who IS NOT NULL AS owed, owed.since AS owed_since, owed.told_at, heard.at AS heard_at,"
        " unhappy.who IS NOT NULL AS unhappy, unhappy.rescued"
        " FROM spoke LEFT JOIN heard ON heard.who = spoke.who"
        " LEFT JOIN owed ON owed.who = spoke.who AND owed.grp IS NOT DISTINCT FROM spoke.grp"
        " LEFT JOIN unhappy ON unhappy.who = spoke.who AND unhappy.grp IS NOT DISTINCT FROM spoke.grp",
    ),
    "contacts": (
        _CONTACTS,
        "SELECT NULL::text AS grp, who, at, id, '' AS part, NULL::uuid AS feedback_id, NULL::uuid AS case_id, true AS given_up"
        " FROM gave_up UNION ALL SELECT NULL::text, who, at, id, '', feedback_id, id, false FROM reached",
    ),
    "searches": (
        _SEARCHES,
        "SELECT NULL::text AS grp, who, at, id, '' AS part, NULL::uuid AS feedback_id, NULL::uuid AS case_id, results"
        " FROM searched",
    ),
}
DEEDS: frozenset[Unit] = frozenset({"contacts", "searches"})
"""Units whose rows may be what somebody did, and not said."""


def relation(unit: Unit, by: By | None, *, lately: bool = False) -> str:
    """A `WITH` list that ends in `counted`: every row of the span `:start` to `:end` in `:workspace`.

    `lately`: as they are there, but at least those of `:since` to `:until` within it, and not all of the others."""
    parts, rows = _RELATIONS[unit]
    cut = {
        None: {"column": "NULL::text", "group": "said.cut", "groups": ""},
        "tag": {
            "column": "tags",
            "group": "tag.name",
            "groups": " CROSS JOIN LATERAL (SELECT DISTINCT unnest(said.cut) AS name) AS tag",
        },
    }.get(by, {"column": by, "group": "said.cut", "groups": ""})
    since = _WHO_SPOKE_LATELY if unit == "customers" else _LATELY
    if not lately:
        since = _LATELY.replace(":since", ":start").replace(":until", ":end")
    ctes = parts.format(**cut, of_cases=_OF_CASES.get(unit, ""), whole="false" if by else "true", lately=since)
    # Kept apart from what is asked of its rows: pushed in, "told_at IS NULL" lets the planner expect one customer, and join
    # three thousand with three thousand one by one (five seconds).
    return f"WITH {ctes}, counted AS MATERIALIZED (\n{rows}\n)"


def counting(unit: Unit, by: By | None) -> str:
    """Every measure of the unit: one row a group, `group_name`; without groups one row."""
    columns = [f"{sql} AS {name}" for measure in MEASURES if measure.unit == unit for name, sql in _columns(measure)]
    return (
        f"{relation(unit, by)}\nSELECT {'grp' if by else 'NULL::text'} AS group_name, {', '.join(columns)}"
        f" FROM counted{' GROUP BY grp' if by else ''}"
    )


def listing(measure: Measure, part: Part, by: By | None, *, named: bool, after: bool) -> str:
    """The rows that a number counted, from `:since` on, the newest first, with what was said and the case as it is now.

    `:limit` of them, those `after` the row `:at`, `:id`, `:part`. With `by`: of the group `:group`, or (not `named`) of
    those that have none. `counted`: whether it is of the numerator."""
    where = [*_counts(measure, part, by, named=named), "at >= :since"]
    if after:
        where.append("(at, id, part) < (CAST(:at AS timestamptz), CAST(:id AS uuid), :part)")
    counted = measure.aggregate.counted if isinstance(measure.aggregate, Share) else "true"
    value = measure.aggregate.value if isinstance(measure.aggregate, Percentiles) else "NULL::float8"
    value = "value" if measure.unit == "answers" else value
    deed, did = "", "NULL::text AS activity, NULL::jsonb AS did, f.source"
    if measure.unit in DEEDS:
        deed = "LEFT JOIN published.activity a ON a.workspace = :workspace AND a.id = page.id"
        did = "a.activity, a.attributes AS did, coalesce(f.source, a.source) AS source"
    return f"""{relation(measure.unit, by, lately=True)}, page AS (
    SELECT at, id, part, who, feedback_id, case_id, {value} AS value, ({counted}) IS TRUE AS counted
    FROM counted WHERE {" AND ".join(where)} ORDER BY at DESC, id DESC, part DESC LIMIT :limit
)
SELECT page.*, f.title, left(f.text, 200) AS text, f.language, {did}, f.team, f.customer, f.customer_name,
       k.state, k.theme
FROM page
LEFT JOIN published.feedback f ON f.workspace = :workspace AND f.id = page.feedback_id
LEFT JOIN published.cases k ON k.workspace = :workspace AND k.id = page.case_id
{deed}
ORDER BY page.at DESC, page.id DESC, page.part DESC"""  # noqa: S608 - of our own words only


def tally(measure: Measure, part: Part, by: By | None, *, named: bool) -> str:
    """How many rows a number counted: that number."""
    where = " AND ".join(_counts(measure, part, by, named=named))
    return f"{relation(measure.unit, by)} SELECT count(*) AS listed FROM counted WHERE {where}"  # noqa: S608 - our own words


def _counts(measure: Measure, part: Part, by: By | None, *, named: bool) -> list[str]:
    """What holds of each row that a number counted."""
    where = [f"({measure.among})"]
    if part == "numerator" and isinstance(measure.aggregate, Share):
        where.append(f"({measure.aggregate.counted})")
    if by:
        where.append("grp = :group" if named else "grp IS NULL")
    return where


def _columns(measure: Measure) -> Iterator[tuple[str, str]]:
    """Name and expression of what `figures` makes the figure of."""
    if isinstance(measure.aggregate, Ratio):
        return
    only = f"FILTER (WHERE {measure.among})"
    yield f"{measure.name}_of", f"count(*) {only}"
    match measure.aggregate:
        case Share(counted):
            yield f"{measure.name}_counted", f"count(*) FILTER (WHERE ({measure.among}) AND ({counted}))"
        case Mean(value):
            yield f"{measure.name}_mean", f"(avg({value}) {only})::float8"
        case Percentiles(value):
            yield f"{measure.name}_within", f"percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY {value}) {only}"
        case Count():
            pass
