"""What people teach, and the models that were learnt from it: in Postgres, the same for every process of the router.

An example is never changed. A later correction of the same feedback is another example, and the one before is marked as
superseded, so that a model can be built again from what it was learnt from. An erasure deletes a customer's, found by their
pseudonym, and what is said of them afterwards teaches nothing (`forget`). Rows of a file name nobody, and stay; so does a
model, which holds numbers of pieces of words and no words: the next one is learnt without what was erased.

What judges is the newest turn that was not taken back, and without any the lexicons judge alone.

One process learns at a time: `claim` says until when the others wait for it, so one that dies holds up nobody for long.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from services.router.examples import Row, row_of
from shared.database import Database, raw
from shared.errors import Misuse
from shared.events.envelope import rfc3339
from shared.topics import DEFAULT_WORKSPACE

if TYPE_CHECKING:
    from services.router.model.trained import Trained

FILE, CORRECTIONS = "file", "corrections"
"""What a model was made of."""

_FILED = """
INSERT INTO router.example (workspace, said, at, digest)
SELECT $1, said, $2, digest FROM unnest($3::jsonb[], $4::bytea[]) WITH ORDINALITY AS n (said, digest, place)
ORDER BY place ON CONFLICT (workspace, digest) WHERE digest IS NOT NULL DO NOTHING
"""
_FOUND = """
SELECT e.id FROM unnest($2::bytea[]) WITH ORDINALITY AS n (digest, place)
JOIN router.example e ON e.workspace = $1 AND e.digest = n.digest ORDER BY n.place
"""
_BEFORE = """
SELECT id, said::text, partition, "offset" FROM router.example
WHERE workspace = $1 AND feedback_id = $2 AND NOT superseded FOR UPDATE
"""
_CORRECTED = """
INSERT INTO router.example (workspace, said, at, feedback_id, customer, partition, "offset")
VALUES ($1, $2::jsonb, $3, $4, $5, $6, $7)
"""
_ERASED = """
INSERT INTO router.erased AS e (workspace, customer, at) VALUES ($1, $2, $3)
ON CONFLICT (workspace, customer) DO UPDATE SET at = greatest(e.at, excluded.at)
"""
_FORGET = "DELETE FROM router.example WHERE workspace = $1 AND customer = $2 AND at <= $3"
_WAS_ERASED = "SELECT EXISTS (SELECT FROM router.erased WHERE workspace = $1 AND customer = $2 AND at >= $3)"
_MODEL = """
INSERT INTO router.model (workspace, version, made_at, made_of, heads, data, examples)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7) ON CONFLICT DO NOTHING
"""
_IN_FORCE = "SELECT version FROM router.turn WHERE workspace = $1 AND taken_back_at IS NULL ORDER BY id DESC LIMIT 1"
# What a model was learnt from, as it is said now: of what was corrected again the last word, of what was erased nothing.
_ROWS = """
SELECT coalesce(now.id, e.id) AS id, coalesce(now.said, e.said)::text AS said
FROM unnest($2::bigint[]) WITH ORDINALITY AS n (id, place)
JOIN router.example e ON e.id = n.id AND e.workspace = $1
LEFT JOIN router.example now ON e.superseded AND now.workspace = e.workspace AND now.feedback_id = e.feedback_id
    AND NOT now.superseded
ORDER BY n.place
"""
_TAUGHT = """
SELECT id, said::text AS said FROM router.example
WHERE workspace = $1 AND feedback_id IS NOT NULL AND NOT superseded ORDER BY id
"""
# Enough of them are new, or one of them has waited long enough.
_CLAIM = """
WITH fresh AS (
    SELECT count(*) AS count, min(at) AS since, max(id) AS upto FROM router.example e
    WHERE e.workspace = $1 AND e.feedback_id IS NOT NULL AND NOT e.superseded
      AND e.id > coalesce((SELECT t.upto FROM router.trial t WHERE t.workspace = $1), 0))
INSERT INTO router.trial AS t (workspace, busy_until)
SELECT $1, $2::timestamptz + $3::interval FROM fresh
WHERE fresh.count >= $4 OR (fresh.count > 0 AND fresh.since <= $2::timestamptz - $5::interval)
ON CONFLICT (workspace) DO UPDATE SET busy_until = excluded.busy_until WHERE t.busy_until <= $2::timestamptz
RETURNING (SELECT upto FROM fresh)
"""
_TRIED = "UPDATE router.trial SET busy_until = '-infinity', upto = $2, at = $3, found = $4::jsonb WHERE workspace = $1"
_MODELS = """
SELECT m.version, m.made_at, m.made_of, m.heads::text AS heads, cardinality(m.examples) AS rows,
    (SELECT count(*) FROM router.example e WHERE e.id = ANY (m.examples) AND e.feedback_id IS NOT NULL) AS corrections
