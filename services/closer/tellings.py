"""What subscriptions are owed because of one unit of work, in memory until it is written, with its cause.

An event of its own for each subscription that asks for it; a case that is shown is one row however much happens to it,
and is looked at as it is when its turn comes. Imported history is told to nobody: a file of last year's feedback would
come down on a team all at once.

What a rule holds back is told when that ends: its row falls due then. Who takes notice of the case before (`let_go`) makes
all of it due at once.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from services.closer.case import Case, Event
from services.closer.records import Hold, Value
from services.closer.subscribers import Subscribers
from services.closer.subscriptions import EVERYTHING, Subscription
from services.closer.transactions import Driver
from shared.events.envelope import CASE_CHANGED, FEEDBACK_ROUTED, SIGNAL_RAISED, SIGNAL_RESOLVED
from shared.events.signal import SignalChanged
from shared.log import Record
from shared.topics import DEFAULT_WORKSPACE, ROUTED_PREFIX

CASE = "case"
"""What a row that shows a case has for an event."""
DIGEST = "digest"
"""What a row that owes somebody the digest of a period has for one; its body holds counts."""
SIGNAL = "signal"
"""What a row that shows a signal has."""
GATHER = timedelta(seconds=1)
"""Before a case that is shown already is shown anew: what comes in a burst makes one change."""

_EVENTS = """
INSERT INTO closer.delivery (id, workspace, team, subscription, channel, destination, event, feedback_id, case_id, at,
                             body, traceparent, status, created_at, waiting_since, due_at)
SELECT id, workspace, team, subscription, channel, destination, event, feedback_id, case_id, at, body, traceparent,
       'pending', $14::timestamptz, greatest($14, held_until), greatest($14, held_until)
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[],
            $10::timestamptz[], $11::bytea[], $12::text[], $13::timestamptz[])
  AS n (id, workspace, team, subscription, channel, destination, event, feedback_id, case_id, at, body, traceparent, held_until)
ON CONFLICT (id) DO NOTHING
"""
# One that nobody works on begins to wait anew; one that waits or is being worked on goes on, to a later end.
_CASES = """
INSERT INTO closer.delivery AS d (id, workspace, team, subscription, channel, destination, event, case_id, at,
                                  traceparent, wanted, said, status, created_at, waiting_since, due_at)
SELECT id, workspace, team, subscription, channel, destination, event, case_id, at, traceparent, wanted, said,
       'pending', $14::timestamptz, greatest($14, held_until), greatest($14, held_until)
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
            $9::timestamptz[], $10::text[], $11::int[], $12::int[], $13::timestamptz[])
  AS n (id, workspace, team, subscription, channel, destination, event, case_id, at, traceparent, wanted, said, held_until)
ON CONFLICT (id) DO UPDATE SET wanted = greatest(d.wanted, excluded.wanted),
    status = CASE WHEN d.due_at IS NULL THEN 'pending' ELSE d.status END,
    reason = CASE WHEN d.due_at IS NULL THEN '' ELSE d.reason END,
    attempts = CASE WHEN d.due_at IS NULL THEN 0 ELSE d.attempts END,
    waiting_since = CASE WHEN d.due_at IS NULL THEN $14 ELSE d.waiting_since END,
    due_at = coalesce(d.due_at, $14 + $15::interval)
"""
# The rows of what waits are few beside those of what was told, and have an index of their own. Nothing of a case that is held
# was tried yet. What was said in it stands on its timeline. An erasure holds what was said before it asks for the case, and we the
# case: what it has is passed over, since of that nobody is told.
_LET_GO = """
WITH said AS (
    SELECT workspace, (convert_from(data, 'UTF8')::jsonb->>'feedback_id')::uuid AS id
    FROM closer.timeline WHERE case_id = ANY ($1::uuid[]) AND what IN ('opened', 'joined')
), told AS (
    UPDATE closer.delivery SET due_at = $2, waiting_since = $2
    WHERE due_at > $2 AND status = 'pending' AND attempts = 0
      AND (case_id = ANY ($1::uuid[]) OR (workspace, feedback_id) IN (SELECT workspace, id FROM said))
)
UPDATE closer.feedback f SET kept_at = $2 FROM (
    SELECT workspace, id FROM closer.feedback JOIN said USING (workspace, id) WHERE kept_at > $2
    FOR UPDATE OF feedback SKIP LOCKED) AS free
WHERE f.workspace = free.workspace AND f.id = free.id
"""


# What is shown is the body itself, which names nobody.
_SIGNALS = """
INSERT INTO closer.delivery AS d (id, workspace, team, subscription, channel, destination, event, at, body, traceparent,
                                  wanted, status, created_at, waiting_since, due_at)
SELECT *, 'pending', $12::timestamptz, $12, $12
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
            $9::bytea[], $10::text[], $11::int[])
ON CONFLICT (id) DO UPDATE SET wanted = excluded.wanted, body = excluded.body, at = excluded.at,
    status = CASE WHEN d.due_at IS NULL THEN 'pending' ELSE d.status END,
    reason = CASE WHEN d.due_at IS NULL THEN '' ELSE d.reason END,
    attempts = CASE WHEN d.due_at IS NULL THEN 0 ELSE d.attempts END,
    waiting_since = CASE WHEN d.due_at IS NULL THEN $12 ELSE d.waiting_since END,
    due_at = coalesce(d.due_at, $12)
