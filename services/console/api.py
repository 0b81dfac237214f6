"""JSON for tools: the trace of one piece of feedback, one customer, the measures, and the sources."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response

from services.console import hearing
from services.console.bases import By
from services.console.figures import csv_of, to_json
from services.console.judged import emotion_in, urgency_in
from services.console.lately import customer_lately
from services.console.measuring import Measured, Measuring
from services.console.queries import Queries
from services.console.render import words
from services.console.shown import CustomerShown, MeasuresShown, SourcesShown, Trace
from services.console.spans import SPANS, USUAL, Span
from shared.auth import Principal, needs
from shared.clock import YEARS
from shared.config import Config
from shared.dead_letters import DeadLetters, Listed
from shared.events.envelope import rfc3339
from shared.log import Log
from shared.runtime import Runtime
from shared.web.problems import Problem, not_found
from shared.web.routes import answers

MERGES_FOLLOWED = 10
_FEEDBACK = (
    "id",
    "source",
    "channel",
    "title",
    "text",
    "scores",
    "customer",
    "tier",
    "account_id",
    "language",
    "solicited",
    "touchpoint",
    "lifecycle_stage",
    "url",
    "attributes",
    "occurred_at",
    "received_at",
    "history",
)
_ROUTING = (
    "team",
    "tags",
    "kind",
    "priority",
    "language",
    "confidence",
    "decided_by",
    "rule",
    "ruleset_version",
    "reasons",
)
_CASE = (
    "id",
    "state",
    "team",
    "assignee",
    "priority",
    "theme",
    "opened_at",
    "policy",
    "answer",
    "untold",
    "merged_into",
)
_NOTIFICATION = ("id", "kind", "channel", "language", "status", "reason", "created_at", "sent_at", "attempts")
_SAID = (
    "id",
    "received_at",
    "source",
    "channel",
    "title",
    "text",
    "language",
    "scores",
    "kind",
    "case_id",
    "account_id",
)
_DID = ("at", "activity", "source", "attributes", "account_id")
_OF_CUSTOMER = ("id", "state", "team", "theme", "priority", "opened_at", "account_id")


From = Annotated[datetime | None, Query(alias="from", description="RFC 3339; seven days ago")]
To = Annotated[datetime | None, Query(description="RFC 3339; now")]


def routes_for(
    queries: Queries, measuring: Measuring, runtime: Runtime, config: Callable[[], Config | None]
) -> APIRouter:
    routes = APIRouter(tags=["console"])

    @routes.get("/v1/feedback/{feedback_id}/trace", **answers(Trace))
    async def trace(
        feedback_id: str, principal: Annotated[Principal, Depends(needs("feedback:read"))]
    ) -> dict[str, Any]:
        """What happened to this feedback, step by step, with reasons and times. 404 until the view has seen it.
        Of what could not be processed `dead_letter` says where it lies, if it is among the newest; else it is null."""
        try:
            wanted = str(uuid.UUID(feedback_id))
        except ValueError:
            raise _not_found() from None
        return await trace_of(queries, runtime.log, principal.workspace, wanted)

    @routes.get("/v1/customers/{customer:path}", **answers(CustomerShown))
    async def one_customer(
        customer: Annotated[str, Path(description="The customer's id as sent, else the lower-cased e-mail address.")],
        principal: Annotated[Principal, Depends(needs("cases:read"))],
    ) -> dict[str, Any]:
        """What a customer said and did lately, their cases, and the accounts that they were seen at; the newest of each."""
        found = await customer_lately(queries, principal.workspace, customer)
        if not found.is_heard_of:
            raise not_found("nothing is kept of a customer with this id")
        return {
            "id": found.id,
            "name": found.name,
            "accounts": list(found.accounts),
            "feedback": [_picked(row, _SAID) for row in found.said],
            "activity": [_picked(row, _DID) for row in found.did],
            "cases": [_picked(row, _OF_CUSTOMER) for row in found.cases],
        }

    @routes.get("/v1/measures", **answers(MeasuresShown))
    async def all_measures(
        principal: Annotated[Principal, Depends(needs("cases:read"))],
        from_: From = None,
        to: To = None,
        by: By | None = None,
    ) -> dict[str, Any]:
        """Whether the flywheel turns: each measure with its count and what it is a share of; `stale` where what it rests on is
        silent or behind."""
        found = await measuring.measured(principal.workspace, _span(from_, to, runtime.clock.now()), by)
        items = [
            {
                "group": group.name,
                "measures": {name: to_json(figure, words("en")) for name, figure in group.figures.items()},
            }
            for group in found.groups
        ]
        return {"from": rfc3339(found.span.start), "to": rfc3339(found.span.end), "by": by, "items": items}

    @routes.get("/v1/measures.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
    async def measures_as_csv(
        principal: Annotated[Principal, Depends(needs("cases:read"))],
        from_: From = None,
        to: To = None,
        by: By | None = None,
    ) -> Response:
        """The same as a table: a line for each measure of each group."""
        return csv_response(
            await measuring.measured(principal.workspace, _span(from_, to, runtime.clock.now()), by), "utf-8"
        )

    @routes.get("/v1/sources", **answers(SourcesShown))
    async def all_sources(principal: Annotated[Principal, Depends(needs("cases:read"))]) -> dict[str, Any]:
        """Who is heard of, those of sources.yaml first. `state`: heard, quiet (half of what these hours of the week usually
        bring, or less), doubled, silent (longer than it ever paused), unsure (too little to tell) or never."""
        found = await measuring.sources(principal.workspace)
        entries = hearing.entries_of(config(), principal.workspace)
        return {"items": [hearing.to_json(one, entries) for one in found.values()]}

    return routes


def csv_response(found: Measured, encoding: Literal["utf-8", "utf-8-sig"]) -> Response:
    """For a spreadsheet with a byte order mark, or it takes Chinese for something else."""
    span = (rfc3339(found.span.start), rfc3339(found.span.end))
    table = csv_of(((group.name, group.figures) for group in found.groups), span, found.by, words("en"))
    headers = {"Content-Disposition": 'attachment; filename="measures.csv"', "X-Content-Type-Options": "nosniff"}
    return Response(table.encode(encoding), media_type="text/csv; charset=utf-8", headers=headers)


def _span(start: datetime | None, end: datetime | None, now: datetime) -> Span:
    until = _aware(end, "to") if end else now
    since = _aware(start, "from") if start else until - SPANS[USUAL]
    if since >= until:
        raise Problem(422, "invalid-request", "Nothing lies between", "`from` must be before `to`")
    return Span(since, until)


def _aware(at: datetime, name: str) -> datetime:
    if at.tzinfo is None:
        raise Problem(422, "invalid-request", "A time needs a zone", f"`{name}` needs a zone: 2026-10-01T00:00:00Z")
    if at.year not in YEARS:
        raise Problem(
            422, "invalid-request", "A time is out of range", f"`{name}` must lie in {YEARS.start} to {YEARS.stop - 1}"
        )
    return at.astimezone(UTC)


def _not_found() -> Problem:
    return Problem(404, "not-found", "Not found", "no feedback with this id has been seen (yet)")


async def trace_of(queries: Queries, log: Log, workspace: str, feedback_id: str) -> dict[str, Any]:
    """Raises 404."""
    feedback = await queries.feedback(workspace, feedback_id)
    decisions = await queries.decisions(workspace, feedback_id)
    if feedback is None and not decisions:
        letter = await DeadLetters(log, workspace).of_event(feedback_id)
        if letter is None:
            raise _not_found()
        return _dead(feedback_id, letter)
    cases = await _cases(queries, workspace, feedback["case_id"]) if feedback is not None else []
    timeline, notifications = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for one in cases:
        timeline += await queries.timeline(workspace, str(one["id"]))
        notifications += await queries.notifications(workspace, str(one["id"]))
    news = await queries.news(workspace, feedback_id) if feedback is None else []
    notifications.sort(key=lambda row: row["created_at"])
    return {
        "feedback": _picked(feedback, _FEEDBACK) if feedback else {"id": feedback_id},
        "routing": _routing(feedback) if feedback else None,
        "case": _picked(cases[-1], _CASE) if cases else None,
        "notifications": [_picked(row, _NOTIFICATION) for row in notifications],
        "steps": _steps(feedback, decisions, timeline, news),
        "dead_letter": None,
    }


def _dead(feedback_id: str, letter: Listed) -> dict[str, Any]:
    """Of what came in and could not be processed."""
    label = letter.label
    step = _step(letter.at, label.service, "dead-lettered", label.reason)
    return {
        "feedback": {"id": feedback_id},
        "routing": None,
        "case": None,
        "notifications": [],
        "steps": [step],
        "dead_letter": {
            "place": str(letter.place),
            "at": step["at"],
            "service": label.service,
            "reason": label.reason,
            "detail": label.detail,
        },
    }


async def _cases(queries: Queries, workspace: str, case_id: uuid.UUID | None) -> list[Mapping[str, Any]]:
    """The feedback's case, and where it was merged the one that goes on, last."""
    found: list[Mapping[str, Any]] = []
    while case_id is not None and len(found) <= MERGES_FOLLOWED:
        found.append(await queries.case(workspace, str(case_id)))
        case_id = found[-1]["merged_into"]
    return found


