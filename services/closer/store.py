"""Cases in the database: read under their lock, written with everything that follows from a decision.

One unit of work is: begin, read what the decisions need (locking cases in the order of their ids, so that two
workers never wait for each other in a circle), decide in memory into `Effects`, `Effects.write`. Whoever holds a
case's row decides about it; the timeline, the outbox and the notifications that follow are written in the same
transaction, or none of it is.

Bulk all through: one statement a table, whether it is one case or five hundred.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from services.closer import sla, tables
from services.closer.case import Answer, Case, Event, Outcome, decide, next_due
from services.closer.commands import Also, Untold
from services.closer.counting import Counted
from services.closer.notify import Contact, Notification, Withheld, kind_of, names_of, notify
from services.closer.records import MERGES_FOLLOWED, Hold
from services.closer.sla import Clocks, ClockSnapshot, Settled
from services.closer.subscribers import NOBODY, Subscribers
from services.closer.tellings import Tellings, let_go
from services.closer.transactions import Driver, Transactions
from services.closer.verdicts import verdicts
from shared.clock import Clock
from shared.database import copy
from shared.database.outbox import append_raw
from shared.events.envelope import CASE_CHANGED, rfc3339
from shared.events.feedback import Priority
from shared.log import Message
from shared.topics import CASES, named

SOURCE = "flywheel/closer"
LOOK_AGAIN = timedelta(seconds=30)
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""Sorted behind every deadline."""

_encode = msgspec.json.Encoder().encode


# ── a case's row ──


class _Clocks(Struct, omit_defaults=True, gc=False):
    snapshot: str
    running: dict[sla.Target, datetime]
    due: dict[sla.Target, tuple[datetime | None, datetime]]
    """(business, wall) of what runs: for the views, worked out anew at each change."""
    generation: int = 0
    settled: tuple[Settled, ...] = ()
    pauses: tuple[tuple[datetime, datetime | None], ...] = ()
    fired: frozenset[str] = frozenset()


class _Data(Struct, omit_defaults=True, gc=False):
    theme: str
    priority: Priority
    language: str
    sequence: int
    kind: str = ""
    tier: str | None = None
    account: str | None = None
    rota: str | None = None
    policy: str | None = None
    history: bool = False
    generation: int = 1
    untold: str | None = None
    linked_to: str | None = None
    merged_into: str | None = None
    also: tuple[Also, ...] = ()
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    told_at: datetime | None = None
    first_told_at: datetime | None = None
    assume_at: datetime | None = None
    confirmed_at: datetime | None = None
    assumed_at: datetime | None = None
    erased: bool = False
    held: Hold | None = None
    clocks: _Clocks | None = None
    warned: dict[str, datetime] = {}
    """`generation.target` → when it was first warned."""


class Personal(Struct, omit_defaults=True, gc=False):
    """What an erasure takes: how the customer is reached, and what we answered."""

    email: str | None = None
    name: str | None = None
    locale: str | None = None
    answer: Answer | None = None

    def reached_at(self, email: str, name: str | None, locale: str | None) -> "Personal":
        """With another address, and whatever came with it."""
        return Personal(email, name or self.name, locale or self.locale, self.answer)


_data = msgspec.json.Decoder(_Data)
_personal = msgspec.json.Decoder(Personal)

_CASE = "id, workspace, case_key, customer, team, state, assignee, opened_at, version, first_feedback_id, traceparent, data::text, personal"


# By its keys, whatever Postgres believes: prepared while the table is young, it would read all of the workspace for each
# batch, until somebody counts the table. An expression, which `workspace || ''` is, is looked for in no index.
UNFINISHED_OF = f"""
SELECT {_CASE} FROM closer.case WHERE unfinished AND workspace || '' = $1 AND case_key = ANY ($2) ORDER BY id FOR UPDATE
"""  # noqa: S608


