"""What is told of a ticket or an issue in its own tool: it was moved to another team, shipped, or declined.

`heard` ● makes a row of such an event, written with its position. `News` settles the rows, one at a time and the oldest first, one
process at a time (an advisory lock); what follows is `moves`' and `works`' to say, and is written with the row, so it happens once.
A row whose look fails is put off for a while, so that those behind it have their turn.
Decisions and routed feedback are two topics: news may come before the feedback that it is about, and is looked at again for a
while.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from services.closer import metrics, moves, works
from services.closer.check import InForce
from services.closer.records import NEWS, Decided, Work, is_uuid
from services.closer.store import Effects, Unit
from services.closer.transactions import Driver
from services.closer.turns import Turns
from shared.errors import Transient
from shared.telemetry import get_logger

LOOKED_FOR = timedelta(hours=1)
"""How long feedback may come after the news that it is about: who reads two topics reads one of them first."""
LOOK_FIRST = timedelta(seconds=1)
PUT_OFF = timedelta(seconds=30)
IDLE_S = 1.0
_LOCK = 0x4E455753  # "NEWS"

_ALONE = "SELECT pg_try_advisory_xact_lock($1)"
_DUE = """
SELECT workspace, id::text, kind, source, work_id, name, name_id, at, heard_at, look_at, stage, outcome,
    feedback_ids::text[], reached::text[]
FROM closer.news WHERE look_at <= $1 AND id <> ALL ($2::uuid[]) ORDER BY look_at, at, id LIMIT 1
"""
_LOOKED = """
UPDATE closer.news SET look_at = $3, stage = $4, outcome = $5, team = $6, reached = $7,
    settled_at = CASE WHEN $5::text IS NOT NULL THEN coalesce(settled_at, $8) END
WHERE workspace = $1 AND id = $2
"""

_log = get_logger("closer")


def heard(decided: Decided, work: Work, now: datetime) -> tuple[Any, ...]:
    """Its row."""
    received_at = work.received_at or decided.decided_at
    at = min(work.occurred_at or received_at, received_at)
    ids = ",".join(sorted({one for one in work.feedback_ids if is_uuid(one)}))
    about = (work.source, work.work_id, work.team, work.team_id, at, now, f"{{{ids}}}")
    return decided.workspace, decided.id, NEWS[decided.type], *about


class News(Turns):
    name = "news"

    def __init__(self, unit: Unit, in_force: Callable[[], InForce]) -> None:
        super().__init__()
        self._unit = unit
        self._in_force = in_force
        self._put_off: dict[str, datetime] = {}
        """Rows whose look has failed → until when they wait."""

    async def turn(self) -> float:
        return 0 if await self.settle() else IDLE_S

    async def settle(self) -> bool:
        """One look at one row, in one transaction; whether there was one. Raises `Transient`: that row is put off."""
        now = self._unit.clock.now()
        self._put_off = {one: until for one, until in self._put_off.items() if until > now}
        news: Mapping[str, Any] | None = None
        try:
            async with self._unit.work() as (driver, effects):
                if not await driver.fetchval(_ALONE, _LOCK):
                    return False
                news = await driver.fetchrow(_DUE, effects.now, list(self._put_off))
                if news is None:
                    return False
                # By when it was to be looked at: after a pause of ours the feedback is not read yet.
                last = news["look_at"] - news["heard_at"] >= LOOKED_FOR
                found, team = await self._look(driver, effects, news)
                outcome = found.outcome or ("nothing" if last else None)
                said = (self._look_at(news, found, effects.now, last), found.stage, outcome, team, list(found.reached))
                await driver.execute(_LOOKED, news["workspace"], news["id"], *said, effects.now)
        except Transient:
            if news is not None:
                self._put_off[news["id"]] = now + PUT_OFF
            raise
        if outcome not in (None, news["outcome"]):
            metrics.NEWS.labels(news["kind"], outcome).inc()
            told = {name: news[name] for name in ("source", "work_id", "name", "name_id")}
            _log.info(f"work.{news['kind']}", news=news["id"], team=team, outcome=outcome, **told)
        return True

    async def _look(self, driver: Driver, effects: Effects, news: Mapping[str, Any]) -> tuple[works.Looked, str | None]:
        """With the team of ours that it was moved to."""
        if news["kind"] != "moved":
            return await works.look(self._unit, driver, effects, news), None
        team = moves.ours(news, self._in_force().known_as)
        outcome = await moves.settled(self._unit, driver, effects, news, team)
        return works.Looked(outcome, (), "waiting", more=False), team

    @staticmethod
    def _look_at(news: Mapping[str, Any], found: works.Looked, now: datetime, last: bool) -> datetime | None:
        """When it is looked at next. A move is done when something came of it; after work that has ended, feedback may come
        that is linked to it too."""
        due: datetime = news["look_at"]
        heard_at: datetime = news["heard_at"]
        if found.more:
            return due
        if last or (news["kind"] == "moved" and found.outcome is not None):
            return None
        return now + max(LOOK_FIRST, now - heard_at)