WHERE d.wanted < excluded.wanted
"""


def delivery_id(subscription: Subscription, event: str, subject: str) -> str:
    """32 hex digits: a UUID of version 8 (RFC 9562 §5.8)."""
    digits = sha256(f"{subscription.id}/{event}/{subject}".encode()).hexdigest()
    return f"{digits[:12]}8{digits[13:16]}8{digits[17:32]}"


class Tellings:
    def __init__(self, subscribers: Subscribers, now: datetime) -> None:
        self._subscribers = subscribers
        self._now = now
        self._events: dict[str, tuple[Any, ...]] = {}
        self._cases: dict[str, tuple[Any, ...]] = {}
        self._signals: dict[str, tuple[Any, ...]] = {}

    def routed(self, value: Value, record: Record, traceparent: str, tier: str | None) -> None:
        """Feedback that was routed: to its owner, or to a team that watches, as the topic says. `tier`: its customer's."""
        if value.routing.history:
            return
        team = value.routing.team
        if value.routing.role == "watcher":
            team = record.topic.rpartition(ROUTED_PREFIX)[2]
        at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        account = value.customer.account_id if value.customer is not None else None
        for one in self._subscribers.of(value.workspace, team):
            if FEEDBACK_ROUTED in one.events and one.only.takes(account, tier, value.routing.kind):
                about = (value.id, None, at, None, traceparent, _until(value.routing.held))
                self._owe(one, value.workspace, FEEDBACK_ROUTED, value.id, about)

    def changed(self, case: Case, event: Event, value: bytes, traceparent: str) -> None:
        """Something happened to a case. Whoever gives it away is told that too."""
        if case.history:
            return
        teams = {event.team: None}
        if event.what == "reassigned" and "from" in event.data:
            teams[event.data["from"]] = None
        for team in teams:
            for one in self._subscribers.of(case.workspace, team):
                if not one.only.takes(case.account, case.tier, case.kind):
                    continue
                if one.tells == "cases":
                    if event.what not in one.quiet:
                        self._show(one, case, event, traceparent)
                elif CASE_CHANGED in one.events:
                    about = (None, case.id, event.at, value, traceparent, _until(case.held))
                    self._owe(one, case.workspace, CASE_CHANGED, f"{case.id}/{event.sequence}", about)

    def digest(self, one: Subscription, to: str, until: datetime, body: bytes, traceparent: str) -> None:
        """Of the period that ends then, to one of its readers."""
        identity = delivery_id(one, DIGEST, f"{until.isoformat()}/{to.lower()}")
        whose = (one.team, one.id, one.channel, to)
        self._events[identity] = (
            identity,
            DEFAULT_WORKSPACE,
            *whose,
            DIGEST,
            None,
            None,
            until,
            body,
            traceparent,
            None,
        )

    def signalled(self, signal: SignalChanged, value: bytes, traceparent: str) -> None:
        """A signal is up, or has passed: to its team and to those that watch it, once each. It is of many customers, so who
        asked to hear of some alone does not hear of it."""
        event = SIGNAL_RAISED if signal.what == "raised" else SIGNAL_RESOLVED
        for team in dict.fromkeys((signal.team, *signal.watchers)):
            for one in self._subscribers.of(signal.workspace, team):
                if one.only != EVERYTHING:
                    continue
                if one.tells == "cases":
                    identity = delivery_id(one, SIGNAL, signal.signal_id)
                    wanted = 1 if event == SIGNAL_RAISED else 2
                    about = (signal.at, value, traceparent, wanted)
                    self._signals[identity] = (identity, signal.workspace, *_whose(one), SIGNAL, *about)
                elif event in one.events:
                    about_it = (None, None, signal.at, value, traceparent, None)
                    self._owe(one, signal.workspace, event, signal.signal_id, about_it)

    def _owe(self, one: Subscription, workspace: str, event: str, subject: str, about: tuple[Any, ...]) -> None:
        identity = delivery_id(one, event, subject)
        self._events[identity] = (identity, workspace, *_whose(one), event, *about)

    def _show(self, one: Subscription, case: Case, event: Event, traceparent: str) -> None:
        identity = delivery_id(one, CASE, case.id)
        known = self._cases.get(identity)
        said = known[-2] if known is not None else event.sequence - 1
        about = (case.id, event.at, traceparent, event.sequence, said, _until(case.held))
        self._cases[identity] = (identity, case.workspace, *_whose(one), CASE, *about)

    async def write(self, driver: Driver) -> None:
        if self._events:
            await driver.execute(_EVENTS, *_columns(list(self._events.values())), self._now)
        if self._cases:
            # In the order of their ids, so that two writers never wait for each other in a circle.
            rows = [self._cases[identity] for identity in sorted(self._cases)]
            await driver.execute(_CASES, *_columns(rows), self._now, GATHER)
        if self._signals:
            await driver.execute(_SIGNALS, *_columns(list(self._signals.values())), self._now)


async def let_go(driver: Driver, cases: Sequence[str], now: datetime) -> None:
    """These are held no more: what was to be told of them later is due, and digests count what was said in them."""
    if cases:
        await driver.execute(_LET_GO, cases, now)


def _until(held: Hold | None) -> datetime | None:
    return held.until if held is not None else None


def _whose(one: Subscription) -> tuple[str, str, str, str]:
    return one.team, one.id, one.channel, one.destination


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
