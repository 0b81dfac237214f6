"""Erases a customer: everything that is theirs in this database, at once, and whatever of it comes back.

Who it is: an id, with the addresses that it wrote from, where those stand for a customer of their own; or an address, with
every id that wrote from it. What is found first, without holding anybody up, since feedback has no index of customers, is then
taken in one transaction. That begins by a lock on `closer.position`, which every batch of the handler moves: the batch in hand
ends before it, and the next one finds `closer.erased`. So no event slips through between the two, and no event pays for it.

What stays is what was counted: ids, times, scores, states, clocks, under a pseudonym (`forgetting` ●). An unfinished case ends
as declined, with its clocks neither kept nor broken, unless it is another customer's too: then it goes on for them.
What is not this database's: topics, which age out, and mails and messages that have left.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from services.closer.case import decide
from services.closer.channels import Channel
from services.closer.commands import Erase
from services.closer.forgetting import ERASED_PREFIX, forgotten, query_without, step_without_words
from services.closer.lookups import name_of
from services.closer.notify import dedup_key
from services.closer.store import SOURCE, Effects, Held, Personal, Unit
from services.closer.transactions import Driver
from shared.auth import ADMIN, Principal
from shared.database.outbox import append_raw
from shared.events.envelope import CUSTOMER_ERASED, Envelope, rfc3339
from shared.events.identity import Pseudonyms, customer_of, delivery_id
from shared.log import Message
from shared.sessions import Action
from shared.telemetry import get_logger, new_traceparent
from shared.topics import ERASURES, RECEIVED, named

FIND_MAX_S = 600.0
"""Feedback has no index of customers: all of it may be read."""
SINCE_BEFORE = timedelta(minutes=10)
"""Longer than any batch takes: what was being written while we looked is looked for again."""

ACTION: Action = "customer.erased"

_log = get_logger("closer")
_decode = msgspec.json.decode
_encode = msgspec.json.encode

# ── statements ──

_THEIRS = "(customer = ANY ($2::text[]) OR lower(btrim(value->'customer'->>'email')) = ANY ($3::text[]))"
_FEEDBACK = "SELECT id::text, case_id::text, customer, value::text AS value FROM closer.feedback WHERE workspace = $1"
_LOOK = f"SELECT id::text, customer, value->'customer'->>'email' AS email FROM closer.feedback WHERE workspace = $1 AND {_THEIRS}"  # noqa: S608
_BY_ID = f"{_FEEDBACK} AND id = ANY ($2::uuid[]) AND NOT value->'routing' ? 'erased' FOR UPDATE"
_LATELY = f"{_FEEDBACK} AND {_THEIRS} AND kept_at >= $4 FOR UPDATE"
_CASES = """
SELECT id::text, merged_into, also FROM (
    SELECT id, data->>'merged_into' AS merged_into,
           ARRAY(SELECT one->>0 FROM jsonb_array_elements(coalesce(data->'also', '[]')) AS one) AS also
    FROM closer.case WHERE workspace = $1 AND customer = ANY ($2::text[])) AS theirs
"""
_ADDRESSES = """
SELECT DISTINCT convert_from(personal, 'UTF8')::jsonb->>'email' AS email FROM closer.case
WHERE workspace = $1 AND customer = ANY ($2::text[]) AND personal IS NOT NULL
"""
_ERASED = """
INSERT INTO closer.erased AS e (workspace, kind, key, at) SELECT $1, kind, key, $4
FROM unnest($2::text[], $3::text[]) AS n (kind, key)
ON CONFLICT (workspace, kind, key) DO UPDATE SET at = greatest(e.at, excluded.at)
"""
_WITHOUT_WORDS = """
UPDATE closer.feedback f SET customer = n.customer, bodyhash = '', value = n.value
FROM unnest($2::uuid[], $3::text[], $4::jsonb[]) AS n (id, customer, value) WHERE f.workspace = $1 AND f.id = n.id
"""
# Another key, so that what its customer may say one day neither joins it nor is linked to it.
_NOBODYS = """
UPDATE closer.case c SET customer = n.customer, case_key = 'erased-' || c.id
FROM unnest($1::uuid[], $2::text[]) AS n (id, customer) WHERE c.id = n.id
"""
_STEPS = "SELECT case_id::text, sequence, data, personal FROM closer.timeline WHERE case_id = ANY ($1::uuid[]) AND personal IS NOT NULL"
_STEP = "UPDATE closer.timeline SET personal = $3 WHERE case_id = $1 AND sequence = $2"
# A server's own words may repeat the address. What is being sent at this moment is recorded by who sends it (`deliver`).
_MAILS = """
UPDATE closer.notification SET
    status = CASE WHEN status = 'pending' THEN 'withheld' ELSE status END,
    due_at = CASE WHEN status = 'pending' THEN NULL ELSE due_at END,
    reason = CASE WHEN status = 'pending' THEN 'erased' WHEN reason ~ '^[a-z-]*$' THEN reason ELSE '' END,
    provider_id = NULL
