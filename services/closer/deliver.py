"""Tells customers: claim, send outside any transaction, record; retry, or give up and say so on the case.

Who sends what is settled by the row: a claim is a lease with a token, and only the holder of the token may record an
outcome. The attempt is written before the send, so a crash leaves a trace: an attempt without an end is a message
whose outcome nobody can know. Such a message is not sent again (at most once) but listed as `unknown`, unless the
channel leaves one message however often it is sent, or the operator chose `CLOSER_ON_UNKNOWN=resend`.

A kill can leave at most `CLOSER_DELIVERIES` messages unknown, for no more are claimed than are being sent.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from services.closer import metrics
from services.closer.case import ANSWERED, FINISHED, Case, decide
from services.closer.channels import Channel, Outgoing, Unknown
from services.closer.commands import NotificationKind, Telling, Told, Untold
from services.closer.links import loop_token
from services.closer.lookups import unsubscribed_of
from services.closer.notify import MailLanguage, Notification, dedup_key, names_of
from services.closer.render import MailContext, mail
from services.closer.settings import CloserSettings
from services.closer.store import Effects, Held, Unit
from services.closer.transactions import Driver
from shared.errors import FlywheelError, Rejected, Transient
from shared.links import Links
from shared.retry import EMAIL, RetryPolicy
from shared.telemetry import get_logger

SEND_DEADLINE_S = 110.0
LEASE_S = 120.0
IDLE_S = 0.5
GATHER_S = 0.02
"""What ends within this time is recorded, and makes room, together: a claim costs its mail little and itself much."""
BACKOFF_S = 1.0

_log = get_logger("closer")

_CLAIM = """
SELECT n.case_id, n.kind, n.generation, n.workspace, n.feedback_id, n.channel, n.language, n.status, n.attempts,
       f.value->>'text' AS words
FROM closer.notification n LEFT JOIN closer.feedback f ON f.workspace = n.workspace AND f.id = n.feedback_id
WHERE n.due_at <= $1 AND (n.token IS NULL OR NOT n.token = ANY ($3::uuid[]))
ORDER BY n.due_at LIMIT $2 FOR UPDATE OF n SKIP LOCKED
"""
_TAKE = """
UPDATE closer.notification SET status = 'sending', token = $4, attempts = attempts + 1, due_at = $5, channel = $6
WHERE case_id = $1 AND kind = $2 AND generation = $3
"""
_ATTEMPT = """
INSERT INTO closer.attempt (case_id, kind, generation, number, token, started_at) VALUES ($1, $2, $3, $4, $5, $6)
"""
_END = """
UPDATE closer.notification SET status = $4, reason = $5, due_at = NULL, token = NULL
WHERE case_id = $1 AND kind = $2 AND generation = $3
"""
_RECORD = """
UPDATE closer.notification n
SET status = r.status, reason = r.reason, due_at = r.due_at, sent_at = r.sent_at, provider_id = r.provider_id, token = NULL
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
            $9::text[]) AS r (case_id, kind, generation, token, status, reason, due_at, sent_at, provider_id)
WHERE n.case_id = r.case_id AND n.kind = r.kind AND n.generation = r.generation AND n.token = r.token
RETURNING r.token
"""
_KNOWN_AFTER_ALL = """
UPDATE closer.notification SET status = 'sent', reason = '', sent_at = $4, provider_id = $5
WHERE case_id = $1 AND kind = $2 AND generation = $3 AND status = 'unknown' AND attempts = $6
"""
_ATTEMPT_ENDED = """
UPDATE closer.attempt SET ended_at = $5, outcome = $6, detail = $7
WHERE case_id = $1 AND kind = $2 AND generation = $3 AND token = $4
"""
_RELEASE = """
UPDATE closer.notification n SET status = 'pending', due_at = $2, token = NULL
FROM (SELECT case_id, kind, generation, token FROM closer.notification
      WHERE due_at IS NOT NULL AND token = ANY ($1::uuid[]) FOR UPDATE) AS mine
WHERE n.case_id = mine.case_id AND n.kind = mine.kind AND n.generation = mine.generation RETURNING mine.token
"""
_ATTEMPTS_RELEASED = """
UPDATE closer.attempt a SET ended_at = $2, outcome = 'retry', detail = $3 FROM closer.notification n
WHERE a.token = ANY ($1::uuid[]) AND a.ended_at IS NULL
  AND a.case_id = n.case_id AND a.kind = n.kind AND a.generation = n.generation AND n.due_at IS NOT NULL
