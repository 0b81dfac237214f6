"""A team's digests: what would go now, and sending it before its time."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from services.closer.digest_mail import language_for, written
from services.closer.digests import Digests
from services.closer.periods import next_end
from services.closer.shown import Digests as DigestsShown
from services.closer.shown import DigestsSent
from services.closer.store import Unit
from services.closer.subscriptions import Subscription
from shared.auth import Principal, needs
from shared.web.problems import not_found
from shared.web.routes import answers


class OfTeam(BaseModel):
    model_config = ConfigDict(extra="forbid")

    team: str


def routes_for(unit: Unit, digests: Digests, public_url: str) -> APIRouter:
    routes = APIRouter(tags=["deliveries"])

    def of(principal: Principal, team: str) -> list[Subscription]:
        found = [one for one in unit.subscribers.of(principal.workspace, team) if one.tells == "digests"]
        if not found:
            raise not_found(f"no digest of a team {team!r}: `subscribe:` in teams.yaml, `channel: email`")
        return found

    async def shown(one: Subscription) -> dict[str, Any]:
        digest, entry = await digests.preview(one), one.entry
        mail = written(one, digest, public_url) if digest is not None else None
        return {
            "subscription": one.destination,
            "every": entry.every,
            "readers": list(entry.readers(one.members)),
            "next_at": next_end(entry.every, entry.at_minute, one.hours, unit.clock.now()),
            "mail": {"language": language_for(one, digest.owed.to), **mail._asdict()} if digest and mail else None,
        }

    @routes.get("/v1/deliveries/digests", **answers(DigestsShown))
    async def show_digests(principal: Annotated[Principal, Depends(needs("cases:read"))], team: str) -> dict[str, Any]:
        """What a team's e-mail digests would say, went they now. Changes nothing."""
        return {"items": [await shown(one) for one in of(principal, team)]}

    @routes.post("/v1/deliveries/digests/send", **answers(DigestsSent))
    async def send_digests(
        principal: Annotated[Principal, Depends(needs("cases:write"))], which: OfTeam
    ) -> dict[str, Any]:
        """Send them now instead of at the end of their period. The next period begins here, so nobody reads the same twice."""
        return {"owed": sum([await digests.send_now(one) for one in of(principal, which.team)])}

    return routes
