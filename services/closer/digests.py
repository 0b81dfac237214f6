"""Digests fall due, are counted, and are owed to each of their readers: once a period, whoever runs this and however often.

How far a digest has come is a row (`closer.digest`). A period's end follows from the configuration in force and the clock
alone (`periods`), so nothing is planned that an edit of teams.yaml would have to take back. Whoever claims the row (`FOR
UPDATE SKIP LOCKED`) counts, writes what each reader is owed and moves the row on, in one transaction; a crash leaves
nothing half done, and a service that was away makes one digest of all that it missed. What is owed is sent by `tell`, like
everything that teams are told.

Counted is what was kept in the period, `SETTLED` after its end: no unit of work takes that long, so nothing that belongs to
it can still be on its way. And not before every deadline of the period has been said (`timers`): a service that comes back
says those first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.closer.digest import Counts, Digest, Owed, Quote
from services.closer.periods import last_end
from services.closer.render import quote
from services.closer.store import Effects, Unit
from services.closer.subscriptions import Subscription
from services.closer.transactions import Driver
from services.closer.turns import Turns
from shared.telemetry import get_logger, new_traceparent
from shared.topics import DEFAULT_WORKSPACE

SETTLED = timedelta(seconds=60)
IDLE_S = 5.0
LONGEST = timedelta(days=31)
"""Whoever comes back after longer is not told what became of last year."""
TAGS_KEPT = 50
QUOTES = 5
PRAISES = 2
THANKS = 5
LOOKED_AT = 60
"""So many of the most pressing are read to find quotes of different cases."""
QUOTE_MAX_CHARS = 280
READ_MAX_CHARS = 2000

# $1 workspace, $2 team, $3 and $4 the period, $5 accounts, $6 tiers, $7 kinds (each null for all of them).
_SAID = """
SELECT f.id, f.received_at, f.value, f.case_id, coalesce(c.first_feedback_id = f.id, false) AS opened, a.solved,
       f.value->'routing'->>'kind' AS kind
FROM closer.feedback f
LEFT JOIN closer.case c ON c.id = f.case_id
LEFT JOIN closer.answer a ON a.workspace = f.workspace AND a.feedback_id = f.id
LEFT JOIN closer.account o ON o.workspace = f.workspace
    AND o.id = coalesce(c.data->>'account', f.value->'customer'->>'account_id')
WHERE f.workspace = $1 AND f.kept_at >= $3 AND f.kept_at < $4 AND coalesce(c.team, f.value->'routing'->>'team') = $2
  AND NOT coalesce((f.value->'routing'->>'history')::boolean, false)
  AND ($5::text[] IS NULL OR coalesce(c.data->>'account', f.value->'customer'->>'account_id') = ANY ($5))
  AND ($6::text[] IS NULL OR coalesce(c.data->>'tier', f.value->'routing'->>'tier', f.value->'customer'->>'tier',
                                      o.tier) = ANY ($6))
  AND ($7::text[] IS NULL OR coalesce(c.data->>'kind', f.value->'routing'->>'kind') = ANY ($7))
"""
_THIS_CASE = """
($5::text[] IS NULL OR c.data->>'account' = ANY ($5)) AND ($6::text[] IS NULL OR c.data->>'tier' = ANY ($6))
AND ($7::text[] IS NULL OR c.data->>'kind' = ANY ($7))
"""
_COUNT = f"""
SELECT s.*, w.*,
    (SELECT count(DISTINCT b.case_id) FROM closer.settled b JOIN closer.case c ON c.id = b.case_id
     WHERE b.workspace = $1 AND b.team = $2 AND NOT b.met AND b.at >= $3 AND b.at < $4 AND {_THIS_CASE}) AS breached,
    (SELECT count(DISTINCT n.case_id) FROM closer.notification n JOIN closer.case c ON c.id = n.case_id
     WHERE n.workspace = $1 AND n.status = 'sent' AND n.kind <> 'heard' AND n.created_at > $3::timestamptz - interval '5 days'
       AND n.sent_at >= $3 AND n.sent_at < $4 AND c.team = $2 AND {_THIS_CASE}) AS told,
    (SELECT count(*) FROM closer.thanks t JOIN closer.case c ON c.id = t.case_id
     WHERE t.workspace = $1 AND t.team = $2 AND t.at >= $3 AND t.at < $4 AND {_THIS_CASE}) AS thanked