"""
_ATTEMPT_LOST = """
UPDATE closer.attempt SET ended_at = $4, outcome = 'unknown', detail = $5
WHERE case_id = $1 AND kind = $2 AND generation = $3 AND ended_at IS NULL
"""

Outcome = Literal["sent", "retry", "failed", "unknown"]

# Why the customer was not told, by what the last try came to.
_REASONS: Mapping[Outcome, str] = {"failed": "rejected", "retry": "gave-up", "unknown": "gave-up"}


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that is ours to send, until its lease runs out."""

    notification: Notification
    outgoing: Outgoing
    attempt: int
    token: str

    @property
    def key(self) -> tuple[str, NotificationKind, int]:
        return self.notification.case_id, self.notification.kind, self.notification.generation


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    detail: str = ""
    provider_id: str | None = None
    retry_after_s: float | None = None


class Deliverer:
    """Several processes may run one each."""

    def __init__(
        self,
        unit: Unit,
        channels: Mapping[str, Channel],
        links: Links,
        public_url: str,
        settings: CloserSettings,
        retry: RetryPolicy = EMAIL,
    ) -> None:
        self._unit = unit
        self._channels = channels
        self._links = links
        self._public_url = public_url
        self._settings = settings
        self._retry = retry
        self._sending: set[asyncio.Task[None]] = set()
        self._in_hand: set[str] = set()
        """Tokens of what is being sent, or was sent and is not recorded yet: alive, however long the database was away."""
        self._done: list[tuple[Claim, Result]] = []
        """Sent, one way or the other, and not recorded yet."""
        self._recording = asyncio.Lock()
        self._unconfirmed: dict[str, datetime] = {}
        """Tokens of claims whose commit nobody heard of, and until when they could hold."""
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled, or drained."""
        try:
            while not self._draining.is_set():
                await self._pause(await self._turn())
            if self._sending:
                await asyncio.wait(self._sending)
        finally:
            for task in self._sending:
                task.cancel()
            self._ended.set()

    async def _turn(self) -> float:
        """Take what there is room for; how long to wait then."""
        free = self._settings.deliveries - len(self._sending)
        try:
            claims = await self.claim(free) if free else []
        except Transient as error:
            _log.warning("deliver.waiting", reason=str(error))
            return BACKOFF_S
        self._sending.update(asyncio.create_task(self.deliver(claim)) for claim in claims)
        return 0.0 if claims else IDLE_S

    async def drain(self) -> None:
        """Take nothing new, and see out what is on its way."""
        self._draining.set()
        await self._ended.wait()

    async def _pause(self, seconds: float) -> None:
        """Until then, or until sends are done and make room; a send that failed as none may, fails us."""
        drained = asyncio.create_task(self._draining.wait())
        full = len(self._sending) >= self._settings.deliveries
        try:
            done, _ = await asyncio.wait(
                {drained, *self._sending}, timeout=None if full else seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if done and not drained.done() and (others := self._sending - done):
                done |= (await asyncio.wait(others, timeout=GATHER_S))[0]
        finally:
            drained.cancel()
        for task in done - {drained}:
            self._sending.discard(task)
            task.result()

    # ── claim ──

    async def claim(self, limit: int) -> list[Claim]:
        """What is due, taken for us; what is not to be sent after all is settled on the spot."""
        if self._unconfirmed:
            await self._release()
        settled: list[tuple[str, str]] = []
        claims: list[Claim] = []
        try:
            async with self._unit.work() as (driver, effects):
                rows = await driver.fetch(_CLAIM, effects.now, limit, list(self._in_hand))
                if not rows:
                    return []
                cases = await self._unit.cases.by_id(driver, sorted({str(row["case_id"]) for row in rows}))
                gone = await unsubscribed_of(driver, cases.values())
                for row in rows:
                    held = cases[str(row["case_id"])]
                    answered = held
                    if held.case.merged_into is not None:
                        answered = await self._unit.cases.goes_on(driver, held.case.workspace, held.case.id)
                    claim = await self._take(driver, effects, row, held, answered, gone, settled)
                    if claim is not None:
                        claims.append(claim)
                lease = effects.now + timedelta(seconds=LEASE_S)
                taken = [(*one.key, one.token, lease, one.notification.channel) for one in claims]
                await driver.executemany(_TAKE, taken)
                await driver.executemany(_ATTEMPT, [(*one.key, one.attempt, one.token, effects.now) for one in claims])
        except Transient:
            until = self._unit.clock.now() + timedelta(seconds=LEASE_S)
            self._unconfirmed.update((claim.token, until) for claim in claims)
            raise
        for kind, outcome in settled:
            metrics.NOTIFICATIONS.labels(kind, outcome).inc()
            if outcome == "unknown":
                metrics.UNKNOWN.inc()
        return claims

    async def _release(self) -> None:
        """What was claimed by a commit that we did not hear of was certainly not sent: it is due again. The commit may still
        be under way, so each token is looked for until its lease would be over."""
        async with self._unit.work() as (driver, effects):
            tokens = list(self._unconfirmed)
            found = {str(row["token"]) for row in await driver.fetch(_RELEASE, tokens, effects.now)}
            await driver.execute(_ATTEMPTS_RELEASED, tokens, effects.now, "not sent: the claim was not confirmed")
        self._unconfirmed = {
            token: until for token, until in self._unconfirmed.items() if token not in found and until > effects.now
        }

    async def _take(
        self,
        driver: Driver,
        effects: Effects,
        row: Any,
        held: Held,
        answered: Held,
        gone: frozenset[tuple[str, str]],
        settled: list[tuple[str, str]],
    ) -> Claim | None:
        case, kind, generation = held.case, row["kind"], row["generation"]
        key = (case.id, kind, generation)
        channel = self._channels[_way(row["channel"])]
        identity = dedup_key(case.workspace, case.id, kind, generation)
        repeatable = (row["channel"] == channel.name and channel.repeatable) or self._settings.on_unknown == "resend"
        lost = row["status"] == "sending"
        if lost:
            await driver.execute(_ATTEMPT_LOST, *key, effects.now, "the sender's claim ran out")
        failed = lost and not repeatable
        reason = "unknown-outcome" if failed else _not_to_be_sent(row, held, answered.case, gone)
        if reason is not None:
            status = "unknown" if failed else "withheld"
            settled.append((kind, status))
            await driver.execute(_END, *key, status, reason)
            untold = Untold(kind, generation, reason, failed=failed, dedup_key=identity)
            effects.record(held, decide(case, untold, effects.now))
            _log.warning(f"notification.{status}", notification=identity, case_id=case.id, reason=reason)
            return None
        assert held.personal.email is not None, "looked at just now"
        if row["attempts"] == 0:  # said before it is tried, and once however often it is tried
            effects.record(held, decide(case, Telling(kind, generation, identity, channel.name), effects.now))
        language: MailLanguage = row["language"]
        notification = Notification(
            kind,
            identity,
            channel.name,
            language,
            held.personal.email,
            held.personal.name,
            case.workspace,
            case.id,
            generation,
        )
        return Claim(notification, self._compose(notification, row, held, answered), row["attempts"] + 1, str(uuid4()))

    def _compose(self, notification: Notification, row: Any, held: Held, answered: Held) -> Outgoing:
        link = f"{self._public_url}/loop/{loop_token(self._links, notification)}"
        answer = answered.case.answer if notification.kind != "heard" else None
        written = mail(
            notification,
            MailContext(
                words=row["words"],
                answer=answer.text if answer is not None else None,
                answer_language=answer.language if answer is not None else None,
                link=link,
                unsubscribe_link=f"{link}/unsubscribe",
            ),
        )
        return Outgoing(
            id=notification.dedup_key,
            case_id=notification.case_id,
            to=notification.to,
            language=notification.language,
            subject=written.subject,
            text=written.text,
            html=written.html,
            unsubscribe_url=f"{link}/unsubscribe",
            traceparent=held.traceparent,
        )

    # ── send, and record ──

    async def deliver(self, claim: Claim) -> None:
        """One message, to its end: whatever comes of it is recorded, however long the database is away."""
        self._in_hand.add(claim.token)
        try:
            result = await self._send(claim)
            self._done.append((claim, result))
            async with self._recording:
                await self._record_done()
        finally:
            self._in_hand.discard(claim.token)

    async def _record_done(self) -> None:
        """All that ended while another's record was written share the next transaction; ours may be recorded by now."""
        done, self._done = self._done, []
        while done:
            try:
                return await self.record(done)
            except Transient as error:
                waiting = [claim.notification.dedup_key for claim, _ in done]
                _log.warning("deliver.record_waiting", notifications=waiting, reason=str(error))
                await asyncio.sleep(BACKOFF_S)

    async def _send(self, claim: Claim) -> Result:
        channel = next(c for c in self._channels.values() if c.name == claim.notification.channel)
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                provider_id = await channel.send(claim.outgoing)
        except Transient as error:
            return Result("retry", str(error), retry_after_s=error.retry_after)
        except Rejected as error:
            return Result("failed", str(error))
        except (Unknown, TimeoutError) as error:  # a channel keeps the times in which nothing is lost yet by itself
            return Result("unknown", str(error) or "no answer in time")
        except FlywheelError as error:
            return Result("failed", str(error))
        return Result("sent", provider_id=provider_id)

    async def record(self, done: Sequence[tuple[Claim, Result]]) -> None:
        """What came of these. Only the holder of a claim's token may."""
        recorded: list[tuple[Claim, Result, Outcome]] = []
        async with self._unit.work() as (driver, effects):
            now = effects.now
            cases = await self._unit.cases.by_id(driver, sorted({claim.notification.case_id for claim, _ in done}))
            done = [(claim, await self._without_words(cases, claim, result)) for claim, result in done]
            ends = [(claim, result, *self._end(claim, result, now)) for claim, result in done]
            found = await driver.fetch(_RECORD, *zip(*(_row(*end, now) for end in ends), strict=True))
            held = {str(row["token"]) for row in found}
            ended = [(*claim.key, claim.token, now, result.outcome, result.detail) for claim, result in done]
            await driver.executemany(_ATTEMPT_ENDED, ended)
            for claim, result, outcome, _ in ends:
                if claim.token in held or (
                    outcome == "sent" and await self._known_after_all(driver, claim, result, now)
                ):
                    case = cases[claim.notification.case_id]
                    if (said := _said(claim.notification, result, outcome)) is not None:
                        effects.record(case, decide(case.case, said, now))
                    recorded.append((claim, result, outcome))
                else:
                    _log.error("notification.claim_lost", notification=claim.notification.dedup_key, outcome=outcome)
        for claim, result, outcome in recorded:
            _tell(claim, result, outcome)

    async def _without_words(self, cases: Mapping[str, Held], claim: Claim, result: Result) -> Result:
        """Of a customer who was erased while it was being sent: a mail server's answer may repeat the address, and a mail that
        is a file is one of ours."""
        notification = claim.notification
        if not cases[notification.case_id].case.erased:
            return result
        channel = next(c for c in self._channels.values() if c.name == notification.channel)
        await channel.forget(notification.dedup_key)
        return replace(result, detail="", provider_id=None)

    def _end(self, claim: Claim, result: Result, now: datetime) -> tuple[Outcome, datetime | None]:
        """What is recorded, and when it is tried again."""
        outcome = result.outcome
        if outcome == "unknown" and self._settings.on_unknown == "resend":
            outcome = "retry"
        if outcome != "retry":
            return outcome, None
        due_at = self._retry.next_attempt(claim.attempt, now, random.random(), result.retry_after_s)
        return ("failed" if due_at is None else "retry"), due_at

    async def _known_after_all(self, driver: Driver, claim: Claim, result: Result, now: datetime) -> bool:
        """Another process took the claim for lost and listed it as unknown: now it is known."""
        done = await driver.execute(_KNOWN_AFTER_ALL, *claim.key, now, result.provider_id, claim.attempt)
        return bool(done != "UPDATE 0")


