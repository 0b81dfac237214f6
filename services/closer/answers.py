"""What a customer says behind the link: shown to them what we did, taken from them whether it was solved.

An answer is feedback like any other, so it goes the way of all feedback: it is recorded here, and in the same
transaction put into the outbox of `feedback.received`. Its effect on the case comes when it returns through the
router, from the log, like everything else; the record here is what makes it the customer's word and not a claim of
whoever may post feedback. Its id follows from the case, which answer of ours it judges, and what it says: sending the
form twice says it once.

A case may have been merged into another customer's. Who holds its link sees their own words and the answer that was
given to both, and speaks for themselves: their *no* reopens the case, their *yes* does not confirm it for the other.

The last *no* about an answer of ours stands: it reopens the case, and a *yes* after it, as after a colleague's
reopening, is the customer's word on an open case. It is passed on to whoever works on it, and closes nothing.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import msgspec

from services.closer.case import FINISHED, Answer, Case
from services.closer.links import LoopLink, read_token
from services.closer.notify import another
from services.closer.records import LOOP_SOURCE
from services.closer.store import Held, Unit
from services.closer.transactions import Driver
from shared.database.outbox import append_raw
from shared.events.envelope import FEEDBACK_RECEIVED, Envelope, rfc3339
from shared.events.identity import Pseudonyms, body_hash, delivery_id
from shared.links import Links
from shared.log import Message
from shared.telemetry import get_logger
from shared.topics import RECEIVED, named

_encode = msgspec.json.Encoder(order="deterministic").encode
_log = get_logger("closer")


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page may show to who holds the link."""

    language: str
    words: str | None
    answer: Answer | None
    """None while there is none: the page says that we are on it."""
    declined: bool


@dataclass(frozen=True, slots=True)
class _Found:
    held: Held
    """The case that the link leads to."""
    who: Held
    """Whose words it is about: the same, or one of another customer that was merged into it."""


Means = Literal["yes", "no", "noted"]
"""`noted`: a yes about a case that is open, or about to be."""


