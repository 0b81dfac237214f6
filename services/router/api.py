"""The router's routes: a team's feedback as it is routed, the rules in force, one decision explained, the topics
described."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, RootModel

from services.router import asyncapi, sse
from services.router.kept import KeptModels
from services.router.route import explain
from services.router.ruleset import Ruleset
from services.router.shadow_kept import KeptShadows
from shared.auth import Principal, needs
from shared.config import Config
from shared.errors import Transient
from shared.events.envelope import rfc3339
from shared.events.feedback import Emotion, Kind, Priority, Reason, Sentiment, Urgency
from shared.log import Reader
from shared.runtime import Runtime
from shared.telemetry import get_logger
from shared.topics import DEFAULT_WORKSPACE, named, routed
from shared.web.problems import Problem, malformed, not_found
from shared.web.routes import StrictRoute, answers

_log = get_logger("router")

Reading = Annotated[Principal, Depends(needs("feedback:read"))]
InForce = Callable[[], tuple[Ruleset, Config]]
MAX_EXPLAINED = 100
Several = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_EXPLAINED)]
"""Few enough that nobody else waits while they are decided."""


class RulesInForce(BaseModel):
    version: str = Field(description="What decisions carry as `ruleset_version`.")
    default_team: str
    teams: list[str]
    examples: int = Field(description="How many were proved.")
    metrics: dict[str, list[float]] = Field(description="The least and the most of each.")
    lexicons: dict[str, Any] = Field(description="As they are written, by their names.")
    rules: list[dict[str, Any]] = Field(description="As they are written.")


class AlmostRule(BaseModel):
    model_config = ConfigDict(extra="allow")

    rule: str
    code: str = Field(description="`rule.too-late`: it holds, but another stood before it; else what it is short of.")
    text: str


class ExplainedDecision(BaseModel):
    """A routing as it would stand on the topic; of what a rule discards, why, and no team."""

    model_config = ConfigDict(extra="allow")

    team: str | None
    watchers: list[str]
    tags: list[str]
    theme: str | None
    kind: Kind | None
    sentiment: Sentiment
    priority: Priority | None
    language: str | None
    confidence: float
    decided_by: Literal["rule", "model", "default"]
    rule: str | None
    ruleset_version: str
    follow_up: bool
    reasons: list[Reason]
    emotion: Emotion | None
    urgency: list[Urgency]
    rules: list[str] = Field(description="Those that hold, in their order.")
    discarded: str | None = Field(description="Why nobody gets it.")
    almost: list[AlmostRule]


class ModelKept(BaseModel):
    version: str
    made_at: datetime
    made_of: Literal["file", "corrections"] = Field(
        description="What it was learnt for: a file, or what was corrected."
    )
    rows: int = Field(description="How many examples it was learnt from.")
    corrections: int = Field(description="So many of them are people's corrections.")
    heads: dict[str, int] = Field(description="By what it judges: how many examples say something of it.")


class CorrectionsTaken(BaseModel):
    kept: int
    waiting: int = Field(description="Nothing was learnt from these yet.")
    newest: datetime | None


class LastTrial(BaseModel):
    model_config = ConfigDict(extra="allow")

    at: datetime
    before: str | None = Field(description="The model in force then; null: the lexicons alone.")
    rows: int
    in_force: bool = Field(description="Whether it was taken into use.")
    why: str | None = Field(None, description="Why not.")
    version: str | None = None
    held_back: int | None = None
    macro_f1: dict[str, float] | None = None
    macro_f1_before: dict[str, float] | None = None


class LearningStatus(BaseModel):
    in_force: str | None = Field(description="The model that judges; null: the lexicons alone.")
    models: list[ModelKept]
    corrections: CorrectionsTaken
    last_trial: LastTrial | None


class ShadowRules(BaseModel):
    rules: str = Field(description="Their name: a hash of what is written.")
    since: datetime
    author: str | None
    reason: str | None
    refused: str | None = Field(description="Why they cannot be asked by the configuration in force.")
    ended_at: datetime | None
    ended: Literal["stopped", "replaced", "adopted"] | None


class CountOfPair(BaseModel):
    from_: str = Field(alias="from")
    to: str
    count: int


class CountOfRule(BaseModel):
    rule: str
    live: int = Field(description="So many it decides among the rules in force.")
    shadow: int


class ComparedBefore(BaseModel):
    live: str
    compared: int
    differ: int


class DecidedOtherwise(BaseModel):
    id: str = Field(description="Of the feedback, whose words stand where they always stood.")
    at: datetime
    what: list[str] = Field(description="What is not the same: team, discarded, watchers, tags, priority …")
    live: dict[str, Any] = Field(description="What was decided.")
    shadow: dict[str, Any] = Field(description="What would have been.")


class ShadowCompared(BaseModel):
    shadow: ShadowRules | None = Field(
        description="The rules that run as a shadow, or the last that did; null: none ever."
    )
    live: str | None = Field(description="The version in force that they are compared with.")
    compared: int = Field(description="Pieces of feedback, each counted once at most.")
    differ: int = Field(description="Those that would be decided otherwise: moved and otherwise.")
    share: float
    moved: int = Field(description="To another team, to or from nobody.")
    otherwise: int = Field(description="The same team, with other tags, watchers, priority, tier or answer owed.")
    failed: int = Field(description="The shadow raised an error.")
    skipped: int = Field(description="Its share of the time was over.")
    what: dict[str, int]
    by_team: list[CountOfPair] = Field(description="Of what moves.")
    by_rule: list[CountOfPair] = Field(description="Which rule decided, and which would have, where that is another.")
    rules: list[CountOfRule]
    earlier: list[ComparedBefore] = Field(description="What it was compared with before the rules in force changed.")
    samples: list[DecidedOtherwise]


class ExplainedAnswer(RootModel[ExplainedDecision | list[ExplainedDecision]]):
    """One decision, or of a list one for each in order."""


_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def routes_for(runtime: Runtime, in_force: InForce, kept: KeptModels, shadows: KeptShadows) -> APIRouter:
    """`in_force` raises `Transient` until there is a configuration."""
    routes = APIRouter(tags=["router"], route_class=StrictRoute)
    cursors = sse.Cursors(runtime.settings.secret)

    @routes.get("/v1/teams/{team}/feedback", response_class=StreamingResponse, responses=_EVENTS)
    async def follow(
        team: str,
        principal: Reading,
        where: Annotated[Literal["beginning", "end"], Query(alias="from")] = "end",
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> StreamingResponse:
        """What is routed to this team, as it comes: server-sent events, resumable by `Last-Event-ID`."""
        if team not in _teams(in_force, principal.workspace):
            raise _no_team(team)
        topic = named(principal.workspace, routed(team))
        reader = await runtime.log.reader()
        try:
            partitions = await reader.partitions(topic)
            if not partitions:
                raise _no_team(team)
            positions = await sse.start(reader, topic, partitions, where)
            if last_event_id:
                positions |= _resumed(cursors, topic, last_event_id, partitions)
        except BaseException:
            await reader.close()
            raise
        stream = _stream(reader, topic, positions, cursors, runtime.stopping)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    @routes.get("/v1/rules", **answers(RulesInForce))
    async def rules(principal: Reading) -> dict[str, Any]:
        """The rules in force, as they are written, and the version that decisions carry."""
        ruleset, config = in_force()
        data = config.written["routing.yaml"].data or {}
        return {
            "version": ruleset.version,
            "default_team": ruleset.default_team,
            "teams": sorted(ruleset.teams),
            "examples": ruleset.examples,
            "metrics": ruleset.metrics,
            "lexicons": data.get("lexicons") or {},
            "rules": data.get("rules") or [],
        }

    @routes.get("/v1/rules/shadow", **answers(ShadowCompared))
    async def shadow(_: Reading) -> dict[str, Any]:
        """What the rules that run as a shadow would have decided otherwise, compared with the rules in force as they are now.
        Written every few seconds."""
        return await shadows.status(in_force()[0].version)

    @routes.post("/v1/rules/explain", **answers(ExplainedAnswer))
    async def explained(body: dict[str, Any] | Several, principal: Reading) -> dict[str, Any] | list[dict[str, Any]]:
        """One full decision about this feedback (the body, or its member `feedback`) by the rules in force, and the rules
        that almost did (`almost`); of a list, one for each in order. What does not say when it was received is received now.
        Nothing is stored."""
        ruleset, _ = in_force()
        now, decisions = rfc3339(runtime.clock.now()), []
        for one in body if isinstance(body, list) else [body]:
            decisions.append(_explained(ruleset, one, now))
            await asyncio.sleep(0)  # every rule is looked at for each: the others of this process have their turn
        return decisions if isinstance(body, list) else decisions[0]

    @routes.get("/v1/learning", **answers(LearningStatus))
    async def learning(_: Reading) -> dict[str, Any]:
        """What was learnt, from what, and which model judges; what people corrected and what became of it."""
        return await kept.status()

    @routes.get("/asyncapi.json", include_in_schema=False)
    async def described() -> JSONResponse:
        return JSONResponse(asyncapi.document(in_force()[0].teams))

    @routes.get("/schemas/{name}.json", include_in_schema=False)
    async def schema(name: str) -> JSONResponse:
        found = asyncapi.schemas().get(name)
        if found is None:
            raise not_found()
        return JSONResponse(found, media_type="application/schema+json")

    return routes


def _explained(ruleset: Ruleset, body: dict[str, Any], now: str) -> dict[str, Any]:
    feedback = body.get("feedback", body)
    if not isinstance(feedback, dict):
        raise malformed("feedback is an object, as POST /v1/feedback takes it.")
    return explain(ruleset, {"source": "explain", "received_at": now, **feedback})


def _teams(in_force: InForce, workspace: str) -> frozenset[str]:
    """One configuration, one workspace, so far: another's teams are not known here."""
    return in_force()[0].teams if workspace == DEFAULT_WORKSPACE else frozenset()