class Held(Struct, gc=False):
    """A case whose row we hold, or that is not written yet, and what the row knows beside it."""

    case: Case
    first_feedback_id: str
    personal: Personal
    traceparent: str
    confirmed_at: datetime | None = None
    assumed_at: datetime | None = None
    warned: dict[str, datetime] = {}
    new: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Whose case it is."""
        return names_of(self.case.customer, self.personal.email)


class Snapshots:
    """Policies and calendars as they were when a clock started; the few there are stay in memory."""

    def __init__(self) -> None:
        self._known: dict[str, ClockSnapshot] = {}

    def get(self, identity: str) -> ClockSnapshot:
        return self._known[identity]

    async def load(self, driver: Driver, identities: Iterable[str]) -> None:
        missing = {identity for identity in identities if identity not in self._known}
        if missing:
            for row in await driver.fetch(
                "SELECT id, value::text FROM closer.snapshot WHERE id = ANY($1)", list(missing)
            ):
                self._known[row["id"]] = ClockSnapshot.from_json(msgspec.json.decode(row["value"]))

    async def keep(self, driver: Driver, snapshots: Mapping[str, ClockSnapshot]) -> None:
        """Written before a case refers to them. Known ones cost nothing; each is written by whoever is first."""
        fresh = [s for identity, s in snapshots.items() if identity not in self._known]
        if fresh:
            await driver.execute(
                "INSERT INTO closer.snapshot (id, value) SELECT * FROM unnest($1::text[], $2::jsonb[])"
                " ON CONFLICT (id) DO NOTHING",
                [s.id for s in fresh],
                [_encode(s.to_json()).decode() for s in fresh],
            )

    def remember(self, snapshots: Mapping[str, ClockSnapshot]) -> None:
        """After the commit that wrote them."""
        self._known.update(snapshots)


# ── reading cases ──


class Cases:
    """Reads cases, and locks them where it does not say otherwise."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def by_id(self, driver: Driver, identities: Sequence[str]) -> dict[str, Held]:
        rows = await driver.fetch(
            f"SELECT {_CASE} FROM closer.case WHERE id = ANY($1) ORDER BY id FOR UPDATE",  # noqa: S608
            identities,
        )
        return {held.case.id: held for held in await self._held(driver, rows)}

    async def as_they_are(self, driver: Driver, identities: Sequence[str]) -> dict[str, Held]:
        """Not locked: for what does not change any more, or is only looked at."""
        rows = await driver.fetch(f"SELECT {_CASE} FROM closer.case WHERE id = ANY($1)", identities)  # noqa: S608
        return {held.case.id: held for held in await self._held(driver, rows)}

    async def trail(self, driver: Driver, workspace: str, case_id: str) -> list[Held]:
        """The case, the one that it was merged into, and on to the one that goes on; all locked in the order of their ids.
        Empty: the workspace has no such case."""
        while True:
            ids = await _onward(driver, workspace, case_id)
            found = await self.by_id(driver, ids)
            if not ids or len(ids) > MERGES_FOLLOWED or found[ids[-1]].case.merged_into is None:
                return [found[identity] for identity in ids]

    async def goes_on(self, driver: Driver, workspace: str, case_id: str) -> Held:
        """The case at the end of that trail, as it is; not locked."""
        last = (await _onward(driver, workspace, case_id))[-1]
        return (await self.as_they_are(driver, [last]))[last]

    async def unfinished(self, driver: Driver, workspace: str, keys: Sequence[str]) -> list[Held]:
        """Those of these keys."""
        rows = await driver.fetch(
            UNFINISHED_OF,
            workspace,
            keys,
        )
        return await self._held(driver, rows)

    async def claim_due(self, driver: Driver, now: datetime, limit: int) -> list[Held]:
        """Cases with a deadline that has passed, and that nobody else is busy with."""
        rows = await driver.fetch(
            f"SELECT {_CASE} FROM closer.case WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED",  # noqa: S608
            now,
            limit,
        )
        return await self._held(driver, rows)

    async def _held(self, driver: Driver, rows: Sequence[Any]) -> list[Held]:
        found = [(row, _data.decode(row["data"])) for row in rows]
        await self._snapshots.load(driver, [d.clocks.snapshot for _, d in found if d.clocks is not None])
        return [self._one(row, data) for row, data in found]

    def _one(self, row: Any, data: _Data) -> Held:
        personal = _personal.decode(row["personal"]) if row["personal"] is not None else Personal()
        clocks = data.clocks
        return Held(
            case=Case(
                id=str(row["id"]),
                workspace=row["workspace"],
                case_key=row["case_key"],
                customer=row["customer"],
                team=row["team"],
                theme=data.theme,
                state=row["state"],
                priority=data.priority,
                opened_at=row["opened_at"],
                kind=data.kind,
                tier=data.tier,
                account=data.account,
                language=data.language,
                assignee=row["assignee"],
                rota=data.rota,
                history=data.history,
                clocks=None
                if clocks is None
                else Clocks(
                    snapshot=self._snapshots.get(clocks.snapshot),
                    running=clocks.running,
                    settled=clocks.settled,
                    pauses=clocks.pauses,
                    fired=clocks.fired,
                    generation=clocks.generation,
                ),
                held=data.held,
                answer=personal.answer,
                untold=data.untold,
                linked_to=data.linked_to,
                merged_into=data.merged_into,
                also=data.also,
                generation=data.generation,
                acknowledged_at=data.acknowledged_at,
                resolved_at=data.resolved_at,
                told_at=data.told_at,
                first_told_at=data.first_told_at,
                assume_at=data.assume_at,
                erased=data.erased,
                sequence=data.sequence,
                version=row["version"],
            ),
            first_feedback_id=str(row["first_feedback_id"]),
            personal=personal,
            traceparent=row["traceparent"],
            confirmed_at=data.confirmed_at,
            assumed_at=data.assumed_at,
            warned=dict(data.warned),
        )


