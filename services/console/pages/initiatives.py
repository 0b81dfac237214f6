"""Initiatives: one change that answers many cases; which of them are there already while their customers wait to be told.

The answer may be prepared and is then sent when the last of the work is shipped in its own tool, or it is written and sent here.
Whatever is refused comes back as the page with the reason on top and what was typed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse

from services.console.pages import Site, given
from services.console.queries import Rows
from services.console.render import query
from services.console.visit import Visit
from shared.web.problems import Problem, malformed, not_found

PAGE = 50
WAITING_SHOWN = 5
"""In the line above a queue."""
STATES: Mapping[str, str] = {
    "open": "shipped_at IS NULL",
    "upstream": "shipped_at IS NULL AND shipped_upstream",
    "shipped": "shipped_at IS NOT NULL",
}
VERBS = ("prepare", "ship", "work", "cases", "take_out")
_TYPED = ("title", "work", "answer", "language", "cases")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_LISTED = """
SELECT * FROM published.initiatives WHERE workspace = :workspace AND {state} ORDER BY created_at DESC, id DESC
LIMIT :limit OFFSET :skip
"""
_ONE = "SELECT * FROM published.initiatives WHERE workspace = :workspace AND id = CAST(:id AS uuid)"
_STEPS = """
SELECT * FROM published.initiative_steps WHERE workspace = :workspace AND initiative_id = CAST(:id AS uuid) ORDER BY sequence
"""
_CASES = """
SELECT i.case_id, i.state, i.waits, c.team, c.customer, c.customer_name, f.title, left(f.text, 300) AS text, f.language
FROM (SELECT * FROM published.initiative_cases WHERE workspace = :workspace AND initiative_id = CAST(:id AS uuid)
      ORDER BY waits DESC, case_id LIMIT :limit OFFSET :skip) AS i
JOIN published.cases c ON c.id = i.case_id
LEFT JOIN published.feedback f ON f.workspace = i.workspace AND f.id = c.first_feedback_id ORDER BY i.waits DESC, i.case_id
"""
_WAITING = """
SELECT id, title, waiting FROM published.initiatives
WHERE workspace = :workspace AND shipped_at IS NULL AND shipped_upstream AND waiting > 0 ORDER BY created_at LIMIT :limit
"""
_OPEN = """
SELECT id, title FROM published.initiatives WHERE workspace = :workspace AND shipped_at IS NULL
ORDER BY created_at DESC, id DESC LIMIT :limit
"""
_OF_CASE = """
SELECT i.id, i.title FROM published.initiative_cases c JOIN published.initiatives i ON i.workspace = c.workspace
    AND i.id = c.initiative_id