FROM (SELECT count(*) FILTER (WHERE solved IS NULL) AS heard, count(*) FILTER (WHERE opened) AS opened,
             count(DISTINCT case_id) FILTER (WHERE solved) AS solved,
             count(DISTINCT case_id) FILTER (WHERE NOT solved) AS unsolved FROM ({_SAID}) AS said) AS s,
     (SELECT count(*) AS waiting, count(*) FILTER (WHERE c.breached) AS overdue FROM closer.case c
      WHERE c.workspace = $1 AND c.team = $2 AND c.unfinished AND NOT c.data ? 'held' AND {_THIS_CASE}) AS w
"""  # noqa: S608 - our own words
_KINDS = f"SELECT kind AS name, count(*) AS n FROM ({_SAID}) AS said WHERE solved IS NULL GROUP BY 1"  # noqa: S608
_TAGS = f"""
SELECT tag AS name, count(*) AS n
FROM ({_SAID}) AS said CROSS JOIN LATERAL jsonb_array_elements_text(value->'routing'->'tags') AS tag
WHERE solved IS NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TAGS_KEPT}
"""  # noqa: S608
_QUOTES = f"""
SELECT id, case_id, left(value->>'text', {READ_MAX_CHARS}) AS words, value->'routing'->>'language' AS language, kind,
       value->'routing'->>'priority' AS priority,
       ARRAY(SELECT jsonb_array_elements_text(value->'routing'->'tags') LIMIT 3) AS tags
FROM ({_SAID}) AS said
WHERE coalesce(value->>'text', '') <> '' AND solved IS NOT TRUE AND kind <> 'noise' AND (kind = 'praise') = $8
ORDER BY array_position(ARRAY['urgent', 'high', 'normal', 'low'], value->'routing'->>'priority'),
         (value->'routing'->'sentiment'->>'score')::float8, received_at DESC
LIMIT {LOOKED_AT}
"""  # noqa: S608
_THANKS = f"""
SELECT t.feedback_id AS id, t.case_id, t.person, left(f.value->>'text', {READ_MAX_CHARS}) AS words,
       f.value->'routing'->>'language' AS language
