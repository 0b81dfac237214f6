"""A case: what the customer said, what happened, both clocks, and what can be done now.

What can be done is what the closer says the state allows (`shared.events.case`); the buttons follow, and the closer decides.
Whatever is refused comes back as this page with the reason on top, and what was typed is still there: nobody writes an
answer twice.

A case that was opened from a queue keeps where it stood there (`position`), whatever is done to it: it may move to another
place or leave the queue, and the next one is still the one behind it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse

from services.console.lately import Account, account_lately, did_lately
from services.console.pages import Site, given
from services.console.pages.cases import Asked, cursor
from services.console.pages.initiatives import initiatives_of
from services.console.pages.signals import signals_of
from services.console.queries import Rows
from services.console.render import query
from services.console.visit import Visit
from shared.events.case import legal_verbs
from shared.web.problems import Problem, not_found

OTHERS_SHOWN = 10
LATELY_SHOWN = 5
SAID_LOOKED_AT = 50
"""Of the account's newest, for those that are not the customer's own."""
_BODY = re.compile("<body[^>]*>")
VERBS = ("acknowledge", "assign", "reassign", "note", "wait", "resume", "resolve", "decline", "reopen", "merge")
_TYPED = ("answer", "language", "text", "reason", "to", "team", "into")
# The mail is a page of its own in a frame: its looks stand within it, as mails have them.
PREVIEW_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}

_CASE = """
SELECT workspace, id, customer, customer_name, customer_email, team, theme, state, assignee, rota, priority, tier, kind, language,
       policy, opened_at, reopened_count, answer, untold, merged_into, linked_to, history, breached, queue_at, version,
       first_feedback_id, account_id, held_until, held_because
FROM published.cases WHERE workspace = :workspace AND id = CAST(:id AS uuid)
"""
_CLOCKS = """
SELECT target, generation, business_due, wall_due, met_at, business_met, wall_met, business_breached_at, wall_breached_at, open
FROM published.clocks WHERE workspace = :workspace AND case_id = CAST(:id AS uuid)
ORDER BY generation DESC, array_position(ARRAY['acknowledge', 'resolve', 'tell_customer'], target)
"""
_SAID = """
SELECT f.id, f.received_at, f.source, f.channel, f.title, f.text, f.language, f.scores, f.tags, f.kind, f.priority,
       f.sentiment_label, f.decided_by, f.rule, f.confidence, f.reasons, f.url
