"""`POST /v1/quarantine/redrive`: what could not be read is read again, by the connector and the mapping as they stand now.

The bytes are those that came, verified when they came. What they say goes into the log with the id that it would have had
and the time at which it was received: whoever sends the same letter twice, or has the tool send it again, makes a repeat.
It has no `redrive: n`, since nobody has had it yet. With `dry_run` it is shown and nothing is stored.
"""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, ConfigDict, Field

from services.ingest import examples
from services.ingest.publish import Publisher
from services.ingest.webhooks import Webhooks
from shared.auth import Principal, needs, require
from shared.dead_letters import DeadLetters, Kept, Place
from shared.errors import Rejected, Transient
from shared.log import Log
from shared.web.problems import malformed, unavailable

LETTERS_MAX = 200
SHOWN_EVENTS = 20
"""Of one letter, in a dry run."""


class Which(BaseModel):
    model_config = ConfigDict(extra="forbid")

    letters: Annotated[list[str], Field(min_length=1, max_length=LETTERS_MAX)]
    """Where each stands on the dead-letter topic: `partition-offset`, as the console and `flywheel dlq list` show it."""
    dry_run: bool = False


class Redriven(BaseModel):
    letter: str
    id: str | None = None
    """The letter's own."""
    outcome: Literal["accepted", "ignored", "unreadable", "gone", "no_source", "no_webhook"]
    """unreadable: still; it stays where it is. gone: no letter stands there. no_source: sources.yaml has no source of that name any
    more. no_webhook: another service could not process it, and `flywheel dlq redrive` sends it to that one."""
    reason: str = ""
    ids: list[str] = []
    """Of the events in it."""
    events: list[dict[str, Any]] | None = None
    """As they would be stored, the first ones; only in a dry run."""


class AllRedriven(BaseModel):
    dry_run: bool
    letters: list[Redriven]


def routes_for(webhooks: Webhooks, publisher: Publisher, log: Log) -> APIRouter:
    routes = APIRouter(tags=["ingest"])

    @routes.post("/v1/quarantine/redrive")
    async def redrive(
        which: Annotated[Which, Body(openapi_examples=examples.LETTERS)],
        principal: Annotated[Principal, Depends(needs("feedback:write"))],
    ) -> AllRedriven:
        """Read quarantined webhooks again, after their connector or mapping was mended. Needs `feedback:read` too."""
        require(principal, "feedback:read")
        places = [Place.read(text) for text in dict.fromkeys(which.letters)]
        if None in places:
            raise malformed("letters: each as partition-offset, as `flywheel dlq list` shows it")
        letters, done = DeadLetters(log, principal.workspace), []
        for place in places:
            kept = await letters.at(place) if place is not None else None
            done.append(
                Redriven(letter=str(place), outcome="gone") if kept is None else await _again(kept, which.dry_run)
            )
        return AllRedriven(dry_run=which.dry_run, letters=done)

    async def _again(kept: Kept, dry_run: bool) -> Redriven:
        found = Redriven(letter=str(kept.place), id=kept.letter.id, outcome="no_webhook")
        if kept.letter.came_by != "webhook":
            return found
        read = await webhooks.again(kept.letter, kept.at)
        if read is None:
            return found.model_copy(update={"outcome": "no_source"})
        if read.ignored is not None:
            return found.model_copy(update={"outcome": "ignored", "reason": read.ignored})
        if not read.events:
            return found.model_copy(update={"outcome": "unreadable", "reason": read.bad})
        if dry_run:
            shown = [msgspec.json.decode(event.message.value) for event in read.events[:SHOWN_EVENTS]]
        else:
            shown = None
            try:
                await publisher.publish_all([event.message for event in read.events])
            except Transient as error:
                raise unavailable(error.retry_after) from None
            except Rejected:
                raise unavailable() from None
        said = {"outcome": "accepted", "reason": read.bad, "ids": [event.id for event in read.events], "events": shown}
        return found.model_copy(update=said)

    return routes
