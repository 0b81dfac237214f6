"""What people say of the router's decisions: on the case's timeline, and on `feedback.corrections`, by which the router learns.

Whoever gives a case to another team says that its feedback was for that team; whoever corrects feedback says what else it is,
case or no case. Either is written in one transaction with its effect. Only the feedback that opened a case is learnt from when
the case moves: what came later joined it whatever it said.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self

import msgspec
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.closer.case import decide
from services.closer.commands import Correct, Reassign
from services.closer.lookups import name_of
from services.closer.records import is_uuid
from services.closer.shown import FeedbackCorrected
from services.closer.store import SOURCE, Effects, Held, Unit
from services.closer.transactions import Driver
from shared.auth import Principal, needs
from shared.events.envelope import FEEDBACK_CORRECTED, Envelope, rfc3339
from shared.events.feedback import Kind, Label, Priority, SentimentLabel
from shared.log import Message
from shared.telemetry import get_logger, new_traceparent
from shared.topics import CORRECTIONS, named
from shared.web.problems import invalid_field, not_found
from shared.web.routes import answers

MAX_TAGS = 32

# Nothing is learnt from what was erased: the router would read the words where they still stand on the log.
_DECISION = """
SELECT topic, partition, "offset", case_id::text AS case_id, traceparent FROM closer.feedback
WHERE workspace = $1 AND id = $2 AND NOT value->'routing' ? 'erased'
"""

_log = get_logger("closer")


class CorrectionBody(BaseModel):
    """What would have been right; at least one of them."""

    model_config = ConfigDict(extra="forbid")

    team: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        None, description="Whose it is: the unfinished case goes there too."
    )
    kind: Kind | None = None
    sentiment: SentimentLabel | None = None
    priority: Priority | None = Field(None, description="The unfinished case gets it too; its clocks stay as promised.")
    tags: Annotated[list[Label], Field(max_length=MAX_TAGS)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.given:
            raise ValueError("say what would have been right: team, kind, sentiment, priority or tags")
        return self

    @property
    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


async def moved(driver: Driver, effects: Effects, held: Held, actor: str) -> None:
    """The case has another team now: what opened it was for that one."""
    await was_for(driver, effects, held.case.workspace, held.first_feedback_id, held.case.team, actor)


async def was_for(driver: Driver, effects: Effects, workspace: str, feedback_id: str, team: str, actor: str) -> None:
    """That feedback was for this team."""
    found = await driver.fetchrow(_DECISION, workspace, feedback_id)
    if found is not None:
        effects.messages.append(_message(effects, workspace, feedback_id, found, {"team": team}, actor))


def routes_for(unit: Unit, teams: Callable[[], frozenset[str]]) -> APIRouter:
    routes = APIRouter(tags=["cases"])

    @routes.post("/v1/feedback/{feedback_id}/correction", **answers(FeedbackCorrected))
    async def correct(
        feedback_id: Annotated[str, Path(description="The feedback's id.")],
        principal: Annotated[Principal, Depends(needs("cases:write"))],
        body: CorrectionBody,
    ) -> dict[str, Any]:
        """It was judged wrongly: this would have been right. The router learns from it; the feedback itself, and what stands
        on the topics, stay as they are."""
        if not is_uuid(feedback_id):
            raise not_found("no feedback has this id")
        if body.team is not None and body.team not in teams():
            there_are = ", ".join(sorted(teams()))
            raise invalid_field("team", f"there is no such team ({there_are})")
        case_id = await _correct(unit, principal, feedback_id, body.given)
        return {"id": feedback_id, "case_id": case_id, "said": body.given}

    return routes


async def _correct(unit: Unit, principal: Principal, feedback_id: str, given: dict[str, Any]) -> str | None:
    """The feedback's case, if it has one."""
    actor = principal.key_id
    async with unit.work() as (driver, effects):
        found = await driver.fetchrow(_DECISION, principal.workspace, feedback_id)
        if found is None:
            raise not_found("no feedback has this id")
        case_id: str | None = found["case_id"]
        if case_id is not None:
            effects.names = {actor: await name_of(driver, principal)}
            held = (await unit.cases.by_id(driver, [case_id]))[case_id]
            _on_the_case(effects, held, feedback_id, given, actor)
        effects.messages.append(_message(effects, principal.workspace, feedback_id, found, given, actor))
    _log.info("feedback.corrected", feedback_id=feedback_id, case_id=case_id, actor=actor, said=sorted(given))
    return case_id


def _on_the_case(effects: Effects, held: Held, feedback_id: str, given: dict[str, Any], actor: str) -> None:
    team = given.get("team")
    moves = team is not None and held.case.unfinished and team != held.case.team
    if moves:
        effects.record(held, decide(held.case, Reassign(team), effects.now, actor))
    rest = {name: value for name, value in given.items() if not (moves and name == "team")}
    if rest:
        effects.record(held, decide(held.case, Correct(feedback_id, rest), effects.now, actor))


def _message(
    effects: Effects, workspace: str, feedback_id: str, decision: Any, said: dict[str, Any], actor: str
) -> Message:
    at = rfc3339(effects.now)
    of = {"topic": decision["topic"], "partition": decision["partition"], "offset": decision["offset"]}
    value = {"id": feedback_id, "workspace": workspace, "at": at, "by": actor, "of": of, **said}
    envelope = Envelope(
        feedback_id,
        FEEDBACK_CORRECTED,
        SOURCE,
        at,
        workspace,
        traceparent=decision["traceparent"] or new_traceparent(),
    )
    return Message(
        named(workspace, CORRECTIONS), feedback_id.encode(), msgspec.json.encode(value), list(envelope.headers())
    )