WHERE case_id = ANY ($1::uuid[]) RETURNING workspace, case_id::text, kind, generation
"""
_ATTEMPTS = "UPDATE closer.attempt SET detail = '' WHERE case_id = ANY ($1::uuid[]) AND detail <> ''"
_DELIVERIES = """
UPDATE closer.delivery SET status = 'withheld', reason = 'erased', due_at = NULL, token = NULL
WHERE feedback_id = ANY ($1::uuid[]) AND workspace = $2 AND due_at IS NOT NULL AND status = 'pending'
"""
_ACTIVITY = "DELETE FROM closer.activity WHERE workspace = $1 AND customer = ANY ($2::text[])"
_THANKS = "DELETE FROM closer.thanks WHERE workspace = $1 AND feedback_id = ANY ($2::uuid[])"
_UNSUBSCRIBED = "DELETE FROM closer.unsubscribed WHERE workspace = $1 AND customer = ANY ($2::text[])"
_UNSENT = "DELETE FROM shared.outbox WHERE topic = $1 AND key = ANY ($2::bytea[])"
# Indexed anew from what is left; and emptied now, in a way that waits for whoever is indexing it.
_UNFOUND = """
INSERT INTO closer.search (case_id, workspace, words) SELECT id, $2, '' FROM unnest($1::uuid[]) AS id ORDER BY id
ON CONFLICT (case_id) DO UPDATE SET words = ''
"""
_TO_INDEX = "INSERT INTO closer.unsearched SELECT * FROM unnest($1::uuid[])"
# A signal may be counted by an attribute in which a sender puts an id.
_COUNTED = tuple(
    f"DELETE FROM closer.{table} c USING closer.series s WHERE c.workspace = $1 AND s.workspace = $1"  # noqa: S608 - our names
    " AND c.series = s.series AND c.group_name = ANY ($2::text[])"
    for table in ("hit", "counted", "counted_anew")
)
_SIGNALS = """
UPDATE closer.signal SET group_name = 'erased-' || id, reason = '' WHERE workspace = $1 AND group_name = ANY ($2::text[])
"""
_SIGNALS_TOLD = """
DELETE FROM closer.delivery WHERE workspace = $1 AND event LIKE 'signal%' AND body IS NOT NULL
AND convert_from(body, 'UTF8')::jsonb->>'group' = ANY ($2::text[])
"""
_ASKED = "SELECT id, detail FROM shared.audit WHERE workspace = $1 AND action = 'exported' AND detail ~ '(customer|q)='"
_VIEWS = "SELECT person, name, query FROM shared.saved_view WHERE workspace = $1 AND query ~ '(customer|q)='"
_AUDIT = """
INSERT INTO shared.audit (workspace, at, person, role, action, object, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


class Asked(NamedTuple):
    customer: str | None
    email: str | None


class Counts(msgspec.Struct):
    """What went, or would go."""

    customers: int = 0
    feedback: int = 0
    cases: int = 0
    cases_ended: int = 0
    timeline: int = 0
    mails: int = 0
    activity: int = 0
    thanks: int = 0
    unsubscribed: int = 0
    deliveries: int = 0
    unsent: int = 0
    asked: int = 0


class Done(NamedTuple):
    subject: str
    """The pseudonym that stays."""
    at: datetime
    names: tuple[str, ...]
    counts: Counts


class _Found(NamedTuple):
    customers: frozenset[str]
    ids: tuple[str, ...]
    since: datetime


class Nothing(Exception):
    """It was only tried: what was written is taken back."""


class Eraser:
    def __init__(self, unit: Unit, pseudonyms: Pseudonyms, ways: Mapping[str, Channel]) -> None:
        self._unit = unit
        self._pseudonyms = pseudonyms
        self._ways = ways

    async def erase(self, principal: Principal, asked: Asked, *, dry_run: bool = False) -> Done:
        """The same again erases what came meanwhile, and else nothing. `dry_run`: it is done, counted, and taken back."""
        found = await self._find(principal.workspace, asked)
        done: Done | None = None
        try:
            async with self._unit.work() as (driver, effects):
                done = await self._take(driver, effects, principal, asked, found, dry_run)
                if not dry_run:
                    await append_raw(driver, self._messages(principal.workspace, done))
                    await self._record(driver, principal, done)
                else:
                    raise Nothing
        except Nothing:
            pass
        assert done is not None
        if not dry_run:
            _log.info(
                "customer.erased", subject=done.subject, actor=principal.key_id, **msgspec.to_builtins(done.counts)
            )
        return done

    def subject_of(self, workspace: str, name: str) -> str:
        """What stands for that customer from now on: another pseudonym than the log's key, so that what is left here is not
        joined to what they may say one day."""
        return ERASED_PREFIX + self._pseudonyms.key(workspace, f"erased\0{name}").decode()

    # ── who it is, and what is theirs ──

    async def _find(self, workspace: str, asked: Asked) -> _Found:
        address = customer_of(None, asked.email)
        addresses = [address] if address else []
        customers = {name for name in (asked.customer, address) if name}
        since = self._unit.clock.now() - SINCE_BEFORE
        async with self._unit.transactions.begin() as driver:
            await driver.execute(f"SET LOCAL statement_timeout = {int(FIND_MAX_S * 1000)}")
            rows = await self._look(driver, workspace, customers, addresses)
            named_by = {row["customer"] for row in rows if row["customer"]}
            if addresses:
                customers |= named_by
            reached = {row["email"] for row in await driver.fetch(_ADDRESSES, workspace, list(customers))}
            own = {name for one in (*reached, *(row["email"] for row in rows)) if (name := customer_of(None, one))}
            if fresh := (own | customers) - {asked.customer, address}:
                customers |= fresh
                rows = await self._look(driver, workspace, customers, addresses)
        return _Found(frozenset(customers), tuple(row["id"] for row in rows), since)

    async def _look(self, driver: Driver, workspace: str, customers: Iterable[str], addresses: Sequence[str]) -> Any:
        return await driver.fetch(_LOOK, workspace, list(customers), addresses, timeout=FIND_MAX_S)

    # ── taking it ──

    async def _take(
        self, driver: Driver, effects: Effects, principal: Principal, asked: Asked, found: _Found, dry_run: bool
    ) -> Done:
        workspace, counts = principal.workspace, Counts()
        await driver.execute("LOCK TABLE closer.position IN SHARE ROW EXCLUSIVE MODE")
        address = customer_of(None, asked.email)
        addresses = [address] if address else []
        rows = {row["id"]: row for row in await driver.fetch(_BY_ID, workspace, list(found.ids))}
        late = await driver.fetch(_LATELY, workspace, list(found.customers), addresses, found.since)
        rows |= {row["id"]: row for row in late}
        customers = sorted(found.customers | {row["customer"] for row in rows.values() if row["customer"]})
        keys = [self._pseudonyms.key(workspace, name).decode() for name in (*customers, *addresses)]
        kinds = ["customer"] * len(customers) + ["address"] * len(addresses)
        await driver.execute(_ERASED, workspace, kinds, keys, effects.now)

        names = frozenset(name.lower() for name in customers)
        cases = await self._cases(driver, effects, principal, customers, names, counts)
        await self._words(driver, workspace, rows, cases, names, counts)
        counts.mails = await self._mails(driver, list(cases), dry_run)
        counts.deliveries = _how_many(await driver.execute(_DELIVERIES, list(rows), workspace))
        counts.activity = _how_many(await driver.execute(_ACTIVITY, workspace, customers))
        counts.thanks = _how_many(await driver.execute(_THANKS, workspace, list(rows)))
        counts.unsubscribed = _how_many(await driver.execute(_UNSUBSCRIBED, workspace, customers))
        unsent = named(workspace, RECEIVED), [key.encode() for key in keys]
        counts.unsent = _how_many(await driver.execute(_UNSENT, *unsent))
        for statement in _COUNTED:
            await driver.execute(statement, workspace, customers)
        if _how_many(await driver.execute(_SIGNALS, workspace, customers)):
            await driver.execute(_SIGNALS_TOLD, workspace, customers)
        counts.asked = await self._asked(driver, workspace, names)
        subject = self.subject_of(workspace, asked.customer or address or "")
        return Done(subject, effects.now, tuple(customers), counts)

    async def _cases(
        self,
        driver: Driver,
        effects: Effects,
        principal: Principal,
        customers: Sequence[str],
        names: frozenset[str],
        counts: Counts,
    ) -> dict[str, Held]:
        """Theirs, each with what happens to it. Locked together with those of others that go on in them."""
        workspace = principal.workspace
        rows = await driver.fetch(_CASES, workspace, list(customers))
        mine = [row["id"] for row in rows]
        along = {identity for row in rows for identity in row["also"]}
        held = await self._unit.cases.by_id(driver, sorted({*mine, *along}))
        actor = principal.key_id
        effects.names = {actor: await name_of(driver, principal)}
        for identity in mine:
            one = held[identity]
            others = [held[other.case_id] for other in one.case.also if other.case_id in held]
            goes_on = any(not (other.case.erased or other.case.id in mine) for other in others)
            unfinished = one.case.unfinished
            if (one.case.account or "").lower() in names:
                one.case = replace(one.case, account=None)
            effects.record(one, decide(one.case, Erase(goes_on), effects.now, actor))
            one.personal = Personal()
            counts.cases_ended += unfinished and not one.case.unfinished
        counts.cases = len(mine)
        pseudonyms = [self.subject_of(workspace, held[identity].case.customer or "") for identity in mine]
        await driver.execute(_NOBODYS, mine, pseudonyms)
        return {identity: held[identity] for identity in mine}

    async def _words(
        self,
        driver: Driver,
        workspace: str,
        rows: Mapping[str, Any],
        cases: Mapping[str, Held],
        names: frozenset[str],
        counts: Counts,
    ) -> None:
        """What they said, and what was written about it: on their own cases, and on those of others that it went to."""
        kept = [_encode(forgotten(_decode(row["value"]), names)).decode() for row in rows.values()]
        who = [self.subject_of(workspace, row["customer"]) if row["customer"] else None for row in rows.values()]
        await driver.execute(_WITHOUT_WORDS, workspace, list(rows), who, kept)
        whose = {held.case.customer for held in cases.values()} | {row["customer"] for row in rows.values()}
        counts.feedback, counts.customers = len(rows), len(whose - {None})

        onward = {held.case.merged_into for held in cases.values()} | {row["case_id"] for row in rows.values()}
        touched = sorted({*cases, *(identity for identity in onward if identity)})
        steps = []
        for row in await driver.fetch(_STEPS, touched):
            private, data = _decode(row["personal"]), _decode(row["data"])
            theirs = row["case_id"] in cases or data.get("feedback_id") in rows or data.get("from") in cases
            left = step_without_words(private)
            if theirs and left != private:
                steps.append((row["case_id"], row["sequence"], _encode(left) if left is not None else None))
        await driver.executemany(_STEP, steps)
        counts.timeline = len(steps)
        await driver.execute(_UNFOUND, list(cases), workspace)
        await driver.execute(_TO_INDEX, touched)

    async def _mails(self, driver: Driver, cases: Sequence[str], dry_run: bool) -> int:
        rows = await driver.fetch(_MAILS, cases)
        await driver.execute(_ATTEMPTS, cases)
        if not dry_run:
            # Before the commit: what cannot be taken away is tried again with everything else.
            for row in rows:
                for way in self._ways.values():
                    await way.forget(dedup_key(row["workspace"], row["case_id"], row["kind"], row["generation"]))
        return len(rows)

    async def _asked(self, driver: Driver, workspace: str, names: frozenset[str]) -> int:
        """Where colleagues asked for them by name: in the trail of exports, and in views that somebody saved."""
        asked = 0
        for row in await driver.fetch(_ASKED, workspace):
            if (said := query_without(row["detail"], names)) != row["detail"]:
                await driver.execute("UPDATE shared.audit SET detail = $2 WHERE id = $1", row["id"], said)
                asked += 1
        for row in await driver.fetch(_VIEWS, workspace):
            if query_without(row["query"], names) != row["query"]:
                whose = (workspace, row["person"], row["name"])
                await driver.execute(
                    "DELETE FROM shared.saved_view WHERE workspace = $1 AND person = $2 AND name = $3", *whose
                )
                asked += 1
        return asked

    # ── who is told ──

    def _messages(self, workspace: str, done: Done) -> list[Message]:
        """One for each name, under the key of its records: whoever keeps copies of those finds them by it."""
        at = rfc3339(done.at)
        found = []
        for name in done.names:
            key = self._pseudonyms.key(workspace, name)
            identity = delivery_id("ext", workspace, ERASURES, f"{key.decode()}/{at}")
            envelope = Envelope(identity, CUSTOMER_ERASED, SOURCE, at, workspace, traceparent=new_traceparent())
            value = {"customer": key.decode(), "workspace": workspace, "at": at}
            found.append(Message(named(workspace, ERASURES), key, _encode(value), list(envelope.headers())))
        return found

    async def _record(self, driver: Driver, principal: Principal, done: Done) -> None:
        """Who asked, and what went; not whose it was."""
        counted = {name: number for name, number in msgspec.to_builtins(done.counts).items() if number}
        said = ", ".join(f"{name}: {number}" for name, number in counted.items()) or "nothing"
        who = await name_of(driver, principal)
        await driver.execute(_AUDIT, principal.workspace, done.at, who, ADMIN, ACTION, done.subject, said)


def _how_many(done: str) -> int:
    return int(done.rpartition(" ")[2])
