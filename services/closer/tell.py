"""Tells teams: claim, send outside any transaction, record; retry, or give up and say so.

What is owed was written with its cause (`tellings`). A claim is a lease with a token, and only its holder may record
what came of it. A send that may have arrived is done again under the same id, for whoever receives it, or the channel,
tells it to be the same (`subscriptions`): at least once. The schedule is Standard Webhooks' own, eight tries in 28
hours; what is given up stays listed as `failed` with its reason, and one verb sends it again (`flywheel deliveries
redrive`).

A claim takes from each destination what that has room for (`destinations`), so a slow one keeps nobody waiting but
itself. Where no team subscribes, this asks the database once a minute whether anything is left over, and nothing else.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import msgspec

from services.closer import metrics
from services.closer.destinations import Destination, Pace
from services.closer.digest import Digest
from services.closer.digests import digests
from services.closer.store import Held, Unit
from services.closer.subscribers import NOBODY, Subscribers
from services.closer.subscriptions import CaseNow, Event, SignalNow, Step, Subscription, Telling, Told, Way
from services.closer.tellings import CASE, DIGEST, SIGNAL
from services.closer.transactions import Driver
from shared.errors import Rejected, Transient
from shared.events.signal import SignalChanged
from shared.retry import WEBHOOK, RetryPolicy
from shared.telemetry import get_logger

SEND_DEADLINE_S = 60.0
"""Beyond what any channel takes for itself."""
LEASE_S = 90.0
IDLE_S = 0.5
BACKOFF_S = 1.0
SWEEP_S = 60.0
GIVE_UP_AFTER = timedelta(days=3)
"""However seldom a destination that is away could be tried: nothing waits for ever."""
ABANDONED_AFTER = timedelta(hours=1)
"""Due for so long, and no subscription of ours: it was taken out of teams.yaml. A process whose configuration is a
moment behind takes nobody's away."""
NOT_SEEN_AFTER = timedelta(hours=1)
KEPT = timedelta(days=30)
"""As long as routed topics keep theirs."""
SWEPT_AT_ONCE = 1000
FORGOTTEN_AT_ONCE = 20_000

_CLAIM = """
SELECT d.* FROM unnest($1::text[], $2::int[]) AS s (id, room) CROSS JOIN LATERAL (
    SELECT id, subscription, channel, destination, event, feedback_id, case_id, workspace, team, at, body, traceparent,
           created_at, attempts, status, reason, remote, wanted, shown, said
    FROM closer.delivery WHERE subscription = s.id AND due_at <= $3 AND NOT id = ANY ($4::uuid[])
    ORDER BY due_at LIMIT s.room FOR UPDATE SKIP LOCKED) AS d
"""
_TAKE = """
UPDATE closer.delivery d SET status = 'sending', token = t.token, attempts = attempts + 1, due_at = $3
FROM unnest($1::uuid[], $2::uuid[]) AS t (id, token) WHERE d.id = t.id
"""
# A team that watches gets its own copy: the same, but for its role.
_FEEDBACK = """
SELECT d.id, (CASE WHEN f.value->'routing'->>'team' = d.team THEN f.value
                   ELSE jsonb_set(f.value, '{routing,role}', '"watcher"') END)::text AS value
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS d (id, team, workspace, feedback_id)
JOIN closer.feedback f ON f.workspace = d.workspace AND f.id = d.feedback_id AND NOT f.value->'routing' ? 'erased'
"""
_STEPS = """
SELECT t.case_id, t.sequence, t.what, t.actor, t.reason, t.data, t.personal
FROM unnest($1::uuid[], $2::int[]) AS d (case_id, said)
JOIN closer.timeline t ON t.case_id = d.case_id AND t.sequence > d.said ORDER BY t.case_id, t.sequence
"""
_OPENED_BY = """
SELECT f.workspace, f.id, f.value->>'title' AS title, f.value->>'text' AS words
FROM unnest($1::text[], $2::uuid[]) AS d (workspace, id) JOIN closer.feedback f ON f.workspace = d.workspace AND f.id = d.id
"""
# What a case is still to be told is due at once, and its tries are counted anew. Nothing but the row itself is looked at,
# which may have come to want more while we waited for its lock.
_MORE = "wanted > least(greatest(shown, $4::int), greatest(said, $5::int))"
_TOLD = f"""
UPDATE closer.delivery SET remote = coalesce($3, remote), shown = greatest(shown, $4), said = greatest(said, $5),
    token = NULL, reason = '', sent_at = $6::timestamptz, status = CASE WHEN {_MORE} THEN 'pending' ELSE 'sent' END,
    due_at = CASE WHEN {_MORE} THEN $6 END, attempts = CASE WHEN {_MORE} THEN 0 ELSE attempts END,
    waiting_since = CASE WHEN {_MORE} THEN $6 ELSE waiting_since END
WHERE id = $1 AND token = $2 RETURNING id
"""  # noqa: S608
_NOT_TOLD = """
UPDATE closer.delivery SET status = $3, reason = $4, due_at = $5, token = NULL WHERE id = $1 AND token = $2 RETURNING id
"""
_ENDED = "id, channel, team, destination, event, feedback_id, case_id, status, reason, attempts, traceparent"
_GIVE_UP = f"""
UPDATE closer.delivery SET status = 'failed', reason = 'gave up: ' || coalesce(nullif(reason, ''), 'no turn was had'),
    due_at = NULL, token = NULL
WHERE id IN (SELECT id FROM closer.delivery WHERE due_at <= $1 AND waiting_since < $2 LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING {_ENDED}
"""  # noqa: S608
_ABANDON = f"""
UPDATE closer.delivery SET status = 'withheld', reason = 'nobody subscribes there any more', due_at = NULL, token = NULL
WHERE id IN (SELECT id FROM closer.delivery WHERE due_at < $1 AND NOT subscription = ANY ($2::text[])
             LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING {_ENDED}
"""  # noqa: S608
_FORGET = """
DELETE FROM closer.delivery WHERE id IN (
    SELECT id FROM closer.delivery WHERE due_at IS NULL AND event <> 'case' AND NOT (event = 'signal' AND wanted = 1)
        AND created_at < $1 LIMIT $2)
"""