async def _onward(driver: Driver, workspace: str, case_id: str) -> list[str]:
    """From a case to the one that goes on; what was merged stays so."""
    rows = await driver.fetch(
        "WITH RECURSIVE way AS ("
        " SELECT id, (data->>'merged_into')::uuid AS onward, 0 AS steps FROM closer.case WHERE id = $1 AND workspace = $2"
        " UNION ALL SELECT c.id, (c.data->>'merged_into')::uuid, steps + 1 FROM way JOIN closer.case c"
        " ON c.id = way.onward AND c.workspace = $2 WHERE steps < $3) SELECT id FROM way ORDER BY steps",
        case_id,
        workspace,
        MERGES_FOLLOWED,
    )
    return [str(row["id"]) for row in rows]


# ── what follows from decisions ──


_DECIDED = """
INSERT INTO closer.decision (workspace, id, decision, of, reason, at, topic, partition, "offset")
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
                     $8::integer[], $9::bigint[]) ON CONFLICT DO NOTHING
"""

_DONE = """
INSERT INTO closer.activity (workspace, id, customer, account, activity, source, at, received_at, attributes)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                     $8::timestamptz[], $9::jsonb[]) ON CONFLICT DO NOTHING
"""

# An array cannot hold arrays of several lengths, so those come spelt out.
_NEWS = """
INSERT INTO closer.news (workspace, id, kind, source, work_id, name, name_id, at, heard_at, look_at, feedback_ids)
SELECT w, i, kind, s, o, name, name_id, at, heard_at, heard_at, ids::uuid[]
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
            $9::timestamptz[], $10::text[]) AS n (w, i, kind, s, o, name, name_id, at, heard_at, ids) ON CONFLICT DO NOTHING
"""

_THANKED = """
INSERT INTO closer.thanks (workspace, feedback_id, case_id, team, person, why, at)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
ON CONFLICT DO NOTHING
"""

_TURNS = """
UPDATE closer.rota r SET last = n.last FROM unnest($1::text[], $2::text[], $3::text[]) AS n (workspace, name, last)
WHERE r.workspace = n.workspace AND r.name = n.name
"""


