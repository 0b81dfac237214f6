"""The router's routes: a team's feedback as it is routed, the rules in force, one decision explained, the topics
described."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field

from services.router import asyncapi, sse
from services.router.route import explain
from services.router.ruleset import Ruleset
from shared.auth import Principal, needs
from shared.config import Config
from shared.errors import Transient
from shared.log import Reader
from shared.runtime import Runtime
from shared.telemetry import get_logger
from shared.topics import DEFAULT_WORKSPACE, named, routed
from shared.web.problems import Problem, malformed, not_found
from shared.web.routes import StrictRoute

_log = get_logger("router")

Reading = Annotated[Principal, Depends(needs("feedback:read"))]
InForce = Callable[[], tuple[Ruleset, Config]]
MAX_EXPLAINED = 100
Several = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_EXPLAINED)]
"""Few enough that nobody else waits while they are decided."""


def routes_for(runtime: Runtime, in_force: InForce) -> APIRouter:
    """`in_force` raises `Transient` until there is a configuration."""
    routes = APIRouter(tags=["router"], route_class=StrictRoute)
    cursors = sse.Cursors(runtime.settings.secret)

    @routes.get("/v1/teams/{team}/feedback", response_class=StreamingResponse)
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

    @routes.get("/v1/rules")
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
            "rules": data.get("rules") or [],
        }

    @routes.post("/v1/rules/explain")
    async def explained(body: dict[str, Any] | Several, principal: Reading) -> dict[str, Any] | list[dict[str, Any]]:
        """One full decision about this feedback (the body, or its member `feedback`) by the rules in force; of a list,
        one for each in order. Nothing is stored."""
        ruleset, _ = in_force()
        decisions = [_explained(ruleset, one) for one in (body if isinstance(body, list) else [body])]
        return decisions if isinstance(body, list) else decisions[0]

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


def _explained(ruleset: Ruleset, body: dict[str, Any]) -> dict[str, Any]:
    feedback = body.get("feedback", body)
    if not isinstance(feedback, dict):
        raise malformed("feedback is an object, as POST /v1/feedback takes it.")
    return explain(ruleset, {"source": "explain", **feedback})


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
