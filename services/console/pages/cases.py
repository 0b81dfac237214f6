"""The queue: which cases there are to do, in the order in which their promises are due.

What the table shows stands in its address, so a link to it is the view itself, and Back goes back. Each view is read in an
index's order and a page at a time, so a queue of a million costs what one of ten does; the numbers on the tabs stop counting
at `COUNTED`, for nobody decides by the difference beyond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from services.console.board import NO_POLICY
from services.console.pages import Site, back_to
from services.console.pages.initiatives import gather, open_ones, waiting_to_be_told
from services.console.pages.signals import signals_up
from services.console.queries import Queries, Rows
from services.console.render import query
from services.console.visit import Visit
from shared.search import question
from shared.sessions import SavedView
from shared.web.problems import Problem, malformed

PAGE = 50
COUNTED = 100
SOON = timedelta(hours=1)
PRESENT = timedelta(seconds=45)
THANKED = timedelta(days=30)
BULK_MAX = 200
NAME_MAX_CHARS = 40
BULK_VERBS = ("acknowledge", "assign", "reassign", "wait", "resume", "initiative")

View = Literal["mine", "team", "unassigned", "soon", "breached", "waiting", "held", "open", "finished", "all"]
VIEWS: tuple[View, ...] = get_args(View)
Sort = Literal["due", "newest"]

UNFINISHED: Mapping[View, str] = {
    "mine": "assignee = :me",
    "team": "true",
    "unassigned": "assignee IS NULL",
    "soon": "queue_at <= :soon",
    "breached": "breached",
    "open": "true",
}
"""What a view shows of the cases that are to do; the board (`board.py`) counts by the same words."""
_WHERE: Mapping[View, str] = {
    **{view: f"unfinished AND {condition}" for view, condition in UNFINISHED.items()},
    "waiting": "state = 'waiting_on_customer'",
    "held": "held_because IS NOT NULL",
    "finished": "NOT unfinished",
    "all": "true",
}
# Words that few cases have are looked up first; for words that many have, the queue is walked in its order until a page is
# full. Left to itself the database does the second for both, and reads a million cases for the one that has the word.
MANY = 0.01
"""Of all cases. At a million both ways cost the same there: ten thousand looked up, or five thousand walked past."""
_FOUND = "FROM published.search s WHERE s.workspace = :workspace AND s.words @@ CAST(:q AS tsquery)"
_AMONG_FEW = f"id = ANY (ARRAY(SELECT s.case_id {_FOUND}))"
_AMONG_MANY = f"EXISTS (SELECT {_FOUND} AND s.case_id = cases.id OFFSET 0)"
_GUESS = (
    f"EXPLAIN (FORMAT JSON) SELECT {_FOUND}"  # noqa: S608 - our own words
    " UNION ALL SELECT FROM published.search WHERE workspace = :workspace"
)
_BY_TIME: frozenset[View] = frozenset({"waiting", "held", "finished", "all"})
"""Nothing is due in them, or not by their own clock: newest first."""
_ORDER: Mapping[Sort, str] = {"due": "queue_at, id", "newest": "id DESC"}
_AFTER: Mapping[Sort, str] = {
    "due": "(queue_at, id) > (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))",
    "newest": "id < CAST(:after_id AS uuid)",
}
_ROWS = """
SELECT c.*, f.title, left(f.text, 400) AS text, f.scores, f.source FROM (
    SELECT workspace, id, customer, customer_name, team, theme, state, assignee, rota, priority, kind, language, opened_at,
           queue_at, breached, version, first_feedback_id, held_until, held_because
    FROM published.cases WHERE {where} ORDER BY {order} LIMIT :limit) AS c
