"""What people and tools do to cases: lists, one case with its timeline, and the verbs.

A verb locks the case, decides, and writes the case, its timeline, the outbox and what the customer is owed in one
transaction. `If-Match` refuses it when somebody was there first; a verb that the case's state does not allow is 409 and
names those that it does. Another workspace's case is answered like one that does not exist.
"""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from services.closer import commands, corrections
from services.closer.case import Case, IllegalTransition, InvalidCommand, decide
from services.closer.commands import Command
from services.closer.lists import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    STATUSES,
    Wanted,
    notifications,
    page,
    read_limit,
    read_status,
    whole,
)
from services.closer.lookups import also_told, name_of, others_to_tell, unsubscribed_of
from services.closer.merging import joins
from services.closer.notify import Contact, Notification, notify
from services.closer.policy import Policies, Subject
from services.closer.records import is_uuid
from services.closer.render import MailContext, mail
from services.closer.shown import CasePage, CaseWhole, MailPreview, NotificationPage, SlaExplained
from services.closer.store import Effects, Held, Unit
from services.closer.transactions import Driver
from shared.auth import Principal, needs
from shared.clock import YEARS
from shared.database import Database
from shared.events.feedback import TEXT_MAX_CHARS, Priority
from shared.links import Links
from shared.telemetry import get_logger
from shared.web.problems import Problem, invalid_field, not_found
from shared.web.routes import answers

CONFLICTS_TRIED = 2

_log = get_logger("closer")


# ── bodies ──


def _something(value: str) -> str:
    if not any(character.isprintable() and not character.isspace() for character in value):
        raise ValueError("must hold something to read")
    return value


