"""Who is at a case just now: *viewing* it, or *editing* an answer. Two agents who answer one customer is the mistake that
a shared queue makes by itself.

Whoever has a case open says so every few seconds; a word that is older than `FRESH_S` counts for nothing.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict

from services.closer.records import is_uuid
from services.closer.shown import PresentAtCase
from services.closer.transactions import Transactions
from shared.auth import Principal, needs
from shared.clock import Clock
from shared.events.envelope import rfc3339
from shared.web.problems import not_found
from shared.web.routes import answers

FRESH_S = 45

_HERE = """
INSERT INTO closer.presence (case_id, person, workspace, doing, at)
SELECT id, $2, workspace, $4, $5 FROM closer.case WHERE id = $1 AND workspace = $3
ON CONFLICT (case_id, person) DO UPDATE SET doing = excluded.doing, at = excluded.at
RETURNING case_id
"""
_OTHERS = """
SELECT person, doing, at FROM closer.presence
WHERE case_id = $1 AND person <> $2 AND at > $3::timestamptz - make_interval(secs => $4) ORDER BY person
"""
_GONE = "DELETE FROM closer.presence WHERE at < $1::timestamptz - make_interval(secs => $2)"


class Presence(BaseModel):
    model_config = ConfigDict(extra="forbid")

    doing: Literal["viewing", "editing", "leaving"] = "viewing"


def routes_for(transactions: Transactions, clock: Clock) -> APIRouter:
    routes = APIRouter(tags=["cases"])

    @routes.post("/v1/cases/{case_id}/presence", **answers(PresentAtCase))
    async def here(
        case_id: Annotated[str, Path(description="The case's id.")],
        principal: Annotated[Principal, Depends(needs("cases:read"))],
        body: Presence | None = None,
    ) -> dict[str, Any]:
        """I am at this case; who else is?"""
        if not is_uuid(case_id):
            raise not_found("no case has this id")
        doing, me, now = (body or Presence()).doing, principal.name or principal.key_id, clock.now()
        async with transactions.begin() as driver:
            if not await driver.fetchval(_HERE, case_id, me, principal.workspace, doing, now):
                raise not_found("no case has this id")
            if doing == "leaving":
                await driver.execute("DELETE FROM closer.presence WHERE case_id = $1 AND person = $2", case_id, me)
            await driver.execute(_GONE, now, float(FRESH_S))
            rows = await driver.fetch(_OTHERS, case_id, me, now, float(FRESH_S))
        return {"others": [{"person": r["person"], "doing": r["doing"], "at": rfc3339(r["at"])} for r in rows]}

    return routes