FROM closer.thanks t JOIN closer.case c ON c.id = t.case_id
JOIN closer.feedback f ON f.workspace = t.workspace AND f.id = t.feedback_id
WHERE t.workspace = $1 AND t.team = $2 AND t.at >= $3 AND t.at < $4 AND {_THIS_CASE}
ORDER BY t.at DESC LIMIT {THANKS}
"""  # noqa: S608
_BEGIN = """
INSERT INTO closer.digest (subscription, workspace, team, since) SELECT id, $3, team, $4
FROM unnest($1::text[], $2::text[]) AS d (id, team) ON CONFLICT (subscription) DO NOTHING
"""
_KNOWN = "SELECT subscription, since FROM closer.digest WHERE subscription = ANY ($1)"
_UNSAID = "SELECT EXISTS (SELECT FROM closer.case WHERE due_at < $1)"
_CLAIM = """
SELECT since, before, counts FROM closer.digest WHERE subscription = $1 AND since < $2 FOR UPDATE SKIP LOCKED
"""
_MOVE = "UPDATE closer.digest SET since = $2, before = $3, counts = $4 WHERE subscription = $1"

_log = get_logger("closer")
_counts = msgspec.json.Decoder(Counts)
_owed = msgspec.json.Decoder(Owed)


class Digests(Turns):
    name = "digests"

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._unit = unit

    async def turn(self) -> float:
        await self.make_due()
        return IDLE_S

    async def make_due(self) -> int:
        """All whose period is over; how many mails are owed by it."""
        every = self._unit.subscribers.telling("digests")
        if not every:
            return 0
        since = await self._known(every)
        settled = self._unit.clock.now() - SETTLED
        owed = 0
        for one in every:
            end = last_end(one.entry.every, one.entry.at_minute, one.hours, settled)
            if end is not None and since[one.id] < end and not await self._unsaid(end):
                owed += await self._make(one, end)
        return owed

    async def _unsaid(self, end: datetime) -> bool:
        async with self._unit.transactions.begin() as driver:
            return bool(await driver.fetchval(_UNSAID, end))

    async def send_now(self, one: Subscription) -> int:
        """What would go at the end of the period goes now, but for the last minute (`SETTLED`), and the next period begins there;
        how many mails are owed by it."""
        await self._known([one])
        return await self._make(one, self._unit.clock.now() - SETTLED)

    async def preview(self, one: Subscription) -> Digest | None:
        """What would go now to the first of its readers; None: there is nothing to say. Changes nothing."""
        async with self._unit.transactions.begin() as driver:
            until = self._unit.clock.now() - SETTLED
            row = await driver.fetchrow(
                "SELECT since, before, counts FROM closer.digest WHERE subscription = $1", one.id
            )
            if row is None:
                return None
            owed = await _count(driver, one, row, until)
            if not owed.counts.is_worth_saying(one.entry.every):
                return None
            to = one.entry.readers(one.members)[0]
            return await read(driver, msgspec.structs.replace(owed, to=to), one)

    async def _known(self, every: Sequence[Subscription]) -> Mapping[str, datetime]:
        """Since when each has something to tell; one that is seen for the first time, from now on."""
        async with self._unit.transactions.begin() as driver:
            ids = [one.id for one in every]
            found = {row["subscription"]: row["since"] for row in await driver.fetch(_KNOWN, ids)}
            missing = [one for one in every if one.id not in found]
            if missing:
                now = self._unit.clock.now()
                values = [one.id for one in missing], [one.team for one in missing], DEFAULT_WORKSPACE, now
                await driver.execute(_BEGIN, *values)
                found |= {one.id: now for one in missing}
            return found

    async def _make(self, one: Subscription, until: datetime) -> int:
        async with self._unit.work() as (driver, effects):
            row = await driver.fetchrow(_CLAIM, one.id, until)
            if row is None:  # somebody else has done it, or is about to
                return 0
            owed = await _count(driver, one, row, until)
            readers = one.entry.readers(one.members) if owed.counts.is_worth_saying(one.entry.every) else ()
            for to in readers:
                _owe(effects, one, msgspec.structs.replace(owed, to=to))
            await driver.execute(_MOVE, one.id, until, owed.since, msgspec.json.encode(owed.counts))
        _log.info(
            "digest.made", team=one.team, destination=one.destination, until=until.isoformat(), mails=len(readers)
        )
        return len(readers)


def _owe(effects: Effects, one: Subscription, owed: Owed) -> None:
    if effects.tellings is not None:  # else a configuration in which nobody subscribes has just come
        effects.tellings.digest(one, owed.to, owed.until, msgspec.json.encode(owed), new_traceparent())


async def _count(driver: Driver, one: Subscription, row: Any, until: datetime) -> Owed:
    """To nobody yet."""
    since = max(row["since"], until - LONGEST)
    values = _about(one, since, until)
    found = dict(await driver.fetchrow(_COUNT, *values))
    kinds = {each["name"]: each["n"] for each in await driver.fetch(_KINDS, *values)}
    tags = {each["name"]: each["n"] for each in await driver.fetch(_TAGS, *values)}
    before = _counts.decode(row["counts"]) if row["counts"] is not None else None
    return Owed("", since, until, Counts(**found, kinds=kinds, tags=tags), row["before"], before)


async def digests(driver: Driver, rows: Sequence[Any], by_id: Mapping[str, Subscription]) -> dict[Any, Digest]:
    """Of those rows of `closer.delivery` that tell one: as it is sent."""
    return {row["id"]: await read(driver, _owed.decode(row["body"]), by_id[row["subscription"]]) for row in rows}


async def read(driver: Driver, owed: Owed, one: Subscription) -> Digest:
    """With the customers' words as they are kept now."""
    values = _about(one, owed.since, owed.until)
    thanks = [_quote(row) for row in await driver.fetch(_THANKS, *values)]
    pressing = [_quote(row) for row in await driver.fetch(_QUOTES, *values, False)]
    praise = [_quote(row) for row in await driver.fetch(_QUOTES, *values, True)]
    told = {one.feedback_id for one in thanks}
    quotes = (*_different(pressing)[:QUOTES], *[one for one in praise if one.feedback_id not in told][:PRAISES])
    return Digest(owed, quotes, tuple(one for one in thanks if one.words))


def _about(one: Subscription, since: datetime, until: datetime) -> tuple[Any, ...]:
    only = one.only
    filters = (sorted(names) or None for names in (only.accounts, only.tiers, only.kinds))
    return DEFAULT_WORKSPACE, one.team, since, until, *filters


def _quote(row: Any) -> Quote:
    return Quote(
        quote(row["words"] or "", QUOTE_MAX_CHARS),
        row["language"],
        str(row["id"]),
        str(row["case_id"]) if row["case_id"] is not None else None,
        row.get("kind", "praise"),
        row.get("priority", "normal"),
        tuple(row.get("tags", ())),
        row.get("person"),
    )


def _different(quotes: Sequence[Quote]) -> list[Quote]:
    """One of each case, and nobody can see the same words twice."""
    found: dict[str, Quote] = {}
    words: set[str] = set()
    for one in quotes:
        if one.words and one.words not in words:
            words.add(one.words)
            found.setdefault(one.case_id or one.feedback_id, one)
    return list(found.values())