class Effects:
    """Everything that one unit of work will write, in memory until `write`."""

    def __init__(
        self,
        now: datetime,
        unsubscribed: frozenset[tuple[str, str]] = frozenset(),
        subscribers: Subscribers = NOBODY,
    ) -> None:
        self.now = now
        self.tellings = Tellings(subscribers, now) if subscribers else None
        """What teams are to be told; None where none subscribes."""
        self.counted: Counted | None = None
        """What signals count; None where there are none."""
        self.unsubscribed = unsubscribed
        """(workspace, customer or address)."""
        self.also: Mapping[str, Held] = {}
        """Other customers' cases that went on in those that are answered here, locked: they are told too."""
        self.names: Mapping[str, str] = {}
        """Of actors, for the timeline. None stands on a topic."""
        self.feedback: list[tuple[Any, ...]] = []
        self.decisions: list[tuple[Any, ...]] = []
        self.activity: list[tuple[Any, ...]] = []
        self.news: list[tuple[Any, ...]] = []
        self.thanks: list[tuple[Any, ...]] = []
        self.notifications: list[tuple[Any, ...]] = []
        self.owed_after_all: list[tuple[Any, ...]] = []
        self.messages: list[Message] = []
        self.turns: dict[tuple[str, str], str] = {}
        """(workspace, rota) → who had the last turn."""
        self.snapshots: dict[str, ClockSnapshot] = {}
        self._settled: list[tuple[Any, ...]] = []
        self._timeline: list[tuple[Any, ...]] = []
        self._cases: dict[str, Held] = {}
        self._let_go: list[str] = []
        self._at = rfc3339(now)

    def record(self, held: Held, outcome: Outcome, *, words: str | None = None, feedback_id: str | None = None) -> None:
        """What was decided: the case as it is now, what happened to it, and what it owes the customer.

        `words`: what the customer said with that feedback, for the event that is about it."""
        if not outcome.events:
            return
        before, held.case = held.case, outcome.case
        case = held.case
        self._cases[case.id] = held
        self._settle(before, outcome)
        if before.held is not None and case.held is None:
            self._let_go.append(case.id)
        if case.clocks is not None:
            self.snapshots[case.clocks.snapshot.id] = case.clocks.snapshot
        for event in outcome.events:
            about_it = words is not None and event.data.get("feedback_id") == feedback_id
            self._tell(held, event, words if about_it else None)
        for event in outcome.events:
            self._notify(held, event, feedback_id or held.first_feedback_id)

    def touch(self, held: Held) -> None:
        """Nothing happened, but the row is to be written as it is now, its deadline above all."""
        self._cases[held.case.id] = held

    def _settle(self, before: Case, outcome: Outcome) -> None:
        case = outcome.case
        for one in verdicts(before, outcome):
            self._settled.append(
                (case.workspace, one.at, one.team, one.policy, one.target, one.clock, one.met, case.id, one.generation)
            )

    def _tell(self, held: Held, event: Event, words: str | None) -> None:
        case = held.case
        what = event.what
        if what == "confirmed":
            held.confirmed_at = event.at
        elif what == "assumed":
            held.assumed_at = event.at
        elif what == "reopened":
            held.confirmed_at = held.assumed_at = None
        elif what == "clock.warned":
            held.warned.setdefault(f"{event.data['generation']}.{event.data['target']}", event.at)
        data = _encode(event.data)
        personal = {**event.private, "text": words} if words else event.private
        self._timeline.append(
            (
                case.id,
                event.sequence,
                case.workspace,
                event.at,
                event.what,
                event.state,
                self.names.get(event.actor, event.actor),
                event.reason,
                data,
                _encode(personal) if personal else None,
            )
        )
        at = self._at if event.at == self.now else rfc3339(event.at)
        message = _message(case, event, at, msgspec.Raw(data), held.traceparent)
        self.messages.append(message)
        if self.tellings is not None:
            self.tellings.changed(case, event, message.value, held.traceparent)

    def _notify(self, held: Held, event: Event, feedback_id: str) -> None:
        if kind_of(event) is None:
            return
        after_all = event.what == "joined"
        self._owe(held, notify(held.case, event, self._contact(held)), feedback_id, after_all)
        if event.what in ("resolved", "declined"):
            generation = held.case.generation
            for one in held.case.also:
                other = self.also[one.case_id]
                owed = notify(other.case, event, self._contact(other), generation=one.before + generation)
                self._owe(other, owed, other.first_feedback_id)

    def _contact(self, held: Held) -> Contact:
        personal = held.personal
        return Contact(
            email=personal.email,
            name=personal.name,
            locale=personal.locale,
            unsubscribed=bool(self.unsubscribed)
            and any((held.case.workspace, name) in self.unsubscribed for name in held.names),
        )

    def _owe(self, held: Held, owed: Notification | Withheld | None, feedback_id: str, after_all: bool = False) -> None:
        if owed is None:
            return
        if isinstance(owed, Notification):
            channel, language, status, reason, due_at = owed.channel, str(owed.language), "pending", "", self.now
        else:
            channel, language, status, reason, due_at = "none", held.case.language, "withheld", owed.reason, None
        (self.owed_after_all if after_all else self.notifications).append(
            (
                held.case.id,
                owed.kind,
                owed.generation,
                held.case.workspace,
                feedback_id,
                channel,
                language,
                status,
                reason,
                self.now,
                due_at,
            )
        )
        if status == "withheld":
            untold = Untold(owed.kind, owed.generation, reason, dedup_key=owed.dedup_key)
            self.record(held, decide(held.case, untold, self.now))

    @property
    def cases(self) -> Iterable[Held]:
        return self._cases.values()

    @property
    def events(self) -> int:
        return len(self._timeline)

    async def write(self, driver: Driver, snapshots: Snapshots) -> None:
        await snapshots.keep(driver, self.snapshots)
        await _copy(driver, "feedback", tables.FEEDBACK_COLUMNS, self.feedback)
        if self.decisions:  # few, and told by their place on the log: one that is read again is there already
            await driver.execute(_DECIDED, *zip(*self.decisions, strict=True))
        if self.activity:
            await driver.execute(_DONE, *zip(*self.activity, strict=True))
        if self.news:
            await driver.execute(_NEWS, *zip(*self.news, strict=True))
        if self.thanks:
            await driver.execute(_THANKED, *zip(*self.thanks, strict=True))
        opened = [self._row(held) for held in self._cases.values() if held.new]
        await _copy(driver, "case", tables.CASE_COLUMNS, opened)
        await self._update(driver, [held for held in self._cases.values() if not held.new])
        await _copy(driver, "timeline", tables.TIMELINE_COLUMNS, self._timeline)
        await _copy(driver, "notification", tables.NOTIFICATION_COLUMNS, self.notifications)
        await _owe_after_all(driver, self.owed_after_all)
        await _copy(driver, "settled", tables.SETTLED_COLUMNS, self._settled)
        if self.turns:
            await driver.execute(_TURNS, *zip(*((*rota, who) for rota, who in self.turns.items()), strict=True))
        if self.messages:
            await append_raw(driver, self.messages)
        if self.tellings is not None:
            await self.tellings.write(driver)
        if self.counted is not None:
            await self.counted.write(driver)
        await let_go(driver, self._let_go, self.now)

    def _row(self, held: Held) -> tuple[Any, ...]:
        case = held.case
        due = sla.due(case.clocks) if case.clocks is not None else {}
        return (
            case.id,
            case.workspace,
            case.case_key,
            case.customer,
            case.team,
            case.state,
            case.assignee,
            case.opened_at,
            self.now,
            self._due(case),
            _breached(case),
            _queue_at(case, due),
            case.version,
            held.first_feedback_id,
            held.traceparent,
            _encode(_kept(held, due)).decode(),
            _encode(held.personal if case.answer is None else replace(held.personal, answer=case.answer)),
        )

    def _due(self, case: Case) -> datetime | None:
        """The next deadline. One that stays behind us although it was just looked at would be claimed for ever: it is
        looked at again later."""
        due = next_due(case)
        return max(due, self.now + LOOK_AGAIN) if due is not None and due <= self.now and not self._new(case) else due

    def _new(self, case: Case) -> bool:
        return self._cases[case.id].new

    async def _update(self, driver: Driver, changed: Sequence[Held]) -> None:
        if not changed:
            return
        columns = list(zip(*(self._row(held) for held in changed), strict=True))
        by_name = dict(zip(tables.CASE_COLUMNS, columns, strict=True))
        await driver.execute(
            "UPDATE closer.case c SET team = n.team, state = n.state, assignee = n.assignee,"
            " updated_at = n.updated_at, due_at = n.due_at, breached = n.breached, queue_at = n.queue_at,"
            " version = n.version, data = n.data,"
            " personal = n.personal FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[],"
            " $5::timestamptz[], $6::timestamptz[], $7::bool[], $8::timestamptz[], $9::int[], $10::jsonb[], $11::bytea[])"
            " AS n (id, team, state, assignee, updated_at, due_at, breached, queue_at, version, data, personal)"
            " WHERE c.id = n.id",
            *(
                by_name[name]
                for name in (
                    "id",
                    "team",
                    "state",
                    "assignee",
                    "updated_at",
                    "due_at",
                    "breached",
                    "queue_at",
                    "version",
                    "data",
                    "personal",
                )
            ),
        )


