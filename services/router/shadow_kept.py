"""Which rules run beside those in force, and what was found: in Postgres, for all processes of the router together.

Each process adds what it has compared every few seconds, as one transaction with how far it has come: what is written again
because an answer was lost is not added twice. So nothing is counted twice, and what a killed process had not written yet
(`shadowing.EVERY_S`) is not counted.

The newest `ENDED_KEPT` that have ended stay with what was found, so that it can still be looked at.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec

from services.router.shadow import FAILED, OTHERWISE, RULE, SAMPLES_EACH, SKIPPED, TEAM, WHAT, Sample, Tally
from shared.database import Database, raw
from shared.events.envelope import rfc3339
from shared.topics import DEFAULT_WORKSPACE

ENDED_KEPT = 10
Ended = Literal["stopped", "replaced", "adopted"]

_STARTED = """
INSERT INTO router.shadow (workspace, hash, rules, since, author, reason) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
"""
_END = "UPDATE router.shadow SET ended_at = $2, ended = $3 WHERE workspace = $1 AND ended_at IS NULL RETURNING id"
_FORGET = """
DELETE FROM router.shadow WHERE workspace = $1 AND ended_at IS NOT NULL AND id NOT IN (
    SELECT id FROM router.shadow WHERE workspace = $1 AND ended_at IS NOT NULL ORDER BY id DESC LIMIT $2)
"""
_RUNNING = "SELECT id, hash, rules, reason FROM router.shadow WHERE workspace = $1 AND ended_at IS NULL"
# Not where it was deleted meanwhile, and not what we have written already.
_FRESH = """
INSERT INTO router.shadow_writer AS w (shadow, writer, written) SELECT id, $2, $3 FROM router.shadow WHERE id = $1
ON CONFLICT (shadow, writer) DO UPDATE SET written = excluded.written WHERE w.written < excluded.written
RETURNING true
"""
# In one order, so that two processes wait for each other's rows and do not lock each other out.
_COUNT = """
INSERT INTO router.shadow_count AS c (shadow, live, what, one, other, n)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[]) AS n (what, one, other, n)
ORDER BY what, one, other
ON CONFLICT (shadow, live, what, one, other) DO UPDATE SET n = c.n + excluded.n
"""
_SAMPLE = """
INSERT INTO router.shadow_sample (shadow, live, feedback_id, at, one, other, found)
SELECT $1, $2, id, $3, one, other, found
FROM unnest($4::text[], $5::text[], $6::text[], $7::jsonb[]) AS n (id, one, other, found) ORDER BY id
ON CONFLICT (shadow, live, feedback_id) DO UPDATE SET at = excluded.at, found = excluded.found
"""
_THIN = """
DELETE FROM router.shadow_sample WHERE shadow = $1 AND (live <> $2 OR feedback_id IN (
    SELECT feedback_id FROM (
        SELECT feedback_id, row_number() OVER (PARTITION BY one, other ORDER BY at DESC, feedback_id) AS place
        FROM router.shadow_sample WHERE shadow = $1 AND live = $2) AS placed
    WHERE place > $3))