_Email = Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=320)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX_CHARS), AfterValidator(_something)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)]
_Reason = Annotated[str, StringConstraints(max_length=1000)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Nothing(Body):
    """No members."""


class Assign(Body):
    to: _Email


class Reassign(Body):
    team: Annotated[str, StringConstraints(max_length=63)] | None = None
    to: _Email | None = None


class Note(Body):
    text: Text


class Because(Body):
    reason: _Reason = ""


class AnswerBody(Body):
    answer: Text = Field(description="What we did, or why not: the text that the customer gets.")
    language: Language | None = None


class PreviewBody(AnswerBody):
    declined: bool = False


class Merge(Body):
    into: str = Field(description="The id of the case that goes on.")


# ── routes ──


class Desk:
    """Does the verbs."""

    def __init__(self, unit: Unit, policies: Callable[[], Policies], teams: Callable[[], frozenset[str]]) -> None:
        self._unit = unit
        self._policies = policies
        self._teams = teams

    async def do(
        self, principal: Principal, case_id: str, if_match: str | None, body: Any, verb: str, name: str | None = None
    ) -> Held:
        """`name`: who does it, as colleagues know them; without it, the key's. Raises `Problem`."""
        if not is_uuid(case_id):
            raise not_found("no case has this id")
        for _ in range(CONFLICTS_TRIED):
            # Another case of its key was opened between our look and our write: now it is there to be seen.
            with contextlib.suppress(asyncpg.UniqueViolationError):
                return await self._do(principal, case_id, if_match, body, verb, name)
        return await self._do(principal, case_id, if_match, body, verb, name)

    async def _do(
        self, principal: Principal, case_id: str, if_match: str | None, body: Any, verb: str, name: str | None
    ) -> Held:
        async with self._unit.work() as (driver, effects):
            held, other, told_too = await self._locked(driver, principal, case_id, body, verb)
            _matches(if_match, held.case)
            # Colleagues see a name; the topic that is kept for good gets the key's id.
            actor = principal.key_id
            effects.names = {actor: name or await name_of(driver, principal)}
            effects.also = told_too
            effects.unsubscribed = await unsubscribed_of(driver, [held, *told_too.values()])
            also = await others_to_tell(driver, self._unit.cases, held, other) if other is not None else ()
            team = held.case.team
            try:
                command = self._command(held.case, other, body, verb, effects.now)
                self._act(effects, held, other, also, command, actor)
            except IllegalTransition as error:
                raise _illegal(error) from None
            except InvalidCommand as error:
                raise Problem(422, "invalid-request", "The request is not valid.", str(error)) from None
            if held.case.team != team:
                await corrections.moved(driver, effects, held, actor)
        _log.info(
            f"case.{verb}",
            case_id=case_id,
            feedback_id=held.first_feedback_id,
            state=held.case.state,
            team=held.case.team,
            actor=actor,
            traceparent=held.traceparent,
        )
        return held

    async def preview(self, principal: Principal, case_id: str, body: "PreviewBody") -> dict[str, Any]:
        """The mail that this answer would be; nothing is written. Raises as the verb itself would."""
        async with self._unit.transactions.begin() as driver:
            found = await self._unit.cases.as_they_are(driver, [case_id] if is_uuid(case_id) else [])
            held = found.get(case_id)
            if held is None or held.case.workspace != principal.workspace:
                raise not_found("no case has this id")
            unsubscribed = bool(await unsubscribed_of(driver, [held]))
            words = await driver.fetchval(
                "SELECT value->>'text' FROM closer.feedback WHERE workspace = $1 AND id = $2",
                held.case.workspace,
                held.first_feedback_id,
            )
        verb = commands.Decline if body.declined else commands.Resolve
        try:
            outcome = decide(held.case, verb(body.answer, body.language), self._unit.clock.now(), principal.key_id)
        except IllegalTransition as error:
            raise _illegal(error) from None
        personal = held.personal
        contact = Contact(personal.email, personal.name, personal.locale, unsubscribed)
        every = [notify(outcome.case, event, contact) for event in outcome.events]
        owed = next((one for one in every if one is not None), None)
        if not isinstance(owed, Notification):
            return {"to": None, "withheld": owed.reason if owed is not None else "", "subject": None, "html": None}
        context = MailContext(words, body.answer, body.language or held.case.language, "#", "#")
        shown = mail(owed, context)
        return {"to": owed.to, "withheld": None, "subject": shown.subject, "html": shown.html}

    def _act(
        self,
        effects: Effects,
        held: Held,
        other: Held | None,
        also: tuple[commands.Also, ...],
        command: Command,
        actor: str,
    ) -> None:
        before = held.case
        effects.record(held, decide(before, command, effects.now, actor))
        if isinstance(command, commands.Merge | commands.Reopen) and held.case.state == "merged" and other is not None:
            if not other.case.unfinished:
                raise invalid_field("into", f"is finished ({other.case.state}); merge into an unfinished one")
            joins(effects, held, before, other, also, command, actor)

    async def _locked(
        self, driver: Driver, principal: Principal, case_id: str, body: Any, verb: str
    ) -> tuple[Held, Held | None, dict[str, Held]]:
        """The case, the other one that the verb concerns, and those of other customers whom an answer is given to as
        well: all locked in the order of their ids."""
        into = body.into if verb == "merge" else None
        if into is not None and not is_uuid(into):
            raise _no_such_other()
        if verb == "reopen":
            into = await driver.fetchval(
                "SELECT u.id::text FROM closer.case c JOIN closer.case u ON u.case_key = c.case_key"
                " AND u.workspace = c.workspace AND u.unfinished AND u.id <> c.id WHERE c.id = $1",
                case_id,
            )
        also = await also_told(driver, [case_id]) if verb in ("resolve", "decline") else []
        found = await self._unit.cases.by_id(driver, [one for one in (case_id, into, *also) if one is not None])
        held = found.get(case_id)
        if held is None or held.case.workspace != principal.workspace:
            raise not_found("no case has this id")
        other = found.get(into) if into is not None and into != case_id else None
        if verb == "merge" and into != case_id and (other is None or other.case.workspace != principal.workspace):
            raise _no_such_other()
        if verb == "reopen" and other is not None and not other.case.unfinished:
            other = None  # finished while we waited for its lock
        late = [one.case_id for one in held.case.also if one.case_id not in found and verb in ("resolve", "decline")]
        if late:  # merged into it while we waited for its lock
            found |= await self._unit.cases.by_id(driver, late)
        return held, other, {one.case_id: found[one.case_id] for one in held.case.also if one.case_id in found}

    def _command(self, case: Case, other: Held | None, body: Any, verb: str, now: datetime) -> Command:
        match verb:
            case "acknowledge":
                return commands.Acknowledge()
            case "assign":
                return commands.Assign(body.to)
            case "reassign":
                if body.team is not None and body.team not in self._teams():
                    raise InvalidCommand(f"team: there is no such team ({', '.join(sorted(self._teams()))})")
                return commands.Reassign(body.team, body.to)
            case "note":
                return commands.Note(body.text)
            case "wait":
                return commands.Wait(body.reason)
            case "resume":
                return commands.Resume(body.reason)
            case "resolve":
                return commands.Resolve(body.answer, body.language)
            case "decline":
                return commands.Decline(body.answer, body.language)
            case "merge":
                return commands.Merge(body.into)
            case _:
                snapshot = None
                if not case.history:
                    subject = Subject(case.team, case.priority, case.tier, case.kind, case.theme)
                    snapshot = self._policies().snapshot(subject, now)
                return commands.Reopen(body.reason, other.case.id if other is not None else None, snapshot)


_VERBS: tuple[tuple[str, type[Body], str], ...] = (
    ("acknowledge", Nothing, "Somebody has seen it: stops the acknowledge clock, sends nothing."),
    ("assign", Assign, "Somebody does it."),
    ("reassign", Reassign, "Another team, or another person."),
    ("note", Note, "A word among colleagues."),
    ("wait", Because, "The customer is asked: the team's clock stands still."),
    ("resume", Because, "The work goes on."),
    ("resolve", AnswerBody, "Done: the customer is told what we did."),
    ("decline", AnswerBody, "Not done: the customer is told why not."),
    ("reopen", Because, "Not solved after all."),
    ("merge", Merge, "Goes on in another case."),
)


def routes_for(
    unit: Unit,
    database: Database,
    links: Links,
    policies: Callable[[], Policies],
    teams: Callable[[], frozenset[str]],
) -> APIRouter:
    routes = APIRouter(tags=["cases"])
    desk = Desk(unit, policies, teams)
    reading = Annotated[Principal, Depends(needs("cases:read"))]
    writing = Annotated[Principal, Depends(needs("cases:write"))]
    case_path = Annotated[str, Path(description="The case's id.")]

    @routes.get("/v1/cases", **answers(CasePage))
    async def list_cases(
        principal: reading,
        team: str | None = None,
        state: Annotated[str | None, Query(description="One state, or several with commas.")] = None,
        assignee: str | None = None,
        customer: Annotated[str | None, Query(description="The customer's id as sent.")] = None,
        breached: Annotated[str | None, Query(description="`true` or `false`.")] = None,
        held: Annotated[str | None, Query(description="By a rule, for now: `true` or `false`.")] = None,
        q: Annotated[str | None, Query(description="A part of what was said or answered, in any script.")] = None,
        cursor: str | None = None,
        limit: Annotated[str | None, Query(description=f"1 to {MAX_LIMIT}; {DEFAULT_LIMIT}.")] = None,
    ) -> dict[str, Any]:
        """Cases, the newest first."""
        wanted = Wanted.read(team, state, assignee, customer, breached, held, q)
        return await page(database, links, principal.workspace, wanted, cursor, read_limit(limit))

    @routes.get("/v1/cases/{case_id}", **answers(CaseWhole))
    async def one_case(case_id: case_path, principal: reading, response: Response) -> dict[str, Any]:
        """One case with its timeline, its clocks, what was said, and who was told. `ETag`: its version."""
        found = await whole(database, principal.workspace, case_id)
        response.headers["ETag"] = f'"{found["version"]}"'
        return found

    @routes.get("/v1/notifications", **answers(NotificationPage))
    async def list_notifications(
        principal: reading,
        status: Annotated[
            str | None,
            Query(description=f"One of {', '.join(STATUSES)}. `unknown`: nobody can know whether the customer got it."),
        ] = None,
        cursor: str | None = None,
        limit: Annotated[str | None, Query(description=f"1 to {MAX_LIMIT}; {DEFAULT_LIMIT}.")] = None,
    ) -> dict[str, Any]:
        """What was sent to customers, and what became of it; those of the newest cases first."""
        wanted = read_status(status)
        return await notifications(database, links, principal.workspace, wanted, cursor, read_limit(limit))

    @routes.get("/v1/sla/explain", **answers(SlaExplained))
    async def explain(
        principal: reading,
        team: str,
        at: str,
        priority: Priority = "normal",
        tier: str | None = None,
    ) -> dict[str, Any]:
        """What would be due when, by the configuration in force."""
        if team not in teams():
            raise invalid_field("team", "is not a team")
        try:
            when = datetime.fromisoformat(at)
        except ValueError:
            raise invalid_field("at", "must be a time such as 2026-10-01T09:00:00+08:00") from None
        if when.tzinfo is None:
            raise invalid_field("at", "needs a zone: 2026-10-01T09:00:00+08:00")
        if when.year not in YEARS:
            raise invalid_field("at", f"must lie in the years {YEARS.start} to {YEARS.stop - 1}")
        return policies().explain(Subject(team, priority, tier), when)

    @routes.post("/v1/cases/{case_id}/preview", **answers(MailPreview))
    async def preview(case_id: case_path, principal: writing, body: PreviewBody) -> dict[str, Any]:
        """The mail that the customer would get by this answer, or why they would get none. Nothing is written or sent."""
        return await desk.preview(principal, case_id, body)

    def add(verb: str, body_type: type[Body], means: str) -> None:
        needs_body = any(member.is_required() for member in body_type.model_fields.values())
        body_of = body_type if needs_body else body_type | None

        async def do(
            case_id: case_path,
            principal: writing,
            response: Response,
            body: body_of = None,  # type: ignore[valid-type]
            if_match: Annotated[str | None, Header(description="The case's `ETag`.")] = None,
        ) -> dict[str, Any]:
            given = body if body is not None else body_type()
            await desk.do(principal, case_id, if_match, given, verb)
            found = await whole(database, principal.workspace, case_id)
            response.headers["ETag"] = f'"{found["version"]}"'
            return found

        if needs_body:
            do.__defaults__ = (None,)
            do.__annotations__["body"] = body_type
        routes.add_api_route(
            f"/v1/cases/{{case_id}}/{verb}",
            do,
            methods=["POST"],
            name=f"{verb}_case",
            summary=means,
            description=means,
            **answers(CaseWhole),
        )

    for verb, body_type, means in _VERBS:
        add(verb, body_type, means)
    return routes


# ── refusing ──


def _matches(if_match: str | None, case: Case) -> None:
    """Raises 412."""
    if if_match is None or if_match.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/") for tag in if_match.split(",")}
    if f'"{case.version}"' not in tags:
        raise Problem(
            412,
            "precondition-failed",
            "It was changed meanwhile.",
            "Read the case again, and decide on what it is now.",
            headers={"ETag": f'"{case.version}"'},
        )


def _illegal(error: IllegalTransition) -> Problem:
    return Problem(
        409,
        "illegal-transition",
        "The case's state does not allow that.",
        str(error),
        state=error.state,
        legal=list(error.legal_verbs),
    )


def _no_such_other() -> Problem:
    return invalid_field("into", "is not a case of yours")