def _no_team(team: str) -> Problem:
    return not_found(f"There is no team {team!r} here." if team.isprintable() and len(team) < 64 else None)


def _resumed(cursors: sse.Cursors, topic: str, text: str, partitions: int) -> dict[int, int]:
    """Partitions that were added since begin at their first record."""
    try:
        found = cursors.positions(topic, text)
    except sse.BadCursor as error:
        raise malformed(str(error)) from None
    return {number: found.get(number, 0) for number in range(partitions)}


async def _stream(
    reader: Reader, topic: str, positions: dict[int, int], cursors: sse.Cursors, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """A stream that breaks is resumed by the client, so an absent log ends it like any other cut."""
    clock = asyncio.get_running_loop().time
    yield sse.opening(topic, cursors.text(topic, positions))
    quiet_since = clock()
    try:
        async with aclosing(sse.events(reader, topic, positions, cursors)) as events:  # type: ignore[type-var]
            async for event in events:
                if stopping.is_set():
                    return
                if event is not None:
                    yield event
                    quiet_since = clock()
                elif clock() - quiet_since >= sse.HEARTBEAT_S:
                    yield b": still here\n\n"
                    quiet_since = clock()
    except Transient as error:
        _log.warning("router.stream_cut", topic=topic, reason=str(error))
    finally:
        await reader.close()