def _kept(held: Held, due: Mapping[sla.Target, sla.Due]) -> _Data:
    case, clocks = held.case, held.case.clocks
    return _Data(
        theme=case.theme,
        priority=case.priority,
        language=case.language,
        sequence=case.sequence,
        kind=case.kind,
        tier=case.tier,
        account=case.account,
        rota=case.rota,
        policy=clocks.snapshot.policy if clocks is not None else None,
        history=case.history,
        generation=case.generation,
        untold=case.untold,
        linked_to=case.linked_to,
        merged_into=case.merged_into,
        also=case.also,
        acknowledged_at=case.acknowledged_at,
        resolved_at=case.resolved_at,
        told_at=case.told_at,
        first_told_at=case.first_told_at,
        assume_at=case.assume_at,
        confirmed_at=held.confirmed_at,
        assumed_at=held.assumed_at,
        erased=case.erased,
        held=case.held,
        clocks=None
        if clocks is None
        else _Clocks(
            snapshot=clocks.snapshot.id,
            running=dict(clocks.running),
            due={target: (one.business, one.wall) for target, one in due.items()},
            generation=clocks.generation,
            settled=clocks.settled,
            pauses=clocks.pauses,
            fired=clocks.fired,
        ),
        warned=held.warned,
    )


def _queue_at(case: Case, due: Mapping[sla.Target, sla.Due]) -> datetime:
    """Where it stands in a queue: what is held behind everything that is due."""
    if case.held is not None:
        return NEVER
    return (case.clocks is not None and sla.next_breach(case.clocks, due)) or NEVER


