"""JSON for tools: the trace of one piece of feedback, and the measures."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from services.console.metrics import measures
from services.console.queries import Queries
from shared.auth import Principal, needs
from shared.clock import YEARS
from shared.events.envelope import rfc3339
from shared.runtime import Runtime
from shared.web.problems import Problem

DEFAULT_SPAN = timedelta(days=7)
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


def routes_for(queries: Queries, runtime: Runtime) -> APIRouter:
    routes = APIRouter(tags=["console"])

    @routes.get("/v1/feedback/{feedback_id}/trace")
    async def trace(
        feedback_id: str, principal: Annotated[Principal, Depends(needs("feedback:read"))]
    ) -> dict[str, Any]:
        """What happened to this feedback, step by step, with reasons and times. 404 until the view has seen it."""
        try:
            wanted = str(uuid.UUID(feedback_id))
        except ValueError:
            raise _not_found() from None
        return await _trace(queries, principal.workspace, wanted)

    @routes.get("/v1/measures")
    async def all_measures(
        principal: Annotated[Principal, Depends(needs("cases:read"))],
        from_: Annotated[datetime | None, Query(alias="from", description="RFC 3339; seven days ago")] = None,
        to: Annotated[datetime | None, Query(description="RFC 3339; now")] = None,
        by: Literal["team", "source", "tag", "tier", "language"] | None = None,
    ) -> dict[str, Any]:
        """Whether the flywheel turns: each measure with its count and what it is a share of."""
        end = _aware(to, "to") if to else runtime.clock.now()
        start = _aware(from_, "from") if from_ else end - DEFAULT_SPAN
        if start >= end:
            raise Problem(422, "invalid-request", "Nothing lies between", "`from` must be before `to`")
        rows = await queries.measures(principal.workspace, start, end, by)
        items = [{"group": row["group_name"], "measures": measures(row)} for row in rows]
        if not by and not items:
            items = [{"group": None, "measures": measures({})}]
        return {"from": rfc3339(start), "to": rfc3339(end), "by": by, "items": items}

    return routes


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


async def _trace(queries: Queries, workspace: str, feedback_id: str) -> dict[str, Any]:
    feedback = await queries.feedback(workspace, feedback_id)
    decisions = await queries.decisions(workspace, feedback_id)
    if feedback is None and not decisions:
        raise _not_found()
    cases = await _cases(queries, workspace, feedback["case_id"]) if feedback is not None else []
    timeline, notifications = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for one in cases:
        timeline += await queries.timeline(workspace, str(one["id"]))
        notifications += await queries.notifications(workspace, str(one["id"]))
    notifications.sort(key=lambda row: row["created_at"])
    return {
        "feedback": _picked(feedback, _FEEDBACK) if feedback else {"id": feedback_id},
        "routing": _routing(feedback) if feedback else None,
        "case": _picked(cases[-1], _CASE) if cases else None,
        "notifications": [_picked(row, _NOTIFICATION) for row in notifications],
        "steps": _steps(feedback, decisions, timeline),
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
    return routing


def _steps(feedback: Mapping[str, Any] | None, decisions: Any, timeline: Any) -> list[dict[str, Any]]:
    """Over every service, oldest first."""
    steps = []
    if feedback is not None:
        steps.append(_step(feedback["received_at"], "ingest", "received", f"from {feedback['source']}"))
        why = " ".join(reason["text"] for reason in feedback["reasons"] or ())
        steps.append(_step(feedback["routed_at"], "router", f"routed to {feedback['team']}", why))
    steps += [_step(row["at"], "router", row["decision"], row["reason"]) for row in decisions]
    for row in timeline:
        steps.append(_step(row["at"], "closer", row["what"], _why(row)) | {"actor": row["actor"]})
    return sorted(steps, key=lambda step: step["at"])


_NOTIFIED = {"heard": "we heard you", "answered": "here is what we did", "declined": "why not"}


def _why(row: Mapping[str, Any]) -> str:
    """What was said or given as the reason; else what the event itself is about."""
    data = row["data"] or {}
    if row["words"] or row["reason"]:
        return str(row["words"] or row["reason"])
    if row["what"] == "opened":
        policy = f", under the policy “{data['policy']}”" if data.get("policy") else ""
        return f"{data['priority']} {data['kind']}{policy}"
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