def _row(claim: Claim, result: Result, outcome: Outcome, due_at: datetime | None, now: datetime) -> tuple[Any, ...]:
    sent = outcome == "sent"
    return (
        *claim.key,
        claim.token,
        "pending" if outcome == "retry" else outcome,
        "" if sent else result.detail,
        due_at,
        now if sent else None,
        result.provider_id,
    )


def _said(notification: Notification, result: Result, outcome: Outcome) -> Told | Untold | None:
    """For the case's timeline; a try that is followed by another is none of its events."""
    kind, generation, identity = notification.kind, notification.generation, notification.dedup_key
    if outcome == "sent":
        return Told(kind, generation, identity, notification.channel)
    if outcome == "retry":
        return None
    reason = _REASONS[result.outcome] if outcome == "failed" else "unknown-outcome"
    return Untold(kind, generation, reason, failed=True, dedup_key=identity)


def _tell(claim: Claim, result: Result, outcome: Outcome) -> None:
    metrics.NOTIFICATIONS.labels(claim.notification.kind, outcome).inc()
    if outcome == "unknown":
        metrics.UNKNOWN.inc()
    _log.info(
        f"notification.{outcome}",
        notification=claim.notification.dedup_key,
        case_id=claim.notification.case_id,
        channel=claim.notification.channel,
        attempt=claim.attempt,
        reason=result.detail,
        traceparent=claim.outgoing.traceparent,
    )


def _way(channel: str) -> str:
    """The plug-in behind a recorded channel: without a mail server, mails are files."""
    return "email" if channel == "file" else channel


def _not_to_be_sent(row: Any, held: Held, answered: Case, gone: frozenset[tuple[str, str]]) -> str | None:
    """What has changed since the message was owed. `answered`: the case itself, or the one that it was merged into."""
    case = held.case
    if case.erased:
        return "erased"
    if not held.personal.email:
        return "no-address"
    if any((case.workspace, name) in gone for name in names_of(case.customer, held.personal.email)):
        return "unsubscribed"
    if row["kind"] == "heard":
        # "We have your feedback", after the answer to it, would be taken for news.
        return "superseded" if case.told_at is not None else None
    if answered is case:
        stands = case.generation == row["generation"] and case.state in ANSWERED
    else:  # whatever the other customer has said to it meanwhile
        number = {one.case_id: one.before + answered.generation for one in answered.also}.get(case.id)
        stands = number == row["generation"] and answered.state in FINISHED
    return None if stands else "superseded"