def _breached(case: Case) -> bool:
    clocks = case.clocks
    if clocks is None or not (clocks.fired or clocks.settled):
        return False
    return any(name.endswith(".breached") for name in clocks.fired) or any(
        due is not None and one.stopped_at > due for one in clocks.settled for due in (one.due.business, one.due.wall)
    )


_HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_type", CASE_CHANGED.encode()),
    ("ce_source", SOURCE.encode()),
    ("content-type", b"application/json"),
)


def _message(case: Case, event: Event, at: str, data: msgspec.Raw, traceparent: str) -> Message:
    """The event on `feedback.cases`. The key is the case, so that its events stay in order."""
    value = _encode(
        {
            "case_id": case.id,
            "workspace": case.workspace,
            "sequence": event.sequence,
            "at": at,
            "what": event.what,
            "state": event.state,
            "team": event.team,
            "actor": event.actor,
            "reason": event.reason,
            "data": data,
        }
    )
    headers = [
        *_HEADERS,
        ("ce_id", f"{case.id}/{event.sequence}".encode()),
        ("ce_time", at.encode()),
        ("ce_workspace", case.workspace.encode()),
        ("traceparent", traceparent.encode()),
    ]
    return Message(named(case.workspace, CASES), case.id.encode(), value, headers)


async def _owe_after_all(driver: Driver, rows: Sequence[tuple[Any, ...]]) -> None:
    """Withheld, because the case was history, until feedback of today joined it. The same row: it is one mail still."""
    if rows:
        await driver.executemany(
            "UPDATE closer.notification SET feedback_id = $4, channel = $5, language = $6, status = $7, reason = $8,"
            " due_at = $9 WHERE case_id = $1 AND kind = $2 AND generation = $3 AND status = 'withheld'"
            " AND reason = 'history'",
            [(*row[:3], *row[4:9], row[10]) for row in rows],
        )


async def _copy(driver: Driver, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        await copy(driver, "closer", table, columns, rows)


class Unit:
    """One decision about one case, from outside the log: a person's verb, a timer, a receipt."""

    def __init__(self, transactions: Transactions, clock: Clock, snapshots: Snapshots) -> None:
        self.transactions = transactions
        self.clock = clock
        self.snapshots = snapshots
        self.cases = Cases(snapshots)
        self.subscribers = NOBODY
        """Whom to tell, by the configuration in force."""

    @asynccontextmanager
    async def work(self) -> Any:
        """(driver, effects): what was recorded is written when the block ends, and remembered once it is committed."""
        async with self.transactions.begin() as driver:
            effects = Effects(self.clock.now(), subscribers=self.subscribers)
            yield driver, effects
            await effects.write(driver, self.snapshots)
        self.snapshots.remember(effects.snapshots)
