"""The rules in force, and a box to try a text: who would get it, why, and which rules almost did.

The router decides here as it decides about what comes in; the page only asks it. A piece of feedback that came in earlier is
asked about by its id, and where other rules decided it, the page says so. Of rules that run as a shadow it shows what they would have
decided otherwise, with the words from where they always stand.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.console import wording
from services.console.pages import Site
from services.console.visit import Visit
from shared.config.document import dump
from shared.events.envelope import rfc3339
from shared.web.problems import Problem, not_found

PAGE = 100
SAMPLES = 20
TEXT_MAX_CHARS = 30_000
SOURCE = "console"
_TYPED = ("text", "source", "metric", "value", "language")
_KEPT = (
    "source",
    "channel",
    "title",
    "text",
    "scores",
    "solicited",
    "touchpoint",
    "lifecycle_stage",
    "url",
    "attributes",
)
NOT_KEPT = frozenset({"external_id", "customer.locale", "customer.role", "customer.preferred_channel"})
"""Fields that a rule may ask for, and that no published view holds."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with what was typed."""

    code: str
    """A key of the words under `rules.wrong.`."""
    values: Mapping[str, str] = field(default_factory=dict)


def routes_for(site: Site) -> APIRouter:
    routes = site.routes()

    @routes.get("/rules")
    async def rules(request: Request, feedback: str = "") -> Response:
        visit = await site.door.visit(request)
        in_force = await site.router.call(visit, "GET", "/v1/rules")
        if not feedback:
            return _page(site, visit, request, in_force, shadow=await _shadow(site, visit))
        try:
            wanted = str(UUID(feedback))
        except ValueError:
            return _page(site, visit, request, in_force, wrong=[Wrong("feedback", {"id": feedback[:80]})])
        stored = await site.queries.feedback(visit.workspace, wanted)
        if stored is None:
            raise not_found("No feedback with this id has been seen (yet).")
        outcome = await site.router.call(visit, "POST", "/v1/rules/explain", as_received(stored))
        return _page(site, visit, request, in_force, outcome=outcome, stored=stored)

    @routes.get("/feedback/{feedback_id}/almost")
    async def almost(request: Request, feedback_id: UUID) -> Response:
        """The part of a case's page that says which rules almost decided: asked for when somebody looks."""
        visit = await site.door.visit(request)
        stored = await site.queries.feedback(visit.workspace, str(feedback_id))
        if stored is None:
            raise not_found("No feedback with this id has been seen (yet).")
        outcome = await site.router.call(visit, "POST", "/v1/rules/explain", as_received(stored))
        return site.pages.page(visit, "_almost_of.html", outcome=outcome, stored=stored)

    @routes.post("/rules")
    async def tried(request: Request) -> Response:
        visit = await site.door.visit(request)
        form = await site.door.form(request, visit)
        in_force = await site.router.call(visit, "GET", "/v1/rules")
        typed = {name: str(form.get(name, "")).strip() for name in _TYPED}
        outcome, problem = None, None
        wrong = list(wrong_with(typed, in_force["metrics"]))
        if not wrong:
            try:
                outcome = await site.router.call(visit, "POST", "/v1/rules/explain", _body(typed))
            except Problem as refused:
                problem = refused
        return _page(site, visit, request, in_force, outcome=outcome, typed=typed, wrong=wrong, problem=problem)

    return routes


async def _shadow(site: Site, visit: Visit) -> Mapping[str, Any] | None:
    """None where no rules ever ran as one."""
    found: dict[str, Any] = await site.router.call(visit, "GET", "/v1/rules/shadow")
    if found["shadow"] is None:
        return None
    samples = [one for one in found["samples"][:SAMPLES] if _is_id(one["id"])]
    said = await site.queries.said(visit.workspace, [one["id"] for one in samples]) if samples else {}
    return found | {"samples": [one | {"said": said.get(one["id"])} for one in samples]}