def _routing(feedback: Mapping[str, Any]) -> dict[str, Any]:
    routing = _picked(feedback, _ROUTING)
    routing["sentiment"] = {"label": feedback["sentiment_label"], "score": feedback["sentiment_score"]}
    routing["emotion"], routing["urgency"] = emotion_in(feedback["reasons"]), urgency_in(feedback["reasons"])
    return routing


def _steps(feedback: Mapping[str, Any] | None, decisions: Any, timeline: Any, news: Any) -> list[dict[str, Any]]:
    """Over every service, oldest first."""
    steps = []
    if feedback is not None:
        steps.append(_step(feedback["received_at"], "ingest", "received", f"from {feedback['source']}"))
        why = " ".join(reason["text"] for reason in feedback["reasons"] or ())
        steps.append(_step(feedback["routed_at"], "router", f"routed to {feedback['team']}", why))
    steps += [_step(row["at"], "router", row["decision"], row["reason"]) for row in decisions]
    for row in news:
        steps.append(_step(row["settled_at"], "closer", *_became(row)))
    for row in timeline:
        steps.append(_step(row["at"], "closer", row["what"], _why(row)) | {"actor": row["actor"]})
    return sorted(steps, key=lambda step: step["at"])


def _became(news: Mapping[str, Any]) -> tuple[str, str]:
    """Of news of a ticket: what, and why."""
    work = f"{news['source']} {news['work_id']}"
    if news["kind"] == "moved":
        return f"move.{news['outcome']}", f"{work} → {news['name']!r}" + (f" ({news['team']})" if news["team"] else "")
    cases = f", cases: {news['cases']}" if news["cases"] else ""
    return f"work.{news['outcome']}", f"{work} {news['kind']}{cases}"


_NOTIFIED = {"heard": "we heard you", "answered": "here is what we did", "declined": "why not"}


def _why(row: Mapping[str, Any]) -> str:
    """What was said or given as the reason; else what the event itself is about."""
    data = row["data"] or {}
    if row["words"] or row["reason"]:
        return str(row["words"] or row["reason"])
    if row["what"] == "opened":
        policy = f", under the policy “{data['policy']}”" if data.get("policy") else ""
        held = f", held back until {data['held']['until']}: {data['held']['because']}" if data.get("held") else ""
        return f"{data['priority']} {data['kind']}{policy}{held}"
    if row["what"].startswith("notification.") and "kind" in data:
        by = f", by {data['channel']}" if data.get("channel") else ""
        return f"“{_NOTIFIED.get(data['kind'], data['kind'])}”{by}"
    return ""


def _step(at: datetime, service: str, what: str, why: str | None) -> dict[str, Any]:
    return {"at": rfc3339(at.astimezone(UTC)), "service": service, "what": what, "why": why or ""}


def _picked(row: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Those columns, as JSON takes them."""
    return {name: _plain(row[name]) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value.astimezone(UTC))
    return str(value) if isinstance(value, uuid.UUID) else value