class Answers:
    def __init__(self, unit: Unit, links: Links, pseudonyms: Pseudonyms) -> None:
        self._unit = unit
        self._links = links
        self._pseudonyms = pseudonyms

    async def show(self, token: str) -> Shown | None:
        """Changes nothing. None: no such link."""
        link = read_token(self._links, token)
        if link is None:
            return None
        async with self._unit.work() as (driver, _):
            found = await self._case(driver, link)
            if found is None:
                return None
            held, who = found.held, found.who
            words = await driver.fetchval(
                "SELECT value->>'text' FROM closer.feedback WHERE workspace = $1 AND id = $2",
                link.workspace,
                who.first_feedback_id,
            )
        case = held.case
        return Shown(
            who.case.language, words, case.answer if case.state in FINISHED else None, await self._declined(case)
        )

    async def say(self, token: str, *, solved: bool, words: str) -> Means | None:
        """Recorded and on its way when this returns. What it means for the case; None: no such link."""
        link = read_token(self._links, token)
        if link is None:
            return None
        async with self._unit.work() as (driver, effects):
            found = await self._case(driver, link)
            if found is None:
                return None
            case, who = found.held.case, found.who
            # Which answer of ours this judges: while a case is open again, still the one before.
            judged = case.generation if case.state in FINISHED else case.generation - 1
            whose = case.id if who is found.held else f"{case.id}/{who.case.id}"
            external_id = f"{whose}/{judged}/{'yes' if solved else 'no'}/{sha256(words.encode()).hexdigest()[:16]}"
            feedback_id = delivery_id("ext", case.workspace, LOOP_SOURCE, external_id)
            done = await driver.execute(
                "INSERT INTO closer.answer (workspace, feedback_id, case_id, generation, solved, at)"
                " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                case.workspace,
                feedback_id,
                case.id,
                judged,
                solved,
                effects.now,
            )
            if done == "INSERT 0 1":
                message = self._message(found, feedback_id, external_id, solved, words, rfc3339(effects.now))
                await append_raw(driver, [message])
            means: Means = "yes" if solved else "no"
            if solved and (case.unfinished or await _denied(driver, case)):
                means = "noted"
        _log.info(
            "loop.answered",
            case_id=case.id,
            feedback_id=feedback_id,
            solved=solved,
            means=means,
            again=done != "INSERT 0 1",
            traceparent=who.traceparent,
        )
        return means

    async def unsubscribe(self, token: str) -> bool:
        """From now on this customer gets no mail about feedback, and nobody does at this address. False: no such link."""
        link = read_token(self._links, token)
        if link is None:
            return False
        async with self._unit.work() as (driver, effects):
            found = await self._case(driver, link)
            if found is None:
                return False
            who = found.who
            await driver.execute(
                "INSERT INTO closer.unsubscribed (workspace, customer, case_id, at)"
                " SELECT $1, name, $3, $4 FROM unnest($2::text[]) AS name ON CONFLICT DO NOTHING",
                who.case.workspace,
                who.names,
                who.case.id,
                effects.now,
            )
        _log.info("loop.unsubscribed", case_id=who.case.id, traceparent=who.traceparent)
        return True

    async def _case(self, driver: Driver, link: LoopLink) -> _Found | None:
        """The case of the link, or the one that it was merged into."""
        trail = await self._unit.cases.trail(driver, link.workspace, link.case_id)
        if not trail:
            return None
        first, last = trail[0], trail[-1]
        if first.case.erased:
            return None  # whoever holds the link is nobody that we know
        return _Found(last, first if another(first.names, last.names) else last)

    async def _declined(self, case: Case) -> bool:
        """Whether the answer was a no: a told case does not say it in its state."""
        if case.state in ("resolved", "declined"):
            return case.state == "declined"
        async with self._unit.work() as (driver, _):
            what = await driver.fetchval(
                "SELECT what FROM closer.timeline WHERE case_id = $1 AND what IN ('resolved', 'declined')"
                " ORDER BY sequence DESC LIMIT 1",
                case.id,
            )
        return bool(what == "declined")

    def _message(
        self, found: _Found, feedback_id: str, external_id: str, solved: bool, words: str, received_at: str
    ) -> Message:
        """As ingest would have written it: nothing null or empty, members in order, the id before them."""
        case, customer = found.who.case, _customer(found.who)
        content: dict[str, Any] = {
            "source": LOOP_SOURCE,
            "external_id": external_id,
            "channel": "web",
            "solicited": True,
            "scores": [{"metric": "solved", "value": int(solved)}],
            "attributes": {"loop": {"case_id": case.id, "team": found.held.case.team, "solved": solved}},
        }
        if words:
            content["text"] = words
        if case.language != "und":
            content["language"] = case.language
        if customer:
            content["customer"] = customer
        canonical = _encode(content)
        envelope = Envelope(
            id=feedback_id,
            type=FEEDBACK_RECEIVED,
            source=LOOP_SOURCE,
            time=received_at,
            workspace=case.workspace,
            bodyhash=body_hash(canonical),
            traceparent=found.who.traceparent,
        )
        head = _encode({"id": feedback_id, "received_at": received_at, "workspace": case.workspace})
        key = self._pseudonyms.key(case.workspace, case.customer or feedback_id)
        return Message(named(case.workspace, RECEIVED), key, head[:-1] + b"," + canonical[1:], list(envelope.headers()))


async def _denied(driver: Driver, case: Case) -> bool:
    """Whether a no about the present answer is on its way to the case: when it arrives there is no such answer any more."""
    query = "SELECT EXISTS (SELECT FROM closer.answer WHERE case_id = $1 AND generation = $2 AND NOT solved)"
    return bool(await driver.fetchval(query, case.id, case.generation))


def _customer(held: Held) -> dict[str, str]:
    """Named so that they are the same customer as the case's: by id, or by address where that is all we have."""
    case, personal = held.case, held.personal
    found: dict[str, str] = {}
    if case.customer is not None and (personal.email or "").strip().lower() != case.customer:
        found["id"] = case.customer
    more = {"email": personal.email, "name": personal.name, "tier": case.tier, "account_id": case.account}
    return found | {name: value for name, value in more.items() if value}