def _is_id(text: str) -> bool:
    """Whoever may write to a topic may name feedback as they like."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _page(
    site: Site,
    visit: Visit,
    request: Request,
    in_force: Mapping[str, Any],
    *,
    outcome: Mapping[str, Any] | None = None,
    stored: Mapping[str, Any] | None = None,
    typed: Mapping[str, str] | None = None,
    wrong: Sequence[Wrong] = (),
    problem: Problem | None = None,
    shadow: Mapping[str, Any] | None = None,
) -> Response:
    q, start = request.query_params.get("q", "").strip()[:200], request.query_params.get("from", "")
    found = (
        [pair for pair in enumerate(in_force["rules"], 1) if q.casefold() in dump(pair[1]).casefold()]
        if q
        else list(enumerate(in_force["rules"], 1))
    )
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 6 else 0
    return site.pages.page(
        visit,
        "rules.html",
        status=422 if wrong else problem.status if problem is not None else 200,
        in_force=in_force,
        rules=[_told(number, rule) for number, rule in found[first : first + PAGE]],
        found=len(found),
        first=first,
        page=PAGE,
        q=q,
        outcome=outcome,
        stored=stored,
        asks_more=sorted(NOT_KEPT & _fields([rule.get("when") for rule in in_force["rules"]])) if stored else [],
        typed=dict.fromkeys(_TYPED, "") | dict(typed or {}),
        wrong=wrong,
        problem=problem,
        shadow=shadow,
    )


def _told(number: int, rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": number,
        "name": rule.get("name"),
        "note": rule.get("note"),
        "when": wording.condition(rule.get("when")),
        "then": wording.actions(rule.get("then")),
        "examples": wording.examples(rule.get("examples")),
        "yaml": dump(rule),
    }


# ── what the router is asked ──


def wrong_with(typed: Mapping[str, str], metrics: Mapping[str, Sequence[float]]) -> Iterator[Wrong]:
    """Pure."""
    metric, value = typed["metric"], typed["value"]
    if not typed["text"] and not value:
        yield Wrong("nothing")
    if len(typed["text"]) > TEXT_MAX_CHARS:
        yield Wrong("too_long", {"n": str(TEXT_MAX_CHARS)})
    if not value:
        return
    number = _number(value)
    if metric not in metrics:
        yield Wrong("no_metric")
    elif number is None or not metrics[metric][0] <= number <= metrics[metric][1]:
        least, most = metrics[metric]
        yield Wrong("range", {"metric": metric, "least": f"{least:g}", "most": f"{most:g}"})


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _body(typed: Mapping[str, str]) -> dict[str, Any]:
    scores = [{"metric": typed["metric"], "value": _number(typed["value"])}] if typed["value"] else []
    given = {"text": typed["text"].replace("\r\n", "\n"), "language": typed["language"], "scores": scores}
    return {"source": typed["source"] or SOURCE} | {name: value for name, value in given.items() if value}


def as_received(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A row of published.feedback as it came in. The language there is the decision's, so it is left out where the sender
    said none. Pure."""
    body = {name: stored[name] for name in _KEPT if stored[name] is not None}
    body |= {name: rfc3339(stored[name]) for name in ("received_at", "occurred_at") if stored[name] is not None}
    if any(reason.get("code") == "language.declared" for reason in stored["reasons"] or ()):
        body["language"] = stored["language"]
    email = stored["customer_email"]
    customer = {
        "id": stored["customer"] if email is None or stored["customer"] != email.lower() else None,
        "email": email,
        "name": stored["customer_name"],
        "tier": stored["tier"],
        "account_id": stored["account_id"],
    }
    if known := {name: value for name, value in customer.items() if value is not None}:
        body["customer"] = known
    return body


def _fields(when: Any) -> frozenset[str]:
    """Every field that these conditions ask for by its path."""
    if isinstance(when, list):
        return frozenset().union(*map(_fields, when))
    if not isinstance(when, dict):
        return frozenset()
    path = when.get("field")
    here = {".".join(map(str, path)) if isinstance(path, list) else str(path)} if path is not None else set()
    return frozenset(here).union(*map(_fields, when.values()))
