"""`POST /v1/erasures`: a customer is erased. For keys and people that may do everything.

The answer says what went, and by when the topics will have let go of the rest. It holds names, for whoever asked gave them; what
is kept of it (the audit trail) does not.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from fastapi import APIRouter, Body, Depends
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from services.closer.erasing import Asked, Done, Eraser
from services.closer.shown import Erased
from shared.auth import ADMIN, Principal, needs
from shared.events.characters import id_issue
from shared.events.envelope import rfc3339
from shared.topics import CASES, CORRECTIONS, ERASURES, SIGNALS, all_topics
from shared.web.routes import answers

NAMELESS = (CASES, CORRECTIONS, ERASURES, SIGNALS)
"""Topics that hold ids and no words."""
_EXAMPLES: dict[str, Any] = {
    "customer": {"summary": "By the id that events have", "value": {"customer": "c-1"}},
    "email": {
        "summary": "By an address, and only to see what would go",
        "value": {"email": "ann@example.com", "dry_run": True},
    },
}


def _one_id(value: str) -> str:
    if issue := id_issue(value):
        raise ValueError(issue)
    return value


class ErasureBody(BaseModel):
    """Who: an id, an address, or both."""

    model_config = ConfigDict(extra="forbid")

    customer: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_one_id)] | None = Field(
        None,
        description="`customer.id` as it was sent. What came without an id from an address of theirs goes too.",
    )
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=320)] | None = Field(
        None, description="An address: every customer who wrote from it goes."
    )
    dry_run: StrictBool = Field(False, description="Count what would go, and leave everything as it is.")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.customer is None and self.email is None:
            raise ValueError("say who: customer, email, or both")
        return self


def routes_for(eraser: Eraser, teams: Callable[[], frozenset[str]]) -> APIRouter:
    routes = APIRouter(tags=["privacy"])

    @routes.post("/v1/erasures", **answers(Erased))
    async def erase(
        principal: Annotated[Principal, Depends(needs(ADMIN))],
        body: Annotated[ErasureBody, Body(openapi_examples=_EXAMPLES)],
    ) -> dict[str, Any]:
        """Erase a customer: their words, names and addresses go from the database at once, nothing is sent to them any more,
        and what was said before does not come back when it is sent again. Counts, clocks and states stay, under a pseudonym.
        Topics age out: `topics` says when. To ask again is no error, and erases what came meanwhile."""
        done = await eraser.erase(principal, Asked(body.customer, body.email), dry_run=body.dry_run)
        return shown(done, principal.workspace, teams(), dry_run=body.dry_run)

    return routes


def shown(done: Done, workspace: str, teams: frozenset[str], *, dry_run: bool) -> dict[str, Any]:
    return {
        "subject": done.subject,
        "erased_at": None if dry_run else rfc3339(done.at),
        "dry_run": dry_run,
        "names": list(done.names),
        "removed": msgspec.to_builtins(done.counts),
        "topics": _until(done.at, workspace, teams),
    }


def _until(at: datetime, workspace: str, teams: frozenset[str]) -> dict[str, str]:
    """Topic → when it has nothing of them any more."""
    bare = {topic.name: topic.retention for topic in all_topics(sorted(teams))}
    named = all_topics(sorted(teams), workspace)
    return {
        topic.name: rfc3339(at + kept)
        for topic, (name, kept) in zip(named, bare.items(), strict=True)
        if kept is not None and name not in NAMELESS
    }