FROM published.feedback f
WHERE f.workspace = :workspace AND f.id = ANY(CAST(:ids AS uuid[])) ORDER BY f.received_at, f.occurred_at, f.id
"""
_OTHERS = """
SELECT k.*, coalesce(f.title, left(f.text, 200)) AS text, f.language FROM (
    SELECT id, state, team, theme, opened_at, unfinished, workspace, first_feedback_id FROM published.cases
    WHERE customer = :customer AND workspace = :workspace AND id <> CAST(:id AS uuid) ORDER BY id DESC LIMIT :limit
) AS k LEFT JOIN published.feedback f ON f.workspace = k.workspace AND f.id = k.first_feedback_id ORDER BY k.id DESC
"""


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/cases/{case_id}")
    async def case(request: Request, case_id: UUID) -> Response:
        visit = await site.door.visit(request)
        came_from, position = (request.query_params.get(name, "") for name in ("from", "position"))
        return await _shown(site, visit, str(case_id), came_from, position)

    @routes.post("/cases/{case_id}/presence")
    async def presence(request: Request, case_id: UUID) -> Response:
        """The browser says every few seconds that the case is open, and whether somebody writes."""
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        doing = form.get("doing") if form.get("doing") in ("viewing", "editing", "leaving") else "viewing"
        answer = await site.closer.call(visit, "POST", f"/v1/cases/{case_id}/presence", {"doing": doing})
        return site.pages.page(visit, "_presence.html", others=answer["others"])

    @routes.post("/cases/{case_id}/preview")
    async def preview(request: Request, case_id: UUID) -> Response:
        """The mail as the customer will see it, for the frame beside the form."""
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        body = {
            "answer": form.get("answer") or "",
            "language": form.get("language") or None,
            "declined": form.get("verb") == "decline",
        }
        try:
            mail = await site.closer.call(visit, "POST", f"/v1/cases/{case_id}/preview", body)
        except Problem as problem:
            found = site.pages.page(visit, "_no_preview.html", problem=problem, withheld=None)
        else:
            if mail["html"] is None:
                found = site.pages.page(visit, "_no_preview.html", problem=None, withheld=mail["withheld"])
            else:
                head = bytes(site.pages.page(visit, "_preview.html", mail=mail).body).decode()
                found = HTMLResponse(_BODY.sub(lambda match: match[0] + head, mail["html"], count=1))
        return HTMLResponse(bytes(found.body).decode(), headers=PREVIEW_HEADERS)

    @routes.post("/cases/{case_id}/{verb}")
    async def act(request: Request, case_id: UUID, verb: str) -> Response:
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        visit.need("agent")
        if verb == "answer":
            verb = str(form.get("verb", ""))
        if verb not in VERBS:
            raise not_found()
        came_from, position = (str(form.get(name, "")) for name in ("from", "position"))
        headers = {"If-Match": f'"{form["version"]}"'} if form.get("version") and verb in ("resolve", "decline") else {}
        try:
            await site.closer.call(visit, "POST", f"/v1/cases/{case_id}/{verb}", _body(verb, form), headers)
        except Problem as problem:
            if problem.status not in (409, 412, 422):
                raise
            typed = {name: str(form[name]) for name in _TYPED if form.get(name)}
            return await _shown(site, visit, str(case_id), came_from, position, problem, {"verb": verb, **typed})
        asked = Asked.read(dict(_parts(came_from)))
        if form.get("then") == "next" and came_from:
            response = RedirectResponse(f"/next{query(asked.parts, after=position, but=case_id)}", 303)
        else:
            response = RedirectResponse(f"/cases/{case_id}{query({'from': came_from, 'position': position})}", 303)
        site.door.tell(response, f"did.{verb}", case=str(case_id)[-8:])
        return response

    return routes


def _body(verb: str, form: FormData) -> dict[str, Any] | None:
    """What the closer takes for that verb."""
    match verb:
        case "assign":
            return {"to": given(form, "to") or ""}
        case "reassign":
            return {name: value for name in ("team", "to") if (value := given(form, name))}
        case "note":
            return {"text": given(form, "text") or ""}
        case "wait" | "resume" | "reopen":
            return {"reason": given(form, "reason") or ""}
        case "resolve" | "decline":
            answer = str(form.get("answer", "")).replace("\r\n", "\n").strip()
            return {"answer": answer} | ({"language": language} if (language := given(form, "language")) else {})
        case "merge":
            return {"into": (given(form, "into") or "").rpartition("/")[2].partition("?")[0]}
        case _:
            return None


def _parts(came_from: str) -> list[tuple[str, str]]:
    return parse_qsl(came_from.removeprefix("?"), max_num_fields=20)


async def _shown(
    site: Site,
    visit: Visit,
    case_id: str,
    came_from: str,
    position: str,
    problem: Problem | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    values = {"workspace": visit.workspace, "id": case_id}
    found = await site.queries.rows(_CASE, **values)
    if not found:
        raise not_found("no case has this id")
    case = found[0]
    timeline = await site.queries.timeline(visit.workspace, case_id)
    said_ids = [row["data"]["feedback_id"] for row in timeline if (row["data"] or {}).get("feedback_id")]
    asked = Asked.read(dict(_parts(came_from))) if came_from else None
    account, did = await _around(site, visit, case)
    return site.pages.page(
        visit,
        "case.html",
        status=problem.status if problem is not None else 200,
        case=case,
        verbs=legal_verbs(case["state"]) if visit.person.is_at_least("agent") else (),
        clocks=await site.queries.rows(_CLOCKS, **values),
        said=await site.queries.rows(_SAID, workspace=visit.workspace, ids=said_ids),
        timeline=timeline,
        notifications=await site.queries.notifications(visit.workspace, case_id),
        others=await _others(site, visit, case),
        signals=await signals_of(site, visit.workspace, case_id),
        initiatives=await initiatives_of(site, visit.workspace, case_id),
        account=account,
        did=did,
        colleagues=sorted(person.email for person in visit.people.of_team(case["team"])),
        came_from=came_from,
        asked=asked,
        position=position or (cursor(asked, case) if asked is not None else ""),
        problem=problem,
        typed=dict.fromkeys(("verb", *_TYPED), "") | dict(typed or {}),
    )


async def _around(site: Site, visit: Visit, case: Mapping[str, Any]) -> tuple[Account | None, Rows]:
    """The customer's account with what others there said lately; and what was done lately, there or else by the customer."""
    if case["account_id"] is not None:
        found = await account_lately(site.queries, visit.workspace, case["account_id"], SAID_LOOKED_AT)
        others = [row for row in found.said if row["customer"] != case["customer"]]
        return replace(found, said=others[:LATELY_SHOWN]), found.did[:LATELY_SHOWN]
    if case["customer"] is None:
        return None, []
    return None, await did_lately(site.queries, visit.workspace, case["customer"], LATELY_SHOWN)


async def _others(site: Site, visit: Visit, case: Mapping[str, Any]) -> Rows:
    """The customer's history with us."""
    if case["customer"] is None:
        return []
    return await site.queries.rows(
        _OTHERS, customer=case["customer"], workspace=visit.workspace, id=str(case["id"]), limit=OTHERS_SHOWN
    )