LEFT JOIN published.feedback f ON f.workspace = c.workspace AND f.id = c.first_feedback_id
ORDER BY {order_outside}
"""
_THANKS = """
SELECT case_id, at, text, language FROM published.thanks
WHERE workspace = :workspace AND person = :me AND at > :since AND text IS NOT NULL ORDER BY at DESC LIMIT 3
"""
_HERE = """
SELECT case_id, person, doing FROM published.presence
WHERE workspace = :workspace AND case_id = ANY(:ids) AND at > :since AND person <> :me ORDER BY person
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for."""

    view: View = "open"
    team: str = ""
    assignee: str = ""
    policy: str = ""
    q: str = ""
    sort: Sort = "due"

    @classmethod
    def read(cls, given: QueryParams | Mapping[str, str]) -> "Asked":
        """Whatever is no value of ours is as if it were not there: an old link goes on working."""
        q = given.get("q", "").strip()[:200]
        view = given.get("view", "all" if q else "open")
        known: View = view if view in VIEWS else "open"
        sort: Sort = "newest" if given.get("sort") == "newest" or known in _BY_TIME else "due"
        return cls(known, given.get("team", ""), given.get("assignee", ""), given.get("policy", ""), q, sort)

    @property
    def parts(self) -> dict[str, str]:
        """For an address; the order is left out where it is the view's own."""
        parts = asdict(self)
        if self.view in _BY_TIME or self.sort == "due":
            parts["sort"] = ""
        return parts

    def teams_of(self, visit: Visit) -> tuple[str, ...]:
        """Nothing but cases of these; of none: of all."""
        return (self.team,) if self.team else visit.person.teams if self.view == "team" else ()


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/cases")
    async def queue(request: Request, after: str = "") -> Response:
        visit = await site.door.visit(request)
        asked = Asked.read(request.query_params)
        named = await _named(site, visit, asked.q)
        if named is not None:
            return RedirectResponse(named, 303)
        rows = await read(site, visit, asked, after, PAGE + 1)
        shown = rows[:PAGE]
        here = await _present(site, visit, [row["id"] for row in shown])
        return site.pages.page(
            visit,
            "cases.html",
            asked=asked,
            views=_views(visit, asked, counts := await _counts(site, visit)),
            counts=counts,
            counted=COUNTED,
            saved=await site.door.saved_views.of(visit.workspace, visit.person.email),
            rows=shown,
            here=here,
            thanks=await _thanks(site, visit) if asked.view == "mine" else (),
            more=query(asked.parts, after=cursor(asked, shown[-1])) if len(rows) > PAGE else None,
            first=query(asked.parts) if after else None,
            come_from=query(asked.parts),
            bulk_verbs=BULK_VERBS,
            initiatives=await open_ones(site, visit.workspace) if visit.person.is_at_least("agent") else (),
            signals=await signals_up(site, visit.workspace, asked.teams_of(visit)),
            shipped_upstream=await waiting_to_be_told(site, visit.workspace),
        )

    @routes.get("/next")
    async def next_case(request: Request, after: str = "", but: str = "") -> Response:
        """The next one behind that position that is nobody else's just now; behind the last, the first."""
        visit = await site.door.visit(request)
        asked = Asked.read(request.query_params)
        free = await _free(site, visit, asked, after, but)
        if free is None and after:
            free = await _free(site, visit, asked, "", but)
        if free is None:
            response = RedirectResponse(f"/cases{query(asked.parts)}", 303)
            site.door.tell(response, "no_next")
            return response
        return RedirectResponse(f"/cases/{free['id']}{query({'from': query(asked.parts)})}", 303)

    @routes.post("/cases/bulk")
    async def bulk(request: Request) -> Response:
        """The same for many. Each is decided by itself; those that refuse are named."""
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        visit.need("agent")
        verb, ids = str(form.get("verb", "")), [str(one) for one in form.getlist("id")][:BULK_MAX]
        if verb not in BULK_VERBS:
            raise malformed(f"verb: one of {', '.join(BULK_VERBS)}")
        if verb == "initiative" and ids:
            return await gather(site, visit, str(form.get("initiative", "")), ids)
        body = {"assign": {"to": form.get("to")}, "reassign": {"team": form.get("team")}}.get(verb)
        done, refused = 0, list[str]()
        for case_id in ids:
            try:
                await site.closer.call(visit, "POST", f"/v1/cases/{UUID(case_id)}/{verb}", body)
                done += 1
            except (Problem, ValueError) as error:
                refused.append(f"{case_id[-8:]}: {getattr(error, 'detail', None) or error}")
        response = RedirectResponse(back_to(str(form.get("back", ""))), 303)
        code = "nothing_chosen" if not ids else "bulk_refused" if refused else "bulk_done"
        site.door.tell(response, code, done=done, refused=len(refused), first=refused[0][:200] if refused else "")
        return response

    @routes.post("/cases/views")
    async def save_view(request: Request) -> Response:
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        name = " ".join(str(form.get("name", "")).split())[:NAME_MAX_CHARS]
        asked = Asked.read({key: str(value) for key, value in form.items() if key in Asked.__slots__})
        if form.get("drop"):
            await site.door.saved_views.drop(visit.workspace, visit.person.email, name)
        elif name:
            await site.door.saved_views.save(visit.workspace, visit.person.email, SavedView(name, query(asked.parts)))
        return RedirectResponse(f"/cases{query(asked.parts)}", 303)

    return routes


async def in_many(queries: Queries, workspace: str, q: str) -> bool:
    """As the database guesses by its statistics; of a word that these do not hold, it guesses 0.5 %."""
    (row,) = await queries.rows(_GUESS, workspace=workspace, q=q)
    (plan,) = row["QUERY PLAN"]
    found, all_of_them = (part["Plan Rows"] for part in plan["Plan"]["Plans"])
    return bool(found > MANY * all_of_them)