WHERE c.workspace = :workspace AND c.case_id = CAST(:id AS uuid) ORDER BY i.created_at
"""


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/initiatives")
    async def initiatives(request: Request, state: str = "open", page: str = "1", cases: str = "") -> Response:
        """`cases`: of the initiative that is to be begun."""
        visit = await site.door.visit(request)
        return await _listed(site, visit, state, _number(page), typed={"cases": "\n".join(_ID.findall(cases))})

    @routes.post("/initiatives")
    async def begin(request: Request) -> Response:
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        visit.need("agent")
        body = {"title": given(form, "title") or "", "work": _work(form), "cases": _cases(form)}
        try:
            one = await site.closer.call(visit, "POST", "/v1/initiatives", body)
        except Problem as problem:
            if problem.status not in (409, 422):
                raise
            return await _listed(site, visit, "open", 1, problem, _typed(form))
        return _back(site, one["id"], "begun")

    @routes.get("/initiatives/{initiative_id}")
    async def initiative(request: Request, initiative_id: UUID, page: str = "1") -> Response:
        visit = await site.door.visit(request)
        return await _shown(site, visit, str(initiative_id), _number(page))

    @routes.post("/initiatives/{initiative_id}/{verb}")
    async def act(request: Request, initiative_id: UUID, verb: str) -> Response:
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        visit.need("agent")
        if verb == "answer":
            verb = str(form.get("verb", ""))
        if verb not in VERBS:
            raise not_found()
        path = f"/v1/initiatives/{initiative_id}"
        try:
            await site.closer.call(visit, *_asked(verb, path, form))
        except Problem as problem:
            if problem.status not in (409, 422):
                raise
            return await _shown(site, visit, str(initiative_id), 1, problem, _typed(form))
        return _back(site, initiative_id, verb)

    return routes


async def gather(site: Site, visit: Visit, identity: str, cases: Sequence[str]) -> Response:
    """Cases that were chosen elsewhere go into that initiative; without one, into one that is yet to be begun."""
    if not identity:
        return RedirectResponse(f"/initiatives{query({'cases': ' '.join(cases)})}#begin", 303)
    if not _ID.fullmatch(identity):
        raise not_found("no initiative has this id")
    try:
        await site.closer.call(visit, "POST", f"/v1/initiatives/{identity}/cases", {"cases": cases})
    except Problem as problem:
        if problem.status not in (409, 422):
            raise
        return await _shown(site, visit, identity, 1, problem, {"cases": "\n".join(cases)})
    return _back(site, identity, "cases")


def _asked(verb: str, path: str, form: FormData) -> tuple[str, str, Any]:
    """(method, path, body) of the closer."""
    match verb:
        case "work":
            return "PATCH", path, {"work": _work(form)}
        case "cases":
            return "POST", f"{path}/cases", {"cases": _cases(form)}
        case "take_out":
            case = str(form.get("case", ""))
            if not _ID.fullmatch(case):
                raise not_found("the initiative has no such case")
            return "DELETE", f"{path}/cases/{case}", None
        case _:
            answer = str(form.get("answer", "")).replace("\r\n", "\n").strip()
            language = given(form, "language")
            if verb == "prepare":
                return "PATCH", path, {"answer": answer or None, "language": language}
            # What was emptied is not sent all the same because it was prepared once.
            return "POST", f"{path}/ship", {"answer": answer, "language": language}


def _work(form: FormData) -> list[dict[str, str]]:
    """A line each: the source, and what it calls the work."""
    lines = [line.split(maxsplit=1) for line in str(form.get("work", "")).splitlines() if line.strip()]
    return [{"source": source, "work_id": " ".join(rest).strip()} for source, *rest in lines]


def _cases(form: FormData) -> list[str]:
    """Ids, or addresses of their pages, however they are set apart; what is neither is left to the closer to refuse."""
    words = re.split(r"[\s,;]+", str(form.get("cases", "")).strip())
    return [found[0] if (found := _ID.search(word.lower())) else word for word in words if word]


def _typed(form: FormData) -> dict[str, str]:
    return {name: str(form[name]) for name in _TYPED if form.get(name)}


def _number(page: str) -> int:
    """Raises 400."""
    if not re.fullmatch(r"[1-9][0-9]{0,3}", page):
        raise malformed("page: a number from 1")
    return int(page)


def _back(site: Site, identity: object, did: str) -> Response:
    response = RedirectResponse(f"/initiatives/{identity}", 303)
    site.door.tell(response, f"initiative.{did}")
    return response


async def _listed(
    site: Site,
    visit: Visit,
    state: str,
    page: int,
    problem: Problem | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    known = state if state in STATES else "open"
    values = {"workspace": visit.workspace, "limit": PAGE + 1, "skip": (page - 1) * PAGE}
    rows = await site.queries.rows(_LISTED.format(state=STATES[known]), **values)
    parts = {"state": known if known != "open" else ""}
    return site.pages.page(
        visit,
        "initiatives.html",
        status=problem.status if problem is not None else 200,
        rows=rows[:PAGE],
        state=known,
        states=tuple(STATES),
        may=visit.person.is_at_least("agent"),
        problem=problem,
        typed=dict.fromkeys(_TYPED, "") | dict(typed or {}),
        more=query(parts, page=page + 1) if len(rows) > PAGE else None,
        first=query(parts) if page > 1 else None,
    )


async def _shown(
    site: Site,
    visit: Visit,
    identity: str,
    page: int,
    problem: Problem | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    values: dict[str, Any] = {"workspace": visit.workspace, "id": identity}
    found = await site.queries.rows(_ONE, **values)
    if not found:
        raise not_found("no initiative has this id")
    one = found[0]
    cases = await site.queries.rows(_CASES, **values, limit=PAGE + 1, skip=(page - 1) * PAGE)
    work = "\n".join(f"{each['source']} {each['work_id']}" for each in one["work"])
    as_it_is = {"work": work, "answer": one["answer"] or "", "language": one["language"] or ""}
    return site.pages.page(
        visit,
        "initiative.html",
        status=problem.status if problem is not None else 200,
        one=one,
        cases=cases[:PAGE],
        steps=await site.queries.rows(_STEPS, **values),
        may=visit.person.is_at_least("agent") and one["shipped_at"] is None,
        problem=problem,
        typed=dict.fromkeys(_TYPED, "") | as_it_is | dict(typed or {}),
        more=query({}, page=page + 1) if len(cases) > PAGE else None,
        first=query({}) if page > 1 else None,
    )


async def waiting_to_be_told(site: Site, workspace: str) -> Rows:
    """Those that are shipped upstream while their customers wait, the oldest first."""
    return await site.queries.rows(_WAITING, workspace=workspace, limit=WAITING_SHOWN)


async def open_ones(site: Site, workspace: str) -> Rows:
    """The newest, as many as one would choose from."""
    return await site.queries.rows(_OPEN, workspace=workspace, limit=PAGE)


async def initiatives_of(site: Site, workspace: str, case_id: str) -> Rows:
    return await site.queries.rows(_OF_CASE, workspace=workspace, id=case_id)