"""
_NEWEST = """
SELECT id, hash, since, author, reason, refused, ended_at, ended FROM router.shadow WHERE workspace = $1
ORDER BY ended_at IS NULL DESC, id DESC LIMIT 1
"""
_SAMPLES = """
SELECT feedback_id, at, found::text AS found FROM router.shadow_sample WHERE shadow = $1 AND live = $2
ORDER BY at DESC, feedback_id
"""


class Running(NamedTuple):
    id: int
    hash: str
    rules: str
    """A routing.yaml, as it was written."""
    reason: str | None


class KeptShadows:
    def __init__(self, database: Database, workspace: str = DEFAULT_WORKSPACE) -> None:
        self._database = database
        self._workspace = workspace

    # ── which ──

    async def start(self, rules: str, at: datetime, author: str | None, reason: str | None) -> str:
        """In the place of the one that runs, where one does; its name, a hash of what is written."""
        name = sha256(rules.encode()).hexdigest()[:12]
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            await driver.execute(_END, self._workspace, at, "replaced")
            await driver.execute(_FORGET, self._workspace, ENDED_KEPT)
            await driver.fetchval(_STARTED, self._workspace, name, rules, at, author, reason)
        return name

    async def end(self, at: datetime, how: Ended) -> bool:
        """Whether one ran."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            return await driver.fetchval(_END, self._workspace, at, how) is not None

    async def running(self) -> Running | None:
        async with self._database.transaction() as connection:
            row = await (await raw(connection)).fetchrow(_RUNNING, self._workspace)
            return Running(**row) if row is not None else None

    async def refuse(self, shadow: int, why: str | None) -> None:
        """Why it cannot be asked by the configuration in force; None where it can."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            await driver.execute("UPDATE router.shadow SET refused = $2 WHERE id = $1", shadow, why)

    # ── what was found ──

    async def add(self, shadow: int, live: str, tally: Tally, writer: UUID, number: int, at: datetime) -> None:
        """`number`: of what this writer writes, each with a higher one; the same again changes nothing."""
        keys = list(tally.counts)
        samples = {sample.id: sample for sample in tally.samples}
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            if not await driver.fetchval(_FRESH, shadow, writer, number):
                return
            columns = ([key[place] for key in keys] for place in range(3))
            await driver.execute(_COUNT, shadow, live, *columns, [tally.counts[key] for key in keys])
            if samples:
                teams = ([one.one for one in samples.values()], [one.other for one in samples.values()])
                found = [_written(one) for one in samples.values()]
                await driver.execute(_SAMPLE, shadow, live, at, list(samples), *teams, found)
                await driver.execute(_THIN, shadow, live, SAMPLES_EACH)

    async def status(self, live: str | None) -> dict[str, Any]:
        """The one that runs, or the last that did, compared with that version of the rules in force. As plain data."""
        async with self._database.transaction() as connection:
            driver = await raw(connection)
            row = await driver.fetchrow(_NEWEST, self._workspace)
            if row is None:
                return {"shadow": None, "live": live, **_report({}), "earlier": [], "samples": []}
            counted = await driver.fetch(
                "SELECT live, what, one, other, n FROM router.shadow_count WHERE shadow = $1", row["id"]
            )
            by_live: dict[str, Counter[tuple[str, str, str]]] = {}
            for found in counted:
                by_live.setdefault(found["live"], Counter())[found["what"], found["one"], found["other"]] = found["n"]
            if row["ended_at"] is not None and live not in by_live and by_live:
                # What is in force by now is not what it was compared with.
                live = max(by_live, key=lambda version: Tally(by_live[version]).compared)
            samples = await driver.fetch(_SAMPLES, row["id"], live)
        return {
            "shadow": {
                "rules": row["hash"],
                "since": rfc3339(row["since"]),
                "author": row["author"],
                "reason": row["reason"],
                "refused": row["refused"],
                "ended_at": rfc3339(row["ended_at"]) if row["ended_at"] is not None else None,
                "ended": row["ended"],
            },
            "live": live,
            **_report(by_live.get(live or "", {})),
            "earlier": [
                {"live": version, "compared": (tally := Tally(counts)).compared, "differ": tally.differ}
                for version, counts in by_live.items()
                if version != live
            ],
            "samples": [
                {"id": one["feedback_id"], "at": rfc3339(one["at"]), **msgspec.json.decode(one["found"])}
                for one in samples
            ],
        }


def _written(sample: Sample) -> str:
    return msgspec.json.encode({"what": sample.what, "live": sample.live, "shadow": sample.shadow}).decode()


def _report(counts: Mapping[tuple[str, str, str], int]) -> dict[str, Any]:
    tally = Tally(Counter(counts))
    of_team, of_rule = _of(counts, TEAM), _of(counts, RULE)
    moved = [(pair, count) for pair, count in of_team if pair[0] != pair[1]]
    one: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for (left, right), count in of_rule:
        one[left] += count
        other[right] += count
    return {
        "compared": tally.compared,
        "differ": tally.differ,
        "share": round(tally.differ / tally.compared, 4) if tally.compared else 0.0,
        "moved": sum(count for _, count in moved),
        "otherwise": tally.counts[OTHERWISE, "", ""],
        "failed": tally.counts[FAILED, "", ""],
        "skipped": tally.counts[SKIPPED, "", ""],
        "what": {name: count for (name, _), count in _of(counts, WHAT)},
        "by_team": [{"from": left, "to": right, "count": count} for (left, right), count in moved],
        "by_rule": [{"from": left, "to": right, "count": count} for (left, right), count in of_rule if left != right],
        "rules": [{"rule": name, "live": one[name], "shadow": other[name]} for name, _ in (one + other).most_common()],
    }


def _of(counts: Mapping[tuple[str, str, str], int], what: str) -> Sequence[tuple[tuple[str, str], int]]:
    """The most first."""
    found = [((one, other), count) for (which, one, other), count in counts.items() if which == what]
    return sorted(found, key=lambda item: (-item[1], item[0]))