async def read(site: Site, visit: Visit, asked: Asked, after: str, limit: int) -> Rows:
    """A page of that view, from behind `after` on."""
    where, values = await conditions(site, visit, asked)
    if after:
        where.append(_AFTER[asked.sort])
        values |= _read_cursor(asked.sort, after)
    order = _ORDER[asked.sort]
    outside = ", ".join(f"c.{part}" for part in order.split(", "))
    statement = _ROWS.format(where=" AND ".join(where), order=order, order_outside=outside)
    return await site.queries.rows(statement, limit=limit, **values)


async def conditions(site: Site, visit: Visit, asked: Asked) -> tuple[list[str], dict[str, Any]]:
    """What holds of each case of that view in `published.cases`, and the values that stand there."""
    where, values = ["workspace = :workspace", _WHERE[asked.view]], _values(visit)
    if teams := asked.teams_of(visit):
        where.append(_of_teams(teams))
        values["teams"] = list(teams)
    if asked.assignee:
        where.append("assignee = :assignee")
        values["assignee"] = asked.assignee
    if asked.policy == NO_POLICY:
        where.append("policy IS NULL")
    elif asked.policy:
        where.append("policy = :policy")
        values["policy"] = asked.policy
    if asked.q:
        values["q"] = question(asked.q) or ""
        where.append(_AMONG_MANY if await in_many(site.queries, visit.workspace, values["q"]) else _AMONG_FEW)
    return where, values


async def _free(site: Site, visit: Visit, asked: Asked, after: str, but: str) -> Mapping[str, Any] | None:
    """Of the page behind `after`, the first that nobody else is at."""
    rows = [row for row in await read(site, visit, asked, after, PAGE) if str(row["id"]) != but]
    here = await _present(site, visit, [row["id"] for row in rows])
    return next((row for row in rows if row["id"] not in here), None)


def _of_teams(teams: Sequence[str]) -> str:
    """Of a single one in an index's order."""
    return "team = (CAST(:teams AS text[]))[1]" if len(teams) == 1 else "team = ANY(CAST(:teams AS text[]))"


def _values(visit: Visit) -> dict[str, Any]:
    return {"workspace": visit.workspace, "me": visit.person.email, "soon": visit.now + SOON}


def cursor(asked: Asked, row: Mapping[str, Any]) -> str:
    """Where that case stands in the queue."""
    return f"{row['queue_at'].isoformat()}~{row['id']}" if asked.sort == "due" else f"~{row['id']}"


def _read_cursor(sort: Sort, after: str) -> dict[str, Any]:
    """Raises 400."""
    moment, _, case_id = after.partition("~")
    try:
        found: dict[str, Any] = {"after_id": str(UUID(case_id))}
        if sort == "due":
            found["after_at"] = datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise malformed("after: take it from the link to the next page") from None
    return found


async def _counts(site: Site, visit: Visit) -> Mapping[str, int]:
    """Of each view, up to `COUNTED`."""
    teams = visit.person.teams
    parts = [
        "(SELECT count(*) FROM (SELECT 1 FROM published.cases"  # noqa: S608 - our own words only
        f" WHERE workspace = :workspace AND {_WHERE[view]}"
        f"{f' AND {_of_teams(teams)}' if view == 'team' else ''} LIMIT :counted) AS counted) AS {view}"
        for view in VIEWS
        if view not in ("finished", "all")
    ]
    rows = await site.queries.rows(f"SELECT {', '.join(parts)}", teams=list(teams), counted=COUNTED, **_values(visit))
    return rows[0]


def _views(visit: Visit, asked: Asked, counts: Mapping[str, int]) -> list[View]:
    """Those that have a tab."""
    seldom = {"all": False, "team": bool(visit.person.teams), "held": bool(counts["held"]) or asked.view == "held"}
    return [view for view in VIEWS if seldom.get(view, True)]


async def _thanks(site: Site, visit: Visit) -> Rows:
    """What customers lately said of this person's work."""
    me, since = visit.person.email.lower(), visit.now - THANKED
    return await site.queries.rows(_THANKS, workspace=visit.workspace, me=me, since=since)


async def _present(site: Site, visit: Visit, ids: Sequence[UUID]) -> Mapping[UUID, list[Mapping[str, Any]]]:
    """Case → who else is at it."""
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    if ids:
        since, me = visit.now - PRESENT, visit.person.email
        for row in await site.queries.rows(_HERE, workspace=visit.workspace, ids=list(ids), since=since, me=me):
            found.setdefault(row["case_id"], []).append(row)
    return found


async def _named(site: Site, visit: Visit, q: str) -> str | None:
    """The page of what an id names: people paste them into the search."""
    try:
        wanted = str(UUID(q))
    except ValueError:
        return None
    rows = await site.queries.rows(
        "SELECT '/cases/' || id AS page FROM published.cases WHERE workspace = :workspace AND id = CAST(:id AS uuid)"
        " UNION ALL"
        " SELECT '/feedback/' || id FROM published.feedback WHERE workspace = :workspace AND id = CAST(:id AS uuid)",
        workspace=visit.workspace,
        id=wanted,
    )
    return rows[0]["page"] if rows else None