FROM router.model m WHERE m.workspace = $1 ORDER BY m.made_at, m.version
"""
_WAITING = """
SELECT count(e.id) AS kept, count(e.id) FILTER (WHERE e.id > coalesce(t.upto, 0)) AS waiting, max(e.at) AS newest,
    t.at, t.found::text AS found
FROM (SELECT 1) AS one LEFT JOIN router.trial t ON t.workspace = $1
LEFT JOIN router.example e ON e.workspace = $1 AND e.feedback_id IS NOT NULL AND NOT e.superseded
GROUP BY t.upto, t.at, t.found
"""


class Told(NamedTuple):
    """A correction with what it is about, as it is to be learnt from."""

    feedback_id: str
    text: str
    title: str | None
    said: dict[str, Any]
    """Of `Row`'s members those that were given: team, kind, sentiment, priority, tags."""
    at: datetime
    customer: bytes | None
    """The pseudonym under which the log has them."""
    partition: int
    offset: int
    """Where it stands on `feedback.corrections`: a later word wins, and the same one read again changes nothing."""
    routed_at: datetime | None = None
    """When what it is about was routed; None: not known, and taken for long ago."""


class Known(NamedTuple):
    """Examples with their ids, in their order."""

    ids: list[int]
    rows: list[Row]


class KeptModels:
    def __init__(self, database: Database, workspace: str = DEFAULT_WORKSPACE) -> None:
        self._database = database
        self._workspace = workspace

    # ── examples ──

    async def file(self, rows: Sequence[Row], at: datetime) -> list[int]:
        """Kept, each once however often it comes; their ids, in the rows' order."""
        said = [_written(row) for row in rows]
        digests = [sha256(one.encode()).digest() for one in said]
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            await driver.execute(_FILED, self._workspace, at, said, digests)
            return [row["id"] for row in await driver.fetch(_FOUND, self._workspace, digests)]

    async def correct(self, told: Sequence[Told]) -> int:
        """Kept; how many of them say something new. Raises `Rejected` for what nobody can learn from."""
        fresh = 0
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            for one in told:
                fresh += await self._correct(driver, one)
        return fresh

    async def _correct(self, driver: Any, one: Told) -> bool:
        before = await driver.fetchrow(_BEFORE, self._workspace, one.feedback_id)
        known: dict[str, Any] = {}
        said = one.routed_at or datetime.min.replace(tzinfo=UTC)
        if one.customer is not None and await driver.fetchval(_WAS_ERASED, self._workspace, one.customer, said):
            return False
        if before is not None:
            if before["partition"] == one.partition and before["offset"] >= one.offset:
                return False
            known = msgspec.json.decode(before["said"])
            await driver.execute("UPDATE router.example SET superseded = true WHERE id = $1", before["id"])
        row = row_of({**known, "text": one.text, "title": one.title, **one.said})
        values = (one.at, one.feedback_id, one.customer, one.partition, one.offset)
        await driver.execute(_CORRECTED, self._workspace, _written(row), *values)
        return True

    async def forget(self, customer: bytes, at: datetime) -> int:
        """The customer with that pseudonym was erased then: their examples go, and none of what they said before comes again.
        How many went."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            # Whoever keeps an example at this moment ends first; who begins afterwards finds the pseudonym.
            await driver.execute("LOCK TABLE router.example IN EXCLUSIVE MODE")
            await driver.execute(_ERASED, self._workspace, customer, at)
            done = await driver.execute(_FORGET, self._workspace, customer, at)
        return int(done.rpartition(" ")[2])

    async def taught(self) -> Known:
        """Everything that people corrected, as they said it last."""
        return await self._known(_TAUGHT, self._workspace)

    async def rows(self, version: str) -> Known:
        """What that model was learnt from, without what was erased since, and as it was said last."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            ids = await driver.fetchval(
                "SELECT examples FROM router.model WHERE workspace = $1 AND version = $2", self._workspace, version
            )
        if ids is None:
            raise Misuse(f"there is no model {version!r}: `flywheel learn status` lists them")
        return await self._known(_ROWS, self._workspace, ids)

    async def _known(self, query: str, *values: Any) -> Known:
        async with self._database.transaction() as connection:
            found = await (await raw(connection)).fetch(query, *values)
        # A hundred thousand of them take seconds, in which feedback is to be routed.
        return await asyncio.to_thread(_known, found)

    # ── models ──

    async def keep(self, model: "Trained", examples: Sequence[int], at: datetime, made_of: str) -> None:
        heads = msgspec.json.encode({head.name: head.examples for head in model.heads}).decode()
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            values = (at, made_of, heads, model.to_bytes(), list(examples))
            await driver.execute(_MODEL, self._workspace, model.version, *values)

    async def has(self, version: str) -> bool:
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            query = "SELECT EXISTS (SELECT FROM router.model WHERE workspace = $1 AND version = $2)"
            return bool(await driver.fetchval(query, self._workspace, version))

    async def model(self, version: str) -> "Trained":
        """Raises `Misuse`, and `Rejected` for what cannot be read."""
        from services.router.model.trained import Trained

        async with self._database.transaction() as connection:
            driver = await raw(connection)
            query = "SELECT data FROM router.model WHERE workspace = $1 AND version = $2"
            data = await driver.fetchval(query, self._workspace, version)
        if data is None:
            raise Misuse(f"the model {version} is not there any more")

        return await asyncio.to_thread(Trained.from_bytes, data)

    async def in_force(self) -> str | None:
        async with self._database.transaction() as connection:
            found: str | None = await (await raw(connection)).fetchval(_IN_FORCE, self._workspace)
            return found

    async def promote(self, version: str, at: datetime, why: str) -> None:
        """Raises `Misuse`."""
        if not await self.has(version):
            raise Misuse(f"there is no model {version!r}: `flywheel learn status` lists them")
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            query = "INSERT INTO router.turn (workspace, version, since, why) VALUES ($1, $2, $3, $4)"
            await driver.execute(query, self._workspace, version, at, why)

    async def roll_back(self, at: datetime) -> str | None:
        """What is in force then. Raises `Misuse`."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            done = await driver.execute(
                "UPDATE router.turn SET taken_back_at = $2 WHERE id = (SELECT id FROM router.turn"
                " WHERE workspace = $1 AND taken_back_at IS NULL ORDER BY id DESC LIMIT 1 FOR UPDATE)",
                self._workspace,
                at,
            )
            if done == "UPDATE 0":
                raise Misuse("no model is in force: there is nothing to take back")
            found: str | None = await driver.fetchval(_IN_FORCE, self._workspace)
            return found

    # ── learning ──

    async def claim(self, now: datetime, lease: timedelta, enough: int, patience: timedelta) -> int | None:
        """Whether it is our turn to learn: the id of the newest example that nobody has learnt from yet."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            found: int | None = await driver.fetchval(_CLAIM, self._workspace, now, lease, enough, patience)
            return found

    async def tried(self, upto: int, now: datetime, found: dict[str, Any]) -> None:
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            await driver.execute(_TRIED, self._workspace, upto, now, msgspec.json.encode(found).decode())

    async def status(self) -> dict[str, Any]:
        """What judges, what is kept and what it was learnt from, what people taught and what became of it. As plain data."""
        in_force = await self.in_force()
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            models = await driver.fetch(_MODELS, self._workspace)
            taught = await driver.fetchrow(_WAITING, self._workspace)
        return {
            "in_force": in_force,
            "models": [
                {
                    "version": row["version"],
                    "made_at": rfc3339(row["made_at"]),
                    "made_of": row["made_of"],
                    "rows": row["rows"],
                    "corrections": row["corrections"],
                    "heads": msgspec.json.decode(row["heads"]),
                }
                for row in models
            ],
            "corrections": {
                "kept": taught["kept"],
                "waiting": taught["waiting"],
                "newest": rfc3339(taught["newest"]) if taught["newest"] is not None else None,
            },
            "last_trial": None
            if taught["found"] is None
            else {"at": rfc3339(taught["at"]), **msgspec.json.decode(taught["found"])},
        }


def _known(found: Sequence[Any]) -> Known:
    return Known([row["id"] for row in found], [row_of(msgspec.json.decode(row["said"])) for row in found])


def _written(row: Row) -> str:
    return row.model_dump_json(exclude_defaults=True)