Outcome = Literal["sent", "retry", "failed", "withheld"]

_log = get_logger("closer")
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Claim:
    """Ours to send, until its lease runs out."""

    subscription: Subscription
    telling: Telling
    token: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    reason: str = ""
    told: Told | None = None
    retry_after_s: float | None = None


class Teller:
    """Several processes may run one each."""

    def __init__(self, unit: Unit, open_way: Callable[[str], Way], retry: RetryPolicy = WEBHOOK) -> None:
        self._unit = unit
        self._open_way = open_way
        self._retry = retry
        self._subscribers = NOBODY
        self._ways: dict[str, Way] = {}
        self._destinations: dict[str, Destination] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._in_hand: set[str] = set()
        """Ids of what is being sent, or was and is not recorded yet, however long the database was away."""
        self._swept_at = -SWEEP_S
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()

    async def configure(self, subscribers: Subscribers) -> None:
        for channel in subscribers.channels - self._ways.keys():
            self._ways[channel] = await asyncio.to_thread(self._open_way, channel)
        self._subscribers = subscribers
        self._destinations = {
            identity: self._destinations.get(identity) or Destination(self._pace(one.channel))
            for identity, one in subscribers.by_id.items()
        }
        self._changed.set()

    def way(self, channel: str) -> Way:
        """Of a channel that somebody subscribes by."""
        return self._ways[channel]

    def _pace(self, channel: str) -> Pace:
        way = self._ways[channel]
        return Pace(way.at_once, way.pause_s)

    # ── the loop ──

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

    async def drain(self) -> None:
        """Take nothing new, and see out what is on its way."""
        self._draining.set()
        await self._ended.wait()

    async def close(self) -> None:
        for way in self._ways.values():
            await way.close()

    async def _turn(self) -> float:
        """Take what there is room for; how long to wait then."""
        self._changed.clear()
        try:
            await self._sweep()
            claims = await self.claim()
        except Transient as error:
            _log.warning("tell.waiting", reason=str(error))
            return BACKOFF_S
        self._sending.update(asyncio.create_task(self.tell(claim)) for claim in claims)
        metrics.DESTINATIONS_FAILING.set(sum(one.is_failing for one in self._destinations.values()))
        if not self._subscribers:
            return SWEEP_S
        return 0.0 if claims else IDLE_S

    async def _pause(self, seconds: float) -> None:
        """Until then, or until something changes: a send is done and makes room, a configuration comes. A send that failed
        as none may, fails us."""
        waits = [asyncio.create_task(event.wait()) for event in (self._draining, self._changed)]
        try:
            done, _ = await asyncio.wait({*waits, *self._sending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        for task in done & self._sending:
            self._sending.discard(task)
            task.result()

    # ── claim ──

    async def claim(self) -> list[Claim]:
        """What is due and has room, taken for us; what is not to be sent after all is settled on the spot."""
        now_s = self._unit.clock.monotonic()
        subscribers, destinations = self._subscribers, self._destinations  # another configuration may come meanwhile
        rooms = {identity: room for identity, one in destinations.items() if (room := one.room(now_s))}
        if not rooms:
            return []
        async with self._unit.transactions.begin() as driver:
            now = self._unit.clock.now()
            rows = await driver.fetch(_CLAIM, list(rooms), list(rooms.values()), now, list(self._in_hand))
            if not rows:
                return []
            contents: dict[Any, Event | CaseNow | SignalNow | Digest] = {
                **await _events(driver, rows),
                **_signals(rows),
                **await self._cases(driver, rows),
                **await digests(driver, [row for row in rows if row["event"] == DIGEST], subscribers.by_id),
            }
            tokens = [str(uuid4()) for _ in rows]
            lease = now + timedelta(seconds=LEASE_S)
            await driver.execute(_TAKE, [row["id"] for row in rows], tokens, lease)
            for row, token in zip(rows, tokens, strict=True):
                if row["id"] not in contents:
                    await self._not_there(driver, row, token, now)
        claims = []
        for row, token in zip(rows, tokens, strict=True):
            if (content := contents.get(row["id"])) is not None:
                one = subscribers.by_id[row["subscription"]]
                telling = Telling(row["id"].hex, row["attempts"] + 1, row["created_at"], row["traceparent"], content)
                claims.append(Claim(one, telling, token, row))
                self._in_hand.add(telling.id)
                destinations[one.id].began(now_s)
        return claims

    async def _cases(self, driver: Driver, rows: Any) -> dict[Any, CaseNow]:
        """Of those that show a case: as it is now, and what has happened since they were last told."""
        rows = [row for row in rows if row["event"] == CASE]
        if not rows:
            return {}
        since: dict[str, int] = {}
        for row in rows:
            identity = str(row["case_id"])
            since[identity] = min(row["said"], since.get(identity, row["said"]))
        cases = await self._unit.cases.as_they_are(driver, list(since))
        steps: dict[str, list[Step]] = {}
        for step in await driver.fetch(_STEPS, list(since), list(since.values())):
            steps.setdefault(str(step["case_id"]), []).append(_step(step))
        openings = await _opened_by(driver, list(cases.values()))
        return {
            row["id"]: CaseNow(
                held.case,
                *openings.get((held.case.workspace, held.first_feedback_id), (None, None)),
                tuple(one for one in steps.get(held.case.id, ()) if one.sequence > row["said"]),
                row["remote"],
                row["shown"],
                row["said"],
                row["wanted"],
            )
            for row in rows
            if (held := cases.get(str(row["case_id"]))) is not None
        }

    async def _not_there(self, driver: Driver, row: Any, token: str, now: datetime) -> None:
        """What it is about is not in our tables: a watcher's copy may come before the owner's, for a while; else it was
        erased."""
        status, reason, due_at = "withheld", "what it is about is not kept any more", None
        if row["created_at"] > now - NOT_SEEN_AFTER:
            status, reason = "pending", "what it is about is not here yet"
            due_at = self._retry.next_attempt(row["attempts"] + 1, now, random.random())
        await driver.fetch(_NOT_TOLD, row["id"], token, status, reason, due_at)
        _say(row, "retry" if due_at else "withheld", reason, row["attempts"] + 1)

    # ── send, and record ──

    async def tell(self, claim: Claim) -> None:
        """One step, to its end: whatever comes of it is recorded, however long the database is away."""
        try:
            result = await self._send(claim)
            while True:
                try:
                    return await self.record(claim, result)
                except Transient as error:
                    _log.warning("tell.record_waiting", delivery=claim.telling.id, reason=str(error))
                    await asyncio.sleep(BACKOFF_S)
        finally:
            self._in_hand.discard(claim.telling.id)

    async def _send(self, claim: Claim) -> Result:
        one = claim.subscription
        destination = self._destinations.get(one.id) or Destination(self._pace(one.channel))
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                told = await self._ways[one.channel].send(one, claim.telling, self._unit.clock.now())
        except (Transient, TimeoutError) as error:
            retry_after_s = error.retry_after if isinstance(error, Transient) else None
            destination.failed(self._unit.clock.monotonic(), retry_after_s)
            return Result("retry", str(error) or "no answer in time", retry_after_s=retry_after_s)
        except Rejected as error:
            destination.answered()
            return Result("failed", str(error))
        destination.answered()
        return Result("sent", told=told)

    async def record(self, claim: Claim, result: Result) -> None:
        """Only the holder of the claim's token may."""
        identity, token = claim.telling.id, claim.token
        outcome, due_at = result.outcome, None
        async with self._unit.transactions.begin() as driver:
            now = self._unit.clock.now()
            if result.told is not None:
                told = result.told
                ours = await driver.fetch(_TOLD, identity, token, told.remote, told.shown, told.said, now)
            else:
                if outcome == "retry":
                    due_at = self._retry.next_attempt(claim.telling.attempt, now, random.random(), result.retry_after_s)
                    outcome = "failed" if due_at is None else "retry"
                status = "pending" if outcome == "retry" else outcome
                ours = await driver.fetch(_NOT_TOLD, identity, token, status, result.reason, due_at)
        if not ours:
            _log.error("delivery.claim_lost", delivery=identity, outcome=outcome)
            return
        _say(claim.row, outcome, result.reason, claim.telling.attempt)

    # ── what nobody comes for ──

    async def _sweep(self) -> None:
        """What has waited for too long, or for nobody, is ended; what was ended long ago is forgotten."""
        if self._unit.clock.monotonic() - self._swept_at < SWEEP_S:
            return
        now = self._unit.clock.now()
        mine = list(self._subscribers.by_id)
        async with self._unit.transactions.begin() as driver:
            ended = await driver.fetch(_GIVE_UP, now, now - GIVE_UP_AFTER, SWEPT_AT_ONCE)
            ended += await driver.fetch(_ABANDON, now - ABANDONED_AFTER, mine, SWEPT_AT_ONCE)
            await driver.execute(_FORGET, now - KEPT, FORGOTTEN_AT_ONCE)
        for row in ended:
            _say(row, row["status"], row["reason"], row["attempts"])
        self._swept_at = self._unit.clock.monotonic() - (SWEEP_S if len(ended) >= SWEPT_AT_ONCE else 0.0)


async def _events(driver: Driver, rows: Any) -> dict[Any, Event]:
    """Of those that tell an event: its value. Where a feedback is not there, nothing."""
    rows = [row for row in rows if row["event"] not in (CASE, DIGEST, SIGNAL)]
    values = {row["id"]: row["body"] for row in rows if row["body"] is not None}
    about = [row for row in rows if row["body"] is None]
    if about:
        columns = ([row[name] for row in about] for name in ("id", "team", "workspace", "feedback_id"))
        values |= {row["id"]: row["value"].encode() for row in await driver.fetch(_FEEDBACK, *columns)}
    return {row["id"]: Event(row["event"], row["at"], values[row["id"]]) for row in rows if row["id"] in values}


def _signals(rows: Any) -> dict[Any, SignalNow]:
    """Of those that show a signal."""
    return {
        row["id"]: SignalNow(SignalChanged.model_validate_json(row["body"]), row["remote"], row["wanted"])
        for row in rows
        if row["event"] == SIGNAL
    }


async def _opened_by(driver: Driver, cases: list[Held]) -> Mapping[tuple[str, str], tuple[str | None, str | None]]:
    """(workspace, feedback) → (title, words)."""
    workspaces, ids = [one.case.workspace for one in cases], [one.first_feedback_id for one in cases]
    rows = await driver.fetch(_OPENED_BY, workspaces, ids)
    return {(row["workspace"], str(row["id"])): (row["title"], row["words"]) for row in rows}


def _say(row: Mapping[str, Any], outcome: Outcome, reason: str, attempt: int) -> None:
    metrics.DELIVERIES.labels(row["channel"], outcome).inc()
    (_log.error if outcome == "failed" else _log.info)(
        f"delivery.{outcome}",
        delivery=row["id"].hex,
        what=row["event"],
        about=str(row["feedback_id"] or row["case_id"]),
        team=row["team"],
        channel=row["channel"],
        destination=row["destination"],
        attempt=attempt,
        reason=reason,
        traceparent=row["traceparent"],
    )


def _step(row: Any) -> Step:
    private = _decode(row["personal"]) if row["personal"] is not None else {}
    return Step(row["sequence"], row["what"], row["actor"], row["reason"], _decode(row["data"]), private)
