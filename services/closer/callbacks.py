"""What people press where they hear of a case: `POST /v1/cases/callbacks/{channel}`, signed by the channel.

A press acts as the same verb of the API would, by the same rules; whoever pressed is the actor. Their id with the
channel stands on `feedback.cases`, their name on the timeline only. What cannot be done is said to them alone, with what
can. A call that no subscription in force has signed is refused; one that says nothing to us is answered and passed over.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from fastapi import APIRouter, Request, Response

from services.closer.api import Assign, Desk, Nothing, Reassign
from services.closer.case import legal_verbs
from services.closer.store import Held, Unit
from services.closer.subscribers import Subscribers, plugins
from services.closer.subscriptions import Pressed, Subscription, Way, WayBack
from services.closer.tellings import CASE
from shared.auth import Principal
from shared.errors import Rejected, Transient
from shared.telemetry import get_logger
from shared.web.problems import Problem, not_found

ANSWER_WITHIN_S = 2.5
"""Slack takes no answer within three seconds for a failure."""

_PLACE = "SELECT workspace, case_id, subscription FROM closer.delivery WHERE id = $1 AND event = $2"
_log = get_logger("closer")


def routes_for(unit: Unit, desk: Desk, subscribers: Callable[[], Subscribers], way: Callable[[str], Way]) -> APIRouter:
    routes = APIRouter(tags=["cases"])

    @routes.post("/v1/cases/callbacks/{channel}", status_code=200)
    async def called_back(request: Request, channel: str) -> Response:
        """For the channel, not for people: the buttons of a case's message. Signed by the channel's own scheme."""
        plugin = plugins().get(channel)
        if plugin is None:
            raise not_found("no channel has this name")
        body, headers, now = await request.body(), dict(request.headers), unit.clock.now()
        ours = [one for one in subscribers().on(channel) if plugin.signed(one.entry, headers, body, now)]
        if not ours:
            raise Problem(401, "unauthorized", "The signature is not valid.", "No subscription in force has signed it.")
        pressed = plugin.pressed(body)
        if pressed is not None:
            await Buttons(unit, desk, cast(WayBack, way(channel))).press(ours, pressed)
        return Response()

    return routes


class Buttons:
    def __init__(self, unit: Unit, desk: Desk, way: WayBack) -> None:
        self._unit = unit
        self._desk = desk
        self._way = way

    async def press(self, ours: list[Subscription], pressed: Pressed) -> None:
        """Raises `Transient` while the case cannot be reached: nothing was done."""
        found = await self._place(ours, pressed)
        if found is None:
            _log.warning("button.unknown", who=pressed.who, telling=pressed.telling)
            return
        subscription, held = found
        refused = await self._done(subscription, held, pressed)
        _log.info(
            "button.pressed",
            verb=pressed.verb,
            case_id=held.case.id,
            team=subscription.team,
            actor=_actor(subscription, pressed),
            refused=refused,
            traceparent=held.traceparent,
        )
        if refused is not None:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await self._way.whisper(subscription, pressed.who, refused)
            except (Transient, Rejected, TimeoutError) as error:
                _log.warning("button.not_answered", case_id=held.case.id, reason=str(error))

    async def _place(self, ours: list[Subscription], pressed: Pressed) -> tuple[Subscription, Held] | None:
        """Whose button it was: one of theirs who signed, or nobody's."""
        try:
            identity = pressed.telling if len(bytes.fromhex(pressed.telling)) == 16 else None
        except ValueError:
            identity = None
        async with self._unit.transactions.begin() as driver:
            row = await driver.fetchrow(_PLACE, identity, CASE)
            subscription = next((one for one in ours if row is not None and one.id == row["subscription"]), None)
            if subscription is None:
                return None
            return subscription, await self._unit.cases.goes_on(driver, row["workspace"], str(row["case_id"]))

    async def _done(self, subscription: Subscription, held: Held, pressed: Pressed) -> str | None:
        """None when it was; else why not, for whoever pressed."""
        case = held.case
        if case.team != subscription.team:
            return f"This case is with the team {case.team} now: nothing was done."
        member = next((one for one in subscription.members if one.is_known_as(subscription.channel, pressed.who)), None)
        name, address = pressed.name, member.email if member is not None else None
        if member is not None:
            name = member.name or member.email
        verb: str = pressed.verb
        body: Nothing | Assign | Reassign = Nothing()
        if verb == "assign":
            address = address or await self._asked_for(subscription, pressed)
            if address is None:
                return (
                    f"Nobody in the team {subscription.team} is known by your account here: have"
                    f' "{subscription.channel}: {pressed.who}" added to your entry under members in teams.yaml.'
                )
            body = Assign(to=address)
            if "assign" not in legal_verbs(case.state) and "reassign" in legal_verbs(case.state):
                verb, body = "reassign", Reassign(to=address)
        principal = Principal(case.workspace, _actor(subscription, pressed), frozenset())
        try:
            await self._desk.do(principal, case.id, None, body, verb, name)
        except Problem as problem:
            return problem.detail or problem.title
        return None

    async def _asked_for(self, subscription: Subscription, pressed: Pressed) -> str | None:
        """The member whose address the channel knows them by."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                found = await self._way.address_of(subscription, pressed.who)
        except (Transient, Rejected, TimeoutError) as error:
            _log.warning("button.nobody_known", who=pressed.who, reason=str(error))
            return None
        known = {one.email.lower(): one.email for one in subscription.members}
        return known.get((found or "").lower())


def _actor(subscription: Subscription, pressed: Pressed) -> str:
    return f"{subscription.channel}:{pressed.who}"
